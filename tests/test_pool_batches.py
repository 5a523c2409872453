"""Draws that wait in batch files, inside the pool: who holds them, what they may cost, how they are given up."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from vervet.errors import Mistake
from vervet.pool import SqlitePool, open_pool
from vervet.types import Bill, Delivery, Failure, Sample, Stream, Void

STREAM = Stream("m@1", "9f" * 16)
RESERVE = Bill(prompt_tokens=11, completion_tokens=101, usd=0.25)


def claim(pool: SqlitePool, indices: Sequence[int], continues: bool = False, run: str = "a") -> int:
    opened = asyncio.run(pool.claim(pool.start_run({"name": run}), STREAM, indices, RESERVE, continues))
    assert opened.call is not None
    return opened.call


def park(pool: SqlitePool, indices: Sequence[int], continues: bool = False) -> int:
    for i in indices:
        claim(pool, [i], True)
    batch = asyncio.run(pool.new_batch("/files"))
    asyncio.run(pool.park(batch, {STREAM.at(i): (RESERVE, {}) for i in indices}, continues))
    return batch


def kinds(pool: SqlitePool, n: int) -> str:
    """One letter an index: s(ample), v(oid), or . where nothing is stored."""
    found = pool.find(STREAM, range(n))
    return "".join({Sample: "s", Void: "v"}.get(type(found.get(i)), ".") for i in range(n))


def collect(pool: SqlitePool, *indices: int) -> int:
    came = [
        (p, Delivery(p.address.index, Sample(p.address, "x", "eos", 7, 11), Bill(11, 7, usd=0.125)))
        for p in pool.parked()
        if p.address.index in indices
    ]
    return asyncio.run(pool.collect(came))


def test_pools_that_were_made_before_there_were_batches(tmp_path: Path) -> None:
    path = str(tmp_path / "pool")
    with open_pool(path) as pool:
        claim(pool, [0])
    db = sqlite3.connect(path)
    db.execute("DROP TABLE batches")
    db.execute("DROP TABLE parked")
    db.commit()
    db.close()
    with open_pool(path) as pool:
        assert (pool.batches(), pool.parked(), pool.check()) == ([], [], [])
        assert park(pool, [1, 2]) == 1
    db = sqlite3.connect(path)
    db.execute("DROP TABLE parked")
    db.execute("DROP TABLE uses")
    db.close()
    with pytest.raises(Exception, match="table parked is missing"):
        open_pool(path)


def test_only_a_call_of_one_index_can_be_parked(tmp_path: Path) -> None:
    with open_pool(str(tmp_path / "pool")) as pool:
        claim(pool, [0])
        claim(pool, [1, 2])
        batch = asyncio.run(pool.new_batch("/files"))
        for index in (1, 7):
            draws = {STREAM.at(i): (RESERVE, {}) for i in (0, index)}
            with pytest.raises(Mistake, match=rf"expected an open call that holds .*#{index} alone"):
                asyncio.run(pool.park(batch, draws, False))
        assert pool.parked() == []


def test_what_is_parked_is_settled_by_nobody_else(tmp_path: Path) -> None:
    with open_pool(str(tmp_path / "pool")) as pool:
        call = claim(pool, [0])
        batch = asyncio.run(pool.new_batch("/files"))
        asyncio.run(pool.park(batch, {STREAM.at(0): (RESERVE, {"max_tokens": 101})}, False))
        pool.settle(call)
        run = pool.start_run({"name": "a"})
        assert pool.reserved(run) == RESERVE
        assert pool.reserved(pool.start_run({"name": "b"})) == Bill()
        assert [(b.number, b.file, b.n_draws, b.reserve) for b in pool.batches()] == [
            (1, "/files/0001.requests.jsonl", 1, RESERVE)
        ]
        assert collect(pool, 0) == 1
        assert (pool.spent(run).bill, pool.reserved(run)) == (Bill(11, 7, usd=0.125), Bill())


@pytest.mark.parametrize("continues", [False, True])
def test_giving_up_voids_what_its_owner_asked_from_the_first_broken_index_on(tmp_path: Path, continues: bool) -> None:
    path = str(tmp_path / "pool")
    with open_pool(path) as first:
        one = park(first, range(5), continues)
        two = park(first, [5, 6], continues)
    with open_pool(path) as second:
        three = park(second, [7], continues)
        assert collect(second, 0, 1, 3, 7) == 4
        assert asyncio.run(second.release(one)) == 2
        # 5 and 6 wait on in another file; 7 was asked for by another process.
        assert kinds(second, 8) == ("ss.s...s" if continues else "ssvvv..s")
        assert collect(second, 5) == 1
        assert asyncio.run(second.release(two, sent=False)) == 1
        assert kinds(second, 8) == ("ss.s.s.s" if continues else "ssvvvs.s")
        assert asyncio.run(second.release(three)) == 0
        bill = second.spent(second.start_run({"name": "a"})).bill
        assert (bill.unsettled_tokens, bill.completion_tokens, bill.usd) == (2 * 112, 5 * 7, 2 * 0.25 + 5 * 0.125)
        assert claim(second, [6]) > 0


def test_a_transient_failure_frees_the_address(tmp_path: Path) -> None:
    with open_pool(str(tmp_path / "pool")) as pool:
        first = park(pool, [0])
        (old,) = pool.parked()
        assert asyncio.run(pool.collect([(old, Delivery(0, Failure("transient", "429")))])) == 1
        second = park(pool, [0])
        assert (first, second) == (1, 2)
        assert asyncio.run(pool.collect([(old, Delivery(0, Failure("refused", "late")))])) == 0
        assert collect(pool, 0) == 1
        assert kinds(pool, 1) == "s"


def test_the_dollars_of_the_dead_are_booked_at_their_bound(tmp_path: Path) -> None:
    path = str(tmp_path / "pool")
    with open_pool(path) as pool:
        call = claim(pool, [0, 1], True)
        pool.record(call, 0, Sample(STREAM.at(0), "x", "eos", 7, 11), Bill(11, 7, usd=0.1))
    with open_pool(path) as pool:
        run = pool.start_run({"name": "a"})
        bill = pool.spent(run).bill
        assert (bill.unsettled_tokens, bill.usd) == (101, 0.25)
