"""Cut rules for a whole batch at once: the twin of ``vervet.rules.cut``, which sees one sample."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..rules.cut import LowConfidence

_LARGEST_HALF = 65504.0


class Windows:
    """The window of confidences of each row, and whether its mean lies below the row's threshold.

    The sums are those of ``LowConfidence.fires_at``, number by number and in its order, so that both end a sample at the
    same token. A row without a rule never fires.

    >>> windows = Windows(1)
    >>> windows.start(0, LowConfidence(window=2, below=1.5), [])
    >>> [bool(windows.push(np.array([x], np.float32))[0]) for x in (-2.0, -2.0, -0.5)]
    [False, False, True]
    """

    def __init__(self, n_rows: int) -> None:
        self._window = np.zeros(n_rows, np.int64)  # 0: no rule
        self._below = np.zeros(n_rows)
        self._total = np.zeros(n_rows)
        self._n = np.zeros(n_rows, np.int64)  # tokens so far
        self._last = np.zeros((n_rows, 1))  # the last values of topk, each at its number modulo the row's window

    def start(self, row: int, rule: LowConfidence | None, topk: Iterable[float]) -> None:
        """Begin a row with its rule and the figures of the tokens that it has already."""
        self._window[row], self._below[row] = (0, 0.0) if rule is None else (rule.window, rule.below)
        self._total[row] = self._n[row] = 0
        if rule is None:
            return
        if (more := rule.window - self._last.shape[1]) > 0:
            self._last = np.pad(self._last, ((0, 0), (0, more)))
        one = np.array([row])
        for value in _stored(np.fromiter(topk, np.float32)):
            self._take(one, np.array([value]))

    def move(self, source: int, target: int) -> None:
        """Let a row take the place of another one, that has ended."""
        for column in (self._window, self._below, self._total, self._n, self._last):
            column[target] = column[source]

    def push(self, topk: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Take the next figure of each of the first rows; which of them fire."""
        fired = np.zeros(len(topk), bool)
        rows = np.flatnonzero(self._window[: len(topk)])
        if len(rows):
            fired[rows] = self._take(rows, _stored(topk[rows]))
        return fired

    def _take(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.bool_]:
        window = self._window[rows]
        at = self._n[rows] % window
        old = np.where(self._n[rows] >= window, self._last[rows, at], 0.0)
        self._total[rows] = self._total[rows] - values + old
        self._last[rows, at] = values
        self._n[rows] += 1
        fires: NDArray[np.bool_] = (self._n[rows] >= window) & (self._total[rows] / window < self._below[rows])
        return fires


def _stored(topk: NDArray[np.float32]) -> NDArray[np.float64]:
    """In stored precision, which is what a rule sees."""
    return np.clip(topk, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16).astype(np.float64)
