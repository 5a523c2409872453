"""What scorers said of every draw of a run, as tables: from these, selectors are replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from vervet.pool import judged
from vervet.pool.rows import RunRow
from vervet.pool.store import SqlitePool
from vervet.run.declared import FIRST
from vervet.scaling.draws import Bools, Floats


@dataclass(frozen=True)
class Judgements:
    """What scorers said of every draw, by scorer, (problems, n): values, whether accepted; tokens per draw, (problems,).

    ``notes``: which scorers are left out, and why.
    """

    scores: Mapping[str, Floats]
    accepted: Mapping[str, Bools]
    asks: Mapping[str, Floats]
    notes: Sequence[str]


def judgements(pool: SqlitePool, row: RunRow, names: Sequence[str], n: int) -> Judgements:
    """The scorers that judged each of the ``n`` declared draws of these problems; a lost draw is neither liked nor accepted."""
    scores, accepted, asks, notes = dict[str, Floats](), dict[str, Bools](), dict[str, Floats](), list[str]()
    other = judged.n_used(pool, row.id)
    every = judged.scorers(pool, row.id)
    models = Counter(stored.partition("@")[0] for stored in every)
    for stored in every:
        tables = _tables(pool, row, stored, names)
        n_missing = sum(value is None and accept is None for table in tables for value, accept in table)
        if n_missing:
            notes.append(f"{stored} is left out: it did not judge {n_missing:,} of the draws.")
            continue
        name = stored.partition("@")[0]
        name = name if models[name] == 1 else stored  # one judge, asked of several models
        lost = [n - len(table) for table in tables]
        if all(accept is not None for table in tables for _, accept in table):
            accepted[name] = np.array(
                [[bool(a) for _, a in t] + [False] * k for t, k in zip(tables, lost, strict=True)]
            )
        if len({value for table in tables for value, _ in table}) > 2:
            scores[name] = np.array(
                [[-np.inf if v is None else v for v, _ in t] + [-np.inf] * k for t, k in zip(tables, lost, strict=True)]
            )
        if "@" in stored and "@import/" not in stored:
            asks[name] = np.array([other.get(one, (0, 0))[1] / n for one in names])
            notes.append(
                f"{stored}: what it asked of a model is in its costs, and that of all scorers of this run with it."
            )
    return Judgements(scores, accepted, asks, notes)


def _tables(
    pool: SqlitePool, row: RunRow, scorer: str, names: Sequence[str]
) -> list[list[tuple[float | None, int | None]]]:
    rows = judged.scored(pool, row.id, scorer, FIRST)
    by_problem = {name: [(v, a) for _, v, a in group] for name, group in groupby(rows, key=lambda one: one[0])}
    return [by_problem.get(name, []) for name in names]
