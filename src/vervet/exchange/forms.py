"""The forms in which samples go out: what one problem's draws become in each. Pure: nothing is read or written.

Each form counts in ``left`` what it leaves out and why. What is chosen does not depend on how long a text is.
"""

from __future__ import annotations

import json
import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..types import Example, Message, Sample, Score, canonical_json
from ..verify.recorded import unmarked
from .unknown import is_unknown

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draw:
    """A sample as it was used: the prompt and the beginning that it was given, what was read in it, its verdict and scores."""

    sample: Sample
    role: str
    prompt: tuple[Message, ...]
    prefill: str
    mean_logprob: float | None
    answer: str | None
    key: str | None
    outcome: str | None
    scores: Mapping[str, Score]

    @property
    def text(self) -> str:
        """The text as it was drawn or imported."""
        return unmarked(self.sample.text)

    @property
    def reply(self) -> str:
        """The whole reply: the text behind the beginning that it was given."""
        return self.prefill + self.text

    @property
    def is_whole(self) -> bool:
        """True where the text ended by itself, or at a stop string: it was not cut off."""
        ended = self.sample.ended or ""
        return ended == "eos" or ended.partition(":")[0] == "stop"


@dataclass(frozen=True, slots=True)
class Asked:
    """One problem with the draws that were used for it, in an order that is the same in every pool."""

    example: Example
    task: str
    split: str
    draws: Sequence[Draw]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen among draws.

    ``scorer``: whose word counts instead of the grader's. ``limit``: rows a problem at the most (groups: responses).
    ``margin``: the least difference of two scores that makes a pair. ``threshold``: from which value on a step is right.
    ``reasoning``: replies carry what the model thought as ``reasoning_content``.
    """

    scorer: str | None = None
    limit: int | None = None
    margin: float = 0.0
    threshold: float = 0.5
    seed: int = 0
    reasoning: bool = False


Form = Callable[[Asked, Choice, Counter[str]], Iterator[Row]]


def samples(asked: Asked, choice: Choice, left: Counter[str]) -> Iterator[Row]:
    """One row per draw, with everything that is known of it."""
    for i, draw in enumerate(asked.draws):
        if choice.limit is not None and i >= choice.limit:
            left["beyond the limit"] += 1
            continue
        sample, stream = draw.sample, draw.sample.address.stream
        yield {
            "problem": asked.example.problem.id, "task": asked.task, "split": asked.split,
            "prompt": _messages(draw), "model": stream.model, "question": stream.question,
            "replicate": stream.replicate, "scope": stream.scope, "index": sample.address.index, "role": draw.role,
            "text": draw.text, "reasoning": sample.reasoning,
            "tool_calls": json.dumps(list(sample.tool_calls)) if sample.tool_calls else None,
            "answer": draw.answer, "key": draw.key, "outcome": draw.outcome, "tokens": sample.n_tokens,
            "prompt_tokens": sample.prompt_tokens, "mean_logprob": draw.mean_logprob, "ended": sample.ended,
            "scores": [_score(name, score) for name, score in draw.scores.items()],
        }  # fmt: skip


def sft(asked: Asked, choice: Choice, left: Counter[str]) -> Iterator[Row]:
    """Right (or accepted) texts as prompt and completion; of equal ones the first, then the first by index."""
    seen: set[tuple[str, str]] = set()
    for draw in _usable(asked, left):
        worth = _worth(draw, choice)
        name = canonical_json(list(draw.prompt)), draw.reply
        if worth is None:
            left["not judged"] += 1
        elif choice.scorer and not _accepted(draw, choice):
            left["not accepted"] += 1
        elif not choice.scorer and worth < 1:
            left["not right"] += 1
        elif not draw.is_whole:
            left["cut off"] += 1
        elif name in seen:
            left["the same text again"] += 1
        elif choice.limit is not None and len(seen) >= choice.limit:
            left["beyond the limit"] += 1
        else:
            seen.add(name)
            yield {"prompt": _messages(draw), "completion": [_reply(draw, choice)]}


def pairs(asked: Asked, choice: Choice, left: Counter[str]) -> Iterator[Row]:
    """A better and a worse text for one prompt; each text is in one pair at the most, and which meet is drawn by the seed."""
    groups: dict[str, dict[str, tuple[float, Draw]]] = {}
    for draw in _usable(asked, left):
        worth = _worth(draw, choice)
        group = groups.setdefault(canonical_json(list(draw.prompt)), {})
        if worth is None:
            left["not judged"] += 1
        elif draw.reply in group:
            left["the same text again"] += 1
        else:
            group[draw.reply] = worth, draw
    rng = random.Random(f"{choice.seed} {asked.example.problem.id}")
    found = [pair for group in groups.values() for pair in _paired(list(group.values()), choice.margin, rng)]
    left["without a partner"] += sum(map(len, groups.values())) - 2 * len(found)
    rng.shuffle(found)
    n = len(found) if choice.limit is None else choice.limit
    left["beyond the limit"] += 2 * len(found[n:])
    for chosen, rejected in found[:n]:
        yield {
            "prompt": _messages(chosen),
            "chosen": [_reply(chosen, choice)],
            "rejected": [_reply(rejected, choice)],
        }


def _paired(valued: list[tuple[float, Draw]], margin: float, rng: random.Random) -> list[tuple[Draw, Draw]]:
    """As many pairs (better, worse) as there can be, none with a better text that was cut off.

    The best n that are whole meet the worst n of the others, in order; where n pairs can be made, n - 1 can.
    """
    rng.shuffle(valued)
    valued.sort(key=lambda one: one[0])  # stable: equal ones stay in the drawn order
    whole = [i for i, (_, draw) in enumerate(valued) if draw.is_whole]

    def of(n: int) -> list[tuple[int, int]]:
        better = whole[len(whole) - n :]
        used = set(better)
        worse = [i for i in range(len(valued)) if i not in used]
        return list(zip(better, worse, strict=False))

    def fits(n: int) -> bool:
        apart = [valued[b][0] - valued[w][0] for b, w in of(n)]
        return len(apart) == n and all(difference > 0 and difference >= margin for difference in apart)

    most = bisect_left(range(1, len(whole) + 1), True, key=lambda n: not fits(n))
    return [(valued[b][1], valued[w][1]) for b, w in of(most)]


def steps(asked: Asked, choice: Choice, left: Counter[str]) -> Iterator[Row]:
    """Texts as steps with their values: what stands between blank lines, as reward models are shown it.

    The columns are those of what TRL calls stepwise supervision, which its 1.16 no longer trains on.
    """
    n = 0
    for draw in _usable(asked, left):
        score = draw.scores.get(choice.scorer or "")
        parts = steps_of(draw.text)
        if score is None or not score.steps:
            left["no step values"] += 1
        elif len(parts) != len(score.steps):
            left["the text has another number of steps than the score"] += 1
        elif not all(map(math.isfinite, score.steps)):
            left["a step value is no number"] += 1
        elif choice.limit is not None and n >= choice.limit:
            left["beyond the limit"] += 1
        else:
            n += 1
            labels = [value >= choice.threshold for value in score.steps]
            prompt = "\n\n".join(str(message["content"]) for message in draw.prompt)
            yield {"prompt": prompt, "completions": parts, "labels": labels, "values": list(score.steps)}


def groups(asked: Asked, choice: Choice, left: Counter[str]) -> Iterator[Row]:
    """All draws of one model from one question with their rewards: 1 or 0 by the verdict, or the score as it is.

    A draw whose text is empty or gave no answer is in its group, as wrong as it is: without such draws the group's mean would
    lie too high. Out of it are those that nobody judged, and calls that failed or were refused, which have no text.
    The columns are verl's, with ``responses`` and ``rewards`` beside them; ``index`` is for the writer to count.
    """
    found: dict[tuple[str, str], list[tuple[float, Draw]]] = {}
    for draw in _usable(asked, left, empty=True):
        worth, stream = _worth(draw, choice), draw.sample.address.stream
        group = found.setdefault((stream.model, stream.question), [])
        if worth is None:
            left["not judged"] += 1
        elif choice.limit is not None and len(group) >= choice.limit:
            left["beyond the limit"] += 1
        else:
            group.append((worth, draw))
    for (model, _), group in found.items():
        if not group:
            continue
        truth = asked.example.target
        yield {
            "data_source": asked.task, "prompt": _messages(group[0][1]), "ability": asked.task,
            "reward_model": {"style": "rule", "ground_truth": truth if isinstance(truth, str) else canonical_json(truth)},
            "extra_info": {"split": asked.split, "index": 0, "problem": asked.example.problem.id, "model": model},
            "responses": [draw.reply for _, draw in group],
            "rewards": [worth for worth, _ in group],
        }  # fmt: skip


FORMS: Final[dict[str, Form]] = {"samples": samples, "sft": sft, "pairs": pairs, "steps": steps, "groups": groups}


# --- what the forms share ------------------------------------------------------------------------------


def _usable(asked: Asked, left: Counter[str], empty: bool = False) -> Iterator[Draw]:
    """The draws that make a conversation of plain text; those of an ``empty`` text where they are wanted."""
    for draw in asked.draws:
        contents = [message.get("content") for message in draw.prompt]
        if not all(isinstance(content, str) for content in contents) or not contents:
            left["the prompt is not plain text"] += 1
        elif any(set(message) - {"role", "content"} for message in draw.prompt) or draw.sample.tool_calls:
            left["tools are called"] += 1
        elif any(is_unknown(str(content)) for content in contents):
            left["what was asked is not known"] += 1
        elif not empty and not draw.text.strip():
            left["the text is empty"] += 1
        else:
            yield draw


def _worth(draw: Draw, choice: Choice) -> float | None:
    """1 or 0 by the verdict, or by the scorer's word, or the score's value; None where there is none."""
    if choice.scorer is None:
        return {"correct": 1.0, "incorrect": 0.0}.get(draw.outcome or "")
    score = draw.scores.get(choice.scorer)
    if score is None or score.not_judged:
        return None
    if score.accepted is not None:
        return float(score.accepted)
    return score.value if score.value is not None and math.isfinite(score.value) else None


def _accepted(draw: Draw, choice: Choice) -> bool:
    return draw.scores[choice.scorer or ""].accepted is True


def _reply(draw: Draw, choice: Choice) -> Row:
    reply = {"role": "assistant", "content": draw.reply}
    return {**reply, "reasoning_content": draw.sample.reasoning} if choice.reasoning else reply


def _messages(draw: Draw) -> list[Row]:
    """The prompt as roles and texts; content of parts as JSON."""
    parts = [(str(message.get("role")), message.get("content")) for message in draw.prompt]
    return [{"role": role, "content": c if isinstance(c, str) else json.dumps(c)} for role, c in parts]


def _score(name: str, score: Score) -> Row:
    value = score.value if score.value is not None and math.isfinite(score.value) else None
    return {"scorer": name, "value": value, "accepted": score.accepted, "steps": list(score.steps)}


def steps_of(text: str) -> list[str]:
    r"""The steps of a text: what stands between its blank lines.

    >>> steps_of("First, 2.\n\nThen 4.\n")
    ['First, 2.', 'Then 4.']
    """
    return [step.strip() for step in text.split("\n\n") if step.strip()]
