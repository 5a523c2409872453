"""The clients that ``bench.http`` compares, each as a function that asks one question, and the upstream they ask."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from importlib.util import find_spec
from itertools import count
from typing import Any

from bench.standard import ROOT
from vervet.llm import LLM, World
from vervet.models.http import Entry, HttpModel
from vervet.pool import open_pool
from vervet.types import (
    Bill,
    Claim,
    Endings,
    Failure,
    Model,
    Pool,
    Problem,
    Question,
    Request,
    Sample,
    Stored,
    Stream,
)
from vervet.verify import READERS

MAX_TOKENS, MODEL = 16, "tiny"
HEADERS = {"Content-Type": "application/json"}

Ask = Callable[[int], Awaitable[int]]
"""Ask the question of this number; how many samples came."""


@contextmanager
def upstream(*options: str) -> Iterator[str]:
    """The address of a scripted server that runs as its own process until the block ends."""
    command = [sys.executable, "-m", "vervet.testing.server", *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.communicate()


def question_of(number: int) -> Question:
    """A short question, unlike the others."""
    return Question(({"role": "user", "content": f"Which number is hidden behind door {number}?"},), temperature=1.0)


def body_of(number: int, n: int) -> bytes:
    """What Vervet sends for it, written by hand."""
    body = {"model": MODEL, "messages": question_of(number).messages, "temperature": 1.0, "max_tokens": MAX_TOKENS}
    return json.dumps({**body, "seed": number, **({"n": n} if n > 1 else {})}).encode()


@asynccontextmanager
async def bare_aiohttp(url: str, n: int) -> AsyncIterator[Ask]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=HEADERS) as session:

        async def ask(number: int) -> int:
            async with session.post(f"{url}/chat/completions", data=body_of(number, n)) as response:
                return len(json.loads(await response.read())["choices"])

        yield ask


@asynccontextmanager
async def bare_httpx(url: str, n: int) -> AsyncIterator[Ask]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=None, headers=HEADERS) as client:

        async def ask(number: int) -> int:
            response = await client.post(f"{url}/chat/completions", content=body_of(number, n))
            return len(json.loads(response.content)["choices"])

        yield ask


@asynccontextmanager
async def http_model(url: str) -> AsyncIterator[HttpModel]:
    model = HttpModel(Entry(MODEL, url, revision="bench"))
    try:
        yield model
    finally:
        await model.close()


@asynccontextmanager
async def vervet_model(url: str, n: int) -> AsyncIterator[Ask]:
    async with http_model(url) as model:

        async def ask(number: int) -> int:
            request = Request(question_of(number), Endings(max_tokens=MAX_TOKENS))
            stream = Stream(model.name, request.question.digest)
            async with model.draw(request, stream, range(n)) as call:
                return len([d async for d in call if isinstance(d.outcome, Sample)])

        yield ask


def through_llm(model: Model, pool: Pool, run: str, n: int) -> Ask:
    """All of Vervet: each question is a problem of its own."""
    world = World(pool, {"": model}, run, readers=READERS)

    async def ask(number: int) -> int:
        request = Request(question_of(number), Endings(max_tokens=MAX_TOKENS))
        llm = LLM.at_desk(world, Problem(f"door-{number}", request.question.messages, "number"))
        return len(await llm.draw(request, n))

    return ask


@asynccontextmanager
async def vervet_memory(url: str, n: int) -> AsyncIterator[Ask]:
    async with http_model(url) as model:
        yield through_llm(model, Memory(), "bench", n)  # type: ignore[arg-type]


@asynccontextmanager
async def vervet_pool(url: str, n: int) -> AsyncIterator[Ask]:
    with tempfile.TemporaryDirectory() as folder, open_pool(f"{folder}/pool.sqlite") as pool:
        async with http_model(url) as model:
            yield through_llm(model, pool, pool.start_run({"bench": "http"}), n)


class Memory:
    """What ``llm.draw`` needs of a pool, and no more: nothing is kept beyond its call."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[Stream, dict[int, Stored]]] = {}
        self._known: dict[Stream, dict[int, Stored]] = {}
        self._numbers = count(1)

    def add_question(self, question: Question) -> str:
        """Nothing is kept."""
        return question.digest

    def find(self, stream: Stream, indices: Sequence[int]) -> dict[int, Stored]:
        """What open calls have brought."""
        known = self._known.get(stream, {})
        return {i: known[i] for i in indices if i in known}

    async def claim(self, run: str, stream: Stream, indices: Sequence[int], reserve: Bill, continues: bool) -> Claim:
        """All that is asked for."""
        call = next(self._numbers)
        self._calls[call] = stream, self._known.setdefault(stream, {})
        return Claim(call, tuple(indices), ())

    def record(self, call: int, index: int, outcome: Sample | Failure, bill: Bill) -> None:
        """Kept until the call is settled."""
        self._calls[call][1][index] = outcome

    def settle(self, call: int, bill: Bill = Bill(), seconds: float = 0.0) -> None:
        """The end of the call, and of what it brought."""
        self._known.pop(self._calls.pop(call)[0], None)

    def void(self, stream: Stream, indices: Sequence[int]) -> None:
        """Nothing is kept."""

    def keep_failures(self, run: str, problem: str, failures: Mapping[Any, Failure]) -> None:
        """Nothing is kept."""


@asynccontextmanager
async def its_hub(url: str, n: int) -> AsyncIterator[Ask]:
    from its_hub.api import ChatMessage
    from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel
    from its_hub.core.orchestrator import LMOrchestrator

    lm = OpenAICompatibleLanguageModel(url, "none", MODEL, max_completion_tokens=MAX_TOKENS, temperature=1.0)
    orchestrator = LMOrchestrator(max_concurrency=-1)  # no limit of its own

    async def ask(number: int) -> int:
        (message,) = question_of(number).messages
        return len(await orchestrator.agenerate(lm, [[ChatMessage("user", message["content"])] for _ in range(n)]))

    async with lm:
        yield ask


Contender = Callable[[str, int], AbstractAsyncContextManager[Ask]]
CONTENDERS: dict[str, Contender] = {
    "aiohttp": bare_aiohttp,
    "httpx": bare_httpx,
    "model": vervet_model,
    "memory": vervet_memory,
    "pool": vervet_pool,
    "its_hub": its_hub,
}


def contenders(n: int) -> dict[str, Contender]:
    """Those that can be measured: httpx where the clients are compared (n = 1), the peer where it is installed."""
    left_out = {"httpx"} if n > 1 or find_spec("httpx") is None else set()
    left_out |= {"its_hub"} if find_spec("its_hub") is None else set()
    return {name: made for name, made in CONTENDERS.items() if name not in left_out}
