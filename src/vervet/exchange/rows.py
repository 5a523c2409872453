"""Recorded samples from rows: one row a sample, or one row a problem with lists. Every other format becomes such entries.

Knows fields and places, not pools. The names of fields are the usual ones; whose file has others says so (``Fields``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from ..errors import Mistake
from ..tasks.reading import Row, no_such
from ..types import Json, Message, digest

_LONGEST_NAME: Final = 80  # characters; a longer problem is no name but what is asked

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "problem": ("problem", "problem_id", "problem_idx", "idx", "id", "task_id", "question_id", "doc_id"),
    "text": ("text", "texts", "completion", "completions", "response", "responses", "generation", "generations", "samples"),
    "answer": ("answers", "answer", "prediction", "predictions"),
    "gold": ("gold", "target", "gt_answer", "gold_answer", "reference"),
    "correct": ("correct", "is_correct"),
    "reward": ("rewards", "reward"),
    "confidence": ("confidences", "confidence"),
    "tokens": ("tokens", "n_tokens", "completion_tokens"),
    "prompt": ("prompt", "messages"),
    "model": ("model",),
    "group": ("group",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of a file's fields where they are not the usual ones; None: the first of the usual names that is there.

    ``group``: rows of different groups were not drawn alike: named here, each group becomes a model of its own.
    """

    problem: str | None = None
    text: str | None = None
    answer: str | None = None
    gold: str | None = None
    correct: str | None = None
    reward: str | None = None
    confidence: str | None = None
    tokens: str | None = None
    prompt: str | None = None
    model: str | None = None
    group: str | None = None

    def within(self, row: Row) -> dict[str, str]:
        """By what it means, the name of each field that a row has. Raises ``BadRow`` where a named one is missing."""
        found = {}
        for one in fields(self):
            named = getattr(self, one.name)
            if named is not None:
                row.value(named)
            name = named or next((n for n in _NAMES[one.name] if n in row.fields), None)
            if name is not None:
                found[one.name] = name
        return found


USUAL: Final = Fields()


@dataclass(frozen=True, slots=True)
class Entry:
    """Samples of one problem by one model, in the order in which they were drawn; the lists are of one length.

    ``texts``: None where a draw has no answer. ``alone``: they are answers without the work behind them. ``gold`` is the
    field of ``row`` that holds the hidden target, or None. ``failures``: why a draw failed, empty where it did not.
    ``task``: what the file itself calls its problems together, if it does.
    """

    row: Row
    problem: str
    texts: Sequence[str | None]
    alone: bool = False
    is_list: bool = True
    model: str = ""
    group: str = ""
    prompt: tuple[Message, ...] = ()
    gold: str | None = None
    correct: Sequence[bool | None] = ()
    rewards: Sequence[float | None] = ()
    confidences: Sequence[float | None] = ()
    tokens: Sequence[int] = ()
    failures: Sequence[str] = ()
    task: str = ""


def entry_of(row: Row, named: Fields = USUAL) -> Entry:
    """The entry of a row: of lists (``answers``, ``texts``), or of one sample (``answer``, ``text``). Raises ``BadRow``."""
    having = named.within(row)
    problem, prompt = _problem(row, having)
    body = "text" if "text" in having and named.answer is None else "answer"
    if body not in having:
        raise row.bad(f"has neither a text nor an answer{no_such('answer', row.fields)}")
    value = _value(row, having[body])
    is_list = isinstance(value, list)
    texts = [_text(row, having[body], one) for one in (value if is_list else [value])]

    def column(meaning: str, read: Callable[[Row, str, Any], Any]) -> list[Any]:
        return _column(row, having.get(meaning), is_list, len(texts), read)

    correct = column("correct", truth)
    for text, right in zip(texts, correct, strict=False):
        if right and not (text or "").strip():
            raise row.bad(f"field {having['correct']!r} says that a sample without an answer is right")
    return Entry(
        row, problem, texts, body == "answer", is_list, _word(row, having, "model"), _word(row, having, "group"), prompt,
        having.get("gold"), correct, column("reward", number), column("confidence", _mean),
        [n or 0 for n in column("tokens", _count)],
    )  # fmt: skip


def messages_of(row: Row, name: str, value: Json) -> tuple[Message, ...]:
    """What was asked: a text, or the messages of a conversation."""
    if isinstance(value, str) and value.strip():
        return ({"role": "user", "content": value},)
    if (
        isinstance(value, list)
        and value
        and all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in value)
    ):
        return tuple(value)
    raise row.bad(f"field {name!r}: expected a text, or messages with role and content, but got {_shown(value)}")


def truth(row: Row, name: str, value: Json) -> bool | None:
    """A verdict: true or false, 1 or 0; None where it is unknown."""
    known = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    if value is None or value == "":
        return None
    if isinstance(value, bool | int | float | str) and str(value).strip().lower() in known:
        return known[str(value).strip().lower()]
    raise row.bad(f"field {name!r}: expected true or false, but got {_shown(value)}")


def number(row: Row, name: str, value: Json) -> float | None:
    """A finite number; None where there is none."""
    if value is None or value == "":
        return None
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise row.bad(f"field {name!r}: expected a number, but got {_shown(value)}")
    return found


def _mean(row: Row, name: str, value: Json) -> float | None:
    """A number, or the mean of a list of them: the figures of single tokens; None where the list is empty."""
    if not isinstance(value, list):
        return number(row, name, value)
    found = [one for one in (number(row, name, part) for part in value) if one is not None]
    return sum(found) / len(found) if found else None


def _count(row: Row, name: str, value: Json) -> int | None:
    found = number(row, name, value)
    if found is not None and (found < 0 or found != int(found)):
        raise row.bad(f"field {name!r}: expected a number of tokens, but got {_shown(value)}")
    return None if found is None else int(found)


def _problem(row: Row, having: dict[str, str]) -> tuple[str, tuple[Message, ...]]:
    """The name of the problem, and what was asked; a problem given by its text is asked as it stands."""
    if "problem" not in having:
        raise row.bad(f"names no problem: name the field with --problem-field{no_such('problem', row.fields)}")
    name = row.text(having["problem"]).strip()
    prompt = having.get("prompt")
    asked = messages_of(row, prompt, row.value(prompt)) if prompt and row.has(prompt) else ()
    if len(name) > _LONGEST_NAME or "\n" in name:
        return digest(name)[:12], asked or ({"role": "user", "content": name},)
    return name, asked


def _word(row: Row, having: dict[str, str], meaning: str) -> str:
    name = having.get(meaning)
    if name is None or not row.has(name):
        return ""
    value = row.value(name)
    return str(value).lower() if isinstance(value, bool) else row.text(name).strip()


def _text(row: Row, name: str, value: Json) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise row.bad(f"field {name!r}: expected a text, a number or null, but got {_shown(value)}")
    return str(value)


def _column(row: Row, name: str | None, is_list: bool, n: int, read: Callable[[Row, str, Any], Any]) -> list[Any]:
    """One value a sample, read; nothing where the row has no such field."""
    if name is None:
        return []
    value = _value(row, name)
    if not is_list:
        return [read(row, name, value)]
    if value is None:
        return []
    if not isinstance(value, list) or len(value) != n:
        what = f"{len(value)} values" if isinstance(value, list) else _shown(value)
        raise row.bad(f"field {name!r}: expected one value for each of its {n} samples, but got {what}")
    return [read(row, name, one) for one in value]


def _value(row: Row, name: str) -> Json:
    """A field as it stands; ``BadRow`` where numbers that JSON does not know were in it."""
    if {name, name.partition(".")[0]} & row.odd:
        raise row.bad(f"field {name!r} holds NaN or Infinity, which is no number: write null where nothing is known")
    return row.value(name)


def _shown(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:60]


def expect_one_group(entries: Sequence[Entry], field: str | None) -> None:
    """Refuse rows of different groups, which were not drawn alike, unless their field is named. Raises ``Mistake``."""
    for entry in entries if field is None else ():
        if entry.group != entries[0].group:
            raise Mistake(
                f"{entry.row.place}: group {entry.group!r}, but {entries[0].row.place} is of group {entries[0].group!r}: groups "
                f"are not drawn alike; choose one with --where group={entries[0].group}, or keep them apart, each as a "
                "model of its own, with --group-field group"
            )
