"""Forecasts of a run: made once from its declared draws, kept with it, and held against what later draws show."""

from __future__ import annotations

from dataclasses import fields

from threadpoolctl import threadpool_limits

from ..errors import Mistake
from ..pool import ForecastRow, SqlitePool
from ..pool.rows import RunRow
from ..scaling.counts import Counts
from ..scaling.forecast import Forecast, forecasts
from .declared import counts_of, declared_draws, same_question, solved_by

FACTORS = (2, 5, 10, 100)  # times the draws so far
LEAST = 10  # draws a problem, and problems, from which something is foretold


def foretell(pool: SqlitePool, row: RunRow) -> list[Forecast]:
    """Coverage at 2, 5, 10 and 100 times the declared draws of a run, kept with the run; a forecast that it has stays.

    Nothing where the run declared no draws, has fewer than ten of them or ten problems, or is not finished: what is foretold
    of some of its problems would stay. Cost: a second or two.
    """
    if (declared_draws(row) or 0) < LEAST:
        return []
    if not (known := kept(pool, row)):
        counts = counts_of(pool, row)
        if counts.n_problems < max(LEAST, row.identity.get("problems") or 0):
            return []
        with threadpool_limits(1, "blas"):  # many small products: threads take ten times as long on a busy machine
            made = forecasts(counts, ahead_of(counts), seed=row.identity["seed"])
        pool.add_forecasts(row.id, made)
        known = kept(pool, row)
    return known


def ahead_of(counts: Counts) -> list[int]:
    """The ks that are foretold from counts."""
    return [factor * int(counts.n.max()) for factor in FACTORS]


def kept(pool: SqlitePool, row: RunRow) -> list[Forecast]:
    """The forecasts that a run has."""
    return [_plain(one) for one in pool.forecasts(row.id)]


def truth(pool: SqlitePool, row: RunRow, forecast: Forecast) -> float | None:
    """Coverage by the first k draws, where a run of the pool has declared so many; None while none has.

    "same problems": a run that asked the same of the same problems, and whose first draws are those of this one (of one
    replicate). "new problems": one that asked it of others of the same level alone.
    """
    mine = {answer.problem for answer in pool.answers(row.id)}
    for other in pool.runs():
        if (declared_draws(other) or 0) < forecast.k or not same_question(row, other):
            continue
        try:
            solved = solved_by(pool, other, forecast.k)
        except Mistake:  # none of its problems is finished
            continue
        alike = other.identity.get("level") == row.identity.get("level")
        same = other.identity["replicate"] == row.identity["replicate"]
        if forecast.target == "same problems" and same and solved.keys() >= mine:
            return sum(solved[name] for name in mine) / len(mine)
        if forecast.target == "new problems" and alike and not solved.keys() & mine and len(solved) >= LEAST:
            return sum(solved.values()) / len(solved)
    return None


def _plain(row: ForecastRow) -> Forecast:
    return Forecast(**{f.name: getattr(row, f.name) for f in fields(Forecast)})
