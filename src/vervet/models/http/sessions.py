"""Connections: one aiohttp session per running event loop, made at first use, closed with the loop at the latest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .config import Entry

if TYPE_CHECKING:
    from aiohttp import ClientSession

_KEEP_ALIVE_S = 4.0  # servers close idle connections after 5 s; a request sent at that moment would be lost
_CONNECT_S = 20.0


@dataclass(slots=True)
class Wire:
    """How far one request came: ``sent`` once it had a connection, ``reused`` where that had served another before."""

    sent: bool = False
    reused: bool = False


class Sessions:
    """The sessions of one model; asyncio closes those that nobody closed, when it ends their loop.

    A session lives inside an asynchronous generator: ``asyncio.run`` finalizes those at its end.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._open: dict[asyncio.AbstractEventLoop, tuple[ClientSession, AsyncGenerator[ClientSession]]] = {}

    @property
    def n_open(self) -> int:
        """How many sessions are open, of all event loops."""
        return len(self._open)

    async def get(self) -> ClientSession:
        """The session of the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._open:
            living = self._living(loop)
            self._open[loop] = (await anext(living), living)
        return self._open[loop][0]

    async def _living(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[ClientSession]:
        session = _session(self._entry)
        try:
            yield session
        finally:
            self._open.pop(loop, None)
            await session.close()

    async def close(self) -> None:
        """Close the session of the running loop, if there is one."""
        found = self._open.get(asyncio.get_running_loop())
        if found is not None:
            await found[1].aclose()


def _session(entry: Entry) -> ClientSession:
    import aiohttp

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(_created)
    tracing.on_connection_reuseconn.append(_reused)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=entry.timeout_s, sock_connect=min(_CONNECT_S, entry.timeout_s)),
        headers={"Content-Type": "application/json", **entry.key.headers()},
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[tracing],
    )


async def _created(session: ClientSession, context: SimpleNamespace, params: Any) -> None:
    context.trace_request_ctx.sent = True


async def _reused(session: ClientSession, context: SimpleNamespace, params: Any) -> None:
    context.trace_request_ctx.sent = context.trace_request_ctx.reused = True
