"""The recorded draws that every figure of this room starts from: one row per problem, one column per index."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vervet.errors import Mistake

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Draws:
    """A declared index range of answer samples: problems x n, every row of the same n, in index order.

    ``keys``: canonical answer, None where there is none. ``correct``: the verdict, None where it was not judged;
    a draw without answer, refused or failed is False, never left out. ``tokens``: completion tokens of each draw.
    ``mean_logprob``: natural log, None where unknown. ``clusters``: one label per problem where problems are
    variants of each other; None: each stands for itself.
    Raises Mistake where there is no problem, no draw, or a table of another shape.

    >>> Draws(keys=[["4", "5", None]], correct=[[True, False, False]]).n
    3
    """

    keys: Sequence[Sequence[str | None]]
    correct: Sequence[Sequence[bool | None]]
    tokens: Sequence[Sequence[int]] | None = None
    mean_logprob: Sequence[Sequence[float | None]] | None = None
    clusters: Sequence[Hashable] | None = None

    def __post_init__(self) -> None:
        if not self.correct or not self.correct[0]:
            raise Mistake("expected at least one problem with at least one draw, got none")
        for name in ("keys", "correct", "tokens", "mean_logprob"):
            table = getattr(self, name)
            if table is not None:
                self._check(name, table)
        if self.clusters is not None and len(self.clusters) != self.n_problems:
            raise Mistake(f"expected one cluster per problem ({self.n_problems}), got {len(self.clusters)}")

    def _check(self, name: str, table: Sequence[Sequence[object]]) -> None:
        lengths = {len(row) for row in table}
        if len(table) != self.n_problems or lengths != {self.n}:
            raise Mistake(
                f"expected {self.n_problems} problems x {self.n} draws in {name}, got {len(table)} rows of "
                f"{sorted(lengths)} draws; analyse a declared index range that every problem completed"
            )

    @property
    def n_problems(self) -> int:
        """Rows."""
        return len(self.correct)

    @property
    def n(self) -> int:
        """Draws per problem."""
        return len(self.correct[0])

    @property
    def n_not_judged(self) -> int:
        """Draws without a verdict."""
        return sum(verdict is None for row in self.correct for verdict in row)

    @cached_property
    def right(self) -> Bools:
        """Verdicts with the not judged counted as incorrect, shape (problems, n)."""
        return np.array([[verdict is True for verdict in row] for row in self.correct])

    @cached_property
    def right_at_most(self) -> Bools:
        """Verdicts with the not judged counted as correct, shape (problems, n)."""
        return np.array([[verdict is not False for verdict in row] for row in self.correct])

    @cached_property
    def scores(self) -> Floats | None:
        """Mean logprobs, shape (problems, n), with -inf where one is unknown: never preferred to a known one."""
        if self.mean_logprob is None:
            return None
        return np.array(
            [[-np.inf if value is None else value for value in row] for row in self.mean_logprob], dtype=float
        )
