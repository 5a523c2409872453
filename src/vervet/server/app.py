"""The server over HTTP: routes, keys, errors, streams, and clients that leave.

When a client leaves, streaming or not, its draw block is left and generation ends at the engine's next step.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..errors import Mistake, VervetError
from ..models.live import Live, Token
from ..types import Delivery, Model
from .asked import FIELDS, Order, read
from .drawing import draw
from .refusal import Refused, refused_by, refused_for
from .reply import Reply

MAX_BODY_BYTES = 32 << 20
T = TypeVar("T")
_ENDING = Refused("the server is ending", status=503)


def app_for(model: Model, name: str, key: str | None = None) -> Starlette:
    """The application that serves a model under a name; with ``key`` to those alone who bring it."""
    server = _Server(model, name, key)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await model.close()

    routes = [
        Route("/v1/chat/completions", server.chat, methods=["POST"]),
        Route("/v1/completions", server.completions, methods=["POST"]),
        Route("/v1/models", server.models),
        Route("/v1/models/{name:path}", server.models),
        Route("/health", server.health),
        Route("/metrics", server.metrics),
    ]
    handlers: dict[Any, Any] = {Refused: _refused, VervetError: _failed, HTTPException: _no_such_thing, 500: _broken}
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)


def bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ``Mistake`` where the address cannot be had."""
    if not 0 <= port < 2**16:
        raise Mistake(f"expected a port from 0 to 65535, but got {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=2048)
    except OSError as error:
        raise Mistake(f"expected an address to listen at, but {host}:{port} cannot be had: {error}") from None


def url_of(listening: socket.socket) -> str:
    """The base URL that clients of a listening socket use."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def prepared(app: Starlette) -> uvicorn.Server:
    """A server for the application: quiet, and with two seconds for those under way when it ends."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_keep_alive=75, timeout_graceful_shutdown=2
    )
    return uvicorn.Server(config)


# --- routes ----------------------------------------------------------------------------------------------


class _Server:
    """The answers of the routes."""

    def __init__(self, model: Model, name: str, key: str | None) -> None:
        self._model, self._name, self._key = model, name, key
        self._fingerprint = model.name.partition("@")[2] or model.name
        self._bytes_of = model.bytes_of if isinstance(model, Live) else lambda token: None

    async def health(self, request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> PlainTextResponse:
        """The count of generated tokens, in the text format of Prometheus."""
        if not isinstance(self._model, Live):
            raise HTTPException(404, f"{self._name} counts no tokens as it generates")
        head = "# HELP vervet:generation_tokens_total Tokens generated, left ones too.\n# TYPE vervet:generation_tokens_total counter"
        return PlainTextResponse(f"{head}\nvervet:generation_tokens_total {self._model.n_generated}\n")

    async def models(self, request: Request) -> JSONResponse:
        self._check_key(request)
        about = {
            "id": self._name, "object": "model", "created": 0, "owned_by": "vervet",
            "root": self._model.name, "max_model_len": self._model.supports.context,
        }  # fmt: skip
        asked = request.path_params.get("name")
        if asked is None:
            return JSONResponse({"object": "list", "data": [about]})
        self._check_name(asked)
        return JSONResponse(about)

    async def chat(self, request: Request) -> _Answer:
        return await self._answer(request, chat=True)

    async def completions(self, request: Request) -> _Answer:
        return await self._answer(request, chat=False)

    async def _answer(self, request: Request, chat: bool) -> _Answer:
        self._check_key(request)
        body = await _json(request)
        order = read(body, chat, self._model)
        self._check_name(body.get("model"))
        return _Answer(self._model, order, Reply(order, self._name, self._fingerprint, self._bytes_of))

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._key is not None and not hmac.compare_digest(given.encode(), self._key.encode()):
            raise Refused("wrong or missing key: send it as 'Authorization: Bearer KEY'", None, "invalid_api_key", 401)

    def _check_name(self, name: Any) -> None:
        if name is None:
            raise Refused(f"model is missing: this server has {self._name!r}", "model")
        if name != self._name:
            raise Refused(f"no model {name!r:.80}: this server has {self._name!r}", "model", "model_not_found", 404)


async def _json(request: Request) -> Any:
    """The body as JSON data; NaN and Infinity are none."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_BODY_BYTES:
            raise Refused(f"the body has more than {MAX_BODY_BYTES} bytes", status=413)

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(raw, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is not JSON: {error}") from None


# --- answers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer to an order, whole or as a stream of events; an ASGI application of its own."""

    model: Model
    order: Order
    reply: Reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        events = _Events(send)
        work = self._stream(events) if self.order.stream else self._whole()
        try:
            body = await _while_connected(receive, work)
        except asyncio.CancelledError:  # the server ends, and those under way have had their time
            if not events.begun:
                raise _ENDING from None
            await events.send(_ENDING.body)
            await events.end()
            return
        if body is not None:
            await JSONResponse(body)(scope, receive, send)

    async def _whole(self) -> dict[str, Any]:
        async def put(item: Delivery | list[Token]) -> None:
            self.reply.take(item)

        await draw(self.model, self.order, put)
        self._check_that_something_came()
        return self.reply.whole()

    async def _stream(self, events: _Events) -> None:
        """Events; what goes wrong before the first one has a status of its own, later it is an event."""

        async def put(item: Delivery | list[Token]) -> None:
            for chunk in self.reply.chunks(item):
                await events.send(chunk)

        try:
            await draw(self.model, self.order, put)
            self._check_that_something_came()
            for chunk in self.reply.last_chunk():
                await events.send(chunk)
        except (Refused, VervetError) as error:
            if not events.begun:
                raise
            refusal = error if isinstance(error, Refused) else refused_by(error, FIELDS)
            await events.send(refusal.body)
        else:
            await events.send_done()
        await events.end()

    def _check_that_something_came(self) -> None:
        if self.reply.empty:
            raise refused_for(self.reply.failures[0])


class _Events:
    """Server-sent events; the response begins with the first one."""

    def __init__(self, send: Send) -> None:
        self._send, self.begun = send, False

    async def send(self, data: dict[str, Any]) -> None:
        await self._write(json.dumps(data, ensure_ascii=False, separators=(",", ":")))

    async def send_done(self) -> None:
        await self._write("[DONE]")

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, text: str) -> None:
        if not self.begun:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            self.begun = True
        await self._send({"type": "http.response.body", "body": f"data: {text}\n\n".encode(), "more_body": True})


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """What the work gives; None where the client left first: then the work was cancelled."""

    async def leaving() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, gone = asyncio.create_task(work), asyncio.create_task(leaving())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


# --- errors ----------------------------------------------------------------------------------------------


async def _refused(request: Request, error: Refused) -> JSONResponse:
    return JSONResponse(error.body, error.status, error.headers)


async def _failed(request: Request, error: VervetError) -> JSONResponse:
    return await _refused(request, refused_by(error, FIELDS))


async def _no_such_thing(request: Request, error: HTTPException) -> JSONResponse:
    refused = Refused(f"{request.method} {request.url.path}: {error.detail}", status=error.status_code)
    return JSONResponse(refused.body, refused.status, error.headers)


async def _broken(request: Request, error: Exception) -> JSONResponse:
    return await _refused(request, Refused(f"the server failed: {type(error).__name__}", status=500))
