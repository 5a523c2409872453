"""What Vervet adds to a bare HTTP client, beside another library: samples and requests a second, and latency.

One upstream, a scripted server of its own process with 20 ms latency and tiny replies. At each point so many questions
are under way at once, each for ``n`` samples. All contenders take turns within one run, several rounds each, after
warm-ups of one length; figures are medians of the rounds. The contenders:

- ``aiohttp`` and ``httpx``: the bare clients, posting the same JSON and reading the reply as JSON;
- ``model``: ``HttpModel.draw`` alone, nothing kept;
- ``memory``: all of Vervet (``llm.draw``), over a pool that keeps nothing but what is under way;
- ``pool``: all of Vervet, over a pool on disk;
- ``its_hub``: its_hub 1.2.0's library, n samples as n requests, as it does (``pip install 'vervet[peers]'``).

At 256 and more the bare client is as fast as the upstream itself: what is above that cannot be seen here.

    python -m bench.http --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import cache
from itertools import count
from statistics import median

from bench.clients import Ask, contenders, upstream
from bench.standard import FULL, QUICK, Figure, Size

DELAY_S = 0.02
NO_PEER = "its_hub is not installed and not judged: pip install 'vervet[peers]'"


@dataclass(frozen=True)
class Point:
    """So many questions at once, each for ``n`` samples; rounds of ``warm_s`` and then ``window_s``."""

    at_once: int
    n: int
    rounds: int
    warm_s: float
    window_s: float


@dataclass(frozen=True)
class Plan:
    """The points, and how many questions are asked one at a time (in so many turns of a few)."""

    points: tuple[Point, ...]
    turns: int
    each_turn: int


PLANS = {
    FULL: Plan(
        tuple(
            point
            for n in (1, 8)
            for point in (Point(32, n, 4, 0.25, 0.5), Point(256, n, 3, 0.4, 0.5), Point(1024, n, 2, 0.9, 0.8))
        ),
        turns=12,
        each_turn=8,
    ),
    QUICK: Plan((Point(32, 1, 1, 0.2, 0.4), Point(32, 8, 1, 0.2, 0.4)), turns=2, each_turn=4),
}
AT_ONCE_HTTPX = 32  # beyond it, its pool looks through all waiting requests for each: rounds would take minutes


@dataclass(frozen=True)
class Row:
    """What one contender did at one point: medians of the rounds; ``alone_ms`` is its p50 one at a time."""

    name: str
    at_once: int
    n: int
    samples_per_s: float
    requests_per_s: float
    p50_ms: float
    alone_ms: float


# --- measuring -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """What one contender did in one window: samples a second, and the latencies of its questions, in seconds."""

    samples_per_s: float
    latencies_s: list[float]


async def one_round(ask: Ask, at_once: int, warm_s: float, window_s: float, numbers: Iterator[int]) -> Round:
    """So many questions at once, for as long as it takes; counted is what ends within the window."""
    ends: list[tuple[float, float, int]] = []

    async def go_on() -> None:
        while True:
            begun = time.perf_counter()
            n_came = await ask(next(numbers))
            ends.append((time.perf_counter(), begun, n_came))

    tasks = [asyncio.create_task(go_on()) for _ in range(at_once)]
    try:
        await asyncio.sleep(warm_s)
        since = time.perf_counter()
        await asyncio.sleep(window_s)
        until = time.perf_counter()
    finally:
        broken = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if any(broken):
        raise RuntimeError("a contender broke down") from next(error for error in broken if error)
    seen = [row for row in ends if since <= row[0] < until]
    return Round(sum(n for _, _, n in seen) / (until - since), [end - begun for end, begun, _ in seen])


async def alone(asks: Mapping[str, Ask], plan: Plan, numbers: Iterator[int]) -> dict[str, float]:
    """The median latency of each, one question at a time, in milliseconds."""
    found: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(plan.turns):
        for name, ask in asks.items():
            await ask(next(numbers))  # its connection is open now
            for _ in range(plan.each_turn):
                begun = time.perf_counter()
                await ask(next(numbers))
                found[name].append(1000 * (time.perf_counter() - begun))
    return {name: median(times) for name, times in found.items()}


async def measure(plan: Plan) -> list[Row]:
    """Every contender at every point."""
    rows: list[Row] = []
    numbers = count()
    for n in sorted({point.n for point in plan.points}):
        with upstream("--delay", str(DELAY_S), "--law", "refine") as url:
            async with AsyncExitStack() as stack:
                made = {name: await stack.enter_async_context(make(url, n)) for name, make in contenders(n).items()}
                alone_ms = await alone(made, plan, numbers)
                for point in (p for p in plan.points if p.n == n):
                    rows += await at_point(made, point, alone_ms, numbers)
    return rows


async def at_point(
    asks: Mapping[str, Ask], point: Point, alone_ms: Mapping[str, float], numbers: Iterator[int]
) -> list[Row]:
    """All contenders in turn, round after round."""
    rounds: dict[str, list[Round]] = {name: [] for name in asks}
    for _ in range(point.rounds):
        for name, ask in asks.items():
            if name == "httpx" and point.at_once > AT_ONCE_HTTPX:
                continue
            rounds[name].append(await one_round(ask, point.at_once, point.warm_s, point.window_s, numbers))
    rows = []
    for name, found in rounds.items():
        if not found:
            continue
        rate = median(r.samples_per_s for r in found)
        per_request = 1 if name == "its_hub" else point.n
        p50_ms = 1000 * median([s for r in found for s in r.latencies_s] or [float("nan")])
        rows.append(Row(name, point.at_once, point.n, rate, rate / per_request, p50_ms, alone_ms[name]))
    return rows


# --- figures -------------------------------------------------------------------------------------------


@cache
def table(size: Size) -> tuple[Row, ...]:
    """All rows of one size, measured once."""
    return tuple(asyncio.run(measure(PLANS[size])))


def _at(rows: tuple[Row, ...], name: str) -> dict[tuple[int, int], Row]:
    """The rows of one contender by (at once, n)."""
    return {(row.at_once, row.n): row for row in rows if row.name == name}


def rate(size: Size) -> Figure:
    """Vervet's rate at 32 at once beside the bare client's."""
    rows = table(size)
    bare = _at(rows, "aiohttp")[32, 1].requests_per_s
    mine = {name: _at(rows, name)[32, 1].requests_per_s for name in ("model", "memory", "pool")}
    cells = ", ".join(f"{name} {value:,.0f} ({value / bare:.0%})" for name, value in mine.items())
    share = mine["memory"] / bare
    return Figure(
        f"requests/s at 32: bare aiohttp {bare:,.0f}; {cells}", share >= 0.8, f"without a pool it is {share:.0%}"
    )


def overhead(size: Size) -> Figure:
    """What Vervet adds to the median latency, one question at a time."""
    rows, parts, worst = table(size), [], 0.0
    for n in sorted({row.n for row in rows}):
        alone = {row.name: row.alone_ms for row in rows if row.n == n}
        bare = alone["aiohttp"]
        added = {name: alone[name] - bare for name in ("model", "memory", "pool")}
        worst = max(worst, added["pool"])
        parts.append(f"n = {n}: bare {bare:.1f} ms, " + ", ".join(f"{k} +{ms:.2f}" for k, ms in added.items()))
    return Figure("p50, one at a time; " + "; ".join(parts), worst < 2, f"with a pool it adds {worst:.2f} ms")


def peer(size: Size) -> Figure:
    """Samples a second beside its_hub's library, at every point."""
    rows = table(size)
    other = _at(rows, "its_hub")
    if not other:
        return Figure(NO_PEER, True)
    model, memory, pool = (_at(rows, name) for name in ("model", "memory", "pool"))
    cells = [
        f"{at} x n={n} {model[at, n].samples_per_s:,.0f} / {memory[at, n].samples_per_s:,.0f} / "
        f"{pool[at, n].samples_per_s:,.0f} : {other[at, n].samples_per_s:,.0f}"
        for at, n in sorted(other)
    ]
    behind = [f"{at} x n={n}" for at, n in sorted(other) if memory[at, n].samples_per_s <= other[at, n].samples_per_s]
    text = "samples/s, Vervet's model / without a pool / with a pool : its_hub; " + ", ".join(cells)
    return Figure(text, not behind, f"its_hub is ahead of Vervet without a pool at {', '.join(behind)}")


def kept(size: Size) -> Figure:
    """What the pool on disk costs, at every point."""
    disk, memory = _at(table(size), "pool"), _at(table(size), "memory")
    shares = {key: disk[key].samples_per_s / memory[key].samples_per_s for key in sorted(disk)}
    text = ", ".join(f"{at} x n={n} {share:.0%}" for (at, n), share in shares.items())
    worst = min(shares.values())
    return Figure(
        f"rate with a pool on disk, of that without: {text}", worst >= 0.85, f"at one point it is {worst:.0%}"
    )


def client(size: Size) -> Figure:
    """Which client: the bare rates of two."""
    aiohttp, httpx = _at(table(size), "aiohttp"), _at(table(size), "httpx")
    if not httpx:
        return Figure("httpx is not installed and not judged: pip install httpx", True)
    text = ", ".join(
        f"at {key[0]} {aiohttp[key].requests_per_s:,.0f} : {httpx[key].requests_per_s:,.0f}" for key in sorted(httpx)
    )
    faster = all(aiohttp[key].requests_per_s > httpx[key].requests_per_s for key in httpx)
    alone = {row.name: row.alone_ms for row in table(size) if row.n == 1}
    return Figure(
        f"requests/s, bare aiohttp : bare httpx: {text}; p50 alone {alone['aiohttp']:.1f} : {alone['httpx']:.1f} ms; "
        "chosen: aiohttp",
        faster,
        "httpx is faster somewhere",
    )


MEASURES: dict[str, Callable[[Size], Figure]] = {
    "http-rate": rate,
    "http-overhead": overhead,
    "http-its-hub": peer,
    "http-pool": kept,
    "http-client": client,
}


def main() -> None:
    """Measure and print one table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="measure small")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    args = options.parse_args()
    size = QUICK if args.quick else FULL
    rows = table(size)
    figures = {name: found(size) for name, found in MEASURES.items()}
    if args.json:
        print(json.dumps({"rows": [asdict(r) for r in rows], "figures": {k: asdict(f) for k, f in figures.items()}}))
        return
    bare = _at(rows, "aiohttp")
    print("at once  n  contender  samples/s  requests/s  of bare  p50 ms    added    alone    added")
    for r in rows:
        b = bare[r.at_once, r.n]
        print(
            f"{r.at_once:7}  {r.n}  {r.name:9}  {r.samples_per_s:9,.0f}  {r.requests_per_s:10,.0f}  "
            f"{r.samples_per_s / b.samples_per_s:7.0%}  {r.p50_ms:6.1f}  {r.p50_ms - b.p50_ms:7.1f}  {r.alone_ms:7.2f}  "
            f"{r.alone_ms - b.alone_ms:7.2f}"
        )
    for name, figure in figures.items():
        print(f"\n{name}: {figure.text}{'' if figure.holds else f' ({figure.why})'}")


if __name__ == "__main__":
    main()
