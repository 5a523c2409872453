"""The first candidate that a scorer accepts."""

from __future__ import annotations

from dataclasses import dataclass

from .. import select
from ..llm import LLM
from ..types import Candidates, Problem
from .base import Operator, check


@dataclass(frozen=True, repr=False)
class First(Operator):
    """Put the first accepted candidate in front; where none is accepted, the order stays.

    Cost: scores in order, until one is accepted.

    Reference: Stroebl et al. 2024, arXiv 2411.17501 (resampling with a verifier, and what an imperfect one costs).
    """

    by: str = "verifier"

    def __post_init__(self) -> None:
        check(self, "by", str)

    async def __call__(self, problem: Problem, candidates: Candidates, llm: LLM) -> Candidates:
        """The same candidates with their new scores, the accepted one first."""
        items = list(candidates)
        accepted: list[bool | None] = [False] * len(items)
        for i, candidate in enumerate(items):
            (score,) = await llm.score(self.by, problem, Candidates((candidate,)))
            items[i], accepted[i] = candidate.scored(self.by, score), score.accepted
            if score.accepted:
                break
        return candidates.with_items(items).reorder(select.first([a is True for a in accepted]))
