"""The pool itself: the ``Pool`` protocol over one SQLite file.

Writing methods queue; one thread writes. What is queued lies in an overlay too, so that ``find`` sees it at once; other
reads first wait for the queue (a few milliseconds). Reads use one connection per thread.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any

from vervet.errors import DataError, Mistake, PoolDamaged
from vervet.pool.batches import Batches
from vervet.pool.coding import SELECT, check_sample, decode, storable, stored_precision, supersedes
from vervet.pool.forecasts import Forecasts
from vervet.pool.ledger import MAX_KEYS, NO_BILL, Ledger, Opened, Record
from vervet.pool.notes import Notes
from vervet.pool.overlay import Overlay
from vervet.pool.owners import owners
from vervet.pool.readers import Readers
from vervet.pool.reports import Reports
from vervet.pool.schema import INDEX_BITS, address_key, connect, prepare, rows_at
from vervet.pool.writer import Job, Writer
from vervet.types import (
    Bill,
    Claim,
    Example,
    Failure,
    Json,
    Question,
    Sample,
    Spent,
    Stored,
    Stream,
    Void,
    canonical_json,
    digest,
)


@dataclass(frozen=True, slots=True)
class Held:
    """An open call of this pool."""

    stream: Stream
    stream_id: int
    indices: frozenset[int]


def open_pool(path: str) -> SqlitePool:
    """Open the pool at this path, making it if there is none.

    Raises PoolDamaged (with the place, the file untouched) where the file is damaged, foreign or of another version.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, open_pool(folder + "/a.pool") as pool:
    ...     run = pool.start_run({"task": "words"})
    ...     pool.runs()[0].identity
    {'task': 'words'}
    """
    prepare(path)
    return SqlitePool(path)


class SqlitePool(Reports, Notes, Batches, Forecasts):
    """The durable store; see the protocol ``vervet.types.Pool`` for what its methods promise.

    Made by ``open_pool``. A context manager: leaving the block writes what is queued and lets go of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._overlay = Overlay()
        self._calls: dict[int, Held] = {}
        self._stream_ids: dict[Stream, int] = {}
        self._seen: set[tuple[str, str]] = set()
        self._readers = Readers(path)
        self._closed = False
        self._owners = owners(path)
        self._db = connect(path)
        self._writer = Writer(path, Ledger(self._db, self._owners), self._on_stored, self._overlay.clear)
        self._at_exit = partial(_close_at_exit, weakref.ref(self))
        atexit.register(self._at_exit)

    def __enter__(self) -> SqlitePool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # --- runs, problems, questions -----------------------------------------------------------------

    def start_run(self, identity: Mapping[str, Json]) -> str:
        """The id of the run with this identity; its row is made if there is none. Calls of dead owners are closed."""
        run, data, now = digest(dict(identity)), canonical_json(dict(identity)), time.time()

        def work(ledger: Ledger) -> None:
            ledger.db.execute("INSERT OR IGNORE INTO runs (id, identity, created) VALUES (?, ?, ?)", (run, data, now))
            ledger.close_dead()

        self._put(work)
        self._seen.add(("run", run))
        return run

    def add_problem(self, task: str, example: Example) -> None:
        """Keep a problem with its target, which only the grader reads; the first write of an id wins."""
        problem = example.problem
        if ("problem", problem.id) in self._seen:
            return
        values = (task, canonical_json(asdict(problem)), canonical_json(example.target), example.level)

        def work(ledger: Ledger) -> None:
            key = ledger.problem_key(problem.id)
            update = "UPDATE problems SET task = ?, data = ?, target = ?, level = ? WHERE key = ? AND data IS NULL"
            ledger.db.execute(update, (*values, key))

        self._put(work)
        self._seen.add(("problem", problem.id))

    def add_question(self, question: Question) -> str:
        """Keep a question; its digest."""
        name = question.digest
        if ("question", name) not in self._seen:
            row = name, canonical_json(question.data)
            self._put(lambda ledger: ledger.db.execute("INSERT OR IGNORE INTO questions VALUES (?, ?)", row))
            self._seen.add(("question", name))
        return name

    # --- samples -----------------------------------------------------------------------------------

    def find(self, stream: Stream, indices: Sequence[int]) -> dict[int, Stored]:
        """What is known at these indices, in stored precision; an absent index is absent from the result."""
        # The overlay first: what is written between the two reads is then in both, never in neither.
        queued = self._overlay.at(stream, indices)
        found = self._on_disk(stream, indices)
        for i, new in queued.items():
            old = found.get(i)
            if old is None or supersedes(old, new):
                found[i] = _as_stored(new)
        return found

    def _on_disk(self, stream: Stream, indices: Sequence[int]) -> dict[int, Stored]:
        stream_id = self._stream_id(stream) if indices else None
        if stream_id is None:
            return {}
        keys = [address_key(stream_id, i) for i in indices]
        rows = self._readers.read(lambda db: rows_at(db, SELECT, keys))
        base = address_key(stream_id, 0)
        try:
            return {row[0] - base: decode(row, stream, row[0] - base) for row in rows}
        except PoolDamaged as error:
            raise PoolDamaged(f"{self.path}: {error}; restore it from a copy") from None

    def _stream_id(self, stream: Stream) -> int | None:
        known = self._stream_ids.get(stream)
        if known is None:
            columns = (stream.question, stream.model, stream.replicate, stream.scope)
            query = "SELECT id FROM streams WHERE (question, model, replicate, scope) = (?, ?, ?, ?)"
            rows = self._readers.read(lambda db: db.execute(query, columns).fetchall())
            if not rows:
                return None
            known = int(rows[0][0])
            self._remember(stream, known)
        return known

    def _remember(self, stream: Stream, stream_id: int) -> None:
        if len(self._stream_ids) > MAX_KEYS:
            self._stream_ids.clear()
        self._stream_ids[stream] = stream_id

    def void(self, stream: Stream, indices: Sequence[int]) -> None:
        """Take indices out of use for ever."""
        voids: dict[int, Stored] = {i: Void() for i in _checked(indices)}

        def work(ledger: Ledger) -> None:
            stream_id = ledger.stream_id(stream)
            ledger.void([address_key(stream_id, i) for i in voids])

        gone = [(stream, i, void) for i, void in voids.items()]
        for row in gone:
            self._overlay.cover(*row)
        try:
            self._writer.ask(work).add_done_callback(lambda _: self._overlay.uncover(gone))
        except DataError:
            self._overlay.uncover(gone)
            raise

    # --- calls -------------------------------------------------------------------------------------

    async def claim(self, run: str, stream: Stream, indices: Sequence[int], reserve: Bill, continues: bool) -> Claim:
        """Open a call, durably, on those indices that nobody holds and that are vacant or open.

        An index that already holds what cannot be drawn further is neither granted nor busy: look again with ``find``.
        """
        self._expect_run(run)
        wanted = _checked(indices)
        done = self._writer.ask(lambda ledger: ledger.claim(run, stream, wanted, reserve, continues))
        asked = asyncio.wrap_future(done)
        try:
            opened: Opened = await asyncio.shield(asked)
        except asyncio.CancelledError:
            # The call may be on disk all the same, and nobody is left who would settle it: see to it before the pool
            # can be closed. It takes milliseconds; cancelled once more, it is left to the writer.
            try:
                await asyncio.wait([asked])
            finally:
                done.add_done_callback(self._let_go)
            raise
        claim = opened.claim
        self._remember(stream, opened.stream_id)
        if claim.call is not None:
            self._calls[claim.call] = Held(stream, opened.stream_id, frozenset(claim.granted))
        return claim

    def _let_go(self, done: Future[Opened]) -> None:
        if done.exception() is None and (call := done.result().claim.call) is not None:
            opened = done.result()
            keys = [address_key(opened.stream_id, i) for i in opened.claim.granted]
            with contextlib.suppress(DataError):  # closed or full: whoever opens the pool next closes the call
                self._put(lambda ledger: ledger.settle(call, keys, NO_BILL, 0.0))

    def record(self, call: int, index: int, outcome: Sample | Failure, bill: Bill) -> None:
        """Keep what an open call brought for one index and add to its bill."""
        held = self._held(call)
        if index not in held.indices:
            raise Mistake(f"expected one of the {len(held.indices)} indices of call {call}, got {index}")
        if isinstance(outcome, Sample):
            if outcome.address != held.stream.at(index):
                raise Mistake(f"expected a sample of {held.stream.at(index)}, got one of {outcome.address}")
            check_sample(outcome)
        if isinstance(outcome, Sample) or outcome.kind in ("refused", "failed"):
            # Before it is queued: the writer forgets it here once it is on disk.
            self._overlay.cover(held.stream, index, outcome)
        try:
            key = address_key(held.stream_id, index)
            self._writer.put(Record(call, held.stream, index, key, outcome, bill))
        except DataError:
            self._overlay.uncover([(held.stream, index, outcome)])
            raise

    def settle(self, call: int, bill: Bill = NO_BILL, seconds: float = 0.0) -> None:
        """Close a call: add the last of its bill and let go of its indices."""
        held = self._held(call)
        keys = [address_key(held.stream_id, i) for i in held.indices]
        self._put(lambda ledger: ledger.settle(call, keys, bill, seconds))
        self._calls.pop(call, None)

    def _held(self, call: int) -> Held:
        held = self._calls.get(call)
        if held is None:
            raise Mistake(f"expected an open call of this pool, got {call}; it was settled, or claimed by another pool")
        return held

    # --- spending -----------------------------------------------------------------------------------

    def spent(self, run: str) -> Spent:
        """What this run has paid over all its restarts; void samples are not counted, their tokens are."""
        (row,) = self._rows(
            "SELECT sum(prompt_tokens), sum(completion_tokens), sum(cached_prompt_tokens), sum(cache_write_tokens), "
            "sum(reasoning_tokens), sum(unsettled_tokens), sum(usd), count(*), sum(n_samples) "
            "FROM calls WHERE run = (SELECT key FROM runs WHERE id = ?)",
            (run,),
        )
        seconds = self._rows("SELECT seconds FROM runs WHERE id = ?", (run,))
        prompt, completion, cached, cache_write, reasoning, unsettled, usd, n_calls, n_samples = (v or 0 for v in row)
        bill = Bill(prompt, completion, cached, cache_write, reasoning, unsettled, float(usd))
        return Spent(bill, n_calls, n_samples, seconds[0][0] if seconds else 0.0)

    def add_seconds(self, run: str, seconds: float) -> None:
        """Add to the wall time of a run."""
        self._expect_run(run)
        sql = "UPDATE runs SET seconds = seconds + ? WHERE id = ?"
        self._put(lambda ledger: ledger.db.execute(sql, (seconds, run)))

    # --- the queue and the readers -----------------------------------------------------------------

    async def flush(self) -> None:
        """Wait until everything written so far is on disk."""
        await asyncio.wrap_future(self._writer.ask(_nothing))

    def close(self) -> None:
        """Write what is queued and let go of the file; open calls are closed by whoever opens the pool next."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        self._writer.close()
        self._readers.close()
        self._db.close()
        self._owners.close()

    def _put(self, work: Callable[[Ledger], Any]) -> None:
        self._writer.put(Job(work))

    def _ask(self, work: Callable[[Ledger], Any]) -> Future[Any]:
        return self._writer.ask(work)

    def _on_stored(self, records: list[Record]) -> None:
        self._overlay.uncover((r.stream, r.index, r.outcome) for r in records)

    def _expect_run(self, run: str) -> None:
        if ("run", run) not in self._seen:
            if not self._rows("SELECT 1 FROM runs WHERE id = ?", (run,)):
                raise Mistake(f"expected the id of a run in {self.path}, got {run!r}; start it with start_run")
            self._seen.add(("run", run))

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        self._sync()
        return self._readers.read(lambda db: db.execute(sql, values).fetchall())

    def _stream_rows(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        self._sync()
        return self._readers.stream(sql, values)

    def _sync(self) -> None:
        if not self._writer.idle:
            # Where the writer has stopped, what is on disk can still be read; the next write says what is wrong.
            with contextlib.suppress(DataError):
                self._writer.ask(_nothing).result()


def _as_stored(new: Stored) -> Stored:
    if isinstance(new, Failure):
        return replace(new, reason=storable(new.reason), retry_after_s=None)
    return stored_precision(new) if isinstance(new, Sample) else new


def _checked(indices: Sequence[int]) -> list[int]:
    wanted = list(dict.fromkeys(indices))
    if wanted and not 0 <= min(wanted) <= max(wanted) < 1 << INDEX_BITS:
        raise Mistake(f"expected indices from 0 to {(1 << INDEX_BITS) - 1}, got {min(wanted)} to {max(wanted)}")
    return wanted


def _nothing(_: Ledger) -> None:
    """What a flush asks for: that it is its turn."""


def _close_at_exit(pool: weakref.ref[SqlitePool]) -> None:
    if (alive := pool()) is not None:
        alive.close()
