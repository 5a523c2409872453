"""A scripted server that speaks the OpenAI protocol: samples of a law, and every bad thing on the wire.

It records what it was asked and what it really generated, so that a test can compare a client's books with it.
Limits: one token per word and one for the end, which is counted but never shown; sampling parameters are accepted
and change nothing. A body with ``continue_final_message`` is continued along the trajectory of its seed.
"""

from __future__ import annotations

import asyncio
import json
from array import array
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from ...models.endings import ending, shown
from ...models.fake import FakeModel, load
from ...models.laws import Law
from ...types import Address, Endings, Sample, Stream, digest
from .replies import Choice, Order, encoded, order_of
from .script import ERRORS, Script
from .sending import Reply, Seen
from .wire import Connection, HttpRequest

__all__ = ["Log", "ScriptedServer"]

_PATHS = {"/v1/chat/completions": True, "/v1/completions": False}
_MOST_KEPT = 50_000
_NO_FAULTS = Script()


@dataclass(slots=True)
class Log:
    """What a server did: totals, and the last requests (50,000 at most)."""

    requests: deque[Seen] = field(default_factory=lambda: deque(maxlen=_MOST_KEPT))
    outcomes: Counter[str] = field(default_factory=Counter)
    n_requests: int = 0
    tokens: int = 0
    prompt_tokens: int = 0

    @property
    def bodies(self) -> list[Any]:
        """The bodies of the requests, in the order of arrival."""
        return [seen.body for seen in self.requests]


class ScriptedServer:
    """A server on a free port of this machine, inside the running event loop: ``async with`` starts and stops it.

    ``law``: a law or its name as in ``fake/LAW``. ``delay_s``: before each good reply. ``url``: a client's base address,
    which ends in ``/v1``. Leaving the block ends every connection, and raises what went wrong inside the server.

    >>> async def demo():
    ...     async with ScriptedServer("iid?p=1", Script(ignore_n=1.0)) as server:
    ...         return server.url.startswith("http://127.0.0.1:"), server.n_connections
    >>> asyncio.run(demo())
    (True, 0)
    """

    def __init__(
        self, law: str | Law = "iid", script: Script = _NO_FAULTS, delay_s: float = 0.0, port: int = 0
    ) -> None:
        self.law = load(f"fake/{law.removeprefix('fake/')}").law if isinstance(law, str) else law
        self.script, self.delay_s, self.port = script, delay_s, port
        self.model = f"scripted/{self.law.name}"
        self.log = Log()
        self._figured, self._plain = FakeModel(self.law), FakeModel(self.law, figures=False)
        self._faults = bool(script.faults)
        self._prompts: OrderedDict[str, None] = OrderedDict()
        self._connections: set[Connection] = set()
        self._errors: list[BaseException] = []
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base address: paths like ``/chat/completions`` follow it."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def n_connections(self) -> int:
        """Connections that are open now."""
        return sum(not connection.is_lost for connection in self._connections)

    async def __aenter__(self) -> ScriptedServer:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        while self._connections:
            for connection in list(self._connections):
                connection.abort()
            await asyncio.sleep(0)
        await self._server.wait_closed()
        if self._errors and error is None:
            raise self._errors[0]

    def _connection(self) -> Connection:
        return Connection(self._serve, self._connections, self._errors, self.script.stops_on_close)

    # --- one request ---------------------------------------------------------------------------------------

    async def _serve(self, connection: Connection, request: HttpRequest) -> None:
        if request.method == "POST" and request.path in _PATHS:
            await self._complete(connection, request)
        elif request.path == "/health":
            connection.reply(200, b"{}")
        elif request.path == "/v1/models":
            row = {"id": self.model, "object": "model", "created": 0, "owned_by": "vervet"}
            limit = {"max_model_len": self._plain.supports.context}
            connection.reply(200, encoded({"object": "list", "data": [row | limit]}))
        else:
            connection.reply(404, _error("not_found", f"Nothing is served at {request.path}."))

    async def _complete(self, connection: Connection, request: HttpRequest) -> None:
        number = self.log.n_requests
        self.log.n_requests += 1
        strikes = self.script.strikes(number) if self._faults else frozenset()
        seen = Seen(number, request.path, request.headers, None, strikes)
        self.log.requests.append(seen)
        try:
            await self._answer(connection, request, seen)
        except asyncio.CancelledError:
            seen.outcome = "closed"
            raise
        finally:
            if connection.is_closed and seen.outcome == "ok":
                seen.outcome = "closed"
            self.log.outcomes[seen.outcome] += 1
            self.log.tokens += seen.tokens
            self.log.prompt_tokens += seen.prompt_tokens

    async def _answer(self, connection: Connection, request: HttpRequest, seen: Seen) -> None:
        try:
            seen.body = json.loads(request.body)
            order = self._fitting(order_of(seen.body, _PATHS[request.path]))
        except ValueError as error:
            seen.outcome = "bad"
            connection.reply(400, _error("invalid_request_error", str(error)))
            return
        fault = next((name for name in self.script.faults if name in seen.strikes and name in ERRORS), None)
        if fault is not None:
            seen.outcome = fault
            self._refuse(connection, fault, request)
        elif "reset_before" in seen.strikes:
            seen.outcome = "reset_before"
            connection.reset()
        else:
            loop = asyncio.get_running_loop()
            ready_at = loop.time() + self.delay_s
            reply = Reply(connection, order, seen, self.script, self._choices(order, seen), self._base(order, seen))
            await asyncio.sleep(ready_at - loop.time())  # what the reply took to make is no part of the delay
            await (reply.stream() if order.stream else reply.whole())

    def _fitting(self, order: Order) -> Order:
        """The order, where it fits the context; else ``ValueError``."""
        most = self._plain.supports.context
        n_tokens = self._plain.count(order.question) + (order.endings.max_tokens or 1)
        if most is not None and n_tokens > most:
            raise ValueError(f"This model's maximum context length is {most} tokens, but you requested {n_tokens}.")
        return order

    def _refuse(self, connection: Connection, fault: str, request: HttpRequest) -> None:
        error, headers = ERRORS[fault], {}
        if fault in ("busy_until", "unavailable"):
            headers["Retry-After"] = f"{self.script.retry_after_s:g}"
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        connection.reply(error.status, _error(error.kind, error.message.format(key=key)), headers)

    # --- what is answered ----------------------------------------------------------------------------------

    def _choices(self, order: Order, seen: Seen) -> list[Choice]:
        model = self._plain if order.top is None or "drop_logprobs" in seen.strikes else self._figured
        n = 1 if "ignore_n" in seen.strikes else order.n
        choices = []
        for i in range(n):
            whole = model.trajectory(order.question, self._address(order, seen, i))
            whole = _rest(whole, order.prefix)
            filtered = "content_filter" in seen.strikes and i == seen.number % n
            endings = Endings(max(1, whole.n_tokens // 2)) if filtered else order.endings
            at = ending(whole, endings)
            assert at is not None
            choices.append(Choice.of(i, whole, shown(whole, at), filtered))
        return choices

    def _address(self, order: Order, seen: Seen, choice: int) -> Address:
        """The source of a choice's randomness: the seed and its index; a count of requests where there is no seed."""
        if "equal_answers" in seen.strikes:
            return Stream(self.model, "equal").at(0)
        source = f"number {seen.number}" if order.seed is None else f"seed {order.seed}"
        return Stream(self.model, source).at(choice)

    def _base(self, order: Order, seen: Seen) -> dict[str, Any]:
        """What every reply and event of a request holds, and the usage of its prompt."""
        after = self.script.revision_after
        kind = "chat.completion" if order.chat else "text_completion"
        prompt_tokens = self._plain.count(order.question) + len(order.prefix.split())
        name = digest([order.question.data, order.prefix])
        cached = prompt_tokens if name in self._prompts else 0
        self._prompts[name] = None
        if len(self._prompts) > _MOST_KEPT:
            self._prompts.popitem(last=False)
        return {
            "id": f"cmpl-{seen.number}",
            "object": kind,
            "created": 1_700_000_000 + seen.number,
            "model": order.model or self.model,
            "system_fingerprint": f"fp_{int(after is not None and seen.number >= after)}",
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": 0,
                "total_tokens": prompt_tokens,
                "prompt_tokens_details": {"cached_tokens": cached},
            },
        }


def _rest(whole: Sample, prefix: str) -> Sample:
    """What follows a prefix of a trajectory; where it is none, the whole text as if it followed."""
    trace = whole.trace
    assert trace is not None and trace.ends is not None
    if not prefix or not whole.text.startswith(prefix) or len(prefix) not in trace.ends:
        return whole
    n = trace.ends.index(len(prefix)) + 1
    names = ("ids", "logprob", "topk", "entropy")
    columns: dict[str, Any] = {name: getattr(trace, name) for name in names}
    later: dict[str, Any] = {name: None if column is None else column[n:] for name, column in columns.items()}
    ends = array("i", [end - len(prefix) for end in trace.ends[n:]])
    return replace(
        whole, text=whole.text[len(prefix) :], n_tokens=whole.n_tokens - n, trace=replace(trace, ends=ends, **later)
    )


def _error(kind: str, message: str) -> bytes:
    return encoded({"error": {"message": message, "type": kind, "param": None, "code": kind}})
