"""Draws that wait in batch files: their calls stay open with nobody drawing, for days and over any number of processes.

A parked call is one index held by a numbered batch. No death of a process closes it: only what comes back does
(``collect``), or somebody who gives it up (``release``). Knows nothing of the files themselves.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from vervet.errors import Mistake
from vervet.pool.coding import check_sample
from vervet.pool.ledger import OPEN, PARKED, SETTLED, Ledger, Record
from vervet.pool.schema import address_key
from vervet.pool.writer import MAX_BATCH
from vervet.types import Address, Batch, Bill, Delivery, Json, Parked, Sample, Stream, canonical_json


class Batches(ABC):
    """What a pool knows of batch files; a subclass gives ``_ask``, which queues work, and ``_rows``."""

    path: str

    @abstractmethod
    def _ask(self, work: Callable[[Ledger], Any]) -> Future[Any]:
        """Queue work; its result is there once it is on disk."""

    @abstractmethod
    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, one's own queued writes included."""

    async def new_batch(self, folder: str) -> int:
        """The number of a new batch file in this folder, durably; no other batch of the pool ever has it."""

        def work(ledger: Ledger) -> int:
            number = ledger.db.execute("INSERT INTO batches (folder) VALUES (?)", (folder,)).lastrowid
            assert number is not None
            return number

        return int(await asyncio.wrap_future(self._ask(work)))

    async def park(self, batch: int, draws: Mapping[Address, tuple[Bill, Mapping[str, Json]]], continues: bool) -> None:
        """From now on, durably, these addresses are held by a batch file and not by this process.

        What each may cost, and ``continues``, take the place of what was claimed. Raises ``Mistake``, and parks none, where
        an address is not held by an open call of its own.
        """
        spelled = {address: (bill, canonical_json(dict(endings))) for address, (bill, endings) in draws.items()}
        missing = await asyncio.wrap_future(self._ask(lambda ledger: _park(ledger, batch, spelled, continues)))
        if missing is not None:
            raise Mistake(
                f"expected an open call that holds {missing} alone, got none: claim it first, one index a call"
            )

    def parked(self) -> list[Parked]:
        """Every draw that waits in a batch file, in the order of the files and calls."""
        rows = self._rows(
            "SELECT p.call, p.batch, r.id, t.model, t.question, t.replicate, t.scope, c.indices, "
            "c.reserve_prompt_tokens, c.reserve_completion_tokens, c.reserve_usd, p.endings FROM parked p "
            "JOIN calls c ON c.id = p.call JOIN runs r ON r.key = c.run JOIN streams t ON t.id = c.stream "
            "ORDER BY p.batch, p.call"
        )
        return [
            Parked(
                call, batch, run, Stream(*stream).at(int(index)), Bill(prompt, completion, usd=usd), json.loads(endings)
            )
            for call, batch, run, *stream, index, prompt, completion, usd, endings in rows
        ]

    def batches(self) -> list[Batch]:
        """The batch files in which draws wait, oldest first."""
        rows = self._rows(
            "SELECT b.number, b.folder, count(*), sum(c.reserve_prompt_tokens), sum(c.reserve_completion_tokens), "
            "sum(c.reserve_usd) FROM parked p JOIN batches b ON b.number = p.batch JOIN calls c ON c.id = p.call "
            "GROUP BY b.number ORDER BY b.number"
        )
        return [
            Batch(number, folder, n_draws, Bill(prompt, completion, usd=usd))
            for number, folder, n_draws, prompt, completion, usd in rows
        ]

    def reserved(self, run: str) -> Bill:
        """What the draws of a run that wait in batch files may still cost."""
        row = self._rows(
            "SELECT sum(reserve_prompt_tokens), sum(reserve_completion_tokens), sum(reserve_usd) FROM calls "
            f"WHERE state = {PARKED} AND run = (SELECT key FROM runs WHERE id = ?)",
            (run,),
        )[0]
        prompt, completion, usd = (value or 0 for value in row)
        return Bill(prompt, completion, usd=float(usd))

    async def collect(self, came: Sequence[tuple[Parked, Delivery]]) -> int:
        """Record, durably, what came of parked draws and close their calls; how many were still parked.

        What came a second time changes nothing and is not billed again.
        """
        for parked, delivery in came:
            if isinstance(delivery.outcome, Sample):
                if delivery.outcome.address != parked.address:
                    raise Mistake(f"expected a sample of {parked.address}, got one of {delivery.outcome.address}")
                check_sample(delivery.outcome)
        n_collected = 0
        for start in range(0, len(came), MAX_BATCH):
            part = came[start : start + MAX_BATCH]
            n_collected += await asyncio.wrap_future(self._ask(partial(_collect, came=part)))
        return n_collected

    async def release(self, batch: int, sent: bool = True) -> int:
        """Give up what waits in a batch file: booked and voided as the calls of the dead are; how many draws that were.

        ``sent`` False says that nobody was asked: then nothing is booked, and the addresses are vacant.
        """
        return int(await asyncio.wrap_future(self._ask(lambda ledger: _release(ledger, batch, sent))))


def _park(ledger: Ledger, batch: int, draws: Mapping[Address, tuple[Bill, str]], continues: bool) -> Address | None:
    """Park all of them; the first that no open call holds alone, in which case nothing is changed."""
    calls: dict[int, tuple[Bill, str]] = {}
    for address, draw in draws.items():
        key = address_key(ledger.stream_id(address.stream), address.index)
        call = ledger.holders([key]).get(key)
        query = f"SELECT 1 FROM calls WHERE id = ? AND state = {OPEN} AND indices = ?"
        if call is None or not ledger.db.execute(query, (call, str(address.index))).fetchone():
            return address
        calls[call] = draw
    ledger.db.executemany(
        f"UPDATE calls SET state = {PARKED}, continues = ?, reserve_prompt_tokens = ?, reserve_completion_tokens = ?, "
        "reserve_usd = ? WHERE id = ?",
        [(continues, b.prompt_tokens, b.completion_tokens, b.usd, call) for call, (b, _) in calls.items()],
    )
    rows = [(call, batch, endings) for call, (_, endings) in calls.items()]
    ledger.db.executemany("INSERT INTO parked VALUES (?, ?, ?)", rows)
    return None


def _collect(ledger: Ledger, came: Sequence[tuple[Parked, Delivery]]) -> int:
    """Write what came for calls that are still parked; their claims go with their records."""
    calls: dict[int, None] = {}
    for parked, delivery in came:
        stream, index = parked.address.stream, parked.address.index
        query = f"SELECT 1 FROM calls WHERE id = ? AND state = {PARKED}"
        if parked.call in calls or not ledger.db.execute(query, (parked.call,)).fetchone():
            continue
        calls[parked.call] = None
        key = address_key(ledger.stream_id(stream), index)
        ledger.note(Record(parked.call, stream, index, key, delivery.outcome, delivery.bill))
    ledger.write_records()
    ledger.db.executemany(f"UPDATE calls SET state = {SETTLED} WHERE id = ?", [(call,) for call in calls])
    _unpark(ledger, list(calls))
    return len(calls)


def _release(ledger: Ledger, batch: int, sent: bool) -> int:
    query = "SELECT c.id, c.owner FROM parked p JOIN calls c ON c.id = p.call WHERE p.batch = ?"
    by_owner: dict[int, list[int]] = defaultdict(list)
    for call, owner in ledger.db.execute(query, (batch,)).fetchall():
        by_owner[owner].append(call)
    for owner, calls in by_owner.items():
        if sent:
            ledger.lose(owner, calls)
        else:
            ledger.forget_calls(calls)
        _unpark(ledger, calls)
    return sum(map(len, by_owner.values()))


def _unpark(ledger: Ledger, calls: Sequence[int]) -> None:
    ledger.db.executemany("DELETE FROM parked WHERE call = ?", [(call,) for call in calls])
