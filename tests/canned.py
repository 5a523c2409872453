"""A server that answers with given bytes, for what no sane server would say. Inside the running loop, loopback alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Write = Callable[[asyncio.StreamWriter], Any]


@dataclass
class Canned:
    """What was asked, and the replies that are still to come; the last one is given for ever."""

    replies: list[bytes | Write]
    url: str = ""
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    n_open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.n_open += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                rows = (line.partition(":") for line in head.decode().split("\r\n")[1:] if line)
                headers = {name.lower(): value.strip() for name, _, value in rows}
                self.headers.append(headers)
                self.bodies.append(json.loads(await reader.readexactly(int(headers["content-length"]))))
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if callable(reply):
                    await reply(writer)
                    return
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.n_open -= 1
            writer.close()


@asynccontextmanager
async def canned(*replies: bytes | Write) -> AsyncIterator[Canned]:
    """A server with these replies; at the end no connection may be left open on its side."""
    found = Canned(list(replies))
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield found
    finally:
        server.close()
        await until(lambda: not found.n_open)


async def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds, 5 seconds at most."""
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def http(status: int, body: Any, kind: str = "application/json", **headers: str) -> bytes:
    """A whole HTTP reply; a body that is not bytes is written as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    rows = {
        "Content-Type": kind,
        "Content-Length": str(len(data)),
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in rows.items())
    return f"HTTP/1.1 {status} Words\r\n{head}\r\n".encode() + data


def choice(text: str = "four", finish: str | None = "stop", index: int = 0, **more: Any) -> dict[str, Any]:
    """A choice of a chat reply."""
    return {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": finish, **more}


def reply(choices: Sequence[Any], usage: Any = ..., **more: Any) -> dict[str, Any]:
    """The JSON of a chat reply, with plausible usage."""
    if usage is ...:
        usage = {"prompt_tokens": 7, "completion_tokens": 5 * len(choices)}
    return {"id": "x", "model": "tiny", "choices": list(choices), **({} if usage is None else {"usage": usage}), **more}


def event(data: Any) -> bytes:
    """One server-sent event."""
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def piece(text: str, logprob: float | None = -0.5, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A piece of a streamed chat reply, of one token."""
    figures = None
    if logprob is not None:
        row = {"token": text, "logprob": logprob, "bytes": list(text.encode())}
        figures = {"content": [{**row, "top_logprobs": [row]}]}
    delta = {"index": 0, "delta": {"content": text}, "logprobs": figures, "finish_reason": finish, **more}
    return {"choices": [delta]}
