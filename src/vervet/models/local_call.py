"""A call of a local model, and the thread that owns its engine.

``Plan`` says what the samples of a call have in common, ``LocalCall`` is one attempt under way, ``Worker`` the thread that
serves all calls of a model. Knows no folder and no weights; torch is imported in that thread alone.
"""

from __future__ import annotations

import asyncio
import threading
from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import Mistake, ModelError
from ..rules.cut import LowConfidence
from ..types import Bill, Delivery, Endings, Question, Sample, Stream, Trace
from .endings import ending, shown, truncated
from .live import Token
from .text import Codec, Reading, is_raw

if TYPE_CHECKING:
    from ..engine import Engine
    from ..engine import Sequence as Running

_Item = Delivery | list[Token] | BaseException | None
_T = TypeVar("_T")

# --- one sample ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What the samples of one call have in common.

    ``k`` of the top-k mean; ``top``: of how many of the likeliest tokens a listener is told, None where nobody listens.
    """

    codec: Codec
    question: Question
    endings: Endings
    stream: Stream
    prompt: tuple[int, ...]
    k: int
    top: int | None = None

    def reading(self) -> Reading:
        """What turns the ids of one sample into text."""
        raw = is_raw(self.question)
        return Reading(self.codec, not raw and self.codec.thinks(self.prompt), raw)

    def sequence(self, index: int, known: Trace | None, watch: Callable[[Running], bool] | None) -> Running:
        """What the engine is asked for; ``known``: what the sample begins with."""
        from ..engine import Sampling
        from ..engine import Sequence as Running

        q, e = self.question, self.endings
        assert e.max_tokens is not None
        running = Running(
            prompt=self.prompt,
            seed=self.stream.at(index).seed,
            limit=e.max_tokens,
            sampling=Sampling(
                temperature=1.0 if q.temperature is None else q.temperature,
                top_p=1.0 if q.top_p is None else q.top_p,
                top_k=q.top_k,
                min_p=q.min_p or 0.0,
            ),
            stop_ids=self.codec.stop_ids,
            min_tokens=e.min_tokens,
            k=self.k,
            top=self.top or 0,
            keep=True,
            cut=e.cut if isinstance(e.cut, LowConfidence) else None,
            watch=watch,
            ids=array("i") if known is None else known.ids[:],
        )
        if (
            known is not None
            and known.logprob
            and known.topk
            and known.entropy
            and (known.k, known.source) == (self.k, "raw")
        ):
            running.logprob, running.topk, running.entropy = known.logprob[:], known.topk[:], known.entropy[:]
        return running


class _Job:
    """One sample of one call on its way through the engine."""

    def __init__(self, plan: Plan, index: int, so_far: Sample | None) -> None:
        self.plan, self.index, self.so_far = plan, index, so_far
        self._n_told = 0
        known = None if so_far is None else so_far.trace
        while known and known.ids[-1] in plan.codec.stop_ids:  # only where min_tokens forbids the end
            known = known.first(len(known) - 1)
        self._reading = plan.reading()
        self._watches_cut = not isinstance(plan.endings.cut, LowConfidence | None)  # the engine does that one itself
        watched = plan.endings.stop or self._watches_cut
        self.running = plan.sequence(index, known, self._fires if watched else None)

    def _fires(self, running: Running) -> bool:
        e, reading = self.plan.endings, self._read(before=1)
        n_before = len(reading.text)
        reading.feed(running.ids[-1])
        if not self._watches_cut and not any(reading.text.find(s, max(0, n_before - len(s) + 1)) >= 0 for s in e.stop):
            return False  # the common case, without making a sample of it
        return ending(self._whole(), e, checked=len(running.ids) - 1) is not None

    def news(self) -> Iterator[Token]:
        """The tokens that came since it was asked last."""
        r, reading = self.running, self._read()
        for t in range(self._n_told, len(r.ids)):
            start, end = reading.ends[t - 1] if t else 0, reading.ends[t]
            thinking, n_before = start < len(reading.reasoning), len(reading.reasoning)
            text = reading.reasoning[start:end] if thinking else reading.text[start - n_before : end - n_before]
            yield Token(self.index, r.ids[t], r.logprob[t], text, thinking, r.likeliest[t] if r.top else ())
        self._n_told = len(r.ids)

    def _read(self, before: int = 0) -> Reading:
        """The reading, after all that was computed but the last tokens, ``before`` of them."""
        for token in self.running.ids[len(self._reading.ends) : len(self.running.ids) - before]:
            self._reading.feed(token)
        return self._reading

    def _whole(self) -> Sample:
        """All that was computed, as one open sample (or one that ended by itself)."""
        r, reading = self.running, self._read()
        return Sample(
            address=self.plan.stream.at(self.index),
            text=reading.text,
            ended="eos" if r.stopped else None,
            n_tokens=len(r.ids),
            prompt_tokens=len(r.prompt),
            reasoning=reading.reasoning,
            trace=Trace(r.ids, reading.ends, r.logprob, r.topk, r.entropy, self.plan.k, "raw"),
        )

    def delivery(self, prompt_tokens: int) -> Delivery | None:
        """The sample as its endings show it, open where none fired; None where nothing was computed."""
        n_new = len(self.running.ids) - self.running.n_known
        whole = self._whole()
        at = ending(whole, self.plan.endings)
        if at is not None:
            whole = shown(whole, at)
        elif n_new == 0 and self.so_far is not None:
            whole = self.so_far  # stopped while what is known was run again
        if not self.running.ids:
            return None
        return Delivery(self.index, whole, Bill(prompt_tokens=prompt_tokens, completion_tokens=n_new))


# --- one call ------------------------------------------------------------------------------------------


class LocalCall:
    """One attempt under way (see ``vervet.types.Call``): made in an event loop, fed by the engine's thread."""

    def __init__(self, worker: Worker, plan: Plan, indices: Sequence[int], so_far: Mapping[int, Sample]) -> None:
        self._worker, self._loop = worker, asyncio.get_running_loop()
        self._queue: asyncio.Queue[_Item] = asyncio.Queue()
        self._prompt_tokens = len(plan.prompt)  # billed with the first delivery
        self._jobs: dict[Running, _Job] = {}
        self._over = False
        self._heard = plan.top is not None
        for index in indices:
            enough = truncated(so_far[index], plan.endings) if index in so_far else None
            if enough is not None:
                self._queue.put_nowait(Delivery(index, enough))
            else:
                job = _Job(plan, index, so_far.get(index))
                self._jobs[job.running] = job
        if self._jobs:
            worker.begin(self, self._begin)
        else:
            self._queue.put_nowait(None)

    def __aiter__(self) -> LocalCall:
        return self

    async def __anext__(self) -> Delivery:
        """The next sample to end. Raises ``Mistake`` for a folder that cannot be run, ``ModelError`` where the engine failed."""
        while (item := await self._next()) is not None:
            if isinstance(item, Delivery):
                return item
        raise StopAsyncIteration

    async def live(self) -> AsyncIterator[Delivery | list[Token]]:
        """The samples that end and, where the plan says that somebody listens, the tokens of each step as they come."""
        while (item := await self._next()) is not None:
            yield item

    async def _next(self) -> Delivery | list[Token] | None:
        """What comes next, or None when all has come."""
        item = None if self._over else await self._queue.get()
        if isinstance(item, Delivery | list):
            return item
        self._over = True
        if item is not None:
            raise _failure(item)
        return None

    def stop(self) -> None:
        """End the attempt; what was computed of the unfinished samples still comes, as open samples."""
        if self in self._worker.calls:
            self._worker.post(self._stop)

    def cancel(self) -> None:
        """End the attempt; nothing more comes."""
        self._over = True
        if self in self._worker.calls:
            self._worker.post(self._cancel)

    # The engine's thread runs what follows, between two steps.

    def _begin(self, engine: Engine) -> None:
        try:
            for running in self._jobs:
                engine.add(running)
        except Mistake as error:  # too long for the memory: an affair of this call alone
            self._cancel(engine)
            self.hand_over(error)

    def _stop(self, engine: Engine) -> None:
        engine.remove(self._jobs)
        for running in list(self._jobs):
            self.finish(running)

    def _cancel(self, engine: Engine) -> None:
        if self in self._worker.calls:
            engine.remove(self._jobs)
            self._worker.calls.remove(self)

    def tell(self) -> None:
        """Hand over the tokens of a step, all samples at once, where somebody listens."""
        if self._heard and (news := [token for job in self._jobs.values() for token in job.news()]):
            self.hand_over(news)

    def finish(self, running: Running) -> None:
        """Hand over one sample, if it is one of this call; with the last one the call ends."""
        job = self._jobs.pop(running, None)
        if job is None:
            return
        delivery = job.delivery(self._prompt_tokens)
        if delivery is not None:
            self._prompt_tokens = 0
            self.hand_over(delivery)
        if not self._jobs:
            self._worker.calls.remove(self)
            self.hand_over(None)

    def hand_over(self, item: _Item) -> None:
        """Give an item to the event loop; a loop that is closed has left the call."""
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:
            self.cancel()


# --- the engine's thread -------------------------------------------------------------------------------


def _failure(error: BaseException) -> BaseException:
    """What somebody who waits is told of an error in the thread."""
    if isinstance(error, Mistake):  # of the folder, most likely: nothing failed
        return error
    failure = ModelError(f"the engine failed: {error!r}")
    failure.__cause__ = error
    return failure


class Worker:
    """The thread that owns an engine: it takes orders between steps, and rests while there is nothing to do."""

    def __init__(self, start: Callable[[], Engine]) -> None:
        self._start = start
        self._ready = threading.Condition()
        self._orders: list[Callable[[Engine], None]] = []
        self._asked: list[Future[Any]] = []  # what somebody waits for, not yet begun
        self._thread: threading.Thread | None = None
        self.calls: list[LocalCall] = []  # under way
        self.n_generated = 0  # tokens that the engine has drawn

    def begin(self, call: LocalCall, order: Callable[[Engine], None]) -> None:
        """Have the first order of a call run; from now on an error reaches it."""
        with self._ready:
            self.calls.append(call)
        self.post(order)

    def post(self, order: Callable[[Engine], None]) -> None:
        """Have an order run between two steps; the first one starts the thread."""
        with self._ready:
            self._orders.append(order)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vervet-engine", daemon=True)
                self._thread.start()
            self._ready.notify()

    async def ask(self, order: Callable[[Engine], _T]) -> _T:
        """What an order returns that runs between two steps. Raises ``Mistake`` and ``ModelError`` as a call does."""
        answer: Future[_T] = Future()

        def run(engine: Engine) -> None:
            self._asked.remove(answer)
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(order(engine))
                except BaseException as error:
                    answer.set_exception(_failure(error))

        with self._ready:
            self._asked.append(answer)
            self.post(run)
        return await asyncio.wrap_future(answer)

    def _run(self) -> None:
        try:
            self._serve(self._start())
        except BaseException as error:  # whatever it is, it must reach those who wait
            self._fail(error)

    def _serve(self, engine: Engine) -> None:
        while True:
            with self._ready:
                while not self._orders and not engine.busy:
                    self._ready.wait()
                orders, self._orders = self._orders, []
            for order in orders:
                order(engine)
            ended = engine.step()
            self.n_generated = engine.n_generated
            for call in list(self.calls):
                call.tell()
            for running in ended:
                for call in list(self.calls):
                    call.finish(running)

    def _fail(self, error: BaseException) -> None:
        """Tell all who wait, and let the next order start a new engine."""
        with self._ready:
            calls, self.calls, self._orders, self._thread = self.calls, [], [], None
            asked, self._asked = self._asked, []
        for call in calls:
            call.hand_over(error)
        for answer in asked:
            if answer.set_running_or_notify_cancel():
                answer.set_exception(_failure(error))
