"""Rules that end drawing: each sees the candidates so far, in index order, and says ``Stop(why)`` or None.

A rule is frozen data; rules join with ``&``: the first that fires ends the drawing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..errors import Mistake
from ..types import Candidates, Stop, Trace
from .expression import Expression


class UntilRule(Expression):
    """The base of the rules: one required method, and ``&``."""

    def __call__(self, candidates: Candidates) -> Stop | None:
        """Why drawing ends here, or None while it goes on."""
        raise TypeError(f"{type(self).__name__} must define __call__(candidates)")

    def __and__(self, other: UntilRule) -> UntilRule:
        return FirstOf((*self.parts, *other.parts))

    @property
    def parts(self) -> tuple[UntilRule, ...]:
        """The rules that this one is made of."""
        return (self,)

    @property
    def needs(self) -> frozenset[str]:
        """Scorers whose scores the candidates must carry before the rule sees them."""
        return frozenset()


@dataclass(frozen=True, repr=False)
class FirstOf(UntilRule):
    """Several rules at once: the first that fires ends the drawing."""

    rules: tuple[UntilRule, ...]

    def __call__(self, candidates: Candidates) -> Stop | None:
        return next((stop for rule in self.rules if (stop := rule(candidates))), None)

    @property
    def parts(self) -> tuple[UntilRule, ...]:
        """The joined rules."""
        return self.rules

    @property
    def needs(self) -> frozenset[str]:
        """The scorers of all of them."""
        return frozenset().union(*(rule.needs for rule in self.rules))

    def __repr__(self) -> str:
        return " & ".join(map(repr, self.rules))


@dataclass(frozen=True, repr=False)
class Accepted(UntilRule):
    """Stop at the first candidate that the scorer accepts. Cost: one score per candidate.

    Reference: none (sampling until a verifier accepts is folklore; its limits: Stroebl et al. 2024, arXiv 2411.17501).
    """

    by: str = "verifier"

    def __call__(self, candidates: Candidates) -> Stop | None:
        last = candidates[-1].scores.get(self.by) if candidates else None
        return Stop("accepted") if last is not None and last.accepted else None

    @property
    def needs(self) -> frozenset[str]:
        """The scorer that accepts."""
        return frozenset({self.by})


@dataclass(frozen=True, repr=False)
class Agree(UntilRule):
    """Stop when the leading answer holds at least ``share`` of at least ``at_least`` samples (no answer counts against).

    Reference: Aggarwal et al. 2023, arXiv 2305.11860 (the majority rule of Adaptive-Consistency; share >= .8 there).
    """

    share: float = 0.95
    at_least: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise Mistake(f"agree: share must be above 0 and at most 1, but got share={self.share!r}")
        if self.at_least < 1:
            raise Mistake(f"agree: at_least must be 1 or more, but got at_least={self.at_least!r}")

    def __call__(self, candidates: Candidates) -> Stop | None:
        if len(candidates) < self.at_least:
            return None
        counts = Counter(c.key for c in candidates if c.key is not None)
        leading = max(counts.values(), default=0)
        return Stop("agree") if leading >= self.share * len(candidates) else None


@dataclass(frozen=True, repr=False)
class Tokens(UntilRule):
    """As ``until``: stop once the samples so far hold ``n`` completion tokens. As ``cut``: end a sample after ``n`` tokens.

    Reference: none.
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise Mistake(f"tokens: n must be 1 or more, but got n={self.n!r}")

    def __call__(self, candidates: Candidates) -> Stop | None:
        used = sum(c.sample.n_tokens for c in candidates if c.sample is not None)
        return Stop("tokens") if used >= self.n else None

    @property
    def name(self) -> str:
        """What a sample that it cut says of its end."""
        return "tokens"

    def fires_at(self, trace: Trace) -> int | None:
        """The token after which a sample ends."""
        return self.n if len(trace) >= self.n else None
