"""One new pool from several: what they share is there once, what they paid adds up."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vervet.errors import Mistake, PoolDamaged
from vervet.pool.copying import attached, copy, expect_pool, new_pool, tidy
from vervet.pool.schema import quick_check


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of a merge: how many of each are in the new pool; ``shared``: draws that more than one pool held."""

    path: str
    pools: int
    runs: int
    problems: int
    samples: int
    shared: int
    n_bytes: int


def merge(path: str, pools: Sequence[str]) -> Merged:
    """Make a pool at ``path`` that holds everything of these pools, which stay as they are.

    Draws are told apart by their address, runs by their identity, problems by their id. A call that stands in several
    copies of one pool is counted once; all other bills add up. Of two beginnings of one trajectory the further stays;
    a verdict or a score that was judged stays before one that was not; of two forecasts the earlier. Raises ``Mistake``,
    and makes nothing, where there is a file at ``path``, where a pool has open calls or draws in batch files, and where
    pools contradict one another: another text, a void or a failure at one address, another target or verdict, another
    answer of one run. Raises ``PoolDamaged`` where one of them is not whole.

    Cost: each pool is read once, and once more what it shares with those before it.
    """
    if len({Path(p).resolve() for p in pools}) < len(pools):
        raise Mistake(f"expected pools that differ, got one of them twice: {', '.join(pools)}")
    for source in pools:
        expect_pool(source)
    return new_pool(path, lambda db: _fill(db, path, pools))


def _fill(db: sqlite3.Connection, path: str, pools: Sequence[str]) -> Merged:
    n_in = 0
    for source in pools:
        try:
            with attached(db, source):
                n_in += count(db, "in_samples")
                copy(db, source)
        except (ValueError, sqlite3.Error) as error:  # pools that contradict one another, or a row that nobody can read
            db.close()
            _expect_whole(pools)
            if isinstance(error, Mistake):
                raise
            raise PoolDamaged(
                f"a row of {source}, or of a pool before it, cannot be read ({error}); vervet pool info FILE --check says which"
            ) from None
    n = {table: count(db, table) for table in ("runs", "problems", "samples")}
    return Merged(path, len(pools), **n, shared=n_in - n["samples"], n_bytes=size(db))


def _expect_whole(pools: Sequence[str]) -> None:
    """Raise PoolDamaged where the quick check finds damage: what two pools say is then not worth comparing."""
    for path in pools:
        found = quick_check(path, 1)
        tidy(path)
        if found:
            raise PoolDamaged(f"{path} is damaged, first place: {found[0]}; restore it from a copy, or leave it out")


def count(db: sqlite3.Connection, table: str) -> int:
    """How many rows a table or view has."""
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def size(db: sqlite3.Connection) -> int:
    """Bytes of the file behind a connection."""
    (pages,), (page,) = (db.execute(f"PRAGMA main.{name}").fetchone() for name in ("page_count", "page_size"))
    return int(pages * page)
