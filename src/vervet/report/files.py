"""Files for other programs: one tidy row per curve and k as CSV or Parquet, and the picture as PNG.

Each is written whole or not at all; what cannot be written is a ``Mistake`` with its path.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vervet.errors import MissingExtra
from vervet.pool.parts import replacing
from vervet.report.data import name_of
from vervet.report.figure import png
from vervet.report.figures import Figures

COLUMNS = (
    "name", "source", "k", "cost", "cost_unit", "value", "unit", "low", "high", "draws_low", "draws_high", "n_problems",
    "n_draws",
)  # fmt: skip


def rows(figures: Sequence[Figures]) -> Iterator[dict[str, Any]]:
    """A row per curve and k, by ``COLUMNS``.

    ``source``: the run or the model. ``cost``: of k draws of a problem, in ``cost_unit``; None where only draws are
    known. ``value`` in ``unit``. ``low``, ``high``: 95 % over new problems; ``draws_low``, ``draws_high``: 95 % under new draws
    on the same problems, None where k is over a quarter of the draws.
    """
    for one in figures:
        axis = one.axis
        for curve in one.curves:
            for i, k in enumerate(curve.k):
                yield {
                    "name": curve.name, "source": name_of(one), "k": k, "cost": axis.at(k) if axis else None,
                    "cost_unit": axis.unit if axis else None, "value": curve.value[i], "unit": curve.unit,
                    "low": curve.low[i], "high": curve.high[i], "draws_low": curve.draws_low[i],
                    "draws_high": curve.draws_high[i], "n_problems": curve.n_problems, "n_draws": curve.n_draws,
                }  # fmt: skip


def write_csv(path: str | os.PathLike[str], figures: Sequence[Figures]) -> Path:
    """Write ``rows`` as CSV with a header (UTF-8; what is not known is empty) and return the path."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows(figures))
    return Path(path)


def write_parquet(path: str | os.PathLike[str], figures: Sequence[Figures]) -> Path:
    """Write ``rows`` as Parquet and return the path. Raises MissingExtra without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "data") from None
    types = dict.fromkeys(COLUMNS, pyarrow.float64())
    types |= dict.fromkeys(("name", "source", "cost_unit", "unit"), pyarrow.string())
    types |= dict.fromkeys(("k", "n_problems", "n_draws"), pyarrow.int64())
    table = pyarrow.Table.from_pylist(list(rows(figures)), pyarrow.schema(list(types.items())))
    with replacing(path) as part:
        parquet.write_table(table, part)
    return Path(path)


def write_png(path: str | os.PathLike[str], figures: Sequence[Figures]) -> Path:
    """Write the picture (the headline of one, the coverage of several) as PNG and return the path.

    Raises MissingExtra without matplotlib, Mistake where there is nothing to draw.
    """
    picture = png(figures)
    with replacing(path) as part:
        part.write_bytes(picture)
    return Path(path)
