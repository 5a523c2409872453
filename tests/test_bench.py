"""Small runs of the benchmarks that others cannot see into: what they compare is really compared."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

from bench import clients, faults, http
from bench.faults import Books, Cancelled, FirstTokens, Wallet
from bench.standard import Size
from vervet.testing import ScriptedServer


def test_every_client_brings_the_samples_that_it_is_asked_for() -> None:
    async def ask_all() -> dict[str, int]:
        found = {}
        async with ScriptedServer("refine") as server:
            for name, make in clients.CONTENDERS.items():
                if name != "its_hub":  # it is not among what the tests need
                    async with make(server.url, 3) as ask:
                        found[name] = await ask(7)
            assert [body["n"] for body in server.log.bodies] == [3] * len(found)
            messages = {str(body["messages"]) for body in server.log.bodies}
            assert len(messages) == 1
        return found

    assert set(asyncio.run(ask_all()).values()) == {3}


def test_a_round_counts_what_ends_within_its_window() -> None:
    async def ask(number: int) -> int:
        await asyncio.sleep(0.001)
        return 2

    found = asyncio.run(http.one_round(ask, 5, 0.01, 0.05, count()))
    assert found.latencies_s
    assert all(seconds >= 0.001 for seconds in found.latencies_s)


def test_a_round_does_not_hide_that_a_client_broke_down() -> None:
    async def ask(number: int) -> int:
        raise ConnectionError("no")

    with pytest.raises(RuntimeError):
        asyncio.run(http.one_round(ask, 2, 0.01, 0.01, count()))


def _rows(**rates: float) -> tuple[http.Row, ...]:
    return tuple(http.Row(name, 32, 1, rate, rate, 20.0, 21.0) for name, rate in rates.items())


def test_figures_are_judged_by_their_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size("made up", 1, 1, 1)
    rows: dict[str, Any] = {"aiohttp": 100, "httpx": 50, "model": 95, "memory": 90, "pool": 80, "its_hub": 85}
    for changed, broken in (({}, set()), ({"memory": 79}, {"http-rate"}), ({"pool": 70}, {"http-pool"})):
        monkeypatch.setattr(http, "table", lambda _, changed=changed: _rows(**{**rows, **changed}))
        assert broken <= {name for name, figure in http.MEASURES.items() if not figure(size).holds}
        if not changed:
            assert all(figure(size).holds for figure in http.MEASURES.values())


def test_a_peer_that_is_missing_is_named_and_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "table", lambda _: _rows(aiohttp=100, model=90, memory=90, pool=80))
    figure = http.MEASURES["http-its-hub"](Size("made up", 1, 1, 1))
    assert figure.holds
    assert "pip install" in figure.text


def test_a_small_fault_run_balances() -> None:
    books = asyncio.run(faults.run_of(56, faults.ROOMY))
    assert (books.asked, books.samples + books.failures) == (56, 56)
    assert books.strikes
    assert books.holds, books


@pytest.mark.parametrize("wallet", [Wallet(tokens=1_500), Wallet(calls=7), Wallet(usd=0.004)])
def test_a_tight_wallet_is_not_passed(wallet: Wallet) -> None:
    books = asyncio.run(faults.run_of(56, wallet))
    assert books.refused_by_limit > 0
    assert books.holds, books


def test_books_that_do_not_balance_do_not_hold() -> None:
    none: dict[str, float | None] = dict.fromkeys(("tokens", "calls", "seconds", "usd"))
    whole = Books(asked=8, samples=7, failures=1, stored=7, delivered=7, limits=none)
    assert whole.holds
    whole.requests = 1
    assert not whole.holds
    assert not Cancelled(permits_taken=1, waiting=0, connections=0).holds


def test_cancelled_draws_leave_nothing_open() -> None:
    left = asyncio.run(faults.cancel_run(60, at_once=31, most=5))
    assert left.cancelled >= 60
    assert left.holds, left


def test_the_cut_rule_of_the_fault_run() -> None:
    assert FirstTokens(8).name == "first8"
