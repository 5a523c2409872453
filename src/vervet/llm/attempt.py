"""One question's missing draws: reserve, claim, ask, record, settle, and ask again where that is allowed.

This is the only place where money is reserved and where a retry is decided.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ..budget import Grant, Purse, Wallet
from ..errors import InBatch, LimitReached, MissingFigures, Mistake, ModelError
from ..models.batch import BatchModel
from ..models.imported import Imported
from ..pool import stored_precision
from ..types import Bill, Call, Claim, Delivery, Failure, Model, Request, Sample, Stored, Stream
from .world import World

Resolve = Callable[[int, Stored], None]


class Vacant(Exception):
    """Somebody else is drawing these indices: look into the pool again. ``parked``: all that are left wait in batch files."""

    def __init__(self, claim: Claim) -> None:
        self.parked = claim.parked if claim.parked == claim.busy else ()


@dataclass(slots=True)
class Taken:
    """What one call brought so far; ``is_whole`` once it ended by itself, so that its bill is complete.

    ``broken`` is the part of the bill for samples that were left half done where the model cannot continue.
    """

    bill: Bill = Bill()
    broken: Bill = Bill()
    indices: set[int] = field(default_factory=set)
    failures: dict[int, Failure] = field(default_factory=dict)
    is_whole: bool = False


@dataclass(slots=True)
class Attempt:
    """Fetches missing indices of one stream until each has an outcome; ``resolve`` is told of every one.

    ``asked`` collects the indices that a call was opened for, ``resolved`` those with an outcome, ``failed`` those whose
    last outcome was a transient failure; ``calls`` are those under way. ``view`` shows what is stored as the endings
    allow, or gives None where more of it must be drawn.
    """

    world: World
    model: Model
    request: Request
    stream: Stream
    resolve: Resolve
    view: Callable[[Stored], Stored | None]
    max_tokens: int
    asked: set[int] = field(default_factory=set)
    resolved: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    calls: set[Call] = field(default_factory=set)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def fetch(self, indices: Sequence[int], looked: bool = False) -> list[int]:
        """Bring an outcome for each index, or raise ``LimitReached`` for those that the wallet does not allow.

        Gives back what is missing where the model turns out to bring fewer samples in a call than it said: the caller
        asks for them side by side. ``looked``: the pool was just looked at; a claim says what came since.
        """
        attempt, wait_s = 0, 0.002
        while not self.stopped and (missing := list(indices) if looked else self.look(indices)):
            looked = False
            if len(missing) > self.model.supports.n:
                return missing
            try:
                failures = await self._once(missing)
            except Vacant as vacant:
                if vacant.parked:
                    await self._wait_for_results(vacant.parked)
                await self._pause(wait_s)
                wait_s = min(wait_s * 1.5, 0.1)
                continue
            wait_s = 0.002
            if not failures:
                continue
            attempt += 1
            if attempt >= self.world.retry.attempts:
                for index, failure in failures.items():
                    self._settle(index, failure)
            else:
                asked_s = max((f.retry_after_s for f in failures.values() if f.retry_after_s), default=None)
                await self._pause(self.world.retry.wait_s(attempt, asked_s, self.stream.at(missing[0])))
        return []

    @property
    def stopped(self) -> bool:
        """True once nothing new is to be asked for."""
        return self._stopping.is_set()

    def finish(self) -> None:
        """Ask for nothing new; what is under way goes on to its end."""
        self._stopping.set()

    async def _pause(self, wait_s: float) -> None:
        """Wait, but not beyond the moment when nothing new is to be asked for."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait_s)

    def stop(self) -> None:
        """End what is under way as soon as possible; what was computed is still delivered, recorded and billed."""
        self.finish()
        for call in self.calls:
            call.stop()

    def _settle(self, index: int, outcome: Stored) -> None:
        self.resolved.add(index)
        self.resolve(index, outcome)

    def look(self, indices: Sequence[int]) -> list[int]:
        """Resolve what the pool holds by now; the indices that it lacks or that must be followed further."""
        waiting = [i for i in indices if i not in self.resolved]
        if not waiting:
            return []
        for index, stored in self.world.pool.find(self.stream, waiting).items():
            if (shown := self.view(stored)) is not None:
                self._settle(index, shown)
        return [i for i in waiting if i not in self.resolved]

    async def _once(self, indices: Sequence[int]) -> dict[int, Failure]:
        """One reserve, one claim, one call; the transient failures by index."""
        purse = self._purse
        grant = await self._reserve(purse, len(indices))
        endings = self.request.endings
        taken, n_calls = Taken(), 0
        try:
            reserve = Bill(grant.prompt_tokens, grant.max_tokens, usd=grant.usd)
            pool, continues = self.world.pool, self.model.supports.continuation
            if isinstance(self.model, BatchModel):  # nobody is asked before the draw is parked: a death costs nothing
                reserve, continues = Bill(), True
            claim = await pool.claim(self.world.run, self.stream, indices[: grant.n], reserve, continues)
            if claim.call is None:
                self._expect_progress(indices, claim)
                raise Vacant(claim)
            if self.stopped:  # the consumer left while this waited for room: nothing was asked for yet
                pool.settle(claim.call)
                return {}
            n_calls = 1
            self.asked.update(claim.granted)
            self.failed.difference_update(claim.granted)
            request = self.request
            if endings.max_tokens != grant.max_tokens:
                request = replace(request, endings=replace(endings, max_tokens=grant.max_tokens))
            await self._ask(request, claim.call, claim.granted, grant, taken)
        finally:
            purse.settle(grant, taken.bill, n_calls)
            async with self.world.purse_changed:
                self.world.purse_changed.notify_all()
        if grant.max_tokens < self.max_tokens:
            self._cut_by_wallet(claim.granted)
        elif not self.stopped and not taken.indices:
            raise ModelError(f"{self.model.name} ended its call without anything of what was asked: {claim.granted}")
        return taken.failures

    async def _wait_for_results(self, parked: Sequence[int]) -> None:
        """Wait until the run finds nothing else to do, or stops; ``InBatch`` at once where it collects nothing itself."""
        waiting = self.world.waiting
        if waiting is not None:
            waiting.parked.update(map(self.stream.at, parked))
            while not self.stopped and not waiting.is_over:
                await self._pause(0.1)
        if not self.stopped:
            raise InBatch(f"{self.stream.at(parked[0])} waits in a batch file")

    def _expect_progress(self, indices: Sequence[int], claim: Claim) -> None:
        """Refuse samples that are stored whole but cannot be shown as these endings ask: waiting would not help."""
        if claim.busy or len(self.look(indices)) < len(indices):
            return
        if len(self.world.pool.find(self.stream, indices)) == len(indices):
            raise MissingFigures(
                f"{self.stream.at(indices[0])} is stored without what these endings need (where its tokens end, "
                "or more tokens); draw others with another --replicate"
            )

    def _cut_by_wallet(self, indices: Sequence[int]) -> None:
        """The wallet allowed fewer tokens than the question: what is open now ends here."""
        for index, stored in self.world.pool.find(self.stream, indices).items():
            if isinstance(stored, Sample) and self.view(stored) is None:
                self._settle(index, replace(stored, ended="cut:wallet"))

    @property
    def _purse(self) -> Purse:
        """Where a call is reserved: an imported model refuses at no cost, so what it says hangs on no wallet."""
        return Purse(Wallet()) if isinstance(self.model, Imported) else self.world.purse

    async def _reserve(self, purse: Purse, n: int) -> Grant:
        """Wait until the wallet has room for at least one sample; ``LimitReached`` where it never will."""
        prompt = self.model.count(self.request.question)
        cut = self.model.supports.continuation
        async with self.world.purse_changed:
            while True:
                supports = self.model.supports
                grant = purse.reserve(min(n, supports.n), self.max_tokens, prompt, cut, supports.prices)
                if grant is not None:
                    return grant
                if purse.n_open == 0:
                    least = 1 if cut else self.max_tokens
                    left = f"{purse.left_tokens:g} tokens, {purse.left_calls:g} calls, {purse.left_usd:g} usd are left"
                    raise LimitReached(f"the wallet has no room for a call of up to {prompt} + {least} tokens: {left}")
                await self.world.purse_changed.wait()

    async def _ask(self, request: Request, call_id: int, indices: Sequence[int], grant: Grant, taken: Taken) -> None:
        """Open the call and take its deliveries; what was not delivered when it breaks is booked at its bound."""
        pool, clock = self.world.pool, asyncio.get_running_loop().time
        begun = clock()
        found = pool.find(self.stream, indices) if self.model.supports.continuation else {}
        so_far = {i: s for i, s in found.items() if isinstance(s, Sample)}
        try:
            async with self.model.draw(request, self.stream, indices, so_far) as call:
                self.calls.add(call)
                try:
                    if self.stopped:
                        call.stop()
                    cancelled = await self._drain(call_id, call, grant, taken)
                finally:
                    self.calls.discard(call)
            taken.is_whole = True
        except InBatch:
            # What was parked belongs to its batch now, and stays reserved; the pool lets go of anything else.
            self.asked.difference_update(indices)
            taken.bill, taken.is_whole = Bill(grant.prompt_tokens, grant.n * grant.max_tokens, usd=grant.usd), True
            raise
        except Mistake:
            if not taken.indices:  # refused before anybody was asked
                self.asked.difference_update(indices)
                taken.is_whole = True
            raise
        finally:
            lost = Bill()
            if not taken.is_whole:
                n_lost = len(set(indices) - taken.indices)
                prompt = 0 if taken.indices else grant.prompt_tokens
                lost = self._priced(Bill(unsettled_tokens=n_lost * grant.max_tokens + prompt), grant, taken)
            taken.bill += lost
            pool.settle(call_id, taken.broken + lost, clock() - begun)
        if cancelled is not None:
            raise cancelled

    async def _drain(self, call_id: int, call: Call, grant: Grant, taken: Taken) -> asyncio.CancelledError | None:
        """Take deliveries to the end. When this task is cancelled, stop the call and take the rest before obeying."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            try:
                delivery = await call.__anext__()
            except StopAsyncIteration:
                return cancelled
            except asyncio.CancelledError as error:
                if cancelled is not None:
                    raise
                cancelled = error
                call.stop()
                continue
            if self.model.supports.prices is not None:
                delivery = replace(delivery, bill=self._priced(delivery.bill, grant, taken))
            taken.bill += delivery.bill
            taken.indices.add(delivery.index)
            self._take(call_id, delivery, taken)

    def _priced(self, bill: Bill, grant: Grant, taken: Taken) -> Bill:
        """The bill with its dollars, where the price is known.

        Of all that is unsettled in the call no more than the reserved completions can be completion: the rest is prompt,
        so that a call booked at its bound costs what was reserved for it.
        """
        prices = self.model.supports.prices
        if prices is None:
            return bill
        total = taken.bill + bill
        if not total.unsettled_tokens:
            return replace(bill, usd=prices.usd(bill))
        n_new = min(total.unsettled_tokens, max(0, grant.n * grant.max_tokens - total.completion_tokens))
        settled_usd = prices.usd(replace(total, unsettled_tokens=0))
        usd = settled_usd + prices.worst(total.unsettled_tokens - n_new, n_new)
        return replace(bill, usd=usd - taken.bill.usd)

    def _take(self, call_id: int, delivery: Delivery, taken: Taken) -> None:
        outcome = delivery.outcome
        if isinstance(outcome, Sample):
            if outcome.ended is None and not self.model.supports.continuation:
                taken.broken += delivery.bill  # nobody can go on with it: its index is broken, only its bill stays
                return
            outcome = stored_precision(outcome)
        self.world.pool.record(call_id, delivery.index, outcome, delivery.bill)
        if isinstance(outcome, Failure) and outcome.kind == "fatal":
            raise ModelError(outcome.reason)
        if isinstance(outcome, Failure) and outcome.kind == "transient":
            taken.failures[delivery.index] = outcome
            self.failed.add(delivery.index)
            return
        if (shown := self.view(outcome)) is not None:
            self._settle(delivery.index, shown)
