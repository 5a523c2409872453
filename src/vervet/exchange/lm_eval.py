"""Samples that lm-evaluation-harness logged (``--log_samples``): ``samples_TASK_DATE.jsonl``, one line a document and filter.

``resps`` are the texts of a document, more than one where it was asked repeatedly. A metric is of the text only where the
document has one, or where it is given for each; the filtered responses are not kept: the grader's reader finds the answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import Mistake
from ..tasks.reading import Row
from ..types import Json, Message
from .rows import USUAL, Entry, Fields, messages_of, truth

_NAME = re.compile(r"samples_(.+?)(?:_\d{4}-\d\d-\d\dT.*)?")
_FIELDS = ("doc_id", "resps", "target")


def is_lm_eval(row: Row) -> bool:
    """Whether a row is one of such a log."""
    return all(name in row.fields for name in _FIELDS)


def read_lm_eval(path: str, rows: Sequence[Row], named: Fields = USUAL) -> list[Entry]:
    """One entry a document. ``named.correct`` is the metric that says what is right (default: the only one). Raises ``Mistake``."""
    filters = list(dict.fromkeys(str(row.fields.get("filter", "")) for row in rows))
    if len(filters) > 1:
        raise Mistake(
            f"{rows[0].place}: the log holds each document once for each of the filters {', '.join(filters)}: choose one with "
            f"--where filter={filters[0]}"
        )
    task, model = names_of(path)
    return [replace(entry, task=task, model=entry.model or model) for entry in (_entry(row, named) for row in rows)]


def names_of(path: str) -> tuple[str, str]:
    """The task and the model that the names of a log and of its folder tell; empty where they do not.

    >>> names_of("out/meta-llama__Llama-3.1-8B/samples_gsm8k_cot_2024-09-01T10-20-30.123.jsonl")
    ('gsm8k_cot', 'meta-llama/Llama-3.1-8B')
    """
    found = _NAME.fullmatch(Path(path).stem)
    folder = Path(path).absolute().parent.name
    return found[1] if found else "", folder.replace("__", "/") if "__" in folder else ""


def _entry(row: Row, named: Fields) -> Entry:
    texts = _texts(row)
    return Entry(
        row, row.text(named.problem or "doc_id"), texts, prompt=_prompt(row), gold=named.gold or "target",
        model=row.text(named.model) if named.model else "", correct=_correct(row, named.correct, len(texts)),
    )  # fmt: skip


def _texts(row: Row) -> list[str | None]:
    """The texts of a document: its responses, whose lists hold one text for each time that it was asked."""
    found: list[Json] = []
    for one in row.value("resps") if isinstance(row.value("resps"), list) else [None]:
        found += one if isinstance(one, list) else [one]
    if not found or not all(isinstance(text, str) for text in found):
        raise row.bad("field 'resps': expected generated texts; log-likelihoods of given ones are no samples")
    return found


def _prompt(row: Row) -> tuple[Message, ...]:
    """The first argument of the request: a text, or a conversation as JSON."""
    value: Json = row.fields.get("arguments")
    for _ in range(2):  # {"gen_args_0": {"arg_0": prompt, ...}}, or [[prompt, settings]] in older logs
        if isinstance(value, dict) and value:
            value = next(iter(value.values()))
        elif isinstance(value, list) and value:
            value = value[0]
    if isinstance(value, str) and value.startswith("[{"):
        try:
            return messages_of(row, "arguments", json.loads(value))
        except ValueError:
            pass
    return messages_of(row, "arguments", value) if value else ()


def _correct(row: Row, metric: str | None, n: int) -> list[bool | None]:
    """The metric of each text, where it is one: not of a document that was asked repeatedly and judged once."""
    names = row.fields.get("metrics") or []
    name = metric or (names[0] if len(names) == 1 else None)
    if name is None or (metric is None and not row.has(name)):
        return []
    value = row.value(name)
    values = value if isinstance(value, list) else [value]
    if len(values) != n or (metric is None and any(one not in (0, 1, None) for one in values)):
        return []  # the metric of all texts together, or one that says how good a text is
    return [truth(row, name, one) for one in values]
