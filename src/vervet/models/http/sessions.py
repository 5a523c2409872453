"""Connections: one aiohttp session per running event loop, made at first use, closed with the loop at the latest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from .config import Entry

if TYPE_CHECKING:
    from aiohttp import ClientSession, TCPConnector

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


WIRE: ContextVar[Wire] = ContextVar("wire")  # of the request that the running task sends, where somebody looks at it


@cache
def _connector() -> type[TCPConnector]:
    """A connector that tells ``WIRE`` of a request's connection; aiohttp's tracing does so at ten times the cost."""
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._used: WeakSet[Any] = WeakSet()

        async def connect(self, *args: Any, **options: Any) -> Any:
            connection = await super().connect(*args, **options)
            wire = WIRE.get(None)
            if wire is not None:
                wire.sent, wire.reused = True, connection.protocol in self._used
            self._used.add(connection.protocol)
            return connection

    return Connector


def _session(entry: Entry) -> ClientSession:
    import aiohttp

    return aiohttp.ClientSession(
        connector=_connector()(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=entry.timeout_s, sock_connect=min(_CONNECT_S, entry.timeout_s)),
        headers={"Content-Type": "application/json", **entry.key.headers()},
        cookie_jar=aiohttp.DummyCookieJar(),
    )
