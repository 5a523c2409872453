"""Keep the candidates that a scorer accepts."""

from __future__ import annotations

from dataclasses import dataclass

from .. import select
from ..llm import LLM
from ..types import Candidates, Problem
from .base import Operator, check


@dataclass(frozen=True, repr=False)
class Filter(Operator):
    """Keep the accepted candidates in their order; where none is accepted, all pass on, so that an answer is left.

    Cost: one score per candidate.

    Reference: Saad-Falcon et al. 2024, arXiv 2409.15254 (Archon's verifier layer passes all on where none survives).
    """

    by: str = "verifier"

    def __post_init__(self) -> None:
        check(self, "by", str)

    async def __call__(self, problem: Problem, candidates: Candidates, llm: LLM) -> Candidates:
        """The accepted candidates with their scores."""
        scores = await llm.score(self.by, problem, candidates)
        scored = candidates.with_items([c.scored(self.by, s) for c, s in zip(candidates, scores, strict=True)])
        kept = select.keep([s.accepted for s in scores])
        return scored.reorder(kept) if kept else scored
