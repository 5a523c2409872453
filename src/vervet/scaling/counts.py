"""Success counts: of n draws of a problem, c were right. All that a scaling law needs to know of a set of draws.

The unit of analysis is a declared range. Where the number of draws differs between problems, somebody decided it: before
the drawing (say so: ``Counts(..., stopped=FIXED)``), or by what was drawn, under a rule that can be named
(``Stopped(successes=1, cap=60)``: until the first right one, at most 60). Whatever else is refused, because c / n and
pass@k of such sets are biased (a set stopped at its first success says .5 for what succeeds once in four).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling.draws import Floats, Ints


@dataclass(frozen=True)
class Stopped:
    """What ended the drawing of a problem: ``successes`` right draws (0: nothing that was drawn), at most ``cap`` draws.

    ``cap`` None: no limit.
    """

    successes: int = 0
    cap: int | None = None

    def __post_init__(self) -> None:
        if self.successes < 0 or (self.cap is not None and self.cap < 1):
            raise Mistake(f"expected successes >= 0 and cap >= 1, but got {self.successes=}, {self.cap=}")


FIXED = Stopped()
"""The numbers of draws were decided before anything was drawn, equal or not."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Draws and right draws of each problem, both (problems,), of one model under one question's settings.

    ``name``: what a curve of them is called. ``problems``: their ids, in order. ``stopped``: the rule that ended the
    drawing; None takes equal numbers of draws as declared and refuses the others. Raises Mistake where there is no
    problem, a count is not between 0 and its n, or the rule cannot have led to these counts.

    >>> Counts([10, 10], [3, 0]).common_n
    10
    """

    n: Ints
    correct: Ints
    name: str = ""
    problems: Sequence[str] = ()
    stopped: Stopped | None = None

    def __init__(
        self, n: ArrayLike, correct: ArrayLike, name: str = "", problems: Sequence[str] = (),
        stopped: Stopped | None = None,
    ) -> None:  # fmt: skip
        drawn, right = np.atleast_1d(np.asarray(n)), np.atleast_1d(np.asarray(correct))
        if not len(drawn) or drawn.ndim != 1 or drawn.shape != right.shape:
            raise Mistake(
                f"expected draws and right draws of at least one problem, got shapes {drawn.shape}, {right.shape}"
            )
        if not (_whole(drawn) and _whole(right)) or (drawn < 1).any() or (right < 0).any() or (right > drawn).any():
            raise Mistake("expected whole numbers with 1 <= n and 0 <= c <= n in every problem")
        if problems and len(problems) != len(drawn):
            raise Mistake(f"expected the ids of {len(drawn)} problems, got {len(problems)}")
        for field, value in (
            ("n", drawn.astype(np.int64)), ("correct", right.astype(np.int64)), ("name", name),
            ("problems", tuple(problems) or tuple(map(str, range(len(drawn))))), ("stopped", stopped),
        ):  # fmt: skip
            object.__setattr__(self, field, value)
        self._check_rule()

    def _check_rule(self) -> None:
        rule = self.stopped
        if rule is None or not rule.successes:
            return
        over = self.correct > rule.successes
        early = (self.correct < rule.successes) & (self.n != (rule.cap or -1))
        late = self.n > rule.cap if rule.cap is not None else np.zeros(len(self.n), dtype=bool)
        if (bad := np.flatnonzero(over | early | late)).size:
            i = bad[0]
            raise Mistake(
                f"problem {self.problems[i]}: {self.correct[i]} right of {self.n[i]} draws cannot come of drawing until "
                f"{rule.successes} right or {rule.cap} draws"
            )

    @property
    def n_problems(self) -> int:
        """How many problems."""
        return len(self.n)

    @property
    def least_n(self) -> int:
        """The fewest draws of a problem: the largest k of which every problem knows."""
        return int(self.n.min())

    @property
    def adaptive(self) -> bool:
        """True where what was drawn decided how much was drawn."""
        return bool(self.stopped and self.stopped.successes)

    @property
    def common_n(self) -> int:
        """The number of draws that every problem has. Raises Mistake where they differ or the drawing was adaptive."""
        self.expect_fixed()
        if (self.n != self.n[0]).any():
            raise Mistake(f"expected one number of draws for every problem, got {self.n.min()} to {self.n.max()}")
        return int(self.n[0])

    def expect_fixed(self) -> None:
        """Raise Mistake where pass@k from these counts would be biased: they were drawn until something happened."""
        if self.adaptive:
            raise Mistake(
                f"{self.name or 'these counts'}: drawn until {self.stopped.successes} right, so 1 - C(n-c,k)/C(n,k) is "  # type: ignore[union-attr]
                "biased; such a set is analysed by path counting"
            )
        if self.stopped is None and (self.n != self.n[0]).any():
            raise Mistake(
                f"{self.name or 'these counts'}: {self.n.min()} to {self.n.max()} draws a problem, and nothing says why; if "
                "that was decided before drawing, say so (--stopped fixed); if drawing stopped at right answers, name the rule "
                "(--stopped successes=1,cap=60); pass@k of anything else would be biased"
            )

    @property
    def rates(self) -> Floats:
        """Share of right draws per problem, (problems,). Raises Mistake where the drawing was adaptive."""
        self.expect_fixed()
        return np.asarray(self.correct / self.n)


def _whole(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bool:
    if values.dtype.kind in "biu":
        return True
    return values.dtype.kind == "f" and bool(np.isfinite(values).all() and (values == np.floor(values)).all())
