"""A sample's own figures as scores: no model is asked."""

from __future__ import annotations

from typing import Any

from ..confidence import mean_logprob
from ..types import Candidate, Candidates, Problem, Score


class MeanLogprob:
    """The mean log-probability of a sample's tokens (nats, at most 0; higher is surer). Cost: none.

    Raises ``MissingFigures`` where the samples were drawn without logprobs.
    """

    of_sample = True

    async def __call__(self, problem: Problem, candidates: Candidates, llm: Any) -> list[Score]:
        """One score per candidate; a candidate that is no sample is not judged."""
        return [self._score(c) for c in candidates]

    @staticmethod
    def _score(candidate: Candidate) -> Score:
        trace = candidate.sample.trace if candidate.sample else None
        value = mean_logprob(trace) if trace else None
        return Score(value) if value is not None else Score(not_judged="no tokens with logprobs")
