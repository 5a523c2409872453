"""Attention of many rows over keys and values that lie in pages, where rows share pages.

A row is a path through a tree: what it attends over is a list of pieces, wide ones of ``WIDE`` keys and pages of up to
``PAGE``, given by the path alone. ``shared`` multiplies the queries of all rows that see a piece with its one copy,
and joins the pieces of a row by log-sum-exp in float32, one after another in the order of its path; ``plain`` is its
twin, row by row with nothing shared. Which rows share a piece changes how many queries stand in a product but not
what is summed, so in bfloat16 the outcome of a row is bit-equal in any company. Knows no network and no tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PAGE = 64  # keys in a page
WIDE = 512  # keys in a wide piece
GROUP = 16  # rows whose queries are multiplied with a page at once
_SCORES = 1 << 19  # at most about as many scores are held at a time for wide pieces

Ints = NDArray[np.int64]
Attend = Callable[
    [int, Tensor, Tensor, Tensor], Tensor
]  # (layer, q, k, v), each (n, heads, head_dim), to (n, heads * head_dim)


@dataclass(frozen=True, slots=True)
class Wide:
    """Wide pieces that the same rows share: ``pages`` (a multiple of ``WIDE / PAGE``), seen by ``rows``."""

    pages: Tensor
    rows: Tensor


@dataclass(frozen=True, slots=True)
class Paths:
    """What each of ``n`` rows attends over: first the wide pieces that name it, then its row of ``table``.

    ``table`` (n, most): page numbers, -1 where there is none; ``fill``: per page how many of its keys count, at least 1.
    """

    wide: Sequence[Wide]
    table: Ints
    fill: Ints

    def pages(self, row: int) -> list[tuple[int, int]]:
        """The pages of one row in their order, each with the number of keys that count."""
        whole = [(int(p), PAGE) for w in self.wide if bool((w.rows == row).any()) for p in w.pages]
        return whole + [(int(p), int(self.fill[p])) for p in self.table[row] if p >= 0]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Products of one shape: page ``pages[i]`` with the queries of ``rows[i]``; ``bias`` excludes keys that do not count."""

    pages: Tensor  # (items)
    rows: Tensor  # (items, rows in a product), flat
    bias: Tensor  # (items, 1, PAGE), float32


@dataclass(frozen=True, slots=True)
class Plan:
    """The products that ``shared`` makes for some paths, and where each row finds its pieces among their outcomes."""

    paths: Paths
    batches: Sequence[_Batch]
    places: Tensor  # (n, most pieces of a row), flat: which outcome; beyond the pieces of a row, one past the last
    columns: Sequence[Tensor]  # the same by piece, for those rows alone that have as many, most pieces first
    order: Tensor  # (n): where each row stands when those of most pieces come first

    @classmethod
    def of(cls, paths: Paths) -> Plan:
        """Group the rows that have a page in common. Costs some sorting of the table."""
        n, table = len(paths.table), paths.table
        rows, cols = np.nonzero(table >= 0)
        pages = table[rows, cols]
        by_page = np.argsort(pages, kind="stable")
        ordered = pages[by_page]
        first = np.searchsorted(ordered, ordered)
        size = np.searchsorted(ordered, ordered, side="right") - first
        grouped = np.arange(len(ordered)) - first < size // GROUP * GROUP
        many, single = by_page[grouped], by_page[~grouped]
        batches = [_batch(pages[some][::k], rows[some]) for some, k in ((single, 1), (many, GROUP)) if len(some)]
        place = np.empty(len(pages), np.int64)
        place[np.concatenate([single, many])] = np.arange(len(pages))
        spread = np.full(table.shape, -1, np.int64)
        spread[rows, cols] = place
        blocks, end = [], len(pages)
        for w in paths.wide:
            n_pieces, n_rows = len(w.pages) * PAGE // WIDE, len(w.rows)
            block = np.full((n, n_pieces), -1, np.int64)
            block[w.rows.numpy()] = end + np.arange(n_pieces * n_rows).reshape(n_pieces, n_rows).T
            blocks.append(block)
            end += n_pieces * n_rows
        return cls._laid_out(paths, batches, np.concatenate([*blocks, spread], axis=1), end)

    @classmethod
    def _laid_out(cls, paths: Paths, batches: Sequence[_Batch], places: Ints, end: int) -> Plan:
        places = np.take_along_axis(places, np.argsort(places < 0, axis=1, kind="stable"), axis=1)
        counts = (places >= 0).sum(axis=1)
        places = places[:, : counts.max()]
        longest = np.argsort(-counts, kind="stable")
        columns = [torch.from_numpy(places[longest[: (counts > c).sum()], c]) for c in range(places.shape[1])]
        order = np.empty_like(longest)
        order[longest] = np.arange(len(longest))
        flat = torch.from_numpy(np.where(places < 0, end, places)[longest].ravel())
        plan = cls(paths, batches, flat, columns, torch.from_numpy(order))
        plan.refill()
        return plan

    def refill(self) -> None:
        """Take over how many keys of each page count, after ``paths.fill`` changed in place."""
        fill = torch.from_numpy(self.paths.fill)
        for b in self.batches:
            ahead = torch.arange(PAGE) >= fill[b.pages][:, None, None]
            b.bias.zero_().masked_fill_(ahead, float("-inf"))


def _batch(pages: Ints, rows: Ints) -> _Batch:
    return _Batch(torch.from_numpy(pages), torch.from_numpy(rows), torch.empty(len(pages), 1, PAGE))


def piece(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (b, n, head_dim) over a piece of keys and values (b, length, head_dim), not normalised.

    Returns the sum (b, n, head_dim) of values weighted by exp(score - peak), the peak and the sum of the weights, both
    (b, n) in float32: sum / mass is the softmax attention over the piece, peak + log(mass) its log-sum-exp.
    """
    scores = torch.bmm(q, k.transpose(1, 2)).float().mul_(q.shape[-1] ** -0.5)
    if bias is not None:
        scores.view(-1, *bias.shape[:1], *scores.shape[1:]).add_(bias)
    peak = scores.amax(-1, keepdim=True)
    weights = scores.sub_(peak).exp_()
    return torch.bmm(weights.to(v.dtype), v), peak[..., 0], weights.sum(-1)


def _pieces(q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """Every product of a plan: sums (kv_heads, places, group, head_dim), peaks and masses (kv_heads, places, group)."""
    heads, _, group, dim = q.shape
    done = []

    def product(rows: Tensor, pages: Tensor, n_items: int, length: int, bias: Tensor | None) -> None:
        queries = q.index_select(1, rows)
        if bias is None:  # the same rows in every item
            queries = queries[:, None].expand(heads, n_items, *queries.shape[1:])
        keys, values = (x.index_select(1, pages).view(heads * n_items, length, dim) for x in (k, v))
        total, peak, mass = piece(queries.reshape(heads * n_items, -1, dim), keys, values, bias)
        done.append((total.view(heads, -1, group, dim), peak.view(heads, -1, group), mass.view(heads, -1, group)))

    for b in plan.batches:
        product(b.rows, b.pages, len(b.pages), PAGE, b.bias)
    for w in plan.paths.wide:
        at_once = max(1, _SCORES // (len(w.rows) * group * heads * WIDE)) * WIDE // PAGE
        for some in torch.split(w.pages, at_once):
            product(w.rows, some, len(some) * PAGE // WIDE, WIDE, None)
    if len(done) == 1:
        return done[0]
    total, peak, mass = (torch.cat(parts, 1) for parts in zip(*done, strict=True))
    return total, peak, mass


def shared(q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """Attention of queries (kv_heads, n, group, head_dim) over pages of keys and values (kv_heads, pages, PAGE, head_dim).

    Returns (n, kv_heads * group * head_dim). Row ``i`` attends over ``plan.paths.pages(i)``.
    """
    heads, n, group, _ = q.shape
    total, peak, mass = _pieces(q, k, v, plan)
    none = peak.new_full((heads, 1, group), float("-inf"))
    peaks = torch.cat((peak, none), 1).index_select(1, plan.places).view(heads, n, -1, group)
    masses = torch.cat((mass, torch.zeros_like(none)), 1).index_select(1, plan.places).view(heads, n, -1, group)
    share = (peaks - peaks.amax(2, keepdim=True)).exp_()  # of each piece, 0 where there is none
    norm = (share * masses).cumsum(2)[:, :, -1]  # one after another, so that zeros at the end change nothing
    joined = total.index_select(1, plan.columns[0]).float().mul_(share[:, :, 0, :, None])
    for c, places in enumerate(plan.columns[1:], 1):
        joined[:, : len(places)] += total.index_select(1, places) * share[:, : len(places), c, :, None]
    joined /= norm[..., None]
    return joined.to(q.dtype).index_select(1, plan.order).transpose(0, 1).reshape(n, -1)


def plain(q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """The plain twin of ``shared``: one row after another, nothing shared."""
    rows = []
    for i in range(q.shape[1]):
        pages = plan.paths.pages(i)
        keys, values = (torch.cat([x[:, p, :n] for p, n in pages], 1) for x in (k, v))
        scores = (q[:, i] @ keys.transpose(1, 2)).float() * q.shape[-1] ** -0.5
        rows.append((scores.softmax(-1).to(v.dtype) @ values).reshape(-1))
    return torch.stack(rows)
