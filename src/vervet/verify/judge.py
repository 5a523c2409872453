"""Judges: a model reads a candidate and says what it is worth. Two scorers, "judge" and "check", and a grader, "judge".

The judge is the run's model "judge" where there is one, else its default model. It is asked greedily; a reply that ends
in no line of the wanted form is asked for again at the model's own temperature, twice at most, since a greedy model would
say the same. Every reply is a draw: counted, stored, replayed for nothing. Where no judgement comes (a limit, a failure,
no such line) the candidate is not judged. What a judge says is an opinion: it can be wrong, and texts can flatter it.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeVar

from ..errors import LimitReached, NothingDrawn, OverContext, Unsupported, first_of
from ..types import Answer, Candidates, Json, Problem, Score, Verdict

T = TypeVar("T")
Read = Callable[[str], float | None]

JUDGE = "judge"  # the name of the model in a run
RUBRIC = "whether the final answer is right, and nothing else."
_MAX_TOKENS = 2048  # of one reply, hidden reasoning included
_GREEDY_FIRST = (0.0, None, None)  # the temperatures of the first reply and of those that are asked for again
_MOST_CHARS = 600  # of a reply, as evidence

_BEFORE, _AFTER = r"^[ \t*_#>`]*", r"[ \t*_`\])}.!\"']*$"
_HOW = re.IGNORECASE | re.MULTILINE
_SCORE = re.compile(
    rf"{_BEFORE}score[ \t*_`]*:[ \t*_`\[(]*(\d+(?:\.\d+)?)[ \t*_`]*(?:(?:/|out of)[ \t]*10)?{_AFTER}", _HOW
)
_VERDICT = re.compile(rf"{_BEFORE}verdict[ \t*_`]*:[ \t*_`\[(]*(correct|incorrect|right|wrong|yes|no){_AFTER}", _HOW)


def score_in(text: str) -> float | None:
    r"""What the last line ``Score: N`` says, from 0 (N is 1) to 1 (N is 10); None where there is none from 1 to 10.

    >>> score_in("Step 2 is wrong.\n**Score: 4/10**"), score_in("Score: 10"), score_in("Score: 11")
    (0.3333333333333333, 1.0, None)
    """
    found = _SCORE.findall(text)
    value = (float(found[-1]) - 1) / 9 if found else -1.0
    return value if 0 <= value <= 1 else None


def verdict_in(text: str) -> float | None:
    r"""What the last line ``Verdict: ...`` says: 1 for correct, 0 for incorrect; None where there is none.

    >>> verdict_in("Fine.\nVerdict: correct."), verdict_in("Verdict: not sure") is None
    (1.0, True)
    """
    found = _VERDICT.findall(text)
    return float(found[-1].lower() in ("correct", "right", "yes")) if found else None


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of one question to a judge: a figure in [0, 1] and the reply, or why there is no figure."""

    found: float | None
    text: str = ""
    reason: str = ""

    @property
    def evidence(self) -> str:
        """The reply up to its last line; of a long one the end."""
        said = self.text.strip().rpartition("\n")[0].strip() or self.text.strip()
        return said if len(said) <= _MOST_CHARS else f"...{said[-_MOST_CHARS:]}"


def judge_of(llm: Any) -> Any:
    """The same view with the run's judge."""
    return llm.on(JUDGE if JUDGE in llm.world.models else "")


def rubric_of(problem: Problem) -> str:
    """What counts in a problem: its public hint ``rubric``, else that the final answer is right."""
    return str(problem.hints.get("rubric") or RUBRIC)


async def hear(llm: Any, role: str, problem: Problem, read: Read, **parts: str) -> Heard:
    """Ask in a role until a reply can be read: three draws at the most. Raises what no other reply would mend."""
    text = ""
    for temperature in _GREEDY_FIRST:
        try:
            text = await _reply(llm, role, problem, temperature, parts)
        except (LimitReached, NothingDrawn, OverContext) as error:
            return Heard(None, reason=str(error))
        if (found := read(text)) is not None:
            return Heard(found, text)
    return Heard(
        None, text, f"{len(_GREEDY_FIRST)} replies in the role {role} end in no such line; the last: {text[-80:]!r}"
    )


async def _reply(llm: Any, role: str, problem: Problem, temperature: float | None, parts: dict[str, str]) -> str:
    """One draw; a model that takes no temperature (a reasoning model) is asked without one."""
    request = llm.ask(role, problem, temperature=temperature, max_tokens=_MAX_TOKENS, **parts).request
    try:
        drawn = await llm.draw(request, 1, role=role)
    except Unsupported:
        if temperature is None:
            raise
        return await _reply(llm, role, problem, None, parts)
    return str(drawn[0].text)


async def each(llm: Any, jobs: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """The jobs side by side; under a budget one after another, so that their order alone decides which it still allows."""
    if any(math.isfinite(llm.left[name]) for name in ("draws", "tokens", "calls", "usd")):
        return [await job() for job in jobs]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job()) for job in jobs]
    except BaseExceptionGroup as errors:
        raise first_of(errors) from None
    return [task.result() for task in tasks]


@dataclass(frozen=True, slots=True)
class Judge:
    """A scorer that asks a judge in a role and reads a figure in [0, 1]; accepted from ``threshold`` on.

    As "judge" it gives 1 to 10 (accepted from 6 on), as "check" a verdict. What counts is ``problem.hints["rubric"]``, else
    that the final answer is right. The evidence is what the judge said, so that ``repair`` can use it. Cost: one call for
    each text that is new, two more where its reply cannot be read; an empty text is worth 0 and costs nothing.

    Reference: Zheng et al. 2023, arXiv 2306.05685, section 3.1 (single answer grading); Zhang et al. 2024, arXiv
    2408.15240 (generative verifiers: "check" is their chain-of-thought verdict without the token's probability).
    """

    role: str = "judge"
    read: Read = score_in
    threshold: float = 0.5
    asks: ClassVar[str] = JUDGE

    @property
    def roles(self) -> frozenset[str]:
        """The roles that the judge must play."""
        return frozenset({self.role})

    async def __call__(self, problem: Problem, candidates: Candidates, llm: Any) -> list[Score]:
        """One score per candidate; texts that differ in blanks around them alone are judged once."""
        judge, texts = judge_of(llm), list(dict.fromkeys(c.text.strip() for c in candidates))
        scores = await each(judge, [partial(self._score, judge, problem, text) for text in texts])
        known = dict(zip(texts, scores, strict=True))
        return [known[c.text.strip()] for c in candidates]

    async def _score(self, judge: Any, problem: Problem, text: str) -> Score:
        if not text:
            return Score(0.0, False, evidence="The text is empty.")
        heard = await hear(judge, self.role, problem, self.read, candidate=text, rubric=rubric_of(problem))
        if heard.found is None:
            return Score(not_judged=heard.reason)
        return Score(heard.found, heard.found >= self.threshold, evidence=heard.evidence)


@dataclass(frozen=True, slots=True)
class JudgeGrader:
    """A grader that asks a judge, which sees the target, in the role "grade"; answers of one key are graded once.

    The target goes to the judge's model, and with the question into the pool; to no other model. Not judged where no
    verdict comes. Cost: one call for each key, two more where its reply cannot be read.
    """

    asks: ClassVar[str] = JUDGE
    roles: ClassVar[frozenset[str]] = frozenset({"grade"})

    async def __call__(
        self, problem: Problem, target: Json, answers: Sequence[Answer | None], llm: Any
    ) -> list[Verdict]:
        """One verdict per answer; no answer is incorrect."""
        judge, texts = judge_of(llm), dict[str, str]()
        for answer in answers:
            if answer is not None:
                texts.setdefault(answer.key, answer.text)
        right = target if isinstance(target, str) else json.dumps(target, ensure_ascii=False)
        found = await each(judge, [partial(_verdict, judge, problem, right, text) for text in texts.values()])
        known = dict(zip(texts, found, strict=True))
        return [Verdict("incorrect", "no answer") if a is None else known[a.key] for a in answers]


async def _verdict(judge: Any, problem: Problem, right: str, text: str) -> Verdict:
    heard = await hear(judge, "grade", problem, verdict_in, target=right, answer=text)
    if heard.found is None:
        return Verdict("not_judged", heard.reason)
    return Verdict("correct") if heard.found else Verdict("incorrect", heard.evidence)
