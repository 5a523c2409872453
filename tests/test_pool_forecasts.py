"""What was foretold of a run stays as it was first said, and the times of its calls are told."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vervet.errors import Mistake
from vervet.pool import ForecastRow, SqlitePool, open_pool
from vervet.scaling.forecast import Forecast
from vervet.types import Bill, Stream

ONE = Forecast("kumaraswamy", "same problems", 101, 1_009, 0.75, 0.7, 0.8)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[SqlitePool]:
    with open_pool(str(tmp_path / "a.pool")) as opened:
        yield opened


def test_the_first_forecast_stays(pool: SqlitePool) -> None:
    run, other = pool.start_run({"name": "a"}), pool.start_run({"name": "b"})
    before = time.time()
    pool.add_forecasts(run, [ONE, replace(ONE, target="new problems", level=0.8)])
    pool.add_forecasts(run, [replace(ONE, value=0.99), replace(ONE, k=10_007)])
    pool.add_forecasts(other, [replace(ONE, value=0.5)])
    rows = pool.forecasts(run)
    assert [(r.law, r.target, r.n, r.k, r.value, r.low, r.high, r.level) for r in rows] == [
        ("kumaraswamy", "new problems", 101, 1_009, 0.75, 0.7, 0.8, 0.8),
        ("kumaraswamy", "same problems", 101, 1_009, 0.75, 0.7, 0.8, 0.9),
        ("kumaraswamy", "same problems", 101, 10_007, 0.75, 0.7, 0.8, 0.9),
    ]
    assert all(before <= r.made <= time.time() for r in rows)
    assert len(pool.forecasts()) == 4
    assert [r.value for r in pool.forecasts(other)] == [0.5]


def test_a_forecast_of_no_number_is_kept_as_such(pool: SqlitePool) -> None:
    run = pool.start_run({"name": "a"})
    pool.add_forecasts(run, [replace(ONE, low=math.nan)])
    (row,) = pool.forecasts(run)
    assert isinstance(row, ForecastRow)
    assert math.isnan(row.low) and row.high == 0.8


def test_forecasts_are_of_a_run_that_is_there(pool: SqlitePool) -> None:
    with pytest.raises(Mistake, match="id of a run"):
        pool.add_forecasts("nobody", [ONE])
    assert pool.forecasts("nobody") == []


def test_a_pool_of_before_gets_the_table(tmp_path: Path) -> None:
    path = str(tmp_path / "old.pool")
    open_pool(path).close()
    db = sqlite3.connect(path)
    db.execute("DROP TABLE forecasts")
    db.close()
    with open_pool(path) as pool:
        pool.add_forecasts(pool.start_run({"name": "a"}), [ONE])
        assert len(pool.forecasts()) == 1


def test_when_calls_were_made(pool: SqlitePool) -> None:
    run, other = pool.start_run({"name": "a"}), pool.start_run({"name": "b"})
    before = time.time()
    for index, (who, seconds) in enumerate([(run, 2.5), (other, 9.0), (run, 0.25)]):
        call = asyncio.run(pool.claim(who, Stream("m", "9f" * 16), [index], Bill(), True)).call
        assert call is not None
        pool.settle(call, seconds=seconds)
    asyncio.run(pool.claim(run, Stream("m", "9f" * 16), [7], Bill(), True))  # stays open: it has no time yet
    times = pool.call_times(run)
    assert [t.seconds for t in times] == [2.5, 0.25]
    assert before <= times[0].started <= times[1].started <= time.time()
