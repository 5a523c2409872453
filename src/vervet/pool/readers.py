"""Reading connections: one for each thread, and errors that say where the file is damaged."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from vervet.errors import DataError, Mistake, PoolDamaged
from vervet.pool.schema import connect, describe, is_busy

T = TypeVar("T")


class Readers:
    """The reading half of an open file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._closed = False

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The result of a query that finishes before it returns, on this thread's connection."""
        if self._closed:
            raise Mistake(f"the pool {self._path} is closed; open it again")
        try:
            return query(self._connection())
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from None

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """Rows one by one, on a connection of its own: an unfinished query holds all other reads at its snapshot."""
        db = connect(self._path, reader=True)
        try:
            yield from db.execute(sql, values)
        except sqlite3.DatabaseError as error:
            raise self._explain(error) from None
        finally:
            db.close()

    def close(self) -> None:
        """Close every connection."""
        self._closed = True
        for db in self._all:
            db.close()

    def _connection(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = connect(self._path, reader=True)
            self._all.append(db)
        return db

    def _explain(self, error: sqlite3.DatabaseError) -> DataError | sqlite3.DatabaseError:
        if isinstance(error, sqlite3.ProgrammingError):
            return error  # our own mistake, not the file's
        if is_busy(error):
            return DataError(f"{self._path}: another program locks the file; end it and try again")
        return PoolDamaged(describe(self._path, error))
