"""Draw samples of the problem as it stands: the start of almost every architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import NothingDrawn
from ..llm import LLM
from ..rules import UntilRule
from ..types import Candidates, Problem
from .base import Operator, check_types, must


@dataclass(frozen=True, repr=False)
class Generate(Operator):
    """Draw ``n`` samples in index order, each a candidate behind those that came.

    ``until`` ends the drawing early, deciding on the contiguous prefix; ``ahead`` is how many draws are in flight beyond
    what it has seen (8 with a rule, else all). ``cut`` ends one sample while it is generated. What is None is not set.
    Cost: ``n`` samples, with a rule at most the samples that it saw plus ``ahead``.

    Reference: Brown et al. 2024, arXiv 2407.21787, section 2 (repeated sampling; n there is k).

    >>> Generate(n=4, temperature=0.7)
    generate(n=4, temperature=0.7)
    """

    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    until: UntilRule | None = None
    cut: Any = None
    ahead: int | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        check_types(self, n=int, temperature=(int, float), top_p=(int, float), top_k=int, min_p=(int, float))
        check_types(self, max_tokens=int, ahead=int, model=str, until=UntilRule)
        must(self.n >= 1, self, "n", "1 or more")
        must(self.temperature is None or self.temperature >= 0, self, "temperature", "0 or more")
        must(self.top_p is None or 0 < self.top_p <= 1, self, "top_p", "above 0 and at most 1")
        must(self.top_k is None or self.top_k >= 1, self, "top_k", "1 or more")
        must(self.min_p is None or 0 <= self.min_p <= 1, self, "min_p", "between 0 and 1")
        must(self.max_tokens is None or self.max_tokens >= 1, self, "max_tokens", "1 or more")
        must(self.ahead is None or self.ahead >= 1, self, "ahead", "1 or more")
        must(self.cut is None or hasattr(self.cut, "fires_at"), self, "cut", "a cut rule")
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        object.__setattr__(self, "stop", stop)

    async def __call__(self, problem: Problem, candidates: Candidates, llm: LLM) -> Candidates:
        """The candidates that came, and the new ones behind them."""
        llm = llm.on(self.model)
        drawn: list[Any] = []
        request = llm.ask("answer", problem, **self._options).request
        ahead = self.ahead or (8 if self.until else None)
        async with llm.stream(request, self.n, ahead) as samples:
            async for sample in samples:
                drawn.append(llm.candidate(problem, sample))
                if self.until is not None and await self._stops(problem, drawn, llm):
                    break
        if not drawn and samples.ended is None:
            reasons = "; ".join(sorted({f.reason for f in samples.failures.values()}))
            raise NothingDrawn(f"none of the {self.n} samples came: {reasons}")
        return candidates.with_items((*candidates, *drawn))

    @property
    def roles(self) -> frozenset[str]:
        """It asks the problem as it stands."""
        return frozenset({"answer"})

    @property
    def _options(self) -> dict[str, Any]:
        names = ("temperature", "top_p", "top_k", "min_p", "max_tokens", "cut")
        return {**{name: getattr(self, name) for name in names}, "stop": self.stop or None}

    async def _stops(self, problem: Problem, drawn: list[Any], llm: LLM) -> bool:
        """Give the newest candidate the scores that the rule needs, and ask the rule."""
        assert self.until is not None
        for name in sorted(self.until.needs):
            (score,) = await llm.score(name, problem, Candidates((drawn[-1],)))
            drawn[-1] = drawn[-1].scored(name, score)
        stop = self.until(Candidates(tuple(drawn)))
        if stop:
            llm.note("until", rule=str(stop), n=len(drawn))
        return bool(stop)
