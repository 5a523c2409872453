"""How many requests a server is sent at once, and how fast: found out while drawing.

The limit starts at 32 and doubles while latency holds, then grows by a few at a time; it stops growing where the
median latency of a round is twice the best seen, and falls by half where the server says that it is busy. Requests
and tokens per minute are kept to as well, where they are known. Whoever comes first is served first. Knows no HTTP.
Limits: one event loop at a time; the latency of long answers after short ones looks like a busy server until the next
halving, so it keeps the limit from growing, never makes it fall.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from statistics import median
from types import TracebackType

__all__ = ["Pace", "Permit"]

_START = 32
_STEP = 8  # how many are added per round once doubling has ended
_LEAST_ROUND = 8  # latencies that make a median
_SLOWER = 2.0  # growth ends at this multiple of the best median latency
_BURST_S = 1.0
_NOW_S = 1e-6  # a shorter wait is none: rounding would make a timer of it that never comes


class _Rate:
    """A token bucket, kept as the time at which it will be full again (in seconds of the clock).

    A request may pass when, with it, the bucket is at most a burst behind, or when the bucket is full: so in any
    ``w`` seconds at most ``w + 1`` seconds' worth passes, or ``w`` seconds' worth and one larger request.
    """

    __slots__ = ("_full_at", "_per_s")

    def __init__(self, per_minute: int | None) -> None:
        self._per_s = per_minute / 60 if per_minute else 0.0
        self._full_at = float("-inf")

    def wait_s(self, n: float, now: float) -> float:
        """Seconds until ``n`` may pass; 0 for now."""
        if not self._per_s:
            return 0.0
        return max(0.0, self._full_at - now - max(0.0, _BURST_S - n / self._per_s))

    def take(self, n: float, now: float) -> None:
        """Let ``n`` pass."""
        if self._per_s:
            self._full_at = max(self._full_at, now) + n / self._per_s

    def give_back(self, n: float) -> None:
        """Return what was taken too much; below 0 takes more."""
        if self._per_s:
            self._full_at -= n / self._per_s


class Pace:
    """The adaptive concurrency of one model, for all that is drawn of it.

    ``most``: the limit never grows above it. ``requests_per_minute`` and ``tokens_per_minute`` are kept to with bursts
    of at most one second's worth, or one request where that is more. ``clock`` counts seconds. The limit outlives
    event loops; permits and waiters do not.

    >>> async def draw(pace):
    ...     async with pace.permit(tokens=100) as permit:
    ...         permit.ok(seconds=0.2, tokens=60)
    ...         return pace.n_open, pace.limit
    >>> asyncio.run(draw(Pace()))
    (1, 32)
    """

    def __init__(
        self,
        most: int = 1024,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most, self.limit, self.n_open = most, min(_START, most), 0
        self._requests, self._tokens, self._clock = _Rate(requests_per_minute), _Rate(tokens_per_minute), clock
        self._held_until = float("-inf")
        self._doubles, self._round, self._best_s, self._filled = True, 0, float("inf"), False
        self._latencies: list[float] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: OrderedDict[asyncio.Future[None], Permit] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def n_waiting(self) -> int:
        """How many wait for a permit."""
        return len(self._waiters)

    def permit(self, tokens: int) -> AbstractAsyncContextManager[Permit]:
        """Room for one request of at most so many tokens, prompt and completion together: entering waits for it.

        A request of more tokens than a minute's waits until nothing is owed, never for ever. What was reserved stays
        taken unless ``Permit.ok`` tells the true tokens: a server may count what was broken off.
        """
        return Permit(self, tokens)

    # --- who may go ----------------------------------------------------------------------------------------

    async def _enter(self, permit: Permit) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._leave_loop(loop)
        if not self._waiters and self._wait_s(permit) == 0:
            self._take(permit)
            return
        future = loop.create_future()
        self._waiters[future] = permit
        self._wake()
        try:
            await future
        except BaseException:
            if self._waiters.pop(future, None) is None and self._is_mine(permit):  # granted, and cancelled since
                self._requests.give_back(1)
                self._tokens.give_back(permit.tokens)
                self.n_open -= 1
            self._wake()
            raise

    def _leave_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget what another loop left behind: it cannot come back for it."""
        self._loop, self._timer, self.n_open = loop, None, 0
        self._waiters.clear()

    def _is_mine(self, permit: Permit) -> bool:
        return permit.loop is self._loop

    def _wait_s(self, permit: Permit) -> float:
        """Seconds until a request may go: 0 for now, infinity for when another ends."""
        if self.n_open >= self.limit:
            return float("inf")
        now = self._clock()
        waits = (self._held_until - now, self._requests.wait_s(1, now), self._tokens.wait_s(permit.tokens, now))
        longest_s = max(waits)
        return longest_s if longest_s > _NOW_S else 0.0

    def _take(self, permit: Permit) -> None:
        now = self._clock()
        self._requests.take(1, now)
        self._tokens.take(permit.tokens, now)
        permit.loop, permit.round = self._loop, self._round
        self.n_open += 1
        self._filled = self._filled or self.n_open >= self.limit

    def _wake(self) -> None:
        """Let go whoever may, first come first served, and come back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiters:
            future, permit = next(iter(self._waiters.items()))
            wait_s = self._wait_s(permit)
            if wait_s > 0:
                if wait_s < float("inf"):
                    assert self._loop is not None
                    self._timer = self._loop.call_later(wait_s, self._wake)
                return
            del self._waiters[future]
            if not future.done():
                self._take(permit)
                future.set_result(None)

    def _exit(self, permit: Permit) -> None:
        if self._is_mine(permit):
            self.n_open -= 1
            if self._waiters:
                self._wake()

    # --- what is learned -----------------------------------------------------------------------------------

    def _learn(self, permit: Permit, seconds: float) -> None:
        """Grow at the end of a round: as many good requests as the limit, begun after the last halving."""
        if permit.round != self._round:
            return
        self._latencies.append(seconds)
        if len(self._latencies) < max(self.limit, _LEAST_ROUND):
            return
        typical_s = median(self._latencies)
        self._latencies.clear()
        self._best_s = min(self._best_s, typical_s)
        if typical_s > _SLOWER * self._best_s:
            self._doubles = False
        elif self._filled:  # a limit that nobody reached says nothing
            self.limit = min(self.most, self.limit + (self.limit if self._doubles else min(self.limit, _STEP)))
        self._filled = self.n_open >= self.limit

    def _halve(self, permit: Permit, retry_after_s: float | None) -> None:
        """Halve, unless the request began before the last halving: it says nothing about the new limit."""
        if retry_after_s is not None:
            self._held_until = max(self._held_until, self._clock() + retry_after_s)
        if permit.round != self._round:
            return
        self.limit, self._doubles, self._best_s = max(1, self.limit // 2), False, float("inf")
        self._round += 1
        self._latencies.clear()
        self._filled = False


class Permit:
    """Leave to send one request, for as long as the block; at its end say ``ok`` or ``busy``, or nothing.

    ``tokens``: what is reserved. Nothing is held before the block is entered, and nothing after it is left.
    """

    __slots__ = ("_pace", "loop", "round", "tokens")

    def __init__(self, pace: Pace, tokens: int) -> None:
        self._pace, self.tokens = pace, tokens
        self.loop: asyncio.AbstractEventLoop | None = None
        self.round = -1

    async def __aenter__(self) -> Permit:
        await self._pace._enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pace._exit(self)

    def ok(self, seconds: float, tokens: int | None = None) -> None:
        """It ended well after so many seconds. ``tokens``: how many there really were, where they are known."""
        if tokens is not None:
            self._pace._tokens.give_back(self.tokens - tokens)
        self._pace._learn(self, seconds)

    def busy(self, retry_after_s: float | None) -> None:
        """The server is busy (429, 503): fewer at once from now on, and none at all for so many seconds."""
        self._pace._halve(self, retry_after_s)
