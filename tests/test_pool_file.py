"""The pool's file: what is refused, what a full disk does, what the bench measures."""

from __future__ import annotations

import asyncio
import sqlite3
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.pool import measure
from vervet.errors import Mistake, PoolDamaged, PoolFull
from vervet.pool import SqlitePool, open_pool
from vervet.types import Bill, Sample, Stream, Trace

STREAM = Stream("embedded@1", "9f" * 16)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[SqlitePool]:
    with open_pool(str(tmp_path / "a.pool")) as opened:
        yield opened


def make_sample(index: int) -> Sample:
    trace = Trace(array("i", range(7)), logprob=array("f", [-0.5] * 7))
    return Sample(STREAM.at(index), "text " * 50, "eos", 7, 11, trace=trace)


def claim(pool: SqlitePool, indices: range) -> int:
    run = pool.start_run({"name": "a"})
    call = asyncio.run(pool.claim(run, STREAM, indices, Bill(11, 101), True)).call
    assert call is not None
    return call


def put(pool: SqlitePool, n: int) -> None:
    call = claim(pool, range(n))
    for i in range(n):
        pool.record(call, i, make_sample(i), Bill(completion_tokens=7))
    pool.settle(call)


def untouched(path: Path, match: str) -> None:
    before = path.read_bytes()
    with pytest.raises(PoolDamaged, match=match):
        open_pool(str(path))
    assert path.read_bytes() == before


def test_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database, but long enough to be one")
    untouched(text, "got a file that begins with b'not a database, ")
    foreign = tmp_path / "foreign"
    db = sqlite3.connect(foreign)
    db.execute("CREATE TABLE birds (name)")
    db.close()
    untouched(foreign, "got 0x0 with tables birds")
    with pytest.raises(Mistake, match="in an existing folder"):
        open_pool(str(tmp_path / "nowhere" / "a.pool"))


def test_another_version_or_a_missing_table_is_refused(tmp_path: Path) -> None:
    for change, match in [("PRAGMA user_version=2", "version 1, got 2"), ("DROP TABLE uses", "table uses is missing")]:
        path = tmp_path / change[:4]
        open_pool(str(path)).close()
        db = sqlite3.connect(path)
        db.execute(change)
        db.close()
        untouched(path, match)


def test_a_torn_file_is_refused_with_its_place(pool: SqlitePool, tmp_path: Path) -> None:
    put(pool, 200)
    pool.close()
    whole = Path(pool.path).read_bytes()
    torn = tmp_path / "torn"
    torn.write_bytes(whole[: len(whole) // 2 // 8192 * 8192])
    untouched(torn, f"the file has {len(whole) // 2 // 8192 * 8192} bytes")
    scratched = tmp_path / "scratched"
    scratched.write_bytes(whole[:-8192] + b"\xff" * 8192)
    with open_pool(str(scratched)) as opened:
        assert any("table" in line for line in opened.check())


def test_an_empty_file_becomes_a_pool(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with open_pool(str(path)) as opened:
        assert opened.runs() == []


def test_a_damaged_row_is_refused_with_table_and_rowid(pool: SqlitePool) -> None:
    put(pool, 2)
    pool.close()
    db = sqlite3.connect(pool.path)
    db.execute("UPDATE samples SET logprob = x'00' WHERE address & 1")
    db.commit()
    rowid = db.execute("SELECT address FROM samples WHERE address & 1").fetchone()[0]
    db.close()
    with open_pool(pool.path) as again:
        assert again.find(STREAM, [0])
        with pytest.raises(PoolDamaged, match=rf"table samples, rowid {rowid} .*14 bytes in column logprob, got 1"):
            again.find(STREAM, [1])
        assert len(again.check()) == 1


def test_a_full_disk_stops_the_writer_and_counts_what_was_lost(pool: SqlitePool) -> None:
    put(pool, 53)
    call = claim(pool, range(100, 500))
    pool._writer.ask(lambda ledger: ledger.db.execute("PRAGMA max_page_count=1").fetchone()).result()
    for i in range(100, 500):
        try:
            pool.record(call, i, make_sample(i), Bill())
        except PoolFull:
            break
    with pytest.raises(PoolFull, match="make room") as caught:
        asyncio.run(pool.flush())
    assert 0 < caught.value.n_lost <= 400
    with pytest.raises(PoolFull) as later:
        pool.record(call, 499, make_sample(499), Bill())
    assert later.value.n_lost == caught.value.n_lost + 1
    for write in (lambda: pool.start_run({"x": 1}), lambda: pool.void(STREAM, [1]), lambda: pool.settle(call)):
        with pytest.raises(PoolFull):
            write()
    stored = set(pool.find(STREAM, range(600)))
    assert stored >= set(range(53))
    pool.close()
    with open_pool(pool.path) as again:
        assert set(again.find(STREAM, range(600))) == stored


def test_the_bench_measures(tmp_path: Path) -> None:
    figures = measure(512, 1024, str(tmp_path))
    assert figures["samples"] == 512
    assert 600 < figures["bytes_per_sample"] < 2500
