"""Keys and values as a tree: a node is a run of ``PAGE`` tokens that all who begin with its path share.

A running row is a node and a tail of fewer tokens, its own; when the tail is full it becomes a node, or is given up for
the one that is there already. A stem is a row's path put aside: what continues it takes over its nodes and a copy of
its tail. A node that no row, stem or child holds is free, so every page is owned by one node or is free, and
``Tree.check`` says whether that holds. Knows no sampling and no queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .attention import PAGE, WIDE, Attend, Ints, Keys, Plan, Wide, plain, shared

if TYPE_CHECKING:
    from .config import Config

PER_WIDE = WIDE // PAGE


@dataclass(slots=True, eq=False)
class Node:
    """A run of ``PAGE`` tokens after those of its parent, in one page. ``holders``: the children, rows and stems that
    need it. ``seen``: how many wide pieces its tokens attended over, as that shows in the last bits of its values.
    """

    ids: tuple[int, ...]
    seen: int
    parent: Node | None
    page: int = -1
    depth: int = 0
    holders: int = 0
    children: dict[tuple[tuple[int, ...], int], Node] = field(default_factory=dict)

    def path(self) -> list[Node]:
        """The nodes from the root, which is left out, to this one."""
        nodes = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]


@dataclass(frozen=True, slots=True, eq=False)
class Stem:
    """A path put aside: a node, the ``tail`` of fewer than ``PAGE`` ids after it with their keys and values ``kv``
    (layers, 2, kv_heads, len(tail), head_dim), and the ``logits`` of the token that comes next, (vocab), float32.
    """

    node: Node
    tail: tuple[int, ...]
    kv: Tensor
    logits: Tensor

    @property
    def n_pages(self) -> int:
        """What it takes beyond its node."""
        return 1 if self.tail else 0


class Tree:
    """At most ``n_pages`` nodes and the tails of at most ``n_rows`` rows, in memory that is touched only as it is used.

    Without ``sharing`` attention is that of the plain twin.
    """

    def __init__(
        self, config: Config, dtype: torch.dtype, n_rows: int, n_pages: int,
        device: torch.device | str = "cpu", sharing: bool = True,
    ) -> None:  # fmt: skip
        kv, dim = config.kv_heads, config.head_dim
        self.device, self.n_pages, self.n_rows = device, n_pages, 0
        self.pages = torch.empty(config.layers, 2, kv, n_pages, PAGE, dim, dtype=dtype, device=device)
        self.tails = torch.empty(config.layers, 2, n_rows, kv, PAGE, dim, dtype=dtype, device=device)
        self.root = Node((), 0, None)
        self.n_stem_pages = 0  # of the tails of stems
        self._attend = shared if sharing else plain
        self._free = np.ones(n_pages, bool)
        self._n_free = n_pages
        self._nodes: list[Node] = [self.root] * n_rows  # of each row
        self._ends: list[Node | None] = [None] * n_rows  # of each row: the node where its wide pieces end
        self._n_wide = np.zeros(n_rows, np.int64)  # of each row: how many wide pieces its path begins with
        self._promised = np.zeros(n_rows, np.int64)  # of each row: how many pages it may still take
        self._lengths = np.zeros(n_rows, np.int64)  # of each row: tokens in memory
        self._tail_ids = np.zeros((n_rows, PAGE), np.int32)
        self._table = np.full((n_rows, 4), -1, np.int64)  # of each row: its pages that are not read as wide pieces
        self._plan: tuple[int, Plan] | None = None  # for how many rows; None where rows or pages changed

    # --- what is in memory

    @property
    def n_used(self) -> int:
        """Pages that are taken, those that the tails of stems count for included."""
        return self.n_pages - self._n_free + self.n_stem_pages

    @property
    def bytes_used(self) -> int:
        """Bytes of keys and values: nodes, stems' tails, and the tails of rows, all by whole pages."""
        a_page = self.pages[:, :, :, 0].numel() if self.n_pages else 0
        return (self.n_used + self.n_rows) * a_page * self.pages.element_size()

    def fits(self, n: int) -> bool:
        """Whether ``n`` pages can be had beside what running rows were promised."""
        return self.n_used + int(self._promised[: self.n_rows].sum()) + n <= self.n_pages

    def find(self, ids: Sequence[int], n_wide: int) -> Node:
        """The deepest node whose path a text begins with; ``n_wide``: how many wide pieces the text begins with."""
        node = self.root
        while len(ids) >= (end := (node.depth + 1) * PAGE):
            run = tuple(ids[node.depth * PAGE : end])
            child = node.children.get((run, min(node.depth // PER_WIDE, n_wide)))
            if child is None:
                break
            node = child
        return node

    def plant(self, node: Node, ids: Sequence[int], n_wide: int, kv: Tensor) -> Node:
        """Make nodes below a node of runs of ``PAGE`` ids, where they are not there yet; the last one.

        ``kv``: keys and values (layers, 2, kv_heads, len(ids), head_dim). Nobody holds the last node yet.
        """
        runs = [tuple(ids[i : i + PAGE]) for i in range(0, len(ids), PAGE)]
        for n_known, run in enumerate(runs):
            if (child := node.children.get((run, min(node.depth // PER_WIDE, n_wide)))) is None:
                pages = self._take(len(runs) - n_known)
                rest = kv[:, :, :, n_known * PAGE :]
                self.pages[:, :, :, pages] = rest.reshape(*kv.shape[:3], len(pages), PAGE, -1)
                for run, page in zip(runs[n_known:], pages, strict=True):
                    node = self._child(node, run, n_wide, page)
                break
            node = child
        return node

    def _child(self, node: Node, run: tuple[int, ...], n_wide: int, page: int) -> Node:
        child = Node(run, min(node.depth // PER_WIDE, n_wide), node, page, node.depth + 1)
        node.children[run, child.seen] = child
        node.holders += 1
        return child

    def _take(self, n: int) -> list[int]:
        """``n`` free pages, that follow each other where there are such."""
        free = np.flatnonzero(self._free)
        assert n <= len(free), f"{n} pages were asked for, but {len(free)} of {self.n_pages} are free"
        follow = free[n - 1 :] - free[: len(free) - n + 1] == n - 1 if n > 1 else np.ones(1, bool)
        first = int(follow.argmax())  # 0 where there are none
        pages = free[first : first + n]
        self._free[pages] = False
        self._n_free -= n
        found: list[int] = pages.tolist()
        return found

    def hold(self, node: Node) -> None:
        """Need a node."""
        node.holders += 1

    def let_go(self, node: Node) -> None:
        """Need a node no longer; what nobody holds is free."""
        node.holders -= 1
        while node.holders == 0 and node.parent is not None:
            self._free[node.page] = True
            self._n_free += 1
            del node.parent.children[node.ids, node.seen]
            node = node.parent
            node.holders -= 1

    def put_aside(self, node: Node, tail: Sequence[int], kv: Tensor, logits: Tensor) -> Stem:
        """A stem; it holds its node."""
        stem = Stem(node, tuple(tail), kv, logits)
        self.hold(node)
        self.n_stem_pages += stem.n_pages
        return stem

    def drop(self, stem: Stem) -> None:
        """Let go of a stem."""
        self.n_stem_pages -= stem.n_pages
        self.let_go(stem.node)

    # --- rows

    def add(self, stem: Stem, n_wide: int, n_most: int) -> None:
        """Start the next row from a stem; it may come to ``n_most`` tokens in all."""
        row, n = self.n_rows, len(stem.tail)
        self.n_rows += 1
        self.hold(stem.node)
        self._nodes[row], self._n_wide[row] = stem.node, n_wide
        self._lengths[row] = stem.node.depth * PAGE + n
        self._promised[row] = n_most // PAGE - stem.node.depth
        self._tail_ids[row, :n] = stem.tail
        self.tails[:, :, row, :, :n] = stem.kv
        self.tails[:, :, row, :, n:] = 0  # what does not count must be finite
        self._set(row)

    def aside(self, row: int, logits: Tensor) -> Stem:
        """A stem of what a row holds."""
        if self._full(row):
            self._settle(row)
        n = int(self._lengths[row]) % PAGE
        kv = self.tails[:, :, row, :, :n].clone()
        return self.put_aside(self._nodes[row], self._tail_ids[row, :n].tolist(), kv, logits)

    def remove(self, row: int) -> None:
        """Let go of a row; the last row takes its place."""
        self.let_go(self._nodes[row])
        self.n_rows -= 1
        last = self.n_rows
        if row != last:
            self._nodes[row], self._ends[row] = self._nodes[last], self._ends[last]
            for column in (self._n_wide, self._promised, self._lengths, self._tail_ids, self._table):
                column[row] = column[last]
            self.tails[:, :, row] = self.tails[:, :, last]
        self._plan = None

    def _set(self, row: int) -> None:
        """Write the pages of a row into the table."""
        path, n_wide = self._nodes[row].path(), self._n_wide[row] * PER_WIDE
        self._ends[row] = path[n_wide - 1] if n_wide else None
        narrow = [node.page for node in path[n_wide:]]
        self._widen(len(narrow))
        self._table[row] = -1
        self._table[row, : len(narrow)] = narrow
        self._plan = None

    def _widen(self, n_columns: int) -> None:
        if (more := n_columns - self._table.shape[1]) > 0:
            self._table = np.pad(self._table, ((0, 0), (0, max(more, n_columns // 2))), constant_values=-1)

    def _full(self, row: int) -> bool:
        return bool(self._lengths[row] == (self._nodes[row].depth + 1) * PAGE)

    def _settle(self, row: int) -> None:
        """Make a node of a full tail."""
        node, n_wide = self._nodes[row], int(self._n_wide[row])
        run = tuple(self._tail_ids[row].tolist())
        child = node.children.get((run, min(node.depth // PER_WIDE, n_wide)))
        if child is None:
            (page,) = self._take(1)
            child = self._child(node, run, n_wide, page)
            self.pages[:, :, :, page] = self.tails[:, :, row]
        self._promised[row] -= 1
        assert self._promised[row] >= 0, f"row {row} takes more pages than it was promised"
        self.hold(child)
        self.let_go(node)
        self._nodes[row] = child
        column = child.depth - 1 - n_wide * PER_WIDE
        self._widen(column + 1)
        self._table[row, column] = child.page
        self._plan = None

    def attend(self, ids: Sequence[int]) -> Attend:
        """How the next token of each row, ``ids``, attends over its path."""
        n = self.n_rows
        assert len(ids) == n
        for row in np.flatnonzero(self._lengths[:n] == PAGE * (self._depths(n) + 1)):
            self._settle(int(row))
        offsets = self._lengths[:n] % PAGE
        self._tail_ids[np.arange(n), offsets] = ids
        self._lengths[:n] += 1
        if self._plan is None or self._plan[0] != n:
            used = int((self._table[:n] >= 0).sum(1).max(initial=0))
            self._plan = n, Plan.of(self._wide(n), self._table[:n, :used], self.device)
        plan, heads = self._plan[1], self.tails.shape[3]
        at = torch.from_numpy(offsets).to(self.device)
        bias = torch.zeros(n, PAGE, device=self.device)
        bias = bias.masked_fill_(torch.arange(PAGE, device=self.device) > at[:, None], float("-inf"))[:, None, None]
        spots = torch.arange(n * heads, device=self.device) * PAGE + at.repeat_interleave(heads)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            tails = Keys(self.tails[layer, 0, :n], self.tails[layer, 1, :n])  # (n, kv_heads, PAGE, head_dim)
            for kept, new in zip(tails, (k, v), strict=True):
                kept.view(-1, new.shape[2]).index_copy_(0, spots, new.reshape(n * heads, -1))
            keys, queries = Keys(self.pages[layer, 0], self.pages[layer, 1]), q.reshape(n, heads, -1, q.shape[2])
            return self._attend(queries, keys, tails, bias, plan)

        return attend

    def _depths(self, n: int) -> Ints:
        return np.fromiter((node.depth for node in self._nodes[:n]), np.int64, n)

    def _wide(self, n: int) -> list[Wide]:
        """The wide pieces of the first rows: those of a path in its order."""
        by_end: dict[Node, list[int]] = {}
        for row, end in enumerate(self._ends[:n]):
            if end is not None:
                by_end.setdefault(end, []).append(row)
        paths = {end: end.path() for end in by_end}
        found, todo = [], [(list(by_end), PER_WIDE)]
        while todo:
            ends, stop = todo.pop(0)
            below: dict[Node, list[Node]] = {}
            for end in ends:
                if end.depth >= stop:
                    below.setdefault(paths[end][stop - 1], []).append(end)
            for some in below.values():
                path, to = paths[some[0]], stop
                while all(e.depth >= (more := to + PER_WIDE) and paths[e][more - 1] is path[more - 1] for e in some):
                    to = more
                rows = sorted(row for e in some for row in by_end[e])
                pages = [node.page for node in path[stop - PER_WIDE : to]]
                found.append(Wide.of(pages, None if len(rows) == n else rows, WIDE, self.device))
                todo.append((some, to + PER_WIDE))
        return found

    # --- the law

    def nodes(self) -> Iterator[Node]:
        """All nodes but the root."""
        todo = list(self.root.children.values())
        while todo:
            node = todo.pop()
            yield node
            todo += node.children.values()

    def check(self, stems: Iterable[Stem]) -> None:
        """Raise ``AssertionError`` unless every page is owned by one node that is held, or is free."""
        owned = Counter(node.page for node in self.nodes())
        for page, free in enumerate(self._free.tolist()):
            assert owned[page] == (not free), (
                f"page {page} has {owned[page]} owners; it is {'' if free else 'not '}free"
            )
        assert self._n_free == int(self._free.sum()), f"{self._free.sum()} pages are free, but {self._n_free} counted"
        stems = list(stems)
        holders = Counter(id(node) for node in [*self._nodes[: self.n_rows], *(s.node for s in stems)])
        holders.update(id(node.parent) for node in self.nodes())
        for node in [self.root, *self.nodes()]:
            assert node.holders == holders[id(node)], (
                f"{holders[id(node)]} hold a node, but {node.holders} were counted"
            )
            assert node.holders or node is self.root, "a node that nobody holds is not free"
        n_stem_pages = sum(s.n_pages for s in stems)
        assert self.n_stem_pages == n_stem_pages, f"stems take {n_stem_pages} pages, but {self.n_stem_pages} counted"
        assert self.fits(0), (
            f"{self.n_used} pages in use, {self._promised[: self.n_rows].sum()} promised, of {self.n_pages}"
        )
