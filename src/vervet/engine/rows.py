"""The sequences that run, a row each, and what drawing needs of them as columns."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .cut import Windows
from .sampling import How, choose, figures, likeliest, uniforms
from .sequence import Sequence


class Rows:
    """Up to ``n_most`` running sequences; row ``i`` is that of the ``i``-th."""

    def __init__(self, n_most: int, vocab: int, device: torch.device | str = "cpu") -> None:
        self.live: list[Sequence] = []
        self._vocab, self._device = vocab, device
        self._seed = np.zeros(n_most, np.uint64)
        self._n, self._limit, self._min, self._stop = (np.zeros(n_most, np.int64) for _ in range(4))
        self._windows = Windows(n_most)
        self._stops: dict[frozenset[int], int] = {}  # where each set of stop ids stands in the table
        self._stop_table = np.zeros((0, vocab), bool)
        self._how: tuple[How, Tensor, int] | None = None  # how to sample, k, the most likeliest; None after a change

    def __len__(self) -> int:
        return len(self.live)

    def add(self, s: Sequence) -> None:
        """Start the next row."""
        row = len(self.live)
        self.live.append(s)
        self._seed[row], self._n[row], self._limit[row], self._min[row] = s.seed, len(s.ids), s.limit, s.min_tokens
        if s.stop_ids not in self._stops:
            self._stops[s.stop_ids] = len(self._stops)
            self._stop_table = np.concatenate([self._stop_table, np.zeros((1, self._vocab), bool)])
            self._stop_table[-1, [i for i in s.stop_ids if i < self._vocab]] = True
        self._stop[row] = self._stops[s.stop_ids]
        self._windows.start(row, s.cut, s.topk)
        self._how = None

    def remove(self, row: int) -> None:
        """End a row; the last row takes its place."""
        last = len(self.live) - 1
        if row != last:
            self.live[row] = self.live[last]
            for column in (self._seed, self._n, self._limit, self._min, self._stop):
                column[row] = column[last]
            self._windows.move(last, row)
        self.live.pop()
        self._how = None

    def draw(self, raw: Tensor) -> list[int]:
        """Append to every sequence its next token and the figures, from raw logits (rows, vocab); the rows that it ended."""
        live, n = self.live, len(self.live)
        if self._how is None:
            k = torch.tensor([s.k for s in live], device=self._device)[:, None]
            self._how = How.of([s.sampling for s in live], self._device), k, max(s.top for s in live)
        how, k, top = self._how
        ids = choose(self._scored(raw), how, uniforms(self._seed[:n], self._n[:n]))
        f = figures(raw, ids, k)
        drawn = ids.cpu().numpy()
        self._n[:n] += 1
        over = (self._n[:n] >= self._limit[:n]) | self._stop_table[self._stop[:n], drawn]
        over |= self._windows.push(f.topk)
        for s, token, logprob, topk, entropy in zip(live, drawn.tolist(), *(x.tolist() for x in f), strict=True):
            s.ids.append(token)
            s.logprob.append(logprob)
            s.topk.append(topk)
            s.entropy.append(entropy)
        for s, best in zip(live, likeliest(raw, top) if top else (), strict=False):
            s.likeliest.append(best[: s.top])
        for row, s in enumerate(live):
            if s.watch is not None and s.watch(s):
                over[row] = True
        ended: list[int] = np.flatnonzero(over).tolist()
        return ended

    def _scored(self, raw: Tensor) -> Tensor:
        """The logits without the stop ids of the sequences that may not end yet."""
        n = len(self.live)
        early = np.flatnonzero(self._n[:n] < self._min[:n])
        if not len(early):
            return raw
        masked = np.zeros((n, self._vocab), bool)
        masked[early] = self._stop_table[self._stop[early]]
        return raw.masked_fill(torch.from_numpy(masked).to(raw.device), float("-inf"))
