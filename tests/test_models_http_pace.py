"""The pace of requests: grows and falls as it says, first come first served, and frees exactly what was held.

Time is the loop's own and jumps to the next timer, so that minutes pass at once and whoever is stuck is found out.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vervet.models.http.pace import Pace, Permit


class Jumping(selectors.DefaultSelector):
    """Does not wait: the time that would be waited passes at once."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events:
            assert timeout is not None, "everybody waits and no timer is set: somebody is stuck"
            self.now += timeout
        return events


class World:
    """A loop whose time jumps, and the clock that it goes by."""

    def __init__(self) -> None:
        self.selector = Jumping()

    def clock(self) -> float:
        return self.selector.now

    def loop(self) -> asyncio.AbstractEventLoop:
        self.selector = Jumping()
        loop = asyncio.SelectorEventLoop(self.selector)
        loop.time = self.clock  # type: ignore[method-assign]
        return loop

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=self.loop) as runner:
            return runner.run(main)


async def use(pace: Pace, seconds: float, tokens: int = 1, true: int | None = None) -> None:
    async with pace.permit(tokens) as permit:
        await asyncio.sleep(seconds)
        permit.ok(seconds, true)


async def many(pace: Pace, n: int, seconds: float) -> None:
    await asyncio.gather(*(use(pace, seconds) for _ in range(n)))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def idle(pace: Pace) -> bool:
    return (pace.n_open, pace.n_waiting) == (0, 0)


# --- the limit -----------------------------------------------------------------------------------------


def test_it_starts_at_32_and_doubles_while_latency_holds() -> None:
    world = World()
    pace = Pace(clock=world.clock)
    limits = []

    async def main() -> None:
        for _ in range(6):
            await many(pace, pace.limit, 0.5)
            limits.append(pace.limit)

    world.run(main())
    assert limits == [64, 128, 256, 512, 1024, 1024]
    assert idle(pace)


def test_most_is_never_passed() -> None:
    world = World()
    pace, seen = Pace(most=7, clock=world.clock), []

    async def watched() -> None:
        async with pace.permit(1) as permit:
            seen.append(pace.n_open)
            await asyncio.sleep(0.1)
            permit.ok(0.1)

    async def main() -> None:
        await asyncio.gather(*(watched() for _ in range(200)))

    world.run(main())
    assert max(seen) == 7
    assert pace.limit == 7


def test_it_stops_growing_where_latency_doubles_and_then_adds_a_few() -> None:
    world = World()
    pace = Pace(clock=world.clock)

    async def main() -> None:
        await many(pace, 32, 1.0)
        assert pace.limit == 64
        await many(pace, 64, 2.1)  # more than twice the best
        assert pace.limit == 64
        await many(pace, 64, 1.9)
        assert pace.limit == 72
        await many(pace, 72, 1.0)
        assert pace.limit == 80

    world.run(main())


def test_a_limit_that_nobody_reaches_does_not_grow() -> None:
    world = World()
    pace = Pace(clock=world.clock)

    async def main() -> None:
        for _ in range(50):
            await many(pace, 31, 1.0)

    world.run(main())
    assert pace.limit == 32


def test_busy_halves_once_per_round_and_never_below_one() -> None:
    world = World()
    pace = Pace(clock=world.clock)

    async def refused() -> None:
        async with pace.permit(1) as permit:
            await asyncio.sleep(0.1)
            permit.busy(None)

    async def main() -> None:
        for expected in (16, 8, 4, 2, 1, 1, 1):
            await asyncio.gather(*(refused() for _ in range(pace.limit)))
            assert pace.limit == expected
        await many(pace, 8, 1.0)  # a round is eight latencies at least
        assert pace.limit == 2
        await many(pace, 8 + 8 + 8, 1.0)
        assert pace.limit == 16

    world.run(main())
    assert idle(pace)


def test_what_began_before_a_halving_says_nothing_about_the_new_limit() -> None:
    world = World()
    pace = Pace(clock=world.clock)

    async def main() -> None:
        async with pace.permit(1) as old, pace.permit(1) as older:
            older.busy(None)
            old.busy(None)
            assert pace.limit == 16
            for _ in range(100):
                old.ok(0.001)
            assert pace.limit == 16
        await many(pace, 16, 5.0)  # and what is best is found out anew
        assert pace.limit == 24

    world.run(main())


# --- waiting -------------------------------------------------------------------------------------------


def test_retry_after_holds_all_new_permits() -> None:
    world = World()
    pace, entered = Pace(clock=world.clock), []

    async def one() -> None:
        async with pace.permit(1):
            entered.append(world.clock())

    async def main() -> None:
        async with pace.permit(1) as permit:
            permit.busy(7.0)
            permit.busy(3.0)  # the longest holds
        start = world.clock()
        await asyncio.gather(one(), one(), one())
        assert [t - start for t in entered] == pytest.approx([7, 7, 7], abs=0.01)

    world.run(main())


def test_first_come_first_served() -> None:
    world = World()
    pace, order = Pace(most=3, tokens_per_minute=600, clock=world.clock), []
    rng = random.Random(5)

    async def one(i: int, tokens: int) -> None:
        async with pace.permit(tokens):
            order.append(i)
            await asyncio.sleep(rng.random())

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for i in range(101):
                group.create_task(one(i, rng.randrange(1, 60)))

    world.run(main())
    assert order == list(range(101))


def test_who_comes_later_and_needs_less_waits_too() -> None:
    world = World()
    pace, order = Pace(tokens_per_minute=600, clock=world.clock), []

    async def one(tokens: int) -> None:
        async with pace.permit(tokens):
            order.append(tokens)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for tokens in (5, 100, 1):  # 10 per second: the last alone might go at once
                group.create_task(one(tokens))
                await settle()

    world.run(main())
    assert order == [5, 100, 1]


def worst_window(passed: list[tuple[float, float]], per_s: float) -> float:
    """The largest excess over the rate in any window that starts and ends with a request."""
    return max(
        sum(n for t, n in passed[i : j + 1]) - per_s * (passed[j][0] - passed[i][0])
        for i in range(len(passed))
        for j in range(i, len(passed))
    )


@pytest.mark.parametrize("seed", range(5))
def test_rates_are_kept_in_every_window(seed: int) -> None:
    world, rng = World(), random.Random(seed)
    pace = Pace(requests_per_minute=300, tokens_per_minute=6000, clock=world.clock)  # 5 and 100 per second
    passed: list[tuple[float, float]] = []

    async def one(tokens: int) -> None:
        await asyncio.sleep(rng.random() * 20)
        async with pace.permit(tokens):
            passed.append((world.clock(), tokens))

    async def main() -> None:
        await asyncio.gather(*(one(rng.choice((1, 17, 61, 250))) for _ in range(101)))

    world.run(main())
    assert worst_window([(t, 1) for t, _ in passed], 5) <= 5 + 1e-3, "one second's burst"
    assert worst_window(passed, 100) <= 250 + 1e-3, "one request, where that is more"
    assert idle(pace)


def test_a_request_larger_than_a_minute_waits_for_its_turn_not_for_ever() -> None:
    world = World()
    pace, entered = Pace(tokens_per_minute=60, clock=world.clock), []

    async def one(tokens: int) -> None:
        async with pace.permit(tokens):
            entered.append(world.clock())

    async def main() -> None:
        start = world.clock()
        await asyncio.gather(one(30), one(600), one(1))
        assert [t - start for t in entered] == pytest.approx([0, 30, 630], abs=0.01)

    world.run(main())


def test_tokens_that_were_not_needed_come_back() -> None:
    world = World()
    pace = Pace(tokens_per_minute=6000, clock=world.clock)

    async def main() -> None:
        start = world.clock()
        for _ in range(11):
            await use(pace, 0.0, tokens=1000, true=10)
        assert world.clock() - start == pytest.approx(1.0, abs=0.01), "10 times 10 tokens, at 100 per second"
        await use(pace, 0.0, tokens=1000)
        await use(pace, 0.0, tokens=1000)
        assert world.clock() - start > 10, "what is not known stays taken"

    world.run(main())


# --- cancelling ----------------------------------------------------------------------------------------


def test_ten_thousand_random_cancellations_leave_every_permit_free() -> None:
    world, rng = World(), random.Random(11)
    pace = Pace(most=61, requests_per_minute=60_000, tokens_per_minute=6_000_000, clock=world.clock)
    done = []

    async def one(i: int) -> None:
        await asyncio.sleep(rng.random() * 10)
        async with pace.permit(rng.randrange(1, 2000)) as permit:
            assert pace.n_open <= 61
            await asyncio.sleep(rng.random() * 0.2)
            chance = rng.random()
            if chance < 0.01:
                permit.busy(rng.choice((None, 0.0, 0.05)))
            elif chance < 0.8:
                permit.ok(0.1, rng.randrange(1, 2000))
            done.append(i)

    async def cancelled(task: asyncio.Task[None]) -> None:
        await asyncio.sleep(rng.random() * 12)
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def main() -> None:
        tasks = [asyncio.create_task(one(i)) for i in range(12_000)]
        await asyncio.gather(*(cancelled(task) for task in tasks[:10_000]), *tasks[10_000:])
        assert idle(pace)
        assert set(range(10_000, 12_000)) <= set(done)
        start = world.clock()
        async with asyncio.timeout(5):
            await many(pace, 61, 0.0)
        assert idle(pace)
        assert world.clock() - start < 1

    world.run(main())


def test_a_grant_to_one_who_is_cancelled_goes_to_the_next() -> None:
    world = World()
    pace = Pace(most=1, requests_per_minute=60, tokens_per_minute=60, clock=world.clock)

    async def main() -> None:
        holder = pace.permit(1)
        await holder.__aenter__()
        first, second = (asyncio.create_task(use(pace, 0.0, tokens=50)) for _ in range(2))
        await asyncio.sleep(5)
        await holder.__aexit__(None, None, None)
        assert pace.n_open == 1, "it is granted"
        first.cancel()
        start = world.clock()
        await second
        assert world.clock() == start, "what the first had taken of the rates came back too"
        assert first.cancelled()

    world.run(main())
    assert idle(pace)


OPERATIONS = st.one_of(
    st.tuples(st.just("ask"), st.integers(1, 300)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("leave"), st.integers(0, 30)),
    st.tuples(st.just("ok"), st.integers(0, 30)),
    st.tuples(st.just("busy"), st.integers(0, 30)),
    st.tuples(st.just("hold"), st.integers(0, 30)),
    st.tuples(st.just("sleep"), st.integers(0, 3)),
    st.tuples(st.just("tick"), st.integers(0, 3)),
)


@settings(max_examples=300, deadline=None)
@given(
    most=st.integers(1, 4),
    rates=st.sampled_from([(None, None), (600, None), (None, 6000), (600, 6000)]),
    operations=st.lists(OPERATIONS, max_size=60),
)
def test_any_interleaving_frees_exactly_what_it_held(
    most: int, rates: tuple[int | None, int | None], operations: list[tuple[str, int]]
) -> None:
    world = World()
    pace = Pace(most, *rates, clock=world.clock)
    inside: dict[int, tuple[Permit, asyncio.Event]] = {}
    tasks: list[asyncio.Task[None]] = []

    async def one(i: int, tokens: int) -> None:
        async with pace.permit(tokens) as permit:
            leave = asyncio.Event()
            inside[i] = (permit, leave)
            try:
                await leave.wait()
            finally:
                del inside[i]

    def act(name: str, number: int) -> None:
        if name == "ask":
            tasks.append(asyncio.create_task(one(len(tasks), number)))
        elif name == "cancel" and tasks:
            tasks[number % len(tasks)].cancel()
        elif inside and name in ("leave", "ok", "busy", "hold"):
            permit, leave = list(inside.values())[number % len(inside)]
            if name == "leave":
                leave.set()
            elif name == "ok":
                permit.ok(number / 10, number)
            else:
                permit.busy(None if name == "busy" else number / 10)

    async def main() -> None:
        for name, number in operations:
            act(name, number)
            if name == "sleep":
                await asyncio.sleep(number)
            for _ in range(number if name == "tick" else 0):
                await asyncio.sleep(0)
            assert len(inside) <= pace.n_open <= most
        await settle()
        assert pace.n_open == len(inside), "nobody else holds anything"
        assert pace.n_waiting == sum(not task.done() for task in tasks) - len(inside)
        for task in tasks[::2]:
            task.cancel()
        async with asyncio.timeout(1000):
            while not all(task.done() for task in tasks):
                for _, leave in inside.values():
                    leave.set()
                await asyncio.sleep(1)
        assert idle(pace)
        for task in tasks:
            assert task.cancelled() or task.exception() is None

    world.run(main())


# --- loops ---------------------------------------------------------------------------------------------


def test_the_limit_outlives_a_loop_and_nothing_else_does() -> None:
    world = World()
    pace = Pace(clock=world.clock)
    world.run(many(pace, 32, 1.0))
    assert pace.limit == 64
    held = pace.permit(1)
    loop = world.loop()
    loop.run_until_complete(held.__aenter__())
    waiters = [loop.create_task(use(pace, 1.0)) for _ in range(65)]
    loop.run_until_complete(settle())
    assert (pace.n_open, pace.n_waiting) == (64, 2)
    world.run(many(pace, 3, 0.1))  # the other loop was left with holders and waiters
    assert idle(pace)
    for waiter in waiters:
        waiter.cancel()
    loop.run_until_complete(asyncio.gather(*waiters, return_exceptions=True))
    loop.run_until_complete(held.__aexit__(None, None, None))
    loop.close()
    assert idle(pace), "what belonged to the loop that was left frees nothing of the other's"
    assert pace.limit == 64


def test_real_time() -> None:
    pace, n = Pace(most=4, requests_per_minute=6000), 0

    async def one() -> None:
        nonlocal n
        async with pace.permit(1) as permit:
            n += 1
            permit.busy(0.01 if n == 1 else None)

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    asyncio.run(main())
    asyncio.run(main())
    assert n == 40
    assert idle(pace)
