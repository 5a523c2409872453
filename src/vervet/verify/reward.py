"""Reward models: what a model that was trained to value texts says of a candidate. The scorer "reward"."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from ..errors import LimitReached, Mistake, NothingDrawn, OverContext
from ..types import Candidates, Endings, Problem, Question, Request, Score, text_digest
from .judge import each

REWARD = "reward"  # the name of the model in a run, and its role


@dataclass(frozen=True, slots=True)
class Reward:
    """A scorer that asks the run's model "reward" for the value of the problem's messages with the candidate as the reply.

    The value is the model's own figure as it is: higher is better, and only comparable within one model. ``steps`` are
    its figures for the steps, where it gives some (a process reward model); the value is then the least of them.
    It accepts nothing. Cost: one call for each text that is new, of its prompt tokens. In a run of an imported model without
    a reward model it gives the rewards that were imported with its samples; in any other one without it raises ``Mistake``.

    Reference: Cobbe et al. 2021, arXiv 2110.14168 (outcomes); Lightman et al. 2023, arXiv 2305.20050 (steps).
    """

    asks: ClassVar[str] = REWARD
    roles: ClassVar[frozenset[str]] = frozenset({REWARD})

    async def __call__(self, problem: Problem, candidates: Candidates, llm: Any) -> list[Score]:
        """One score per candidate; equal texts are rated once."""
        if REWARD not in llm.world.models:
            return _imported(problem, candidates, llm, llm.world.kept_under(REWARD, self))
        view, texts = llm.on(REWARD), list(dict.fromkeys(c.text for c in candidates))
        scores = dict(zip(texts, await each(view, [partial(_rated, view, problem, t) for t in texts]), strict=True))
        return [scores[c.text] for c in candidates]


def _imported(problem: Problem, candidates: Candidates, llm: Any, kept: str) -> list[Score]:
    if not llm.world.model(None).name.startswith("import/"):
        raise Mistake("the scorer 'reward' needs a reward model in the run: name one with --reward (reward=... of Run)")
    texts = [text_digest(c.text) for c in candidates]
    found = llm.world.pool.scores(kept, problem.id, texts, 0)
    return [found.get(text, Score(not_judged="no reward was imported with this text")) for text in texts]


async def _rated(view: Any, problem: Problem, text: str) -> Score:
    if not text:
        return Score(not_judged="the text is empty")
    messages = (*problem.messages, {"role": "assistant", "content": text})
    try:
        drawn = await view.draw(Request(Question(messages, role=REWARD), Endings(max_tokens=1)), 1, role=REWARD)
    except (LimitReached, NothingDrawn, OverContext) as error:
        return Score(not_judged=str(error))
    data = json.loads(drawn[0].text)
    return Score(data.get("value"), steps=tuple(data.get("steps", ())), not_judged=data.get("not_judged", ""))
