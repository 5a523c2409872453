"""The file: its tables, how it is opened, and how a foreign or damaged one is told apart.

Knows nothing of samples or calls beyond their columns. An address is one integer, ``stream << 32 | index``, so that
the samples of a stream lie side by side in one B-tree and every table refers to them in eight bytes.

What is committed survives a kill of the process; a power cut may cost the last seconds, never the file
(``synchronous=NORMAL``). Limits: 2**32 indices a stream; one machine (WAL needs shared memory, so no network file
systems).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vervet.errors import Mistake, PoolDamaged

APPLICATION_ID = 0x56525654  # "VRVT"
SCHEMA_VERSION = 1
INDEX_BITS = 32
BUSY_MS = 10_000

SCHEMA = """
CREATE TABLE runs (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, identity TEXT NOT NULL,
    created REAL NOT NULL, seconds REAL NOT NULL DEFAULT 0);
CREATE TABLE problems (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, task TEXT, data TEXT, target TEXT,
    level INTEGER);
CREATE TABLE questions (digest TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE streams (id INTEGER PRIMARY KEY, model TEXT NOT NULL, question TEXT NOT NULL,
    replicate INTEGER NOT NULL, scope TEXT NOT NULL, UNIQUE (question, model, replicate, scope));
CREATE TABLE samples (address INTEGER PRIMARY KEY, state INTEGER NOT NULL, call INTEGER, ended TEXT,
    n_tokens INTEGER, prompt_tokens INTEGER, mean_logprob REAL, k INTEGER, form INTEGER,
    text TEXT, reasoning TEXT, tool_calls TEXT,
    ids BLOB, ends BLOB, logprob BLOB, topk BLOB, entropy BLOB);
CREATE TABLE owners (id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT, pid INTEGER, started REAL);
CREATE TABLE calls (id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, stream INTEGER NOT NULL,
    owner INTEGER NOT NULL, indices TEXT NOT NULL, continues INTEGER NOT NULL,
    reserve_prompt_tokens INTEGER NOT NULL, reserve_completion_tokens INTEGER NOT NULL, reserve_usd REAL NOT NULL,
    prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
    cached_prompt_tokens INTEGER NOT NULL DEFAULT 0, cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0, unsettled_tokens INTEGER NOT NULL DEFAULT 0,
    usd REAL NOT NULL DEFAULT 0, n_samples INTEGER NOT NULL DEFAULT 0, state INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0, started REAL NOT NULL);
CREATE INDEX calls_of_run ON calls (run);
CREATE INDEX open_calls ON calls (owner) WHERE state = 0;
CREATE TABLE claims (address INTEGER PRIMARY KEY, call INTEGER NOT NULL);
CREATE TABLE failures (call INTEGER NOT NULL, idx INTEGER NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
    retry_after_s REAL);
CREATE TABLE kept_failures (run INTEGER NOT NULL, address INTEGER NOT NULL, problem INTEGER NOT NULL,
    kind TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (run, address)) WITHOUT ROWID;
CREATE TABLE uses (run INTEGER NOT NULL, problem INTEGER NOT NULL, operator TEXT NOT NULL, role TEXT NOT NULL,
    ord INTEGER NOT NULL, address INTEGER NOT NULL, n_tokens INTEGER NOT NULL, text INTEGER NOT NULL,
    PRIMARY KEY (run, problem, operator, role, ord, address, n_tokens, text)) WITHOUT ROWID;
CREATE TABLE verdicts (problem INTEGER NOT NULL, text INTEGER NOT NULL, answer TEXT, key TEXT,
    outcome TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (problem, text)) WITHOUT ROWID;
CREATE TABLE scores (scorer TEXT NOT NULL, problem INTEGER NOT NULL, text INTEGER NOT NULL,
    replicate INTEGER NOT NULL, value REAL, accepted INTEGER, steps TEXT, evidence TEXT NOT NULL,
    not_judged TEXT NOT NULL, PRIMARY KEY (scorer, problem, replicate, text)) WITHOUT ROWID;
CREATE TABLE answers (run INTEGER NOT NULL, problem INTEGER NOT NULL, text TEXT, answer TEXT, key TEXT,
    outcome TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (run, problem)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (number INTEGER PRIMARY KEY AUTOINCREMENT, folder TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parked (call INTEGER PRIMARY KEY, batch INTEGER NOT NULL, endings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS regraded (problem INTEGER PRIMARY KEY, grader TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS forecasts (run INTEGER NOT NULL, n INTEGER NOT NULL, k INTEGER NOT NULL, law TEXT NOT NULL,
    target TEXT NOT NULL, value REAL, low REAL, high REAL, level REAL NOT NULL, made REAL NOT NULL,
    PRIMARY KEY (run, n, k, law, target)) WITHOUT ROWID;
"""
# Since the first pools were made: opening one of those adds them.
ADDED = ("batches", "parked", "regraded", "forecasts")
TABLES = tuple(
    line.removeprefix("CREATE TABLE ").removeprefix("IF NOT EXISTS ").split()[0]
    for line in SCHEMA.splitlines()
    if line.startswith("CREATE TABLE")
)


def address_key(stream_id: int, index: int) -> int:
    """The integer that stands for an address in the file."""
    return stream_id << INDEX_BITS | index


def split_key(key: int) -> tuple[int, int]:
    """(stream id, index) of such an integer."""
    return key >> INDEX_BITS, key & (1 << INDEX_BITS) - 1


def rows_at(db: sqlite3.Connection, select: str, addresses: Sequence[int]) -> list[Any]:
    """The rows of ``select`` (without its WHERE) at these addresses, in no order.

    A block of neighbours is one range scan; anything else is looked up in groups of one fixed size, so that SQLite
    prepares each statement once.
    """
    if not addresses:
        return []
    low, high = min(addresses), max(addresses)
    if high - low < 2 * len(addresses):
        found = db.execute(f"{select} WHERE address BETWEEN ? AND ?", (low, high)).fetchall()
        if high - low + 1 == len(addresses):
            return found
        wanted = set(addresses)
        return [row for row in found if row[0] in wanted]
    rows: list[Any] = []
    marks = ",".join("?" * 64)
    for start in range(0, len(addresses), 64):
        block = list(addresses[start : start + 64])
        block += block[-1:] * (64 - len(block))
        rows += db.execute(f"{select} WHERE address IN ({marks})", block).fetchall()
    return rows


def connect(path: str, reader: bool = False) -> sqlite3.Connection:
    """A connection as this pool uses them: explicit transactions; a reader cannot write."""
    db = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("PRAGMA cache_size=-65536")
    # A checkpoint syncs the disk; at 32 MB it costs little per sample and the log stays small beside the pool.
    db.execute("PRAGMA wal_autocheckpoint=4000")
    if reader:
        db.execute("PRAGMA query_only=1")
    return db


def is_busy(error: sqlite3.Error) -> bool:
    """True where another connection holds the file and waiting helps."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def prepare(path: str) -> None:
    """Make the file if there is none (or an empty one); refuse what is not a whole pool of this version, untouched."""
    file = Path(path)
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise Mistake(f"expected the path of a pool file in an existing folder, got {path!r}; make the folder first")
    if not file.exists() or file.stat().st_size == 0 or _inspect(file):
        _create(path)


def _inspect(file: Path) -> bool:
    """True where the file holds an empty database; raises PoolDamaged where it holds anything but a pool of ours."""
    head = _head(file, 16)
    if head != b"SQLite format 3\0":
        raise PoolDamaged(f"{file}: expected a Vervet pool (an SQLite file), got a file that begins with {head!r}")
    try:
        return _identify(file)
    except sqlite3.DatabaseError as error:
        if is_busy(error):
            raise PoolDamaged(f"{file}: another program locks the file ({error}); end it and try again") from None
        raise PoolDamaged(describe(str(file), error)) from None
    except UnicodeDecodeError:
        raise PoolDamaged(f"{file}: the names of its tables cannot be read; restore it from a copy") from None


def _identify(file: Path) -> bool:
    # Read only, so that a foreign file stays as it is (no checkpoint, no change of its journal mode).
    db = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_MS / 1000)
    try:
        db.execute("BEGIN")  # one snapshot: another process may be making the file
        app = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        db.close()
    if not tables and app in (0, APPLICATION_ID) and version == 0:
        return True
    if app != APPLICATION_ID:
        raise PoolDamaged(
            f"{file}: expected application id {APPLICATION_ID:#x} (a Vervet pool), got {app:#x} with tables "
            f"{', '.join(sorted(tables)[:5]) or 'none'}; this database belongs to another program, name another file"
        )
    if version != SCHEMA_VERSION:
        raise PoolDamaged(
            f"{file}: expected schema version {SCHEMA_VERSION}, got {version}; "
            "open it with the version of Vervet that wrote it"
        )
    missing = sorted(set(TABLES) - tables)
    if missing and set(missing) <= set(ADDED):
        _add_tables(file)
    elif missing:
        raise PoolDamaged(f"{file}: expected {len(TABLES)} tables, table {missing[0]} is missing")
    return False


def _add_tables(file: Path) -> None:
    db = sqlite3.connect(file, timeout=BUSY_MS / 1000, isolation_level=None)
    try:
        for statement in SCHEMA.split(";"):
            if "IF NOT EXISTS" in statement:
                db.execute(statement)
    finally:
        db.close()


def _create(path: str) -> None:
    try:
        db = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None)
    except sqlite3.OperationalError as error:
        raise Mistake(f"cannot make the pool {path}: {error}") from None
    try:
        for attempt in range(200):
            try:
                return _create_tables(db)
            except sqlite3.OperationalError as error:
                # Switching to WAL does not wait for another process that creates the same file.
                if not is_busy(error) or attempt == 199:
                    raise Mistake(f"cannot make the pool {path}: {error}") from None
                if db.in_transaction:
                    db.execute("ROLLBACK")
                time.sleep(0.02)
    finally:
        db.close()


def _create_tables(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA page_size=8192")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("BEGIN IMMEDIATE")
    if db.execute("PRAGMA user_version").fetchone()[0] == 0:
        for statement in SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    db.execute("COMMIT")


def _head(file: Path, n_bytes: int) -> bytes:
    with file.open("rb") as opened:
        return opened.read(n_bytes)


def describe(path: str, error: sqlite3.Error) -> str:
    """Where a file is damaged, as far as SQLite can tell: sizes from its header, the first find of a quick check."""
    head = _head(Path(path), 32)
    page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    page = 65536 if page == 1 else page
    size = Path(path).stat().st_size
    found = quick_check(path, 1)
    return (
        f"{path}: expected a whole database, SQLite says: {error}; its header names {pages} pages of {page} bytes "
        f"({pages * page} bytes), the file has {size} bytes; first place: {found[0] if found else 'not found'}; "
        "restore it from a copy, or name another file"
    )


def quick_check(path: str, limit: int = 20) -> list[str]:
    """What ``PRAGMA quick_check`` finds (tree, page, cell), nothing where the file is whole."""
    db = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_MS / 1000)
    try:
        roots = {
            row[1]: row[0] for row in db.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage IS NOT NULL")
        }
        found = [str(row[0]) for row in db.execute(f"PRAGMA quick_check({limit})")]
        return [_named(line, roots) for line in found if line != "ok"]
    except sqlite3.DatabaseError as error:
        return _walk(db, limit) or [str(error)]
    finally:
        db.close()


def _walk(db: sqlite3.Connection, limit: int) -> list[str]:
    """Where reading fails, table by table: for damage that the check itself cannot pass."""
    found = []
    for table in TABLES:
        n_read = 0
        try:
            for _ in db.execute(f"SELECT * FROM {table}"):
                n_read += 1
        except sqlite3.DatabaseError as error:
            found.append(f"table {table}, after {n_read} rows that can be read: {error}")
    return found[:limit]


def _named(line: str, roots: dict[int, str]) -> str:
    """The line with the name of its table: SQLite names the tree by its root page ("Tree 7 page 9 cell 2: ...")."""
    words = line.replace("*** in database main ***", "").split()
    if words[:1] == ["Tree"] and len(words) > 1 and words[1].isdigit():
        return f"table {roots.get(int(words[1]), '?')}, {' '.join(words[2:])}"
    return " ".join(words)
