"""HTTP/1.1 as a scripted server speaks it: one request after another on a connection, and every way to break it.

Knows nothing of what is asked. Limits: bodies with a Content-Length, no pipelining, no TLS.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

__all__ = ["Connection", "HttpRequest"]

_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request as it came; names of headers in small letters."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def _head(status: int, headers: Mapping[str, object]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Connection(asyncio.Protocol):
    """One connection. ``serve`` answers a request with the methods below; it is cancelled when the client leaves,
    where ``stops_on_close``, and what it writes afterwards goes nowhere.
    """

    def __init__(
        self,
        serve: Callable[[Connection, HttpRequest], Coroutine[Any, Any, None]],
        connections: set[Connection],
        errors: list[BaseException],
        stops_on_close: bool,
    ) -> None:
        self._serve, self._connections, self._errors = serve, connections, errors
        self._stops_on_close = stops_on_close
        self._buffer = bytearray()
        self._transport: asyncio.Transport
        self._is_chunked = False
        self.task: asyncio.Task[None] | None = None
        self.is_closed = self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more can be read or written; an answer may still be under way."""
        self._left()
        self.is_lost = True
        if self.task is None:
            self._connections.discard(self)

    def eof_received(self) -> None:
        """The client has closed; the transport closes too."""
        self._left()

    def _left(self) -> None:
        self.is_closed = True
        if self.task is not None and self._stops_on_close:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Collect a request, and serve it when it is whole."""
        self._buffer += data
        if self.task is None:
            self._next()

    def _next(self) -> None:
        try:
            request = self._parsed()
        except ValueError:
            self.reply(400, b"")
            self.close()
            return
        if request is not None:
            self.task = asyncio.get_running_loop().create_task(self._serve(self, request))
            self.task.add_done_callback(self._served)

    def _parsed(self) -> HttpRequest | None:
        """The next whole request, or None while more must come. Raises ``ValueError`` for what is no request."""
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return None
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        start = end + len(_HEAD_END)
        stop = start + int(headers.get("content-length", 0))
        if len(self._buffer) < stop:
            return None
        method, path, version = first.split(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(f"expected HTTP/1, but got {version}")
        body = bytes(self._buffer[start:stop])
        del self._buffer[:stop]
        return HttpRequest(method, path, headers, body)

    def _served(self, task: asyncio.Task[None]) -> None:
        self.task = None
        if self.is_lost:
            self._connections.discard(self)
        if task.cancelled():
            self._transport.abort()
        elif (error := task.exception()) is not None:
            self._errors.append(error)
            self._transport.abort()
        elif self._buffer and not self.is_closed:
            self._next()

    # --- what an answer is made of -------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes as they are, or nothing where the client has left."""
        if not self.is_closed:
            self._transport.write(data)

    def reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole reply of JSON."""
        self.write(self.head_of(status, len(body), headers) + body)

    def head_of(self, status: int, n_bytes: int, headers: Mapping[str, str] | None = None) -> bytes:
        """The head of a reply of JSON with so many bytes."""
        return _head(status, {"Content-Type": "application/json", "Content-Length": n_bytes, **(headers or {})})

    def start(self, content_type: str, chunked: bool = True) -> None:
        """Start a reply of unknown length, in chunks or up to the end of the connection; ``send`` and ``finish`` follow."""
        way = {"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"}
        self._is_chunked = chunked
        self.write(_head(200, {"Content-Type": content_type, **way}))

    def send(self, data: bytes) -> None:
        """A part of a reply that was started."""
        self.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def finish(self) -> None:
        """The good end of a reply that was started."""
        if self._is_chunked:
            self.write(b"0\r\n\r\n")
        else:
            self.close()

    def close(self) -> None:
        """Send what was written and end the connection in good order (FIN)."""
        self._transport.close()
        self.is_closed = True

    def reset(self) -> None:
        """End the connection with a reset (RST)."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        self.is_closed = True

    def abort(self) -> None:
        """End the connection and whatever is being answered, at once."""
        if self.task is not None:
            self.task.cancel()
        self._transport.abort()
