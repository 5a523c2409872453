"""Server-sent events: bytes in, the JSON of each event out, however the bytes are split."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from ...types import Json

if TYPE_CHECKING:
    from aiohttp import ClientResponse

_LINE_END = re.compile(rb"\r\n|\n|\r")
DONE = "[DONE]"
BROKEN = object()  # stands for an event that is not JSON
_DRAIN_S = 1.0


class Events:
    r"""Reads a stream of events.

    >>> events = Events()
    >>> events.feed(b": hello\r\ndata: {\"a\":"), events.feed(b" 1}\r\n\r"), events.feed(b"\ndata: [DONE]"), events.end()
    ([], ['{"a": 1}'], [], ['[DONE]'])
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._begun = self._after_cr = False

    def feed(self, data: bytes) -> list[str]:
        """The events that these bytes complete."""
        data = self._rest + data
        if not self._begun and len(data) < 3 and b"\xef\xbb\xbf".startswith(data):
            self._rest = data
            return []
        if not self._begun:
            data, self._begun = data.removeprefix(b"\xef\xbb\xbf"), True
        if self._after_cr and data:  # the other half of a line end
            data, self._after_cr = data.removeprefix(b"\n"), False
        self._after_cr = self._after_cr or data.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(data)
        return [event for line in lines if (event := self._line(line)) is not None]

    def end(self) -> list[str]:
        """The event that the end of the stream completes, where its blank line is lacking."""
        lines, self._rest = [self._rest, b""], b""
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: bytes) -> str | None:
        if not line:
            data, self._data = self._data, []
            return "\n".join(data) if data else None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
        return None


def objects(event: str) -> list[Json]:
    """The JSON of an event; lines that some servers fail to part by blank ones are read one by one. Raises ``ValueError``."""
    try:
        return [json.loads(event)]
    except ValueError:
        lines = [line for line in event.split("\n") if line != DONE]
        if len(lines) < 2 and lines == [event]:
            raise
        return [json.loads(line) for line in lines]


async def pieces(response: ClientResponse) -> AsyncGenerator[Any]:
    """The JSON of each event of a reply, up to ``[DONE]``; ``BROKEN`` for what is none."""
    events = Events()
    async for data in response.content.iter_any():
        for event in events.feed(data):
            if event == DONE:
                await _drain(response)
                return
            for piece in _read(event):
                yield piece
    for event in events.end():
        for piece in _read(event) if event != DONE else ():
            yield piece


async def _drain(response: ClientResponse) -> None:
    """Read what follows the last event, so that the connection can be used again."""
    import aiohttp

    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with asyncio.timeout(_DRAIN_S):
            while not response.content.at_eof():
                await response.content.readany()


def _read(event: str) -> list[Any]:
    try:
        return objects(event)
    except (ValueError, RecursionError):
        return [BROKEN]
