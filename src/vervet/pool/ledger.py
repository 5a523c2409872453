"""What the writer does inside one transaction: samples with first write wins, calls, claims, the dead.

Everything here runs in the writer's thread between BEGIN IMMEDIATE and COMMIT; nothing here knows of threads.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import add
from typing import Any

from vervet.pool.coding import (
    COLUMNS,
    N_COLUMNS,
    SAMPLE,
    SELECT,
    VOID,
    decode,
    encode,
    failure_row,
    storable,
    supersedes,
)
from vervet.pool.owners import ByteOwners, FileOwners
from vervet.pool.schema import address_key, rows_at, split_key
from vervet.types import Bill, Claim, Failure, Sample, Stream

OPEN, SETTLED, LOST, PARKED = range(4)
NO_BILL = Bill()
MAX_KEYS = 100_000  # numbers that are remembered; a server that runs for weeks must not grow for ever

_REPLACE_SAMPLE = f"INSERT OR REPLACE INTO samples ({COLUMNS}) VALUES ({','.join('?' * N_COLUMNS)})"
_ADD_BILL = (
    "UPDATE calls SET prompt_tokens = prompt_tokens + ?, completion_tokens = completion_tokens + ?, "
    "cached_prompt_tokens = cached_prompt_tokens + ?, cache_write_tokens = cache_write_tokens + ?, "
    "reasoning_tokens = reasoning_tokens + ?, unsettled_tokens = unsettled_tokens + ?, usd = usd + ?, "
    "n_samples = n_samples + ? WHERE id = ?"
)


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """What an open call brought for one index; ``key`` is the integer of the address."""

    call: int
    stream: Stream
    index: int
    key: int
    outcome: Sample | Failure
    bill: Bill


@dataclass(frozen=True, slots=True)
class Opened:
    """The answer to a claim, with the stream's number in the file."""

    claim: Claim
    stream_id: int


def spell_indices(indices: Sequence[int]) -> str:
    """Indices as ranges.

    >>> spell_indices([0, 1, 2, 7])
    '0-2,7'
    """
    ranges: list[list[int]] = []
    for i in sorted(indices):
        if ranges and ranges[-1][1] == i - 1:
            ranges[-1][1] = i
        else:
            ranges.append([i, i])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def read_indices(spelled: str) -> list[int]:
    """The indices that ``spell_indices`` wrote.

    >>> read_indices('0-2,7')
    [0, 1, 2, 7]
    """
    parts = [part.partition("-") for part in spelled.split(",") if part]
    return [i for low, _, high in parts for i in range(int(low), int(high or low) + 1)]


class Ledger:
    """The tables behind one writing connection."""

    def __init__(self, db: sqlite3.Connection, owners: ByteOwners | FileOwners) -> None:
        self.db = db
        self.owners = owners
        self._owner: int | None = None
        self._keys: dict[Any, int] = {}
        self._records: list[Record] = []

    def forget(self) -> None:
        """After a rollback: numbers given out in the transaction do not hold."""
        self._owner = None
        self._keys.clear()
        self._records.clear()

    # --- numbers -----------------------------------------------------------------------------------

    def stream_id(self, stream: Stream) -> int:
        """The number of a stream, given now if it has none."""
        columns = (stream.question, stream.model, stream.replicate, stream.scope)
        return self._key(stream, "id", "streams", "question, model, replicate, scope", columns)

    def problem_key(self, problem: str) -> int:
        """The number of a problem, given now if it has none."""
        return self._key(("problem", problem), "key", "problems", "id", (problem,))

    def run_key(self, run: str) -> int:
        """The number of a run that ``start_run`` wrote."""
        key = self._keys.get(("run", run))
        if key is None:
            key = self._keys[("run", run)] = int(self._one("SELECT key FROM runs WHERE id = ?", (run,)))
        return key

    def _key(self, name: Any, number: str, table: str, columns: str, values: tuple[Any, ...]) -> int:
        key = self._keys.get(name)
        if key is None:
            if len(self._keys) > MAX_KEYS:
                self._keys.clear()
            marks = ",".join("?" * len(values))
            self.db.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", values)
            query = f"SELECT {number} FROM {table} WHERE ({columns}) = ({marks})"
            key = self._keys[name] = int(self._one(query, values))
        return key

    def _one(self, sql: str, values: tuple[Any, ...]) -> Any:
        return self.db.execute(sql, values).fetchone()[0]

    # --- samples -----------------------------------------------------------------------------------

    def note(self, record: Record) -> None:
        """Keep a record for ``write_records``: many are written together."""
        self._records.append(record)

    def write_records(self) -> None:
        """Write the noted records: rows where they win, else nothing; bills always."""
        records, self._records = self._records, []
        if not records:
            return
        n_fresh = self._write_outcomes(records)
        bills: dict[int, list[Any]] = {}
        for r in records:
            total = bills.setdefault(r.call, [0, 0, 0, 0, 0, 0, 0.0])
            if r.bill is not NO_BILL:
                total[:] = map(add, total, _columns(r.bill))
        self.db.executemany(_ADD_BILL, [(*total, n_fresh.get(call, 0), call) for call, total in bills.items()])
        self.db.executemany("DELETE FROM claims WHERE address = ? AND call = ?", [(r.key, r.call) for r in records])

    def _write_outcomes(self, records: list[Record]) -> dict[int, int]:
        """How many samples each call is the first to bring."""
        places = {r.key: r for r in records}
        held = {row[0]: row for row in self._rows_near(sorted(places))}
        now: dict[int, Any] = {k: decode(row, places[k].stream, places[k].index) for k, row in held.items()}
        calls: dict[int, int | None] = {k: row[2] for k, row in held.items()}
        n_fresh: dict[int, int] = {}
        winners: dict[int, Sample] = {}
        for r in records:
            key, outcome = r.key, r.outcome
            old = now.get(key)
            if isinstance(outcome, Failure):
                self._write_failure(r, vacant=old is None)
                now.setdefault(key, outcome if outcome.kind in ("refused", "failed") else None)
            elif old is None:
                winners[key] = now[key] = outcome
                calls[key] = r.call
                n_fresh[r.call] = n_fresh.get(r.call, 0) + 1
            elif supersedes(old, outcome):
                # Followed further: the call that drew it first keeps it, so that no run's count changes.
                winners[key] = now[key] = outcome
        self.db.executemany(_REPLACE_SAMPLE, encode([(k, calls[k], s) for k, s in winners.items()]))
        return n_fresh

    def _rows_near(self, keys: list[int]) -> list[Any]:
        """The rows at these sorted addresses: one range for each stream, since a batch is mostly whole blocks."""
        rows: list[Any] = []
        start = 0
        for i in range(1, len(keys) + 1):
            if i == len(keys) or keys[i] - keys[i - 1] > 64:
                rows += rows_at(self.db, SELECT, keys[start:i])
                start = i
        return rows

    def _write_failure(self, record: Record, vacant: bool) -> None:
        failure = record.outcome
        assert isinstance(failure, Failure)
        row = failure_row(record.key, record.call, failure) if vacant else None
        if row is not None:
            self.db.execute(_REPLACE_SAMPLE, row)
            return
        values = (record.call, record.index, failure.kind, storable(failure.reason), failure.retry_after_s)
        self.db.execute("INSERT INTO failures VALUES (?,?,?,?,?)", values)

    def void(self, keys: Iterable[int]) -> None:
        """Take addresses out of use; what a sample there held stays in its row, but counts no more."""
        keys = list(keys)
        for row in rows_at(self.db, "SELECT address, call, state FROM samples", keys):
            if row[2] == SAMPLE:
                self.db.execute("UPDATE calls SET n_samples = n_samples - 1 WHERE id = ?", (row[1],))
        self.db.executemany(
            "INSERT INTO samples (address, state) VALUES (?, ?) ON CONFLICT DO UPDATE SET state = excluded.state",
            [(key, VOID) for key in keys],
        )

    # --- calls -------------------------------------------------------------------------------------

    def claim(self, run: str, stream: Stream, indices: Sequence[int], reserve: Bill, continues: bool) -> Opened:
        """Open a call on the free and vacant ones of these indices."""
        if self._owner is None:
            self._become_owner()
        stream_id = self.stream_id(stream)
        keys = [address_key(stream_id, i) for i in indices]
        busy = self.holders(keys)
        if busy and self.close_dead():
            busy = self.holders(keys)
        held = {row[0]: row for row in rows_at(self.db, "SELECT address, state, ended FROM samples", keys)}

        def may_draw(key: int) -> bool:
            row = held.get(key)
            return row is None or (continues and row[1] == SAMPLE and row[2] not in ("eos", "refused"))

        granted = [i for i, key in zip(indices, keys, strict=True) if key not in busy and may_draw(key)]
        call = self._open_call(run, stream_id, granted, reserve, continues) if granted else None
        waiting = tuple(i for i, key in zip(indices, keys, strict=True) if key in busy)
        batched = self._parked(set(busy.values())) if busy else set()
        parked = tuple(i for i, key in zip(indices, keys, strict=True) if busy.get(key) in batched)
        return Opened(Claim(call, tuple(granted), waiting, parked), stream_id)

    def holders(self, keys: list[int]) -> dict[int, int]:
        """The open call of each of these addresses that has one."""
        return dict(rows_at(self.db, "SELECT address, call FROM claims", keys))

    def _parked(self, calls: set[int]) -> set[int]:
        query = f"SELECT id FROM calls WHERE state = {PARKED} AND id IN (SELECT value FROM json_each(?))"
        return {row[0] for row in self.db.execute(query, (json.dumps(sorted(calls)),))}

    def _open_call(self, run: str, stream_id: int, indices: list[int], reserve: Bill, continues: bool) -> int:
        reserved = (reserve.prompt_tokens, reserve.completion_tokens, reserve.usd)
        values = (self.run_key(run), stream_id, self._owner, spell_indices(indices), continues, *reserved, time.time())
        row = self.db.execute(
            "INSERT INTO calls (run, stream, owner, indices, continues, reserve_prompt_tokens, "
            "reserve_completion_tokens, reserve_usd, started) VALUES (?,?,?,?,?,?,?,?,?)",
            values,
        )
        call = row.lastrowid
        assert call is not None
        self.db.executemany("INSERT INTO claims VALUES (?, ?)", [(address_key(stream_id, i), call) for i in indices])
        return call

    def settle(self, call: int, keys: Iterable[int], bill: Bill, seconds: float) -> None:
        """Close a call and let go of what it still holds; one that was parked stays with its batch."""
        if self.db.execute(f"SELECT 1 FROM calls WHERE id = ? AND state = {PARKED}", (call,)).fetchone():
            return
        self.db.execute(_ADD_BILL, (*_columns(bill), 0, call))
        self.db.execute(f"UPDATE calls SET state = {SETTLED}, seconds = ? WHERE id = ?", (seconds, call))
        self.db.executemany("DELETE FROM claims WHERE address = ? AND call = ?", [(key, call) for key in keys])

    # --- owners ------------------------------------------------------------------------------------

    def _become_owner(self) -> None:
        row = self.db.execute(
            "INSERT INTO owners (host, pid, started) VALUES (?, ?, ?)", (platform.node(), os.getpid(), time.time())
        )
        assert row.lastrowid is not None
        # The lock is held before the row can be seen, so that nobody takes this owner for dead.
        self.owners.hold(row.lastrowid)
        self._owner = row.lastrowid
        self.close_dead()

    def close_dead(self) -> int:
        """Close the calls of owners that died: book what they held at its bound, let go, void broken blocks."""
        open_owners = [row[0] for row in self.db.execute("SELECT DISTINCT owner FROM calls WHERE state = 0")]
        dead = [owner for owner in open_owners if not self.owners.alive(owner)]
        n_closed = 0
        for owner in dead:
            n_closed += self._close_owner(owner)
        return n_closed

    def _close_owner(self, owner: int) -> int:
        calls = [row[0] for row in self.db.execute("SELECT id FROM calls WHERE state = 0 AND owner = ?", (owner,))]
        self.lose(owner, calls)
        return len(calls)

    def lose(self, owner: int, calls: Sequence[int]) -> None:
        """Close calls of one owner that nobody will settle: book them at their bound, let go, void broken blocks."""
        first_broken: dict[int, int] = {}
        for call in calls:
            stream_id, continues, indices, prompt, completion, paid_prompt, usd, paid_usd = self.db.execute(
                "SELECT stream, continues, indices, reserve_prompt_tokens, reserve_completion_tokens, prompt_tokens, "
                "reserve_usd, usd FROM calls WHERE id = ?",
                (call,),
            ).fetchone()
            # A claim goes with its record: what is still claimed has no outcome.
            keys = [address_key(stream_id, i) for i in read_indices(indices)]
            left = [key for key, holder in self.holders(keys).items() if holder == call]
            # The prompt once, also where all had come but the call was not settled: its bill may come with either.
            lost = max(0, prompt - paid_prompt) + completion * len(left)
            lost_usd = max(0.0, usd - paid_usd) if lost else 0.0
            self.db.execute(
                f"UPDATE calls SET state = {LOST}, unsettled_tokens = unsettled_tokens + ?, usd = usd + ? WHERE id = ?",
                (lost, lost_usd, call),
            )
            self.db.executemany("DELETE FROM claims WHERE address = ?", [(key,) for key in left])
            if left and not continues:
                first = split_key(min(left))[1]
                first_broken[stream_id] = min(first, first_broken.get(stream_id, first))
        if first_broken:
            self._void_blocks(owner, first_broken)

    def forget_calls(self, calls: Sequence[int]) -> None:
        """Take back calls of one index each that never asked anybody: no trace is left of them."""
        for call in calls:
            stream_id, indices = self.db.execute("SELECT stream, indices FROM calls WHERE id = ?", (call,)).fetchone()
            key = address_key(stream_id, int(indices))
            self.db.execute("DELETE FROM claims WHERE address = ? AND call = ?", (key, call))
            self.db.execute("DELETE FROM calls WHERE id = ?", (call,))

    def _void_blocks(self, owner: int, first_broken: dict[int, int]) -> None:
        """Void, from the first broken index on, all that this owner asked for in the stream.

        Its settled calls count too: beside one long call that was lost, the short ones that followed had finished,
        and to keep them would favour short samples. What others asked for did not depend on this death.
        """
        keys: set[int] = set()
        asked = self.db.execute("SELECT stream, indices FROM calls WHERE owner = ? AND continues = 0", (owner,))
        for stream_id, indices in asked.fetchall():
            first = first_broken.get(stream_id)
            if first is not None:
                keys.update(address_key(stream_id, i) for i in read_indices(indices) if i >= first)
        self.void(keys - self.holders(sorted(keys)).keys())


def _columns(bill: Bill) -> tuple[int | float, ...]:
    """The bill in the order of ``_ADD_BILL``."""
    return (
        bill.prompt_tokens, bill.completion_tokens, bill.cached_prompt_tokens, bill.cache_write_tokens,
        bill.reasoning_tokens, bill.unsettled_tokens, bill.usd,
    )  # fmt: skip
