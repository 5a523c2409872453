"""Keys and values as a tree: prompts are nodes that samples share, and each sample adds pages of its own.

Keys and values lie in pages of ``PAGE`` tokens. A page is owned, by prompts, running rows and held leaves, or it
is free; ``Tree.check`` says whether that holds. Of the pages of a sample, those that are full are shared with what
continues it; of one that is not, each gets a copy. Knows no sampling and no queue.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import PAGE, WIDE, Attend, Paths, Plan, Wide, shared

if TYPE_CHECKING:
    from .config import Config

_PER_WIDE = WIDE // PAGE


def n_pages(n_tokens: int) -> int:
    """How many pages hold ``n_tokens``.

    >>> n_pages(0), n_pages(64), n_pages(65)
    (0, 1, 2)
    """
    return -(-n_tokens // PAGE)


class Pages:
    """The storage: pages that are owned, once or several times, or free. Grows by doubling, up to ``most`` pages."""

    def __init__(self, config: Config, dtype: torch.dtype, most: int | None) -> None:
        self.most = most
        n = 16 if most is None else min(16, most)
        # (layers, keys or values, kv_heads, pages, PAGE, head_dim)
        self.kv = torch.zeros(config.layers, 2, config.kv_heads, n, PAGE, config.head_dim, dtype=dtype)
        self.owners = np.zeros(n, np.int64)  # of each page
        self.fill = np.ones(n, np.int64)  # how many of its tokens count
        self._free = list(range(n))  # a heap: the lowest first

    @property
    def n_used(self) -> int:
        """Pages that somebody owns."""
        return len(self.owners) - len(self._free)

    def take(self, n: int) -> list[int]:
        """Own ``n`` free pages."""
        if n > len(self._free):
            self._grow(n)
        pages = [heapq.heappop(self._free) for _ in range(n)]
        self.owners[pages] = 1
        return pages

    def _grow(self, n: int) -> None:
        have = len(self.owners)
        want = max(2 * have, self.n_used + n)
        want = want if self.most is None else min(self.most, want)
        assert want >= self.n_used + n, f"{n} pages were asked for, but {self.n_used} of {want} are in use"
        more = want - have
        self.kv = F.pad(self.kv, (0, 0, 0, 0, 0, more))
        self.owners, self.fill = np.pad(self.owners, (0, more)), np.pad(self.fill, (0, more), constant_values=1)
        for page in range(have, want):
            heapq.heappush(self._free, page)

    def share(self, pages: Iterable[int]) -> None:
        """Own pages once more."""
        for page in pages:
            self.owners[page] += 1

    def drop(self, pages: Iterable[int]) -> None:
        """Own pages once less; what nobody owns is free."""
        for page in pages:
            self.owners[page] -= 1
            if self.owners[page] == 0:
                heapq.heappush(self._free, page)

    def write(self, pages: Sequence[int], kv: Tensor) -> None:
        """Fill pages with keys and values, (layers, 2, kv_heads, tokens, head_dim)."""
        n_tokens = kv.shape[3]
        padded = F.pad(kv, (0, 0, 0, len(pages) * PAGE - n_tokens))
        self.kv[:, :, :, pages] = padded.view(*kv.shape[:3], len(pages), PAGE, -1)
        self.fill[pages] = PAGE
        self.fill[pages[-1]] = n_tokens - (len(pages) - 1) * PAGE

    def check(self, owned: Counter[int]) -> None:
        """Raise ``AssertionError`` unless the pages are owned as ``owned`` says and all others are free."""
        free = set(self._free)
        assert len(free) == len(self._free), "a page is free twice"
        for page, owners in enumerate(self.owners.tolist()):
            assert owners == owned[page], f"page {page} has {owned[page]} owners, but {owners} were counted"
            assert (page in free) == (owners == 0), (
                f"page {page} has {owners} owners; among the free ones: {page in free}"
            )


@dataclass(slots=True, eq=False)
class Prompt:
    """A node at the root: its pages and the logits of the token that comes next; ``users``: rows that run on it."""

    n_tokens: int
    pages: list[int]
    logits: Tensor  # (vocab), float32
    users: int = 0

    @property
    def n_wide(self) -> int:
        """The pages that are read in wide pieces; they come first."""
        return self.n_tokens // WIDE * _PER_WIDE


@dataclass(slots=True)
class _Row:
    """A running sample: its prompt, its own pages, and how many more it was promised."""

    prompt: Prompt
    leaf: list[int]
    promised: int


class Tree:
    """Prompts and running rows over one storage of at most ``most`` pages (None: as many as come)."""

    def __init__(self, config: Config, dtype: torch.dtype, most: int | None = None) -> None:
        self.pages = Pages(config, dtype, most)
        self._rows: list[_Row] = []
        self._promised = 0  # pages that running rows may still take
        self._table = np.full((1, 4), -1, np.int64)  # by row: the pages that are not read in wide pieces
        self._start = np.zeros(1, np.int64)  # by row: the tokens of its prompt
        self._first = np.zeros(1, np.int64)  # by row: where its own pages begin in the table
        self._plan: tuple[int, Plan] | None = None  # for how many rows; None where rows or pages changed

    def fits(self, n: int) -> bool:
        """Whether ``n`` pages can be had beside what running rows were promised."""
        return self.pages.most is None or self.pages.n_used + self._promised + n <= self.pages.most

    def plant(self, kv: Tensor, logits: Tensor) -> Prompt:
        """A node for a prompt, from its keys and values (layers, 2, kv_heads, tokens, head_dim)."""
        pages = self.pages.take(n_pages(kv.shape[3]))
        self.pages.write(pages, kv)
        return Prompt(kv.shape[3], pages, logits)

    def fell(self, prompt: Prompt) -> None:
        """Let go of a prompt that has no users."""
        assert prompt.users == 0
        self.pages.drop(prompt.pages)

    def hold(self, row: int, n_tokens: int) -> list[int]:
        """Own the pages of the first ``n_tokens`` that a row computed itself, for ``Pages.drop`` to let go of."""
        pages = self._rows[row].leaf[: n_pages(n_tokens)]
        self.pages.share(pages)
        return pages

    def add(self, prompt: Prompt, n_most: int, leaf: Sequence[int] = (), n_shared: int = 0) -> None:
        """Start the next row: ``n_shared`` tokens of a held ``leaf``, then its own, ``n_most`` tokens in all."""
        own = list(leaf[: n_shared // PAGE])
        self.pages.share(own)
        if rest := n_shared % PAGE:
            own += self.pages.take(1)
            source = leaf[n_shared // PAGE]
            self.pages.kv[:, :, :, own[-1], :rest] = self.pages.kv[:, :, :, source, :rest]
            self.pages.fill[own[-1]] = rest
        row = _Row(prompt, own, n_pages(n_most) - len(own))
        prompt.users += 1
        self._promised += row.promised
        self._rows.append(row)
        self._set(len(self._rows) - 1)

    def remove(self, index: int) -> None:
        """Let go of a row; the last row takes its place."""
        row, last = self._rows[index], self._rows.pop()
        row.prompt.users -= 1
        self._promised -= row.promised
        self.pages.drop(row.leaf)
        if row is not last:
            self._rows[index] = last
            self._set(index)
        self._plan = None

    def _set(self, index: int) -> None:
        """Write what is known of a row into the tables."""
        row = self._rows[index]
        narrow = [*row.prompt.pages[row.prompt.n_wide :], *row.leaf]
        self._widen(index + 1, len(narrow))
        self._table[index] = -1
        self._table[index, : len(narrow)] = narrow
        self._start[index], self._first[index] = row.prompt.n_tokens, len(narrow) - len(row.leaf)
        self._plan = None

    def _widen(self, n_rows: int, n_columns: int) -> None:
        more = max(0, n_rows - len(self._table)), max(0, n_columns - self._table.shape[1])
        if any(more):
            self._table = np.pad(self._table, ((0, more[0]), (0, more[1])), constant_values=-1)
            self._start, self._first = np.pad(self._start, (0, more[0])), np.pad(self._first, (0, more[0]))

    def attend(self, positions: Sequence[int]) -> Attend:
        """How the next token of each of the first rows, at its position of the row's text, attends over its path.

        The first call for a token takes the page that it needs. The result takes any more rows as padding.
        """
        n, pages = len(positions), self.pages
        at = np.array(positions, np.int64) - self._start[:n]
        columns, offsets = self._first[:n] + at // PAGE, at % PAGE
        self._widen(n, int(columns.max()) + 1)
        for row in np.flatnonzero(self._table[np.arange(n), columns] < 0):
            self._extend(int(row))
        current = self._table[np.arange(n), columns]
        pages.fill[current] = offsets + 1
        if self._plan is None or self._plan[0] != n or self._plan[1].paths.fill is not pages.fill:
            self._plan = n, Plan.of(Paths(self._wide(n), self._table[:n], pages.fill))
        plan, kv = self._plan[1], pages.kv
        plan.refill()
        page, offset = torch.from_numpy(current), torch.from_numpy(offsets)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = kv[layer, 0], kv[layer, 1]  # (kv_heads, pages, PAGE, head_dim)
            keys[:, page, offset], values[:, page, offset] = k[:n].transpose(0, 1), v[:n].transpose(0, 1)
            queries = q[:n].view(n, k.shape[1], -1, q.shape[2]).transpose(0, 1)  # the heads of a group share their keys
            return F.pad(shared(queries.contiguous(), keys, values, plan), (0, 0, 0, len(q) - n))

        return attend

    def _extend(self, index: int) -> None:
        row = self._rows[index]
        assert row.promised > 0, f"row {index} was promised no more than {len(row.leaf)} pages"
        row.leaf += self.pages.take(1)
        row.promised -= 1
        self._promised -= 1
        self._table[index, self._first[index] + len(row.leaf) - 1] = row.leaf[-1]
        self._plan = None

    def _wide(self, n: int) -> list[Wide]:
        by_prompt: dict[int, list[int]] = {}
        for index, row in enumerate(self._rows[:n]):
            if row.prompt.n_wide:
                by_prompt.setdefault(id(row.prompt), []).append(index)
        found = [(self._rows[rows[0]].prompt, rows) for rows in by_prompt.values()]
        return [Wide(torch.tensor(p.pages[: p.n_wide]), torch.tensor(rows)) for p, rows in found]

    def check(self, prompts: Iterable[Prompt], held: Iterable[Sequence[int]]) -> None:
        """Raise ``AssertionError`` unless every page is owned by these prompts, held leaves and the rows, or is free."""
        owned = Counter(page for leaf in held for page in leaf)
        users = Counter(id(row.prompt) for row in self._rows)
        for prompt in prompts:
            owned.update(prompt.pages)
            assert users[id(prompt)] == prompt.users, f"{users[id(prompt)]} rows, but {prompt.users} users were counted"
        for row in self._rows:
            owned.update(row.leaf)
        self.pages.check(owned)
        promised = sum(row.promised for row in self._rows)
        assert self._promised == promised, f"{promised} pages are promised, but {self._promised} were counted"
        assert self.fits(0), f"{self.pages.n_used} pages in use and {promised} promised, of {self.pages.most}"
