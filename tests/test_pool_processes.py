"""The pool among processes: kills, two writers at once, a disk that fills."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import vervet
from vervet.pool import SqlitePool, open_pool
from vervet.pool.owners import ByteOwners, FileOwners
from vervet.types import Bill, Claim, Sample, Stream, Void

STREAM = Stream("embedded@1", "9f" * 16)

CHILD = """
import asyncio, json, os, random, resource, signal, sys, time
from vervet.errors import PoolFull
from vervet.pool import open_pool
from vervet.types import Bill, Sample, Stream

path, part, *rest = sys.argv[1:]
stream = Stream("embedded@1", "9f" * 16)
reserve = Bill(prompt_tokens=11, completion_tokens=101)

def sample(i, ended="eos"):
    return Sample(stream.at(i), f"{os.getpid()} " + "text " * 50, ended, 7, 11)

def say(**facts):
    print(json.dumps(facts), flush=True)

async def hold(pool, run):
    continues = rest[0] == "continues"
    held = await pool.claim(run, stream, range(8), reserve, continues)
    late = await pool.claim(run, stream, range(8, 11), reserve, continues)
    for i in (0, 1, 4):
        pool.record(held.call, i, sample(i), Bill(completion_tokens=7))
    for i in (8, 9, 10):
        pool.record(late.call, i, sample(i), Bill(completion_tokens=7))
    pool.settle(late.call, Bill(prompt_tokens=11))
    await pool.flush()
    say(granted=held.granted)
    time.sleep(60)

async def race(pool, run):
    rng, granted = random.Random(rest[0]), []
    for _ in range(120):
        first = rng.randrange(0, 191)
        claim = await pool.claim(run, stream, range(first, first + 7), reserve, True)
        granted += claim.granted
        for i in claim.granted:
            pool.record(claim.call, i, sample(i), Bill(completion_tokens=7))
        if claim.call is not None:
            pool.settle(claim.call)
    say(granted=granted)

async def forever(pool, run):
    say(run=run)
    for first in range(0, 10**9, 16):
        claim = await pool.claim(run, stream, range(first, first + 16), reserve, True)
        for i in claim.granted:
            pool.record(claim.call, i, sample(i), Bill(completion_tokens=7))
        if claim.call is not None:
            pool.settle(claim.call)

async def leave(pool, run):
    claim = await pool.claim(run, stream, range(31), reserve, True)
    for i in claim.granted:
        pool.record(claim.call, i, sample(i), Bill(completion_tokens=7))
    if claim.call is not None:
        pool.settle(claim.call)
    say(run=run)

async def fill(pool, run):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    n = 0
    try:
        while True:
            claim = await pool.claim(run, stream, range(n, n + 64), reserve, True)
            for i in claim.granted:
                n += 1
                pool.record(claim.call, i, sample(i), Bill(completion_tokens=7))
            pool.settle(claim.call)
    except PoolFull as error:
        say(run=run, tried=n, lost=error.n_lost, message=str(error))
    os._exit(0)

pool = open_pool(path)
asyncio.run(globals()[part](pool, pool.start_run({"name": "a"})))
"""


@contextmanager
def child(path: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    roots = [str(Path(p).parent) for p in vervet.__path__]
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, path, *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def said(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    facts: dict[str, Any] = json.loads(process.stdout.readline())
    return facts


def claim(pool: SqlitePool, run: str, indices: range, continues: bool) -> Claim:
    return asyncio.run(pool.claim(run, STREAM, indices, Bill(11, 101), continues))


@pytest.mark.parametrize("continues", [True, False])
def test_kill_9_in_the_middle_of_a_claim(tmp_path: Path, continues: bool) -> None:
    """Of 8 claimed indices 3 had come (0, 1, 4); 8 to 10 had come by a later call, which was settled."""
    path = str(tmp_path / "a.pool")
    with child(path, "hold", "continues" if continues else "ends") as process, open_pool(path) as pool:
        assert said(process)["granted"] == list(range(8))
        other = pool.start_run({"name": "b"})
        assert claim(pool, other, range(8), continues) == Claim(None, (), (2, 3, 5, 6, 7))
        process.kill()
        process.wait()
        # The next claim that meets a busy index finds the owner dead.
        again = claim(pool, other, range(8), continues)
        run = pool.start_run({"name": "a"})
        spent = pool.spent(run)
        # The prompt once, and five completions that may have been paid to their bound.
        assert spent.bill == Bill(prompt_tokens=11, completion_tokens=42, unsettled_tokens=11 + 5 * 101)
        assert spent.calls == 2
        found = pool.find(STREAM, range(11))
        if continues:
            assert again.granted == (2, 3, 5, 6, 7)
            assert sorted(found) == [0, 1, 4, 8, 9, 10]
            assert spent.fresh_samples == 6
        else:
            assert again == Claim(None, (), ())
            assert [i for i, stored in found.items() if isinstance(stored, Void)] == list(range(2, 11))
            assert isinstance(found[0], Sample)
            assert isinstance(found[1], Sample)
            assert spent.fresh_samples == 2
            assert claim(pool, other, range(12), continues).granted == (11,)
        assert pool.spent(run) == spent
    with open_pool(path) as pool:
        pool.start_run({"name": "a"})
        assert pool.info().n_open_calls == 0
        assert pool.spent(run) == spent


def test_a_pool_that_was_closed_with_an_open_call_is_dead_too(tmp_path: Path) -> None:
    path = str(tmp_path / "a.pool")
    with open_pool(path) as first, open_pool(path) as second:
        run = first.start_run({"name": "a"})
        asyncio.run(first.flush())
        assert claim(first, run, range(3), True).granted == (0, 1, 2)
        assert claim(second, run, range(3), True).busy == (0, 1, 2)
        assert claim(first, run, range(3), True).busy == (0, 1, 2)
        first.close()
        assert claim(second, run, range(3), True).granted == (0, 1, 2)


def test_processes_at_once_never_share_an_index(tmp_path: Path) -> None:
    path = str(tmp_path / "a.pool")
    with child(path, "race", "2") as a, child(path, "race", "3") as b, child(path, "race", "5") as c:
        granted = Counter(i for process in (a, b, c) for i in said(process)["granted"])
        assert [process.wait(30) for process in (a, b, c)] == [0, 0, 0]
    assert max(granted.values()) == 1
    with open_pool(path) as pool:
        found = pool.find(STREAM, range(200))
        assert sorted(found) == sorted(granted)
        assert pool.info().counts["samples"] == len(granted) > 190
        spent = pool.spent(pool.start_run({"name": "a"}))
        assert spent.fresh_samples == len(granted)
        assert spent.bill.completion_tokens == 7 * len(granted)
        assert pool.check() == []


def test_kill_9_at_random_moments_leaves_a_whole_pool(tmp_path: Path) -> None:
    path = str(tmp_path / "a.pool")
    rng = random.Random(0)
    n_before = 0
    for _ in range(3):
        with child(path, "forever") as process:
            run = said(process)["run"]
            time.sleep(rng.uniform(0.05, 0.5))
        with open_pool(path) as pool:
            pool.start_run({"name": "a"})
            assert pool.check() == []
            assert pool.info().n_open_calls == 0
            n_rows = pool.info().counts["samples"]
            assert n_rows >= n_before
            spent = pool.spent(run)
            assert spent.fresh_samples == n_rows
            assert spent.bill.completion_tokens >= 7 * n_rows
            n_before = n_rows


def test_leaving_without_close_loses_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "a.pool")
    with child(path, "leave") as process:
        said(process)
        assert process.wait(30) == 0
    with open_pool(path) as pool:
        assert len(pool.find(STREAM, range(40))) == 31
        assert pool.info().n_open_calls == 0


def test_a_disk_that_fills_loses_nothing_stored_and_counts_the_rest(tmp_path: Path) -> None:
    path = str(tmp_path / "a.pool")
    with child(path, "fill") as process:
        facts = said(process)
        process.wait(30)
    assert "samples could not be stored" in facts["message"]
    with open_pool(path) as pool:
        assert pool.check() == []
        n_stored = pool.info().counts["samples"]
        assert n_stored > 100
        assert n_stored + facts["lost"] == facts["tried"]
        assert pool.spent(facts["run"]).fresh_samples == n_stored


def test_processes_may_make_the_pool_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "a.pool")
    with child(path, "leave") as a, child(path, "leave") as b, child(path, "leave") as c:
        assert [process.wait(30) for process in (a, b, c)] == [0, 0, 0]
    with open_pool(path) as pool:
        assert len(pool.find(STREAM, range(40))) == 31


@pytest.mark.parametrize("kind", [ByteOwners, FileOwners])
def test_owners_live_until_they_let_go(tmp_path: Path, kind: type[ByteOwners] | type[FileOwners]) -> None:
    a, b = kind(str(tmp_path / "p")), kind(str(tmp_path / "p"))
    a.hold(3)
    b.hold(5)
    assert [b.alive(i) for i in (3, 4, 5)] == [True, False, True]
    assert [a.alive(i) for i in (3, 4, 5)] == [True, False, True]
    a.close()
    assert [b.alive(i) for i in (3, 5)] == [False, True]
    b.close()
