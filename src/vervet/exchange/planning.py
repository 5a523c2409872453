"""From entries to what a pool will hold: problems with hidden targets, and the draws of each model in their order.

Pure: nothing is read or written. Everything that contradicts itself is refused here, with its place, before a pool is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from ..errors import Mistake
from ..models.imported import PREFIX
from ..tasks import TaskOptions
from ..tasks.own import expect_grader, reader_of, target_of
from ..types import Example, Json, Problem, canonical_json, text_digest
from ..verify import READERS
from ..verify.recorded import CONFIDENCE, READER, marked
from ..verify.reward import REWARD
from .rows import Entry
from .unknown import unknown

_T = TypeVar("_T")

RECORDED: Final = "recorded"  # the grader that repeats what the file says
_MEANING: Final = ":#/"  # in the name of a task: NAME:GRADER, pool:FILE#TASK, and TASK/PROBLEM


@dataclass(frozen=True, slots=True)
class Draw:
    """One recorded sample: its text, its tokens (0: unknown), what the file said of it, or why it failed."""

    place: str
    text: str
    tokens: int = 0
    correct: bool | None = None
    reward: float | None = None
    confidence: float | None = None
    failure: str = ""

    @property
    def figures(self) -> tuple[float | None, float | None]:
        """What is kept of it by text and model."""
        return self.reward, self.confidence

    def scores(self, model: str) -> dict[str, float]:
        """Its figures under the names that the pool keeps them by."""
        named = {f"{REWARD}@{model}": self.reward, f"{CONFIDENCE}@{model}": self.confidence}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Planned:
    """One problem: its name in the file, where it stands there, and the draws of each model."""

    name: str
    place: str
    example: Example
    draws: dict[str, list[Draw]] = field(default_factory=dict)
    lists: set[str] = field(default_factory=set)  # models whose draws came as a list, which is whole


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file holds: the task that its problems are of (``NAME:GRADER``), its grader, and the problems by name."""

    task: str
    grader: str
    problems: Mapping[str, Planned]

    @property
    def models(self) -> list[str]:
        """The models, in the order of the file."""
        return list(dict.fromkeys(model for one in self.problems.values() for model in one.draws))

    def of(self, model: str) -> list[Planned]:
        """The problems that a model has draws of."""
        return [one for one in self.problems.values() if model in one.draws]

    def n(self, model: str, asked: int | None) -> int:
        """How many draws of each problem are declared: those that every problem has, or as many as were asked for."""
        least = min(self.of(model), key=lambda one: len(one.draws[model]))
        most = len(least.draws[model])
        if asked is not None and asked > most:
            raise Mistake(
                f"{least.place}: {asked} samples a problem were asked for, but problem {least.name} has {most} of {model}"
            )
        return asked or most


def plan(
    entries: Sequence[Entry], name: str, options: TaskOptions, model: str | None = None, reader: str | None = None,
    by_group: bool = False,
) -> Plan:  # fmt: skip
    """The plan of a file's entries. ``name`` is the task's, ``options.grader`` says how answers are compared with the targets.

    ``reader`` finds answers in texts that the file itself judged. Raises ``Mistake`` with the place of what does not fit.
    """
    name = _plain(name, _MEANING)
    grader, reads = _grader(entries, options, reader)
    model = model.removeprefix(PREFIX) if model is not None else None
    named = {entry.model for entry in entries} - {""}
    if model is not None and len(named) > 1:
        raise Mistake(f"the file names the models {', '.join(sorted(named))}: leave out --model {model}")
    problems: dict[str, Planned] = {}
    asked: dict[str, Planned] = {}
    for entry in entries:
        example = _example(entry, name, grader, reads, options)
        one = problems.setdefault(entry.problem, Planned(entry.problem, entry.row.place, example))
        _expect_same(entry, one, example)
        other = asked.setdefault(canonical_json(list(example.problem.messages)), one)
        if other is not one:
            raise entry.row.bad(
                f"asks in problem {one.name!r} what {other.place} asks in problem {other.name!r}: the draws of one question are "
                "one row; give both one name, or leave one out"
            )
        base = model or entry.model or name
        _add(entry, one, PREFIX + _plain(f"{base}/{entry.group}" if by_group and entry.group else base, ""))
    draws = [draw for one in problems.values() for of in one.draws.values() for draw in of]
    if all(draw.failure for draw in draws):
        raise Mistake(f"{draws[0].place} and all others failed, so there is no sample: {draws[0].failure[:200]}")
    return Plan(f"{name}:{grader}", grader, problems)


def expect_names(model: str | None, task: str | None) -> None:
    """Refuse a given name that is empty, or of a task one that would not be found under it again."""
    if model is not None and not model.removeprefix(PREFIX).strip():
        raise Mistake(f"expected a model's name, but got {model!r}")
    if task is not None and (not task.strip() or set(task) & set(_MEANING)):
        raise Mistake(
            f"expected a task's name of any characters but {', '.join(_MEANING)}, which mean something in it, but got {task!r}"
        )


def told_apart(
    draws: Sequence[Draw], problem: str, model: str, verdicts: dict[int, bool | None], recorded: bool
) -> list[Draw]:
    """The draws with a mark on each whose text occurred before, with other figures or another verdict.

    The pool keeps both by text. ``verdicts``, by text digest, are those known of the problem so far; the new ones are added.
    A longer file marks the same draws among those that it shares.
    """
    figures: dict[str, tuple[float | None, float | None]] = {}
    found = []
    for i, draw in enumerate(draws):
        of = text_digest(draw.text)
        other_verdict = recorded and verdicts.get(of, draw.correct) != draw.correct
        if not draw.failure and (other_verdict or figures.get(draw.text, draw.figures) != draw.figures):
            draw = replace(draw, text=marked(draw.text, i, problem, model))
            of = text_digest(draw.text)
        if not draw.failure:
            figures.setdefault(draw.text, draw.figures)
            verdicts.setdefault(of, draw.correct)
        found.append(draw)
    return found


def _grader(entries: Sequence[Entry], options: TaskOptions, reader: str | None) -> tuple[str, str]:
    """The grader, and the reader of the texts."""
    judged = any(right is not None for entry in entries for right in entry.correct)
    grader = options.grader or (RECORDED if judged else None)
    if reader is not None and (grader != RECORDED or reader not in READERS):
        known = ", ".join(sorted(READERS.keys() - {READER}))
        raise Mistake(
            f"expected --reader for verdicts of the file itself, one of {known}, but got {reader!r} with the grader {grader!r}"
        )
    if grader == RECORDED:
        if not judged:
            raise Mistake(
                f"{entries[0].row.place} and the others say of no sample whether it is right (field 'correct'): give --grader NAME"
            )
        return grader, reader or "exact"
    if grader is None:
        raise Mistake(
            f"{entries[0].row.place}: nothing says which samples are right: give --grader NAME to compare answers with the "
            "target (math, number, exact ...), or name the field of the verdicts with --correct-field"
        )
    expect_grader(options)
    if entries[0].gold is None and grader != "command":
        raise Mistake(
            f"{entries[0].row.place}: the grader {grader!r} compares with a target, and there is none: name its field with "
            "--target-field"
        )
    return grader, reader_of(grader)


def _example(entry: Entry, name: str, grader: str, reads: str, options: TaskOptions) -> Example:
    """The problem of an entry with its target, as JSON gives it back."""
    target: Json
    public: dict[str, Json]
    if grader == RECORDED:
        target = entry.row.value(entry.gold) if entry.gold and entry.row.has(entry.gold) else None
        public = entry.row.value(options.hints_field) if options.hints_field else {}
        if not isinstance(public, dict):
            raise entry.row.bad(f"field {options.hints_field!r}: expected public hints as an object")
    else:
        target, public = target_of(entry.row, replace(options, target_field=entry.gold), entry.gold)
    hints: dict[str, Json] = {**public, **options.hints, "reads": reads, "form": ""}  # the prompt is whole as it was
    hints |= {"alone": True} if entry.alone else {}
    hints |= {"verdicts": True} if grader == RECORDED else {}
    problem = " ".join(entry.problem.split())
    messages = entry.prompt or ({"role": "user", "content": unknown(problem, name)},)
    kept = json.loads(canonical_json([list(messages), hints, target]))
    return Example(Problem(f"{name}/{problem}", tuple(kept[0]), READER, None, kept[1]), kept[2])


def _expect_same(entry: Entry, one: Planned, example: Example) -> None:
    """Refuse an entry that says otherwise of its problem than the first one did."""
    if example == one.example:
        return
    differing = [
        what for what, a, b in (
            ("the target", example.target, one.example.target),
            ("what is asked", example.problem.messages, one.example.problem.messages),
            ("whether there are texts or answers alone, or the hints", example.problem.hints, one.example.problem.hints),
        ) if a != b
    ]  # fmt: skip
    raise entry.row.bad(f"says otherwise of problem {one.name!r} than {one.place}: {', '.join(differing)}")


def _add(entry: Entry, one: Planned, model: str) -> None:
    if model in one.draws and (entry.is_list or model in one.lists):
        raise entry.row.bad(
            f"gives samples of problem {one.name!r} again, which {one.draws[model][0].place} has; if they are of another model, "
            "name its field with --model-field"
        )
    if entry.is_list:
        one.lists.add(model)
    draws = one.draws.setdefault(model, [])
    for i, text in enumerate(entry.texts):
        draws.append(
            Draw(
                entry.row.place, text or "", _at(entry.tokens, i) or 0, _at(entry.correct, i), _at(entry.rewards, i),
                _at(entry.confidences, i), _at(entry.failures, i) or "",
            )
        )  # fmt: skip
    if not draws:
        raise entry.row.bad(f"holds no sample of problem {one.name!r}")


def _at(values: Sequence[_T], i: int) -> _T | None:
    return values[i] if values else None


def _plain(name: str, without: str) -> str:
    """A name on one line, without characters that mean something in the name of a task."""
    return "".join("-" if c in without else c for c in " ".join(name.split()))
