"""Attention of many rows over keys and values that lie in pages, where rows share pages.

A row is a path through a tree: what it attends over is a list of pieces, wide ones of ``WIDE`` keys, pages of ``PAGE``
and its own tail of up to ``PAGE``, given by the path alone. ``shared`` multiplies the queries of all rows that see a
piece with its one copy and joins the pieces of a row by log-sum-exp in float32, in the order of its path; ``plain`` is
its twin, row by row with nothing shared; ``causal`` does for the tokens of one path what ``shared`` does for the last
tokens of many. Which rows share a piece changes how many queries stand in a product but not what is summed, so in
bfloat16 the outcome of a row is bit-equal in any company. Queries come scaled. Knows no network and no tokens.

Reference: Juravsky et al. 2024, Hydragen, arXiv 2402.05099, section 3.1 (attention decomposition, here for any number
of parts) and 3.2 (inter-sequence batching).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

PAGE = 64  # keys in a page
WIDE = 512  # keys in a wide piece
GROUP = 16  # rows whose queries are multiplied with a page at once
_SMALL = 16**3  # multiplications in a product that torch hands to no library
_SCORES = 1 << 19  # at most about as many scores are held at a time for wide pieces

Ints = NDArray[np.int64]
Attend = Callable[
    [int, Tensor, Tensor, Tensor], Tensor
]  # (layer, q, k, v), each (n, heads, head_dim), to (n, heads * head_dim)


class Keys(NamedTuple):
    """Keys and values of one layer: ``k`` and ``v`` (kv_heads, pages, PAGE, head_dim)."""

    k: Tensor
    v: Tensor


@dataclass(frozen=True, slots=True)
class Wide:
    """Wide pieces that the same rows share: ``pages`` (a multiple of ``WIDE / PAGE``), seen by ``rows`` (None: by all)."""

    pages: Tensor
    rows: Tensor | None
    first: int | None  # the first page where they follow each other in memory

    @classmethod
    def of(cls, pages: Sequence[int], rows: Sequence[int], n: int, device: torch.device | str = "cpu") -> Wide:
        """Wide pieces in ``pages`` that ``rows`` of ``n`` see."""
        run = list(pages) == list(range(pages[0], pages[0] + len(pages)))
        seen = None if len(rows) == n else torch.tensor(rows, device=device)
        return cls(torch.tensor(pages, device=device), seen, pages[0] if run else None)

    def read(self, x: Tensor) -> Tensor:
        """Keys or values of one head (pages, PAGE, head_dim) as (pieces, WIDE, head_dim)."""
        some = x.index_select(0, self.pages) if self.first is None else x[self.first : self.first + len(self.pages)]
        return some.view(-1, WIDE, x.shape[-1])


class _Part(NamedTuple):
    """Outcomes of pieces that the same rows see: ``o`` (kv_heads, pieces, rows, group, head_dim), their log-sum-exps
    ``lse`` (the same without head_dim, float32) and the rows, None for all."""

    o: Tensor
    lse: Tensor
    rows: Tensor | slice | None


@dataclass(frozen=True, slots=True)
class _Products:
    """Products of one shape: page ``pages[i]`` with the queries of ``rows[i]``."""

    pages: Tensor  # (items)
    rows: Tensor  # (items, rows in a product), flat


@dataclass(frozen=True, slots=True)
class Plan:
    """What each of ``n`` rows attends over: the wide pieces that name it, its row of ``table``, its tail.

    ``table`` (n, most): page numbers, in the order of the path, -1 where there is none. The rest says which products
    ``shared`` makes for the pages, and where each row finds its pieces among their outcomes.
    """

    wide: Sequence[Wide]
    table: Ints
    products: Sequence[_Products]
    columns: Sequence[tuple[Tensor, Tensor | None]]  # by column of the table: which outcome, of which rows (None: all)

    @classmethod
    def of(cls, wide: Sequence[Wide], table: Ints, device: torch.device | str = "cpu") -> Plan:
        """Group the rows that have a page in common. Costs some sorting of the table."""
        rows, cols = np.nonzero(table >= 0)
        pages = table[rows, cols]
        by_page = np.argsort(pages, kind="stable")
        ordered = pages[by_page]
        first = np.searchsorted(ordered, ordered)
        size = np.searchsorted(ordered, ordered, side="right") - first
        grouped = np.arange(len(ordered)) - first < size // GROUP * GROUP
        many, single = by_page[grouped], by_page[~grouped]

        def on(x: Ints) -> Tensor:
            return torch.from_numpy(x).to(device)

        products = [_Products(on(pages[x][::k]), on(rows[x])) for x, k in ((single, 1), (many, GROUP)) if len(x)]
        place = np.empty(len(pages), np.int64)
        place[np.concatenate([single, many])] = np.arange(len(pages))
        columns = []
        for c in range(table.shape[1]):
            here = cols == c
            if here.any():
                columns.append((on(place[here]), None if here.sum() == len(table) else on(rows[here])))
        return cls(wide, table, products, columns)

    def pages(self, row: int) -> list[int]:
        """The pages of one row in their order."""
        seen = [w.pages for w in self.wide if w.rows is None or bool((w.rows == row).any())]
        return [int(p) for pages in seen for p in pages] + [int(p) for p in self.table[row] if p >= 0]


def piece(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention of queries (b, n, head_dim), scaled, over a piece of keys and values (b, length, head_dim).

    ``bias`` (c, 1, n or 1, length), float32, 0 or minus infinity, is added to the scores seen as (c, b / c, n, length).
    Returns the outcome (b, n, head_dim) and the log-sum-exp of its scores (b, n) in float32.
    """
    if q.is_cuda and bias is None and q.dtype != torch.float32:  # the scores never leave the chip
        o, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q[:, None], k[:, None], v[:, None], scale=1.0)
        return o[:, 0], lse[:, 0]
    if (size := q.numel() * k.shape[1]) <= _SMALL:  # torch would sum such a product in another order
        n = _SMALL // size + 1
        q, k, v = (x.repeat(n, 1, 1) for x in (q, k, v))
        o, lse = piece(q, k, v, None if bias is None else bias.repeat(n, 1, 1, 1))
        return o[: len(o) // n], lse[: len(o) // n]
    scores = torch.bmm(q, k.transpose(1, 2)).float()
    if bias is not None:
        scores.view(len(bias), -1, *scores.shape[1:]).add_(bias)
    peak = scores.amax(-1)
    weights = scores.softmax(-1)
    return torch.bmm(weights.to(v.dtype), v), peak - weights.amax(-1).log_()  # the greatest weight is 1 / sum


def _join(parts: Sequence[_Part], n: int) -> Tensor:
    """Join the pieces of ``n`` rows, one after another; (n, kv_heads * group * head_dim), float32."""
    heads, _, _, group, dim = parts[0].o.shape
    total = sum(p.o.shape[1] for p in parts)
    lse = parts[0].lse.new_full((total, heads, n, group), float("-inf"))
    at = 0
    for p in parts:
        lse[at : (at := at + p.o.shape[1]), :, slice(None) if p.rows is None else p.rows] = p.lse.transpose(0, 1)
    share = lse.sub_(lse.amax(0)).exp_()
    share /= share.cumsum(0)[-1]  # one after another, so that zeros change nothing
    joined = parts[0].lse.new_zeros(heads, n, group, dim)
    shares = iter(share[..., None])
    for p in parts:
        for o, s in zip(p.o.unbind(1), shares, strict=False):
            if p.rows is None:
                joined += o * s
            elif isinstance(p.rows, slice):
                joined[:, p.rows] += o * s[:, p.rows]
            else:
                joined.index_add_(1, p.rows, o * s.index_select(1, p.rows))
    return joined.transpose(0, 1).reshape(n, -1)


def _wides(q: Tensor, keys: Keys, wide: Wide) -> _Part:
    """Queries (kv_heads, n, group, head_dim) over wide pieces."""
    queries = q if wide.rows is None else q.index_select(1, wide.rows)
    heads, n, group, dim = queries.shape
    at_once = max(1, _SCORES // (n * group * WIDE))
    done = []
    for h in range(heads):
        flat = queries[h].reshape(1, n * group, dim)
        k, v = wide.read(keys.k[h]), wide.read(keys.v[h])
        for i in range(0, len(k), at_once):
            some = k[i : i + at_once]
            done.append(piece(flat.expand(len(some), -1, -1), some, v[i : i + at_once]))
    o, lse = (torch.cat(x) if len(done) > 1 else x[0] for x in zip(*done, strict=True))
    return _Part(o.view(heads, -1, n, group, dim), lse.view(heads, -1, n, group), wide.rows)


def _pages(q: Tensor, keys: Keys, plan: Plan) -> list[_Part]:
    """Queries (kv_heads, n, group, head_dim) over the pages of the table, one part for each column."""
    heads, _, group, dim = q.shape
    done = []
    for p in plan.products:
        k, v = (x.index_select(1, p.pages).view(-1, PAGE, dim) for x in keys)
        o, lse = piece(q.index_select(1, p.rows).view(len(k), -1, dim), k, v)
        done.append((o.view(heads, -1, group, dim), lse.view(heads, -1, group)))
    if not done:
        return []
    o, lse = (torch.cat(x, 1) if len(done) > 1 else x[0] for x in zip(*done, strict=True))
    return [_Part(o.index_select(1, c)[:, None], lse.index_select(1, c)[:, None], rows) for c, rows in plan.columns]


def shared(q: Tensor, keys: Keys, tails: Keys, bias: Tensor, plan: Plan) -> Tensor:
    """Attention of one query per row, ``q`` (n, kv_heads, group, head_dim), scaled, over its pages and its tail.

    ``tails``: keys and values (n, kv_heads, PAGE, head_dim); ``bias`` (n, 1, 1, PAGE), float32, is minus infinity where
    a row's tail holds none. Returns (n, kv_heads * group * head_dim).
    """
    n, heads, group, dim = q.shape
    k, v = (x.reshape(n * heads, PAGE, dim) for x in tails)
    o, lse = piece(q.reshape(n * heads, group, dim), k, v, bias)
    if not plan.wide and not plan.columns:
        return o.view(n, -1)
    across = q.transpose(0, 1).contiguous()
    parts = [_wides(across, keys, w) for w in plan.wide] + _pages(across, keys, plan)
    o, lse = o.view(n, heads, group, dim).transpose(0, 1), lse.view(n, heads, group).transpose(0, 1)
    return _join([*parts, _Part(o[:, None], lse[:, None], None)], n).to(q.dtype)


def plain(q: Tensor, keys: Keys, tails: Keys, bias: Tensor, plan: Plan) -> Tensor:
    """The plain twin of ``shared``: one row after another, nothing shared."""
    rows = []
    for i in range(len(q)):
        pages, n_tail = plan.pages(i), int((bias[i] == 0).sum())
        run = pages == list(range(pages[0], pages[0] + len(pages))) if pages else False
        at = slice(pages[0], pages[0] + len(pages)) if run else pages
        k, v = (
            torch.cat([x[:, at].flatten(1, 2), t[i, :, :n_tail]], 1)[:, None] for x, t in zip(keys, tails, strict=True)
        )
        rows.append(F.scaled_dot_product_attention(q[i, :, None], k, v, enable_gqa=True, scale=1.0).reshape(-1))
    return torch.stack(rows)


def causal(q: Tensor, before: Sequence[_Part], own: Keys, first: int) -> Tensor:
    """Attention of tokens of one path that follow each other, ``q`` (n, kv_heads, group, head_dim), scaled.

    ``before``: their outcomes over what all of them see (see ``seen``); ``own``: keys and values (kv_heads, length,
    head_dim) from there on, their own included, ``length`` a multiple of ``PAGE``; the first token is at ``first`` of it.
    Returns (n, kv_heads * group * head_dim), to the last bit what ``shared`` gives for each of them.
    """
    n, heads, group, dim = q.shape
    across = q.transpose(0, 1).contiguous()
    at = torch.arange(first, first + n, device=q.device)
    parts = list(before)
    for start in range(0, own.k.shape[1], PAGE):
        rows = slice(max(0, start - first), n)
        queries = across[:, rows].reshape(heads, -1, dim)
        hidden = torch.arange(start, start + PAGE, device=q.device) > at[rows, None]
        bias = torch.zeros(hidden.shape, device=q.device).masked_fill_(hidden, float("-inf"))
        k, v = (x[:, start : start + PAGE] for x in own)
        o, lse = piece(queries, k, v, bias.repeat_interleave(group, 0)[None, None])
        parts.append(_Part(o.view(heads, 1, -1, group, dim), lse.view(heads, 1, -1, group), rows))
    return _join(parts, n).to(q.dtype)


def seen(q: Tensor, keys: Keys, wide: Wide | None, pages: Tensor) -> list[_Part]:
    """What queries (n, kv_heads, group, head_dim) get from wide pieces and pages that all of them see."""
    across = q.transpose(0, 1).contiguous()
    parts = [] if wide is None else [_wides(across, keys, wide)]
    if len(pages):
        heads, n, group, dim = across.shape
        k, v = (x.index_select(1, pages).view(-1, PAGE, dim) for x in keys)
        flat = across.view(heads, 1, n * group, dim).expand(-1, len(pages), -1, -1).reshape(len(k), -1, dim)
        o, lse = piece(flat, k, v)
        parts.append(_Part(o.view(heads, -1, n, group, dim), lse.view(heads, -1, n, group), None))
    return parts
