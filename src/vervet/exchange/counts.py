"""Success counts from a file: of n draws of a problem, c were right. All that a scaling law needs.

CSV, JSON lines or Parquet with one row per problem and model. What is not one number of draws for every problem must be
explained (``parse_stopped``), because pass@k of numbers that the draws decided is biased.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os.path import basename, isfile
from pathlib import Path
from typing import Final

from ..errors import Mistake
from ..scaling.counts import FIXED, Counts, Stopped
from ..tasks.reading import ENDINGS, Row, no_such, read_rows

PROBLEM: Final = ("problem", "problem_idx", "problem_id", "task_id", "id", "idx")
DRAWN: Final = ("n", "num_samples", "n_samples", "total")
RIGHT: Final = ("c", "num_correct", "n_correct", "correct", "successes")


@dataclass(slots=True)
class _Series:
    """The counts of one model on one benchmark, as they are read."""

    places: dict[str, str] = field(default_factory=dict)
    n: list[int] = field(default_factory=list)
    correct: list[int] = field(default_factory=list)


def is_counts(path: str) -> bool:
    """Whether a file holds success counts: rows that have a problem, a number of draws and a number of right ones."""
    if not isfile(path) or Path(path).suffix not in ENDINGS:
        return False
    try:
        first = read_rows(path).rows[0]
    except Mistake:
        return False
    return has_counts(first)


def has_counts(row: Row) -> bool:
    """Whether a row has a problem, a number of draws and a number of right ones.

    >>> has_counts(Row({"id": 1, "n": 10, "c": 3}, "")), has_counts(Row({"id": 1, "n": 2, "correct": [True, False]}, ""))
    (True, False)
    """
    columns = [_named(row, names) for names in (PROBLEM, DRAWN, RIGHT)]
    return all(columns) and not any(isinstance(row.fields[str(name)], list | bool) for name in columns)


def read_counts(path: str, stopped: Stopped | None = None) -> list[Counts]:
    """The counts of each model (and benchmark) of a file, in the order of the file.

    Columns: a problem (``problem``, ``problem_idx``, ``problem_id``, ``task_id``, ``id``), ``n`` (``num_samples``, ``n_samples``,
    ``total``), ``c`` (``num_correct``, ``n_correct``, ``correct``, ``successes``), and if there are several ``model`` and
    ``benchmark``. ``stopped`` says what ended the drawing (see ``scaling.counts``). Raises ``Mistake`` with the file, the line and
    the column for whatever is wrong.
    """
    rows = read_rows(path).rows
    columns = [_column(rows[0], names) for names in (PROBLEM, DRAWN, RIGHT)]
    _expect_named(rows)
    found: dict[tuple[str, str], _Series] = {}
    for row in rows:
        name, n, correct = row.text(columns[0]), _whole(row, columns[1], 1), _whole(row, columns[2], 0)
        if correct > n:
            raise row.bad(f"column {columns[2]!r}: expected at most the {n} draws of {columns[1]!r}, but got {correct}")
        series = found.setdefault((_optional(row, "model"), _optional(row, "benchmark")), _Series())
        if name in series.places:
            raise row.bad(
                f"column {columns[0]!r}: problem {name!r} of this model stands at {series.places[name]} already"
            )
        series.places[name] = row.place
        series.n.append(n)
        series.correct.append(correct)
    several = len({benchmark for _, benchmark in found}) > 1
    return [_counts(path, key, series, stopped, several) for key, series in found.items()]


def parse_stopped(text: str) -> Stopped:
    """What ended the drawing, from a text: ``fixed``, or ``successes=R`` with ``cap=N`` where there was one. Raises ``Mistake``.

    >>> parse_stopped("successes=1,cap=60")
    Stopped(successes=1, cap=60)
    """
    if text.strip() == "fixed":
        return FIXED
    said: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name.strip() not in ("successes", "cap") or name.strip() in said or not number.strip().isdecimal():
            raise Mistake(f"expected fixed, or successes=1,cap=60, but got {text!r}")
        said[name.strip()] = int(number)
    if not said.get("successes"):
        raise Mistake(f"expected fixed, or the number of right draws that ended it (successes=1), but got {text!r}")
    return Stopped(**said)


def _counts(path: str, key: tuple[str, str], series: _Series, stopped: Stopped | None, several: bool) -> Counts:
    model, benchmark = key
    name = ", ".join(filter(None, (model, benchmark if several else ""))) or Path(path).stem
    try:
        return Counts(series.n, series.correct, name, list(series.places), stopped)
    except Mistake as error:
        raise Mistake(f"{basename(path)}, {name}: {error}") from None


def _named(row: Row, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row.fields), None)


def _column(row: Row, names: Sequence[str]) -> str:
    found = _named(row, names)
    if found is None:
        raise row.bad(f"has no column {names[0]!r} (or {', '.join(names[1:])}){no_such(names[0], row.fields)}")
    return found


def _optional(row: Row, name: str) -> str:
    return row.text(name) if row.has(name) else ""


def _expect_named(rows: Sequence[Row]) -> None:
    """Refuse a row without a model (or benchmark) beside others that name theirs: whose counts it holds is not known."""
    for name in ("model", "benchmark"):
        having = [row.has(name) for row in rows]
        if any(having) and not all(having):
            raise rows[having.index(False)].bad(
                f"has no {name!r}, but {rows[having.index(True)].place} has: name it in every row, or in none"
            )


def _whole(row: Row, name: str, least: int) -> int:
    """A column as a whole number of ``least`` or more."""
    value = row.value(name)
    try:
        number = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        number = None
    if number is None or number != number // 1 or not least <= number < 2**53:
        raise row.bad(f"column {name!r}: expected a whole number of {least} or more, but got {value!r}")
    return int(number)
