"""What becomes of draws when a server does everything wrong, and of permits and connections when draws are cancelled.

The whole stack (``llm``, a pool on disk) against a scripted server that counts for itself what it was asked and what it
generated. ``fault_run``: every fault strikes 5 % of the requests; half of the draws come whole, four to a request, half
are streamed under a cut rule. ``limited_run``: the same under wallets that end it early. ``cancel_run``: draws are
cancelled at random moments.

    python -m bench.faults
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache

from bench.standard import FULL, QUICK, Figure, Size
from vervet.budget import Purse, Wallet
from vervet.errors import LimitReached
from vervet.llm import LLM, Retry, World
from vervet.models.http import Entry, HttpModel, SamplingWarning
from vervet.pool import SqlitePool, open_pool
from vervet.pool.ledger import read_indices
from vervet.testing.server import Log, Script, ScriptedServer
from vervet.types import Endings, Prices, Problem, Question, Request, Stream, Trace
from vervet.verify import READERS

SHARE, N, MAX_TOKENS, AT_ONCE, SEED = 0.05, 4, 48, 48, 0
LAW = "iid?right_tokens=16&wrong_tokens=16"
FAULTS = ("ignore_n", "drop_logprobs", "busy", "busy_until", "broken", "reset_before", "reset", "truncated", "half_json",
          "content_filter", "wrong_usage", "stall", "drip")  # fmt: skip
FIGURES_DROPPED = "drop_logprobs"  # of a cut rule's figures: one reply without them ends the run, as it should
BLOCK = 25  # questions to a model of their own: one that saw n ignored once asks for one sample at a time for ever


@dataclass(frozen=True)
class FirstTokens:
    """A cut rule: a sample ends after so many tokens."""

    n: int

    @property
    def name(self) -> str:
        """What a sample says of its end."""
        return f"first{self.n}"

    def fires_at(self, trace: Trace) -> int | None:
        """The number itself, once it is reached."""
        return self.n if len(trace) >= self.n else None


@dataclass
class Books:
    """What the asker saw, what the pool holds, and what the server counted; tokens are prompt and completion together.

    ``whole_*`` are of calls that ended in good order with true usage, ``broken_*`` of all others: what was booked (part of
    it ``unsettled``), what the server generated, what was reserved; ``astray`` are calls that break the promise of either,
    ``hidden`` those whose usage was wrong and whose figures were dropped too, so that nobody could see it.
    """

    asked: int = 0
    samples: int = 0
    failures: int = 0
    refused_by_limit: int = 0
    stored: int = 0
    delivered: int = 0
    recorded_failures: int = 0
    duplicates: int = 0
    calls: int = 0
    requests: int = 0
    whole_calls: int = 0
    whole_booked: int = 0
    whole_generated: int = 0
    broken_calls: int = 0
    broken_booked: int = 0
    broken_unsettled: int = 0
    broken_generated: int = 0
    broken_reserved: int = 0
    astray: int = 0
    hidden: int = 0
    spent: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float | None] = field(default_factory=dict)
    strikes: dict[str, int] = field(default_factory=dict)

    @property
    def within_limits(self) -> bool:
        """No limit passed, by the pool's books, and by the server's count."""
        held = all(most is None or self.spent[name] <= most for name, most in self.limits.items() if name != "seconds")
        most = self.limits["tokens"]
        return held and (most is None or self.whole_generated + self.broken_generated <= most)

    @property
    def holds(self) -> bool:
        """Everything that must be: nothing lost, nothing twice, the books and the server of one mind."""
        n_out = self.samples + self.failures
        return (
            self.within_limits
            and (n_out == self.asked or self.refused_by_limit > 0)
            and self.stored == self.delivered
            and self.duplicates == self.astray == 0
            and self.calls == self.requests
            and self.whole_booked == self.whole_generated
        )


# --- drawing -------------------------------------------------------------------------------------------


def script_of(faults: Sequence[str], seed: int = SEED) -> Script:
    """Every one of these faults at 5 %, quick where they take time."""
    return Script(**dict.fromkeys(faults, SHARE), stall_s=4.0, drip_s=0.002, retry_after_s=0.02, seed=seed)  # type: ignore[arg-type]


def entry_of(server: ScriptedServer) -> Entry:
    """The server as an entry; it waits shorter than the server stalls."""
    prices = Prices(1.0, 4.0)
    return Entry("faulty", server.url, revision="bench", n=N, stops_on_close=True, timeout_s=2.0, prices=prices)


async def ask_one(world: World, name: str, number: int, streamed: bool, books: Books) -> None:
    """``N`` draws of one question, counted into the books."""
    messages = ({"role": "user", "content": f"Which number is hidden behind {name} door {number}?"},)
    endings = Endings(MAX_TOKENS, cut=FirstTokens(8) if streamed else None, logprobs=2)
    llm = LLM.at_desk(world, Problem(f"{name}-{number}", messages, "number"))
    books.asked += N
    try:
        async with llm.stream(Request(Question(messages, temperature=1.0), endings), N) as drawing:
            samples = [sample async for sample in drawing]
        books.samples += len(samples)
        books.failures += len(drawing.failures)
        books.refused_by_limit += N - drawing.n_given - len(drawing.failures) if drawing.ended else 0
    except LimitReached:
        books.refused_by_limit += N


async def draw_all(
    world: World, server: ScriptedServer, name: str, n_questions: int, streamed: bool, books: Books
) -> None:
    """So many questions, some at once, each block of them by a model of its own."""
    room = asyncio.Semaphore(AT_ONCE)

    async def ask(own: World, number: int) -> None:
        async with room:
            await ask_one(own, name, number, streamed, books)

    models = [HttpModel(entry_of(server)) for _ in range(0, n_questions, BLOCK)]
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(n_questions):
                group.create_task(ask(replace(world, models={"": models[number // BLOCK]}), number))
    finally:
        for model in models:
            await model.close()


@asynccontextmanager
async def surroundings(wallet: Wallet) -> AsyncIterator[tuple[SqlitePool, World]]:
    """A new pool on disk and a run in it; the guard's warnings, which are right here, are kept quiet."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder, open_pool(f"{folder}/pool.sqlite") as pool:
        warnings.simplefilter("ignore", SamplingWarning)
        run = pool.start_run({"bench": "faults"})
        yield pool, World(pool, {}, run, readers=READERS, purse=Purse(wallet), retry=Retry(first_s=0.005, most_s=0.05))


async def run_of(n_draws: int, wallet: Wallet, halves: Iterable[str] = ("whole", "streamed")) -> Books:
    """So many draws, half of them whole and half streamed, and the books of both sides compared."""
    books = Books(limits=asdict(wallet))
    halves = list(halves)
    async with surroundings(wallet) as (pool, world):
        for half in halves:
            streamed = half == "streamed"
            faults = [fault for fault in FAULTS if not (streamed and fault == FIGURES_DROPPED)]
            async with ScriptedServer(LAW, script_of(faults), delay_s=0.002) as server:
                await draw_all(world, server, half, n_draws // len(halves) // N, streamed, books)
                await settled(server.log)
            await pool.flush()
            compare(pool.path, half, server.log, books)
        spent = pool.spent(world.run)
        books.spent = {"tokens": spent.bill.tokens, "calls": spent.calls, "usd": spent.bill.usd}
        count_rows(pool.path, books)
    return books


async def settled(log: Log) -> None:
    """Wait until the server has noticed that nobody waits for it any more."""
    while sum(log.outcomes.values()) < log.n_requests:  # noqa: ASYNC110 - it is a test server, it tells nobody
        await asyncio.sleep(0.005)


# --- comparing -----------------------------------------------------------------------------------------


def compare(path: str, half: str, log: Log, books: Books) -> None:
    """Each call of the pool with the request that it was: by the seed that both know, in their order."""
    requests = defaultdict(list)
    for seen in log.requests:
        requests[seen.body["seed"]].append(seen)
        books.strikes.update(Counter(books.strikes) + Counter(seen.strikes))
    books.requests += log.n_requests
    for stream, indices, reserve, paid, unsettled in _calls(path, half):
        books.calls += 1
        rest = requests[stream.at(indices[0]).seed & 0x7FFF_FFFF]
        if not rest:
            books.astray += 1
            continue
        seen = rest.pop(0)
        generated = seen.tokens + seen.prompt_tokens
        reserved = reserve[0] + len(indices) * reserve[1]
        if seen.outcome == "ok" and "wrong_usage" not in seen.strikes and not unsettled:
            books.whole_calls += 1
            books.whole_booked += paid
            books.whole_generated += generated
            books.astray += paid != generated
        else:
            books.broken_calls += 1
            books.broken_booked += paid + unsettled
            books.broken_unsettled += unsettled
            books.broken_generated += generated
            books.broken_reserved += reserved
            astray = not generated <= paid + unsettled <= reserved
            hidden = {"wrong_usage", "drop_logprobs"} <= seen.strikes  # a lie beside which nothing else is told
            books.astray += astray and not hidden
            books.hidden += astray and hidden


def _calls(path: str, half: str) -> list[tuple[Stream, list[int], tuple[int, int], int, int]]:
    """The calls of one half: stream, indices, reserve, tokens paid, tokens unsettled; in the order they were made."""
    db = sqlite3.connect(path)
    try:
        rows = db.execute(
            "SELECT t.model, t.question, t.replicate, t.scope, c.indices, c.reserve_prompt_tokens, "
            "c.reserve_completion_tokens, c.prompt_tokens + c.completion_tokens, c.unsettled_tokens "
            "FROM calls c JOIN streams t ON t.id = c.stream JOIN questions q ON q.digest = t.question "
            "WHERE q.data LIKE ? ORDER BY c.id",
            (f"%behind {half} door%",),
        ).fetchall()
    finally:
        db.close()
    return [(Stream(*row[:4]), read_indices(row[4]), (row[5], row[6]), row[7], row[8]) for row in rows]


def count_rows(path: str, books: Books) -> None:
    """What is stored: samples and failures, and whether one address holds two, or one text of one server choice twice."""
    db = sqlite3.connect(path)
    try:

        def one(sql: str) -> int:
            return int(db.execute(sql).fetchone()[0] or 0)

        books.stored = one("SELECT count(*) FROM samples WHERE state = 0")
        books.delivered = one("SELECT sum(n_samples) FROM calls")
        books.recorded_failures = one("SELECT count(*) FROM samples WHERE state IN (1, 2)")
        books.duplicates = books.stored - one("SELECT count(DISTINCT address) FROM samples WHERE state = 0")
        books.duplicates += max(0, books.samples - books.stored)
    finally:
        db.close()


# --- cancellations -------------------------------------------------------------------------------------


@dataclass
class Cancelled:
    """What was left after so many cancellations: ``n_*`` by what each had come to when it was cancelled."""

    cancelled: int = 0
    too_late: int = 0
    requests: int = 0
    closed: int = 0
    most_waiting: int = 0
    permits_taken: int = -1
    waiting: int = -1
    connections: int = -1
    limit: int = 0

    @property
    def holds(self) -> bool:
        """Every permit free, nobody waiting, no connection open."""
        return self.permits_taken == self.waiting == self.connections == 0


MOST_S = 0.25  # a wave of draws takes about as long when nobody cancels it


async def cancel_run(n: int, at_once: int = 160, most: int = 32) -> Cancelled:
    """``n`` draws cancelled at random moments, waves of them at once for a few permits; what is left afterwards."""
    found, rng = Cancelled(), random.Random(SEED)
    script = Script(drip=0.5, drip_s=0.002, stall=0.1, stall_s=0.05, busy=0.02, seed=SEED)
    async with surroundings(Wallet()) as (_, world), ScriptedServer(LAW, script, delay_s=0.005) as server:
        model = HttpModel(replace(entry_of(server), concurrency=most, timeout_s=10.0))
        world = replace(world, models={"": model})
        number = 0
        while found.cancelled < n:
            await cancel_wave(world, model, range(number, number + at_once), rng, found)
            number += at_once
        found.permits_taken, found.waiting, found.limit = model.pace.n_open, model.pace.n_waiting, model.pace.limit
        await model.close()
        await settled(server.log)
        await until_closed(server)
        found.connections, found.requests = server.n_connections, server.log.n_requests
        found.closed = server.log.outcomes["closed"]
    return found


async def cancel_wave(world: World, model: HttpModel, numbers: range, rng: random.Random, found: Cancelled) -> None:
    """Start all of these, cancel each at a moment of its own, and wait for all."""
    loop, books = asyncio.get_running_loop(), Books()
    tasks = [asyncio.create_task(ask_one(world, "any", number, number % 2 == 0, books)) for number in numbers]
    for task in tasks:
        loop.call_later(rng.uniform(0, MOST_S), task.cancel)
    while pending := [task for task in tasks if not task.done()]:
        found.most_waiting = max(found.most_waiting, model.pace.n_waiting)
        await asyncio.wait(pending, timeout=0.01)
    for task in tasks:
        if task.cancelled():
            found.cancelled += 1
        elif task.exception() is not None:
            raise RuntimeError("a cancelled draw broke down") from task.exception()
        else:
            found.too_late += 1


async def until_closed(server: ScriptedServer) -> None:
    """Give the server the moment that it takes to see that connections are closed; at most 2 s."""
    for _ in range(200):
        if not server.n_connections:
            return
        await asyncio.sleep(0.01)


# --- figures -------------------------------------------------------------------------------------------

ROOMY = Wallet(tokens=2_000_000, calls=10_000, usd=8.0)
TIGHT = (Wallet(tokens=9_000), Wallet(calls=60), Wallet(usd=0.03))


@cache
def faulty(size: Size) -> Books:
    """The fault run of a size."""
    return asyncio.run(run_of(2_000 if size.name == "standard" else 160, ROOMY))


def faults(size: Size) -> Figure:
    """2,000 draws, every fault at 5 %."""
    b = faulty(size)
    tight = [asyncio.run(run_of(800 if size.name == "standard" else 160, wallet)) for wallet in TIGHT]
    ended = ", ".join(
        f"{name} {t.spent[name]:,.4g} of {most:,.4g}"
        for t in tight for name, most in t.limits.items() if most is not None
    )  # fmt: skip
    text = (
        f"{b.asked:,} draws: {b.samples:,} samples + {b.failures:,} failures, {b.duplicates} twice, "
        f"{b.asked - b.samples - b.failures} lost; {b.calls:,} calls in the pool, {b.requests:,} at the server\n"
        f"whole calls {b.whole_calls:,}: booked {b.whole_booked:,} tokens, generated {b.whole_generated:,}; others "
        f"{b.broken_calls:,}: generated {b.broken_generated:,} <= booked {b.broken_booked:,} (of them "
        f"{b.broken_unsettled:,} unsettled) <= reserved {b.broken_reserved:,}; {b.astray} calls outside their bounds"
        f" ({b.hidden} more whose usage was wrong with no figures beside it: that cannot be seen)\n"
        f"faults: {', '.join(f'{name} {n}' for name, n in sorted(b.strikes.items()))}; spent under tight wallets: {ended}"
    )
    return Figure(text, b.holds and all(t.holds and t.refused_by_limit for t in tight), "the books do not agree")


def cancellations(size: Size) -> Figure:
    """10,000 draws cancelled at random moments."""
    c = asyncio.run(cancel_run(10_000 if size.name == "standard" else 300))
    text = (
        f"{c.cancelled:,} cancelled ({c.too_late:,} had ended before), {c.requests:,} requests of which {c.closed:,} were "
        f"closed under way, up to {c.most_waiting} waiting for a permit; left: {c.permits_taken} permits taken, {c.waiting} waiting, "
        f"{c.connections} connections open"
    )
    return Figure(text, c.holds, "something is left open")


MEASURES: dict[str, Callable[[Size], Figure]] = {"faults": faults, "cancellations": cancellations}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="measure small")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    args = options.parse_args()
    figures = {name: measured(QUICK if args.quick else FULL) for name, measured in MEASURES.items()}
    if args.json:
        print(json.dumps({name: asdict(figure) for name, figure in figures.items()}))
        return
    for name, figure in figures.items():
        print(f"{name}: {'holds' if figure.holds else f'does not hold: {figure.why}'}\n{figure.text}\n")


if __name__ == "__main__":
    main()
