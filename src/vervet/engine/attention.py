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

PAGE = 128  # keys in a page
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
    """Pieces of ``length`` keys, ``WIDE`` or ``PAGE``, in ``pages`` that the same ``rows`` see (None: all)."""

    pages: Tensor
    rows: Tensor | None
    first: int | None  # the first page where they follow each other in memory
    length: int

    @classmethod
    def of(
        cls, pages: Sequence[int], rows: Sequence[int] | None, length: int = WIDE, device: torch.device | str = "cpu"
    ) -> Wide:
        """Pieces in ``pages`` that ``rows`` see."""
        run = list(pages) == list(range(pages[0], pages[0] + len(pages)))
        seen = None if rows is None else torch.tensor(rows, device=device)
        return cls(torch.tensor(pages, device=device), seen, pages[0] if run else None, length)

    def read(self, x: Tensor) -> Tensor:
        """Keys or values (heads, pages, PAGE, head_dim) as (heads, pieces * length, head_dim)."""
        some = x.index_select(1, self.pages) if self.first is None else x[:, self.first : self.first + len(self.pages)]
        return some.flatten(1, 2)


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
    """What each of ``n`` rows attends over: the pieces of ``wide`` that name it, its row of ``table``, its tail.

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
        common = int((table == table[0]).all(0).cumprod().sum()) if table[0].min(initial=0) >= 0 else 0
        if common:
            wide, table = [*wide, Wide.of(table[0, :common].tolist(), None, PAGE, device)], table[:, common:]
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
    weights = scores.softmax(-1)
    o = torch.bmm(weights.to(v.dtype), v)
    return o, scores.amax(-1).sub_(weights.amax(-1).log_())  # the greatest weight is 1 / sum


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
            if isinstance(p.rows, Tensor):
                some = joined.index_select(1, p.rows).addcmul_(o, s.index_select(1, p.rows))
                joined.index_copy_(1, p.rows, some)
            else:
                rows = slice(None) if p.rows is None else p.rows
                joined[:, rows].addcmul_(o, s[:, rows])
    return joined.transpose(0, 1).reshape(n, -1)


def _wides(q: Tensor, keys: Keys, wide: Wide) -> _Part:
    """Queries (kv_heads, n, group, head_dim) over the pieces that some or all of them see."""
    queries = q if wide.rows is None else q.index_select(1, wide.rows)
    heads, n, group, dim = queries.shape
    flat, k, v = queries.reshape(heads, n * group, dim), wide.read(keys.k), wide.read(keys.v)
    n_pieces = k.shape[1] // wide.length
    if heads * n_pieces * n * group * wide.length <= 2 * _SCORES:  # one product of all, for a copy of the keys
        flat = flat[:, None].expand(-1, n_pieces, -1, -1).reshape(-1, n * group, dim)
        o, lse = piece(flat, *(x.reshape(-1, wide.length, dim) for x in (k, v)))
        return _Part(o.view(heads, -1, n, group, dim), lse.view(heads, -1, n, group), wide.rows)
    at_once = max(1, _SCORES // (n * group * wide.length))
    done = []
    for h in range(heads):  # a product for some pieces of each head
        pairs = zip(*(torch.split(x[h].view(n_pieces, -1, dim), at_once) for x in (k, v)), strict=True)
        done += [piece(flat[h].expand(len(some), -1, -1), some, values) for some, values in pairs]
    o, lse = (torch.cat(x) for x in zip(*done, strict=True))
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
    k, v = (x.view(n * heads, PAGE, dim) for x in tails)
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


def seen(q: Tensor, keys: Keys, pieces: Sequence[Wide]) -> list[_Part]:
    """What queries (n, kv_heads, group, head_dim) get from pieces that all of them see."""
    across = q.transpose(0, 1).contiguous()
    return [_wides(across, keys, wide) for wide in pieces]
