"""The one thread that writes: what is put here is on disk, in order, within a second.

A batch is one transaction of at most 256 samples, begun when somebody waits for the disk, when it is full, or 50 ms
after its first piece. It knows nothing of what the pieces mean. When the disk is full it stops for good.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from vervet.errors import DataError, PoolDamaged, PoolFull
from vervet.pool.ledger import Ledger, Record
from vervet.pool.schema import describe, is_busy
from vervet.types import Sample

MAX_BATCH = 256
MAX_WAIT_S = 0.05
MAX_BUSY_S = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work on the ledger; somebody waits for ``done``, if it is there."""

    work: Callable[[Ledger], Any]
    done: Future[Any] | None = None


class Writer:
    """A queue and its thread. ``on_stored`` hears which records are on disk, ``on_stop`` that no more will be."""

    def __init__(
        self, path: str, ledger: Ledger, on_stored: Callable[[list[Record]], None], on_stop: Callable[[], None]
    ) -> None:
        self._path, self._ledger = path, ledger
        self._on_stored, self._on_stop = on_stored, on_stop
        self._queue: deque[Record | Job] = deque()
        self._wake = threading.Condition()
        self._n_waiting = 0
        self._since = 0.0
        self._closing = False
        self._stopped: tuple[type[DataError], str] | None = None
        self._n_lost = 0
        self._n_unstored = 0
        # A daemon, because Python joins other threads before it runs what is registered at exit.
        self._thread = threading.Thread(target=self._loop, name="vervet-pool", daemon=True)
        self._thread.start()

    def put(self, item: Record | Job) -> None:
        """Queue a piece of work; raises PoolFull once the file can no longer be written."""
        with self._wake:
            if self._stopped or self._closing:
                self._n_lost += _weight(item)
                raise self._error()
            if not self._queue:
                self._since = time.monotonic()
            self._queue.append(item)
            self._n_unstored += 1
            waits = isinstance(item, Job) and item.done is not None
            self._n_waiting += waits
            if waits or len(self._queue) in (1, MAX_BATCH):
                self._wake.notify()

    def ask(self, work: Callable[[Ledger], Any]) -> Future[Any]:
        """Queue work whose result somebody waits for; it is there once it is on disk."""
        done: Future[Any] = Future()
        done.set_running_or_notify_cancel()  # from here on it cannot be cancelled: the work will be done
        self.put(Job(work, done))
        return done

    @property
    def idle(self) -> bool:
        """True where everything is on disk, or nothing more will be."""
        return self._n_unstored == 0 or self._stopped is not None

    def close(self) -> None:
        """Write what is queued and end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    # --- the thread --------------------------------------------------------------------------------

    def _loop(self) -> None:
        while batch := self._take():
            try:
                results = self._commit(batch)
            except BaseException as error:
                # Whatever went wrong, nobody may wait for ever, and nothing may be written out of order after it.
                self._stop(batch, error)
                return
            self._on_stored([item for item in batch if isinstance(item, Record)])
            with self._wake:
                self._n_unstored -= len(batch)
            for item, result in zip(batch, results, strict=True):
                if isinstance(item, Job) and item.done:
                    item.done.set_result(result)

    def _take(self) -> list[Record | Job]:
        """The next batch; empty once the queue is closed and drained."""
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
            while not self._closing and not self._n_waiting and len(self._queue) < MAX_BATCH:
                left = self._since + MAX_WAIT_S - time.monotonic()
                if left <= 0:
                    break
                self._wake.wait(left)
            batch = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
            self._n_waiting -= sum(isinstance(item, Job) and item.done is not None for item in batch)
            self._since = time.monotonic()
            return batch

    def _commit(self, batch: list[Record | Job]) -> list[Any]:
        give_up = time.monotonic() + MAX_BUSY_S
        while True:
            try:
                return self._apply(batch)
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() > give_up:
                    raise
                time.sleep(0.005)

    def _apply(self, batch: list[Record | Job]) -> list[Any]:
        db, ledger = self._ledger.db, self._ledger
        try:
            # IMMEDIATE: a transaction that began with a read cannot always become a writing one in WAL mode.
            db.execute("BEGIN IMMEDIATE")
            results: list[Any] = []
            for item in batch:
                if isinstance(item, Record):
                    ledger.note(item)
                    results.append(None)
                else:
                    ledger.write_records()
                    results.append(item.work(ledger))
            ledger.write_records()
            db.execute("COMMIT")
            return results
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            ledger.forget()
            raise

    def _stop(self, batch: list[Record | Job], error: BaseException) -> None:
        with self._wake:
            lost = [*batch, *self._queue]
            self._queue.clear()
            self._n_lost += sum(map(_weight, lost))
            self._stopped = self._explain(error)
        self._on_stop()
        for item in lost:
            if isinstance(item, Job) and item.done:
                item.done.set_exception(self._error())

    def _explain(self, error: BaseException) -> tuple[type[DataError], str]:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if isinstance(error, sqlite3.DatabaseError) and code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return PoolDamaged, describe(self._path, error)
        if isinstance(error, PoolDamaged):
            return PoolDamaged, f"{self._path}: {error}"
        why = f"another program has locked it for {MAX_BUSY_S:g} s" if code == sqlite3.SQLITE_BUSY else repr(error)
        return PoolFull, (
            f"expected room to write in the pool {self._path}, got: {why}; what is stored is kept; "
            "make room on the disk, then run the same command again"
        )

    def _error(self) -> DataError:
        if self._stopped is None:
            return DataError(f"the pool {self._path} is closed; open it again to write")
        kind, message = self._stopped
        if kind is PoolFull:
            return PoolFull(f"{message} ({self._n_lost} samples could not be stored)", self._n_lost)
        return kind(message)


def _weight(item: Record | Job) -> int:
    return isinstance(item, Record) and isinstance(item.outcome, Sample)
