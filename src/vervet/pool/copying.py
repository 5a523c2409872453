"""Copy one pool into another that is being made: numbers are given anew, names stay.

One connection writes the new file and has the old one attached as ``src``, from which it only reads. What is copied is what the
temporary views ``in_TABLE`` show: all of it, or what ``prune`` lets through. Rows go from file to file inside SQLite, so
that memory does not grow with the pools. Where both say something of one thing, ``joining`` decides before it is copied.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from vervet.errors import DataError, Mistake, PoolDamaged, PoolFull
from vervet.pool import joining
from vervet.pool.coding import COLUMNS
from vervet.pool.ledger import LOST, OPEN, PARKED, SETTLED
from vervet.pool.parts import growing
from vervet.pool.schema import INDEX_BITS, TABLES, describe, prepare

T = TypeVar("T")
HEAD = b"SQLite format 3\0"

_CALL = (
    "indices, continues, reserve_prompt_tokens, reserve_completion_tokens, reserve_usd, prompt_tokens, "
    "completion_tokens, cached_prompt_tokens, cache_write_tokens, reasoning_tokens, unsettled_tokens, usd, n_samples, "
    "state, seconds, started"
)
_KNOWN = (
    "CREATE TEMP TABLE IF NOT EXISTS known_calls (run, stream, owner, started, indices, id, "
    "PRIMARY KEY (run, stream, owner, started, indices)) WITHOUT ROWID"
)
_MAPS = {  # the number in the old file and the one in the new file of everything that has a name
    "runs": ("key", "key", "a.id = b.id"),
    "problems": ("key", "key", "a.id = b.id"),
    "streams": (
        "id",
        "id",
        "(a.question, a.model, a.replicate, a.scope) = (b.question, b.model, b.replicate, b.scope)",
    ),
    "owners": ("id", "id", "(a.host, a.pid, a.started) = (b.host, b.pid, b.started)"),
}
ADDRESS = f"(m.new << {INDEX_BITS} | (s.address & {(1 << INDEX_BITS) - 1}))"


def expect_file(path: str) -> None:
    """Raise Mistake where there is no file, or one that is no pool; an empty one would become a pool by reading it."""
    if not Path(path).is_file():
        raise Mistake(f"expected the path of a pool file, but there is no file {path!r}")
    try:
        with open(path, "rb") as file:
            head = file.read(len(HEAD))
    except OSError as error:
        raise Mistake(f"cannot read {path!r}: {error.strerror}") from None
    if not head:
        raise Mistake(f"{path} is empty: not a pool")
    if head != HEAD:
        raise Mistake(f"{path}: expected a Vervet pool (an SQLite file), got a file that begins with {head!r}")


def expect_pool(path: str) -> None:
    """Raise Mistake where there is no pool file, PoolDamaged where it is not a whole pool of this version."""
    expect_file(path)
    prepare(path)
    tidy(path)


def tidy(path: str) -> None:
    """Let SQLite remove what looking into a pool left beside it: only who may write into the pool can do so."""
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version").fetchone()


def new_pool(path: str, fill: Callable[[sqlite3.Connection], T]) -> T:
    """Make a pool where there is no file yet, whole or not at all, with what ``fill`` puts into it.

    It grows in a hidden file beside the path (see ``parts``), which alone is left behind by a kill.
    """
    target = Path(path).absolute()
    if not target.parent.is_dir():
        raise Mistake(f"expected the path of a new pool in an existing folder, got {path!r}; make the folder first")
    _expect_vacant(target)
    with growing(target) as part:
        prepare(part)
        db = sqlite3.connect(part, isolation_level=None, uri=True)
        try:
            # Nobody sees the file before it is whole, so there is nothing to roll back and nothing to sync on the way.
            db.execute("PRAGMA main.journal_mode=OFF")
            db.execute("PRAGMA synchronous=OFF")
            result = fill(db)
            db.execute("PRAGMA main.journal_mode=WAL")
        finally:
            db.close()
        _sync(part)
        try:
            os.link(part, target)  # never over a file that came to be meanwhile
        except FileExistsError:
            _expect_vacant(target)
        return result


def _expect_vacant(target: Path) -> None:
    if target.exists():
        raise Mistake(f"expected the path of a new pool, but there is a file {str(target)!r}; name another one")


def _sync(path: str) -> None:
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def attached(db: sqlite3.Connection, path: str, views: Mapping[str, str] | None = None) -> Iterator[None]:
    """The pool at this path as ``src``, with the views through which it is read; all in one snapshot of it.

    ``views`` replaces the whole table by a query. After an error the connection is of no use.
    """
    try:
        db.execute("ATTACH ? AS src", (f"{Path(path).absolute().as_uri()}?mode=rw",))
        db.execute("BEGIN")
        for table in TABLES:
            query = (views or {}).get(table, f"SELECT * FROM src.{table}")
            db.execute(f"CREATE TEMP VIEW in_{table} AS {query}")
        yield
        for table in TABLES:
            db.execute(f"DROP VIEW temp.in_{table}")
        db.execute("COMMIT")
        db.execute("DETACH src")
    except sqlite3.DatabaseError as error:
        raise _explain(path, error) from None


def _explain(path: str, error: sqlite3.DatabaseError) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return PoolFull(f"expected room to write a new pool, got: {error}; make room on the disk, then do it again")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return PoolDamaged(describe(path, error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DataError(f"{path}: another program locks the file; end it and try again")
    return error


def copy(db: sqlite3.Connection, path: str) -> None:
    """Add everything that the views show to the new file. Raises Mistake where it contradicts what is there."""
    _expect_closed(db, path)
    joining.expect_same_problems(db, path)
    _named(db)
    _calls(db)
    _seconds(db)
    _samples(db, path)
    _uses(db)
    joining.judgements(db, path)
    for table in ("map_runs", "map_problems", "map_streams", "map_owners", "map_calls"):
        db.execute(f"DROP TABLE temp.{table}")


def _expect_closed(db: sqlite3.Connection, path: str) -> None:
    states = dict(db.execute(f"SELECT state, count(*) FROM in_calls WHERE state IN ({OPEN}, {PARKED}) GROUP BY state"))
    if n := states.get(PARKED):
        raise Mistake(
            f"{path}: {n:,} draws wait in batch files, which belong to this pool alone; collect their results (the same "
            f"run again) or give them up (vervet pool release {path} NUMBER) first"
        )
    if n := states.get(OPEN):
        raise Mistake(
            f"{path}: {n:,} calls are open: either something draws into it now, or it was killed; wait for it, or start "
            "its run again (with --replay nothing is drawn), which books what was lost"
        )


def _named(db: sqlite3.Connection) -> None:
    """Runs, problems, questions, streams and owners by their names, and the maps of their numbers."""
    db.execute(
        "INSERT INTO main.runs (id, identity, created) SELECT id, identity, created FROM in_runs WHERE true "
        "ORDER BY key ON CONFLICT (id) DO UPDATE SET created = min(created, excluded.created)"
    )
    db.execute(
        "INSERT INTO main.problems (id, task, data, target, level) SELECT id, task, data, target, level FROM in_problems "
        "WHERE true ORDER BY key ON CONFLICT (id) DO UPDATE SET task = excluded.task, data = excluded.data, "
        "target = excluded.target, level = excluded.level WHERE problems.data IS NULL OR excluded.task < problems.task"
    )
    db.execute("INSERT OR IGNORE INTO main.questions SELECT * FROM in_questions")
    db.execute(
        "INSERT OR IGNORE INTO main.streams (model, question, replicate, scope) "
        "SELECT model, question, replicate, scope FROM in_streams ORDER BY id"
    )
    db.execute(
        "INSERT INTO main.owners (host, pid, started) SELECT host, pid, started FROM in_owners "
        "EXCEPT SELECT host, pid, started FROM main.owners ORDER BY 3"
    )
    for table, (old, new, same) in _MAPS.items():
        db.execute(f"CREATE TEMP TABLE map_{table} (old INTEGER PRIMARY KEY, new INTEGER NOT NULL)")
        db.execute(
            f"INSERT OR IGNORE INTO map_{table} SELECT a.{old}, b.{new} FROM in_{table} a JOIN main.{table} b ON {same}"
        )
    # Numbers of batch files stay taken: their files may still lie in a folder.
    db.execute("INSERT OR IGNORE INTO main.batches SELECT * FROM in_batches")


def _calls(db: sqlite3.Connection) -> None:
    """Calls with their bills and failures; a call that another copy of the pool brought is the same call."""
    db.execute(_KNOWN)
    db.execute("CREATE TEMP TABLE map_calls (old INTEGER PRIMARY KEY, new INTEGER, run, stream, owner, fresh)")
    (last,) = db.execute("SELECT ifnull(max(id), 0) FROM main.calls").fetchone()
    db.execute(
        "INSERT INTO map_calls SELECT c.id, ifnull(k.id, ? + sum(k.id IS NULL) OVER (ORDER BY c.id)), r.new, "
        "ifnull(t.new, 0), ifnull(o.new, 0), k.id IS NULL FROM in_calls c JOIN map_runs r ON r.old = c.run "
        "LEFT JOIN map_streams t ON t.old = c.stream LEFT JOIN map_owners o ON o.old = c.owner "
        "LEFT JOIN known_calls k ON (k.run, k.stream, k.owner, k.started, k.indices) "
        "= (r.new, ifnull(t.new, 0), ifnull(o.new, 0), c.started, c.indices)",
        (last,),
    )
    db.execute(
        f"INSERT INTO main.calls (id, run, stream, owner, {_CALL}) SELECT m.new, m.run, m.stream, m.owner, "
        + ", ".join(f"c.{name.strip()}" for name in _CALL.split(","))
        + " FROM in_calls c JOIN map_calls m ON m.old = c.id WHERE m.fresh ORDER BY m.new"
    )
    db.execute(
        "INSERT OR IGNORE INTO known_calls SELECT run, stream, owner, started, indices, id FROM main.calls WHERE id > ?",
        (last,),
    )
    # One copy was taken while the call was open and booked it as lost; the other one knows what it really cost.
    db.execute(
        f"UPDATE main.calls SET ({_CALL}) = (SELECT {_CALL} FROM in_calls c JOIN map_calls m ON m.old = c.id "
        f"WHERE m.new = calls.id) WHERE state = {LOST} AND id IN (SELECT m.new FROM in_calls c JOIN map_calls m "
        f"ON m.old = c.id WHERE c.state = {SETTLED} AND NOT m.fresh)"
    )
    failures = (
        "SELECT m.new, f.idx, f.kind, f.reason, f.retry_after_s FROM in_failures f JOIN map_calls m ON m.old = f.call"
    )
    db.execute(f"INSERT INTO main.failures {failures} WHERE m.fresh ORDER BY m.new, f.idx")
    db.execute(f"INSERT INTO main.failures {failures} WHERE NOT m.fresh EXCEPT SELECT * FROM main.failures")


def _seconds(db: sqlite3.Connection) -> None:
    """Wall time adds up where the calls of a run are others; of two copies of one run the longer counts."""
    db.execute(
        "UPDATE main.runs SET seconds = CASE WHEN s.brings AND NOT s.shares THEN runs.seconds + s.seconds "
        "ELSE max(runs.seconds, s.seconds) END FROM (SELECT m.new AS key, r.seconds, "
        "EXISTS (SELECT 1 FROM map_calls c WHERE c.run = m.new AND c.fresh) AS brings, "
        "EXISTS (SELECT 1 FROM map_calls c WHERE c.run = m.new AND NOT c.fresh) AS shares "
        "FROM in_runs r JOIN map_runs m ON m.old = r.key) AS s WHERE runs.key = s.key"
    )


def _samples(db: sqlite3.Connection, path: str) -> None:
    """What lies at addresses: what both have is compared first, the rest is copied as it is."""
    joining.samples(db, path)
    rest = ", ".join(f"s.{name.strip()}" for name in COLUMNS.split(",")[3:])
    db.execute(
        f"INSERT OR IGNORE INTO main.samples ({COLUMNS}) SELECT {ADDRESS}, s.state, c.new, {rest} FROM in_samples s "
        f"JOIN map_streams m ON m.old = s.address >> {INDEX_BITS} LEFT JOIN map_calls c ON c.old = s.call "
        "ORDER BY s.address"
    )


def _uses(db: sqlite3.Connection) -> None:
    """Which draws runs used, which failures stayed, and what was foretold."""
    joined = (
        f"JOIN map_runs r ON r.old = s.run JOIN map_problems p ON p.old = s.problem "
        f"JOIN map_streams m ON m.old = s.address >> {INDEX_BITS}"
    )
    db.execute(
        "INSERT OR IGNORE INTO main.uses SELECT r.new, p.new, s.operator, s.role, s.ord, "
        f"{ADDRESS}, s.n_tokens, s.text FROM in_uses s {joined}"
    )
    db.execute(
        f"INSERT OR IGNORE INTO main.kept_failures SELECT r.new, {ADDRESS}, p.new, s.kind, s.reason "
        f"FROM in_kept_failures s {joined}"
    )
    db.execute(
        "INSERT INTO main.forecasts SELECT r.new, n, k, law, target, value, low, high, level, made FROM in_forecasts f "
        "JOIN map_runs r ON r.old = f.run WHERE true ON CONFLICT DO UPDATE SET value = excluded.value, "
        "low = excluded.low, high = excluded.high, level = excluded.level, made = excluded.made "
        "WHERE excluded.made < forecasts.made"
    )
