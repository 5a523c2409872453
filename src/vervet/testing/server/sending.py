"""How a reply goes out: whole or in events, in order or broken, counting the tokens that are really generated."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .replies import Choice, Order, encoded
from .script import Script
from .wire import Connection

__all__ = ["Reply", "Seen"]


@dataclass(slots=True)
class Seen:
    """One request for samples as the server saw it, and what became of it.

    ``outcome``: "ok", the fault that ended it (a field of ``Script``), "bad" for a body it does not understand,
    "closed" where the client left before the end, "open" while it is under way. ``tokens`` counts the completion
    tokens that were really generated, ``prompt_tokens`` those of the prompt where any were. ``strikes``: all faults.
    """

    number: int
    path: str
    headers: Mapping[str, str]
    body: Any
    strikes: frozenset[str] = frozenset()
    outcome: str = "open"
    tokens: int = 0
    prompt_tokens: int = 0


class Reply:
    """The good or broken reply to one order."""

    def __init__(
        self,
        connection: Connection,
        order: Order,
        seen: Seen,
        script: Script,
        choices: list[Choice],
        base: dict[str, Any],
    ) -> None:
        self._connection, self._seen, self._script, self._choices = connection, seen, script, choices
        self._order = replace(order, top=None) if "drop_logprobs" in seen.strikes else order
        self._usage, self._base = base.pop("usage"), base
        self._n_steps = max(choice.sample.n_tokens for choice in choices)
        breaks = (name for name in ("reset", "truncated", "half_json") if name in seen.strikes)
        self._break = next(breaks, "ok")

    async def whole(self) -> None:
        """The reply as one JSON."""
        await self._stall()
        await self._generate(self._n_steps)
        self._seen.outcome = self._break
        choices = [choice.whole(self._order) for choice in self._choices]
        usage = {} if "no_usage" in self._seen.strikes else {"usage": self._counted()}
        body = encoded({**self._base, "choices": choices, **usage})
        half = body[: len(body) // 2]
        if self._break == "half_json":
            self._connection.reply(200, half)
        elif self._break in ("reset", "truncated"):
            self._connection.write(self._connection.head_of(200, len(body)) + half)
            self._cut_off()
        elif "chunked" in self._seen.strikes:
            await self._in_chunks(body)
        else:
            self._connection.reply(200, body)

    async def stream(self) -> None:
        """The reply as server-sent events, one per token and choice."""
        half = max(1, self._n_steps // 2) if self._break != "ok" else -1
        self._connection.start("text/event-stream", chunked=self._break != "truncated")
        if self._order.chat:
            role = {"role": "assistant", "content": ""}
            self._event([{"index": c.index, "delta": role, "finish_reason": None} for c in self._choices])
        for step in range(self._n_steps):
            await self._generate(1, step)
            for choice in self._choices:
                if step < len(choice.pieces):
                    self._event([choice.part(self._order, step)])
                if step + 1 == choice.sample.n_tokens:
                    self._event([choice.last(self._order)])
            if step == 0:
                await self._stall()
            if step + 1 == half:
                self._seen.outcome = self._break
                if self._break == "half_json":
                    self._connection.send(b'data: {"id": "cmpl", "choices": [{"index": 0, "del\n\n')
                else:
                    self._cut_off()
                    return
        if self._order.usage_in_stream and "no_usage" not in self._seen.strikes:
            self._event([], usage=self._counted())
        self._seen.outcome = self._break
        self._connection.send(b"data: [DONE]\n\n")
        self._connection.finish()

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> None:
        kind = "chat.completion.chunk" if self._order.chat else "text_completion"
        data = encoded({**self._base, "object": kind, "choices": choices, **more})
        self._connection.send(b"data: %b\n\n" % data)

    async def _generate(self, n_steps: int, first: int = 0) -> None:
        """So many steps, each of one token for every choice that is not at its end; each may be the last."""
        self._seen.prompt_tokens = self._usage["prompt_tokens"]
        drips = "drip" in self._seen.strikes
        for step in range(first, first + n_steps):
            if drips or self._order.stream:
                await asyncio.sleep(self._script.drip_s if drips else 0)
            self._seen.tokens += sum(step < choice.sample.n_tokens for choice in self._choices)

    async def _stall(self) -> None:
        if "stall" in self._seen.strikes:
            await asyncio.sleep(self._script.stall_s)

    async def _in_chunks(self, body: bytes) -> None:
        self._connection.start("application/json")
        size = max(1, len(body) // 7)
        for start in range(0, len(body), size):
            await asyncio.sleep(self._script.drip_s)
            self._connection.send(body[start : start + size])
        self._connection.finish()

    def _cut_off(self) -> None:
        if self._break == "reset":
            self._connection.reset()
        else:
            self._connection.close()

    def _counted(self) -> dict[str, Any]:
        n_tokens = sum(choice.sample.n_tokens for choice in self._choices)
        if "wrong_usage" in self._seen.strikes:
            n_tokens = 3 * n_tokens + 7 if self._seen.number % 2 else n_tokens // 2
        total = self._usage["prompt_tokens"] + n_tokens
        return {**self._usage, "completion_tokens": n_tokens, "total_tokens": total}
