"""Logs of inspect_ai (``.eval``, ``.json``): a sample of each epoch is a draw, in the order of the epochs.

Its own reader is used, which knows every version of the format. A sample that ended in an error is a failed draw, never
an empty text. Of the scores one is taken for what is right: C, or I or N (no answer), or a number that is 1 or 0.
"""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import MissingExtra, Mistake
from ..tasks.reading import Row
from .rows import USUAL, Entry, Fields

_SAID = {"C": True, "I": False, "N": False, 1: True, 0: False, "1": True, "0": False, "1.0": True, "0.0": False}


def is_inspect(path: str) -> bool:
    """Whether a file is such a log: a zip with a header or a journal, or a JSON object with ``eval`` and ``samples``."""
    file = Path(path)
    if file.suffix == ".eval":
        return True
    if file.suffix != ".json" or not file.is_file():
        return False
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(found, dict) and {"version", "eval", "status"} <= found.keys()


def read_inspect(path: str, named: Fields = USUAL) -> list[Entry]:
    """One entry a sample id. ``named.correct`` is the score that says what is right (default: the only one). Raises ``Mistake``."""
    log = _log(path)
    samples: dict[str, list[Any]] = defaultdict(list)
    for sample in log.samples or ():
        samples[str(sample.id)].append(sample)
    if not samples:
        raise Mistake(f"{path} holds no sample: its status is {log.status!r}")
    scorers = list(dict.fromkeys(name for one in log.samples for name in one.scores or {}))
    if named.correct is None and len(scorers) > 1:
        raise Mistake(
            f"{path} has the scores {', '.join(scorers)}: say which one tells what is right with --correct-field"
        )
    if named.correct is not None and named.correct not in scorers:
        raise Mistake(f"{path}: expected one of its scores ({', '.join(scorers) or 'none'}), but got {named.correct!r}")
    scorer = named.correct or next(iter(scorers), None)
    name = Path(path).name
    return [
        replace(_entry(name, problem, found, scorer), model=log.eval.model, task=log.eval.task.rpartition("/")[2])
        for problem, found in samples.items()
    ]


def _log(path: str) -> Any:
    try:
        from inspect_ai.log import read_eval_log
    except ImportError:
        raise MissingExtra("inspect-ai", "inspect") from None
    try:
        return read_eval_log(path)
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise Mistake(f"{path}: expected a log of inspect_ai, but it cannot be read: {str(error)[:200]}") from None


def _entry(name: str, problem: str, samples: list[Any], scorer: str | None) -> Entry:
    samples = sorted(samples, key=lambda one: one.epoch)
    first = samples[0]
    target = first.target if isinstance(first.target, str) else [*first.target]
    row = Row({"target": target or None}, f"{name}, sample {problem}")
    epochs = [one.epoch for one in samples]
    if len(set(epochs)) < len(epochs):
        raise row.bad("has an epoch twice")
    failures = [one.error.message if one.error else "" for one in samples]
    return Entry(
        row, problem, [one.output.completion if one.output else "" for one in samples],
        prompt=_prompt(first), gold="target" if target else None,
        correct=[_right(row, one, scorer) for one in samples] if scorer else [],
        tokens=[_tokens(one) for one in samples], failures=failures,
    )  # fmt: skip


def _prompt(sample: Any) -> tuple[dict[str, Any], ...]:
    if isinstance(sample.input, str):
        return ({"role": "user", "content": sample.input},)
    return tuple({"role": message.role, "content": message.text} for message in sample.input)


def _right(row: Row, sample: Any, scorer: str) -> bool | None:
    score = (sample.scores or {}).get(scorer)
    if score is None or sample.error:
        return None
    value = score.value
    if isinstance(value, str | int | float) and value in _SAID:
        return _SAID[value]
    if isinstance(value, str | int | float):
        return None  # partly right, or not answered: what that is worth is for a grader to say
    raise row.bad(f"score {scorer!r}: expected C, I or a number, but got {str(value)[:60]}")


def _tokens(sample: Any) -> int:
    usage = sample.output.usage if sample.output else None
    return usage.output_tokens if usage is not None else 0
