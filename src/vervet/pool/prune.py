"""A smaller copy of a pool: what some of its runs used, and all that they paid. The pool itself stays as it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vervet.pool.coding import COLUMNS, SAMPLE
from vervet.pool.copying import attached, copy, expect_pool, new_pool
from vervet.pool.merge import count, size
from vervet.pool.reports import run_named
from vervet.pool.schema import INDEX_BITS

_KEPT = "(SELECT key FROM temp.kept_runs)"
_PROBLEMS = "(SELECT key FROM temp.kept_problems)"
_STREAMS = "(SELECT id FROM temp.kept_streams)"
_OF_CALLS = f"(SELECT id FROM src.calls WHERE run IN {_KEPT})"
_VIEWS = {
    "runs": f"SELECT * FROM src.runs WHERE key IN {_KEPT}",
    "problems": f"SELECT * FROM src.problems WHERE key IN {_PROBLEMS}",
    "streams": f"SELECT * FROM src.streams WHERE id IN {_STREAMS}",
    "questions": f"SELECT * FROM src.questions WHERE digest IN (SELECT question FROM src.streams WHERE id IN {_STREAMS})",
    "owners": f"SELECT * FROM src.owners WHERE id IN (SELECT owner FROM src.calls WHERE run IN {_KEPT})",
    "failures": f"SELECT * FROM src.failures WHERE call IN {_OF_CALLS}",
    **{table: f"SELECT * FROM src.{table} WHERE run IN {_KEPT}"
       for table in ("calls", "kept_failures", "uses", "answers", "forecasts")},
    **{table: f"SELECT * FROM src.{table} WHERE problem IN {_PROBLEMS}" for table in ("verdicts", "scores", "regraded")},
}  # fmt: skip
_SAMPLES = (
    f"FROM src.samples s WHERE s.address IN (SELECT address FROM temp.kept_addresses) "
    f"OR s.state != {SAMPLE} AND s.address >> {INDEX_BITS} IN {_STREAMS}"
)
_FIGURES = ("logprob", "topk", "entropy")
_TOKENS = ("k", "form", "ids", "ends")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What became of a pruning: samples in the new pool and left out of it, bytes of the old file and the new one."""

    path: str
    runs: int
    problems: int
    samples: int
    left_out: int
    bytes_before: int
    n_bytes: int


def prune(pool: str, path: str, runs: Sequence[str] = (), figures: bool = True) -> Pruned:
    """Make a pool at ``path`` with what these runs of ``pool`` used (no name: all of its runs), and every call they made.

    A run is named by its id or the beginning of it. What the runs paid stays as it was, also for draws that they did not
    use. Failures and voids stay, so that a replay skips what the run skipped. Without ``figures`` the columns of figures
    per token are left out, and token ids too where every use showed the whole sample: what needs them (cut rules,
    confidence) then says that they are missing. Raises ``Mistake``, and makes nothing, where there is a file at ``path``,
    or the pool has open calls or draws in batch files of these runs.
    """
    expect_pool(pool)
    return new_pool(path, lambda db: _fill(db, pool, path, runs, figures))


def _fill(db: sqlite3.Connection, pool: str, path: str, runs: Sequence[str], figures: bool) -> Pruned:
    for table in ("runs (key", "problems (key", "streams (id", "addresses (whole, address"):
        db.execute(f"CREATE TEMP TABLE kept_{table} INTEGER PRIMARY KEY)")
    with attached(db, pool, {**_VIEWS, "samples": f"SELECT {_columns(figures)} {_SAMPLES}"}):
        _choose(db, pool, runs)
        n_before = int(db.execute(f"SELECT count(*) FROM src.samples WHERE state = {SAMPLE}").fetchone()[0])
        copy(db, pool)
    n_samples = int(db.execute(f"SELECT count(*) FROM main.samples WHERE state = {SAMPLE}").fetchone()[0])
    before = sum(file.stat().st_size for file in (Path(pool), Path(f"{pool}-wal")) if file.exists())
    return Pruned(
        path, count(db, "runs"), count(db, "problems"), n_samples, n_before - n_samples, before, size(db)
    )  # fmt: skip


def _choose(db: sqlite3.Connection, pool: str, names: Sequence[str]) -> None:
    """Fill the tables of what is kept."""
    known = [row[0] for row in db.execute("SELECT id FROM src.runs ORDER BY key")]
    for name in names or known:
        chosen = run_named(name, known, pool)
        db.execute("INSERT OR IGNORE INTO kept_runs SELECT key FROM src.runs WHERE id = ?", (chosen,))
    for table in ("uses", "answers", "kept_failures"):
        db.execute(f"INSERT OR IGNORE INTO kept_problems SELECT problem FROM src.{table} WHERE run IN {_KEPT}")
    db.execute(
        "INSERT INTO kept_addresses (address, whole) SELECT u.address, min(u.n_tokens >= ifnull(s.n_tokens, 0)) FROM src.uses u "
        f"LEFT JOIN src.samples s ON s.address = u.address WHERE u.run IN {_KEPT} GROUP BY u.address"
    )
    db.execute(f"INSERT OR IGNORE INTO kept_streams SELECT DISTINCT address >> {INDEX_BITS} FROM kept_addresses")
    for query in (f"address >> {INDEX_BITS} FROM src.kept_failures", "stream FROM src.calls"):
        db.execute(f"INSERT OR IGNORE INTO kept_streams SELECT DISTINCT {query} WHERE run IN {_KEPT}")


def _columns(figures: bool) -> str:
    """The columns of a sample: all of them, or without what stands there per token and is not needed to show its uses."""
    whole = "(SELECT whole FROM temp.kept_addresses a WHERE a.address = s.address)"
    left = dict.fromkeys(_FIGURES, "NULL")
    left |= {name: f"CASE WHEN {whole} THEN NULL ELSE s.{name} END" for name in _TOKENS}
    left |= {"mean_logprob": f"CASE WHEN {whole} THEN s.mean_logprob END"}  # of what was used, which needs the column
    names = [part.strip() for part in COLUMNS.split(",")]
    return ", ".join(f"{f's.{name}' if figures else left.get(name, f's.{name}')} AS {name}" for name in names)
