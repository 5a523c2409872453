"""Best-of-n: the candidate with the highest score."""

from __future__ import annotations

from dataclasses import dataclass

from .. import select
from ..llm import LLM
from ..types import Candidates, Problem
from .base import Operator, check


@dataclass(frozen=True, repr=False)
class Best(Operator):
    """Order candidates by score, highest first; ties stay in order, what was not judged goes last.

    Cost: one score per candidate.

    Reference: Cobbe et al. 2021, arXiv 2110.14168, section 4 (best-of-n by a verifier's score).
    """

    by: str = "mean_logprob"

    def __post_init__(self) -> None:
        check(self, "by", str)

    async def __call__(self, problem: Problem, candidates: Candidates, llm: LLM) -> Candidates:
        """The same candidates with their scores, the best first."""
        scores = await llm.score(self.by, problem, candidates)
        scored = candidates.with_items([c.scored(self.by, s) for c, s in zip(candidates, scores, strict=True)])
        return scored.reorder(select.best([s.value for s in scores]))
