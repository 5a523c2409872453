"""A model on this machine: a folder in Hugging Face format, run by the engine.

One engine thread per model serves all its calls at once; it starts with the first draw and is idle between draws.
Every sample is a function of its address, so it is the same in any company and can be followed further. Knows no
pool, no money and no retry; torch and the tokenizer are imported at first use.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra, Mistake, ModelError, OverContext, Unsupported
from ..types import Bill, Delivery, Endings, Question, Request, Sample, Score, Stream, Supports, Trace
from .endings import ending, shown, truncated
from .text import Codec, Reading, read_json

if TYPE_CHECKING:
    from ..engine import Engine
    from ..engine import Sequence as Running

_HERE = Path(__file__).parent
EMBEDDED = ("embedded", "embedded-small")
_DTYPES = {"bfloat16": "bf16", "float32": "fp32"}
_TOP_K, _MAX_TOP_K = 20, 64
_UNSUPPORTED = ("presence_penalty", "frequency_penalty", "tools", "response_format", "reasoning_effort")


def load(name: str, **options: Any) -> LocalModel:
    """The model "embedded" or "embedded-small", or that of a folder; ``options`` as of ``LocalModel``.

    >>> model = load("embedded", threads=2)  # doctest: +SKIP
    """
    folder = _HERE / name if name in EMBEDDED else Path(name)
    if not folder.is_dir():
        raise Mistake(f"expected one of {EMBEDDED} or a folder with a model, but got {name!r}")
    return LocalModel(folder, **options)


class LocalModel:
    """A ``Model`` over a local folder (config.json, *.safetensors, tokenizer.json, a chat template).

    ``dtype``: "bfloat16" or "float32", None as shipped (another one is part of the name); ``slots``: samples decoded
    at once; ``threads``: of the engine. A question's temperature counts as 1 where it is not set.
    Raises ``MissingExtra`` without the extra ``local``, ``Mistake`` for a folder that lacks something.
    """

    def __init__(self, folder: str | Path, *, dtype: str | None = None, slots: int = 256, threads: int = 2) -> None:
        self.folder = Path(folder).resolve()
        for package in ("torch", "safetensors"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(package, "local")
        self._codec = Codec(self.folder)
        config = read_json(self.folder, "config.json")
        shipped = str(config.get("dtype") or config.get("torch_dtype") or "float32")
        self._dtype = dtype or shipped
        if self._dtype not in _DTYPES:
            raise Mistake(f"expected dtype to be one of {tuple(_DTYPES)}, but got {self._dtype!r}")
        mark = "" if self._dtype == shipped else f"+{_DTYPES[self._dtype]}"
        self.name = f"{self.folder.name}@{_weights_digest(self.folder)}{mark}"
        ours = "embedded" if self.folder.parent == _HERE else "english"
        self.dialect = str(read_json(self.folder, "tokenizer_config.json", {}).get("vervet_dialect", ours))
        self._vocab, self._context = int(config["vocab_size"]), int(config["max_position_embeddings"])
        self.supports = Supports(
            roles=frozenset({"answer", "repair"} if self.dialect == "embedded" else {"answer"}),
            n=1_000_000,
            logprobs=min(_MAX_TOP_K, self._vocab),
            continuation=True,
            cut=True,
            seed=True,
            context=self._context,
            stops_on_close=True,
        )
        self._worker = _Worker(lambda: _engine(self.folder, self._dtype, slots, threads))

    def count(self, question: Question) -> int:
        """The tokens of the prompt, exactly."""
        return len(self._codec.encode(question))

    def draw(
        self, request: Request, stream: Stream, indices: Sequence[int], so_far: Mapping[int, Sample] | None = None
    ) -> AbstractAsyncContextManager[LocalCall]:
        """One attempt; leaving the block ends it at the engine's next step.

        A sample in ``so_far`` needs its token ids: they are run again, not sampled, and not billed. ``max_tokens``
        beyond the context ends at the context. Prompt tokens are billed with the first delivery.
        Raises ``Unsupported`` and ``Mistake`` for what cannot be done, ``OverContext`` where not one token has room.
        """
        endings = self._checked(request)
        prompt = tuple(self._codec.encode(request.question))
        room = self._context - len(prompt)
        if room < 1:
            raise OverContext(
                f"{self.name} has a context of {self._context} tokens; the prompt takes {len(prompt)} and leaves no room"
            )
        endings = replace(endings, max_tokens=min(endings.max_tokens or room, room))
        plan = _Plan(
            self._codec, request.question, endings, stream, prompt, min(endings.logprobs or _TOP_K, self._vocab)
        )
        known = {i: s for i, s in (so_far or {}).items() if i in set(indices)}
        for index, sample in known.items():
            if sample.trace is None:
                raise Unsupported(f"{self.name} follows a sample by its token ids, but sample {index} has none")
        return self._opened(plan, indices, known)

    @asynccontextmanager
    async def _opened(
        self, plan: _Plan, indices: Sequence[int], so_far: Mapping[int, Sample]
    ) -> AsyncIterator[LocalCall]:
        call = LocalCall(self._worker, plan, indices, so_far)
        try:
            yield call
        finally:
            call.cancel()

    def _checked(self, request: Request) -> Endings:
        """The endings, after a look at everything that this model cannot do."""
        for name in _UNSUPPORTED:
            if value := getattr(request.question, name):
                raise Unsupported(f"{self.name} does not support {name}, but got {name}={value!r}; leave it out")
        e = request.endings
        if e.max_tokens is not None and e.max_tokens < 1:
            raise Mistake(f"max_tokens must be at least 1, but got max_tokens={e.max_tokens!r}")
        if e.min_tokens < 0:
            raise Mistake(f"min_tokens must be at least 0, but got min_tokens={e.min_tokens!r}")
        if not all(e.stop):
            raise Mistake(f"stop strings must not be empty, but got stop={e.stop!r}")
        if e.logprobs is not None and not 0 <= e.logprobs <= (self.supports.logprobs or 0):
            raise Unsupported(f"{self.name} gives logprobs up to {self.supports.logprobs}, but got {e.logprobs!r}")
        return e

    async def rate(self, texts: Sequence[str]) -> list[Score]:
        """Not supported yet: raises ``Unsupported``."""
        raise Unsupported(f"{self.name} does not rate texts")

    async def close(self) -> None:
        """Nothing to let go of: the engine stays for the next run."""


def _weights_digest(folder: Path) -> str:
    """8 hexadecimal digits that stand for the weights."""
    state, files = hashlib.blake2b(digest_size=4), sorted(folder.glob("*.safetensors"))
    if not files:
        raise Mistake(f"expected *.safetensors in {folder}, found none")
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
    return state.hexdigest()


def _engine(folder: Path, dtype: str, slots: int, threads: int) -> Engine:
    from ..engine import start

    return start(folder, dtype, slots, threads)


# --- one sample ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the samples of one call have in common."""

    codec: Codec
    question: Question
    endings: Endings
    stream: Stream
    prompt: tuple[int, ...]
    k: int

    def reading(self) -> Reading:
        return Reading(self.codec, self.codec.thinks(self.prompt))

    def sequence(self, index: int, known: Sequence[int], watch: Callable[[Running], bool] | None) -> Running:
        """What the engine is asked for."""
        from ..engine import Sampling
        from ..engine import Sequence as Running

        q, e = self.question, self.endings
        assert e.max_tokens is not None
        sampling = Sampling(
            temperature=1.0 if q.temperature is None else q.temperature,
            top_p=1.0 if q.top_p is None else q.top_p,
            top_k=q.top_k,
            min_p=q.min_p or 0.0,
        )
        return Running(
            prompt=self.prompt,
            seed=self.stream.at(index).seed,
            limit=e.max_tokens,
            sampling=sampling,
            stop_ids=self.codec.stop_ids,
            min_tokens=e.min_tokens,
            known=tuple(known),
            k=self.k,
            watch=watch,
        )


class _Job:
    """One sample of one call on its way through the engine."""

    def __init__(self, plan: _Plan, index: int, so_far: Sample | None) -> None:
        self.plan, self.index, self.so_far = plan, index, so_far
        ids = list(so_far.trace.ids) if so_far is not None and so_far.trace is not None else []
        while ids and ids[-1] in plan.codec.stop_ids:  # only where min_tokens forbids the end
            ids.pop()
        self._reading = plan.reading()
        watched = plan.endings.stop or plan.endings.cut is not None
        self.running = plan.sequence(index, ids, self._fires if watched else None)

    def _fires(self, running: Running) -> bool:
        e, reading = self.plan.endings, self._reading
        n_before = len(reading.text)
        reading.feed(running.ids[-1])
        if e.cut is None and not any(reading.text.find(s, max(0, n_before - len(s) + 1)) >= 0 for s in e.stop):
            return False  # the common case, without making a sample of it
        return ending(self._whole(), e, checked=len(running.ids) - 1) is not None

    def _whole(self) -> Sample:
        """All that was computed, as one open sample (or one that ended by itself)."""
        r, reading = self.running, self._reading
        for token in r.ids[len(reading.ends) :]:
            reading.feed(token)
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
        n_new = max(0, len(self.running.ids) - len(self.running.known))
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

    def __init__(self, worker: _Worker, plan: _Plan, indices: Sequence[int], so_far: Mapping[int, Sample]) -> None:
        self._worker, self._loop = worker, asyncio.get_running_loop()
        self._queue: asyncio.Queue[Delivery | BaseException | None] = asyncio.Queue()
        self._prompt_tokens = len(plan.prompt)  # billed with the first delivery
        self._jobs: dict[Running, _Job] = {}
        self._over = False
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
        """The next sample to end. Raises ``ModelError`` where the engine failed."""
        if self._over:
            raise StopAsyncIteration
        item = await self._queue.get()
        if isinstance(item, Delivery):
            return item
        self._over = True
        if item is None:
            raise StopAsyncIteration
        raise ModelError(f"the engine failed: {item!r}") from item

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
        for running in self._jobs:
            engine.add(running)

    def _stop(self, engine: Engine) -> None:
        engine.remove(self._jobs)
        for running in list(self._jobs):
            self.finish(running)

    def _cancel(self, engine: Engine) -> None:
        if self in self._worker.calls:
            engine.remove(self._jobs)
            self._worker.calls.remove(self)

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

    def hand_over(self, item: Delivery | BaseException | None) -> None:
        """Give an item to the event loop; a loop that is closed has left the call."""
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:
            self.cancel()


# --- the engine's thread -------------------------------------------------------------------------------


class _Worker:
    """The thread that owns an engine: it takes orders between steps, and rests while there is nothing to do."""

    def __init__(self, start: Callable[[], Engine]) -> None:
        self._start = start
        self._ready = threading.Condition()
        self._orders: list[Callable[[Engine], None]] = []
        self._thread: threading.Thread | None = None
        self.calls: list[LocalCall] = []  # under way

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
            for running in engine.step():
                for call in list(self.calls):
                    call.finish(running)

    def _fail(self, error: BaseException) -> None:
        """Tell every call, and let the next order start a new engine."""
        with self._ready:
            calls, self.calls, self._orders, self._thread = self.calls, [], [], None
        for call in calls:
            call.hand_over(error)
