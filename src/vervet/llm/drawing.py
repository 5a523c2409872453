"""One drawing under way: indices handed out, outcomes awaited, samples given in index order.

Decisions are made in index order: the consumer sees the contiguous prefix, whatever ended first. ``ahead`` is how many
indices are in flight beyond what the consumer took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..budget import Meter
from ..errors import InBatch, LimitReached, NothingDrawn
from ..types import Failure, Sample, Stored, Void
from .attempt import Attempt


@dataclass(slots=True)
class Drawing:
    """An async iterator of samples in index order. Made by ``LLM.stream``; leave its block to end it.

    ``used`` is told of every sample that is given; ``shorten`` truncates a sample to a number of tokens, or gives None
    where the model's samples cannot be truncated. ``warm_first``: where it takes more than one call, one draw goes ahead
    alone, so that the server's prefix cache holds the prompt when the others come.
    """

    attempt: Attempt
    n: int
    ahead: int
    meters: Sequence[Meter]
    prompt_tokens: int
    used: Callable[[Sample, int], None]
    shorten: Callable[[Sample, int], Sample | None]
    group: asyncio.TaskGroup
    kept: Callable[[int], Failure | None]
    warm_first: bool = False
    failures: dict[int, Failure] = field(default_factory=dict)
    ended: str | None = None
    n_void: int = 0
    n_given: int = 0
    in_batch: InBatch | None = None
    _handed: list[int] = field(default_factory=list)
    _missing: list[int] = field(default_factory=list)
    _position: int = 0
    _overdue: bool = False
    _futures: dict[int, asyncio.Future[Stored]] = field(default_factory=dict)

    def __aiter__(self) -> Drawing:
        return self

    async def __anext__(self) -> Sample:
        """The next sample in index order; failures and void indices are noted and passed over."""
        while self.ended is None and self._position - self.n_void < self.n:
            self._hand_out()
            if self._position >= len(self._handed):
                self.ended = "budget"
                break
            index = self._handed[self._position]
            if not self._futures[index].done():
                self._launch()
            outcome = await self._outcome(index)
            if outcome is None:
                break
            self._position += 1
            sample = self._take(index, outcome)
            if sample is not None:
                return sample
        raise StopAsyncIteration

    def expect_some(self) -> None:
        """Raise ``NothingDrawn`` where all failed: no sample at all is an error, unless a limit ended the drawing."""
        if self.n and not self.n_given and self.ended is None:
            reasons = "; ".join(sorted({f.reason for f in self.failures.values()})) or "no reason given"
            refused = bool(self.failures) and all(f.kind == "refused" for f in self.failures.values())
            raise NothingDrawn(f"none of the {self.n} samples came: {reasons}", refused)

    def resolve(self, index: int, outcome: Stored) -> None:
        """Told by the attempt that an index has its outcome."""
        future = self._futures[index]
        if not future.done():
            future.set_result(outcome)

    def close(self) -> None:
        """End what is under way, recorded and billed; where a model cannot continue it is finished, unless time is up."""
        attempt = self.attempt
        if attempt.model.supports.continuation or self._overdue:
            attempt.stop()
        else:
            attempt.finish()

    def void_broken(self) -> None:
        """Where the model cannot continue, take what was asked for here from the first broken index on out of use."""
        attempt = self.attempt
        broken = attempt.asked - attempt.resolved - attempt.failed
        if broken and not attempt.model.supports.continuation:
            attempt.world.pool.void(attempt.stream, sorted(i for i in attempt.asked if i >= min(broken)))

    def _hand_out(self) -> None:
        """Keep the window full: hand out the next indices, and see which of them have their outcome already."""
        fresh: list[int] = []
        while self._may_hand_out(len(fresh)):
            index = len(self._handed)
            self._handed.append(index)
            self._futures[index] = asyncio.get_running_loop().create_future()
            fresh.append(index)
        unkept = []
        for index in fresh:
            failure = self.kept(index)
            if failure is None:
                unkept.append(index)
            else:
                self.resolve(index, failure)
        self._missing += self.attempt.look(unkept) if unkept else []

    def _launch(self) -> None:
        """Start fetching what is missing of the window.

        Only when the consumer has to wait: what is there is used up first, so that a replay asks for nothing.
        """
        missing, self._missing = self._missing, []
        if self.warm_first and len(missing) > self.attempt.model.supports.n:
            self.warm_first = False
            self.group.create_task(self._fetch(missing[:1], then=missing[1:]))
        else:
            self._fan_out(missing)

    def _fan_out(self, missing: Sequence[int]) -> None:
        """As many calls side by side as it takes."""
        size = self.attempt.model.supports.n
        for start in range(0, len(missing), size):
            self.group.create_task(self._fetch(missing[start : start + size]))

    def _may_hand_out(self, n_fresh: int) -> bool:
        n_handed = len(self._handed)
        in_flight = n_handed - self._position
        if n_handed - self.n_void >= self.n or in_flight >= self.ahead:
            return False
        draws = min((m.left("draws") for m in self.meters), default=float("inf"))
        tokens = self._tokens_left(0 if self.n_given else self.prompt_tokens)
        if in_flight == 0:
            return draws >= 1 and tokens >= 1
        return in_flight < draws and (in_flight + 1) * self.attempt.max_tokens <= tokens

    def _tokens_left(self, prompt_tokens: int) -> float:
        """Completion tokens that every budget still allows behind a prompt."""
        prices = self.attempt.model.supports.prices
        return min((m.tokens_left(prices, prompt_tokens) for m in self.meters), default=float("inf"))

    async def _fetch(self, indices: Sequence[int], then: Sequence[int] = ()) -> None:
        """Fetch, then what the model turned out not to bring in one call, and ``then`` others; all told where it ends."""
        try:
            self._fan_out([*await self.attempt.fetch(indices, looked=True), *then])
        except (LimitReached, InBatch) as stopped:
            if isinstance(stopped, InBatch):
                self.in_batch = stopped
            for index in (*indices, *then):
                if not self._futures[index].done():
                    self._futures[index].cancel()

    async def _outcome(self, index: int) -> Stored | None:
        """The outcome of an index, or None where the wallet or its time ended first. Raises ``InBatch``."""
        future, deadline = self._futures[index], self.attempt.world.deadline
        if not future.done():
            left_s = None if deadline is None else deadline - asyncio.get_running_loop().time()
            await asyncio.wait([future], timeout=left_s)
        if future.cancelled() and self.in_batch is not None:
            raise self.in_batch
        if not future.done() or future.cancelled():
            self.ended, self._overdue = "wallet", not future.done()
            return None
        return future.result()

    def _take(self, index: int, outcome: Stored) -> Sample | None:
        if isinstance(outcome, Void):
            self.n_void += 1
            return None
        if isinstance(outcome, Failure):
            self.failures[index] = outcome
            return None
        return self._charge(outcome)

    def _charge(self, sample: Sample) -> Sample | None:
        """Count a sample against the budgets, in index order; what they do not allow of it is not shown."""
        prompt = 0 if self.n_given else sample.prompt_tokens
        left = self._tokens_left(prompt)
        if sample.n_tokens > left:
            self.ended = "budget"
            shown = self.shorten(sample, int(left)) if left >= 1 else None
            if shown is None:
                return None
            sample = shown
        elif sample.ended == "cut:wallet":
            self.ended = "wallet"
        self.n_given += 1
        prices = self.attempt.model.supports.prices
        usd = prices.worst(prompt, sample.n_tokens) if prices else 0.0
        for meter in self.meters:
            meter.add(draws=1, tokens=prompt + sample.n_tokens, usd=usd)
        self.used(sample, self.n_given - 1)
        return sample
