"""A model on this machine: a folder in Hugging Face format, run by the engine.

One engine thread per model serves all its calls at once; it starts with the first draw and is idle between draws.
Every sample is a function of its address, so it is the same in any company and can be followed further. Knows no
pool, no money and no retry; torch and the tokenizer are imported at first use.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra, Mistake, OverContext, Unsupported
from ..prompts import roles
from ..types import Delivery, Endings, Question, Request, Sample, Score, Stream, Supports
from .live import Token
from .local_call import LocalCall, Plan, Worker
from .text import RAW, Codec, read_json

if TYPE_CHECKING:
    from ..engine import Engine

_HERE = Path(__file__).parent
EMBEDDED = ("embedded", "embedded-small")
_DTYPES = {"bfloat16": "bf16", "float32": "fp32"}
_VALUED = ("ForSequenceClassification", "ForRewardModel")  # how the engine tells a value head; here without torch
_RATED_AT_ONCE = 16  # texts; the engine's samples go on between
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

    ``dtype``: "bfloat16" or "float32", None as shipped (another one is part of the name), where float16 is run as float32;
    ``slots``: samples decoded at once; ``threads`` of the engine (None: as measuring says); ``max_tokens_kept``: tokens of
    keys and values in memory (None: half of what is free, at most about a million tokens); ``device``: "cpu" or "cuda"
    (None: CUDA where there is one). A question's temperature counts as 1 where it is not set. What was computed of a
    sample stays in memory while there is room, so what continues it starts there.
    A folder whose architecture gives values (a reward model) rates texts and draws nothing.
    Raises ``MissingExtra`` without the extra ``local``, ``Mistake`` for a folder that lacks something.
    """

    def __init__(
        self, folder: str | Path, *, dtype: str | None = None, slots: int = 256, threads: int | None = None,
        max_tokens_kept: int | None = None, device: str | None = None,
    ) -> None:  # fmt: skip
        self.folder = Path(folder).resolve()
        for package in ("torch", "safetensors"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtra(package, "local")
        self._codec = Codec(self.folder)
        config = read_json(self.folder, "config.json")
        shipped = str(config.get("dtype") or config.get("torch_dtype") or "float32")
        shipped = "float32" if shipped == "float16" else shipped  # exact: every float16 number is a float32
        self._dtype = dtype or shipped
        if self._dtype not in _DTYPES:
            raise Mistake(f"expected dtype to be one of {tuple(_DTYPES)}, but got {self._dtype!r}")
        mark = "" if self._dtype == shipped else f"+{_DTYPES[self._dtype]}"
        self.name = f"{self.folder.name}@{_weights_digest(self.folder)}{mark}"
        ours = "embedded" if self.folder.parent == _HERE else "english"
        self.dialect = str(read_json(self.folder, "tokenizer_config.json", {}).get("vervet_dialect", ours))
        self._vocab, self._context = (_size(config, name) for name in ("vocab_size", "max_position_embeddings"))
        self._valued = any(name.endswith(_VALUED) for name in config.get("architectures") or ())
        self.supports = Supports(
            roles=frozenset() if self._valued else frozenset({"answer", *roles(self.dialect)}),
            n=1_000_000,
            logprobs=min(_MAX_TOP_K, self._vocab),
            continuation=True,
            cut=True,
            seed=True,
            rate=True,
            context=self._context,
            stops_on_close=True,
        )
        self._worker = Worker(lambda: _engine(self.folder, self._dtype, slots, threads, max_tokens_kept, device))

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
        plan = self._plan(request, stream)
        known = {i: s for i, s in (so_far or {}).items() if i in set(indices)}
        for index, sample in known.items():
            if sample.trace is None:
                raise Unsupported(f"{self.name} follows a sample by its token ids, but sample {index} has none")
        return self._opened(plan, indices, known)

    @asynccontextmanager
    async def draw_live(
        self, request: Request, stream: Stream, indices: Sequence[int], top: int = 0
    ) -> AsyncIterator[AsyncIterator[Delivery | list[Token]]]:
        """As ``draw``; between the deliveries comes what each step of the engine brought (see ``Live``)."""
        async with self._opened(self._plan(request, stream, min(top, self._vocab)), indices, {}) as call:
            yield call.live()

    @property
    def n_generated(self) -> int:
        """Tokens that the engine has drawn since it started."""
        return self._worker.n_generated

    def bytes_of(self, token: int) -> bytes | None:
        """The bytes of a token's text, or None for a special token."""
        return self._codec.bytes_of(token)

    @asynccontextmanager
    async def _opened(
        self, plan: Plan, indices: Sequence[int], so_far: Mapping[int, Sample]
    ) -> AsyncIterator[LocalCall]:
        call = LocalCall(self._worker, plan, indices, so_far)
        try:
            yield call
        finally:
            call.cancel()

    def _plan(self, request: Request, stream: Stream, top: int | None = None) -> Plan:
        """What the samples of a call have in common; ``max_tokens`` is what the context leaves at most."""
        endings = self._checked(request)
        prompt = tuple(self._codec.encode(request.question))
        room = self._context - len(prompt)
        if room < 1:
            raise OverContext(
                f"{self.name} has a context of {self._context} tokens; the prompt takes {len(prompt)} and leaves no room"
            )
        endings = replace(endings, max_tokens=min(endings.max_tokens or room, room))
        k = min(endings.logprobs or _TOP_K, self._vocab)
        return Plan(self._codec, request.question, endings, stream, prompt, k, top)

    def _checked(self, request: Request) -> Endings:
        """The endings, after a look at everything that this model cannot do."""
        if self._valued:
            raise Unsupported(f"{self.name} gives texts a value and cannot write one; use it to rate")
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
        """A score for each text, read as a raw prompt is (see ``Codec.encode``); each is a function of its text alone.

        Of a language model: the mean natural logprob per token, of all tokens that have one before them. Of a model with a
        value head: what the head says at the last token, as it is (no sigmoid). What has no such figure is not judged.
        Costs one pass over each text, between the steps of what is being drawn.
        Raises ``OverContext`` for a text that does not fit, before any is run.
        """
        ids = [self._rated_ids(i, text) for i, text in enumerate(texts)]
        scores: list[Score] = []
        while part := ids[len(scores) : len(scores) + _RATED_AT_ONCE]:
            scores += await self._worker.ask(partial(self._scores, part))
        return scores

    def _rated_ids(self, i: int, text: str) -> tuple[int, ...]:
        """The tokens of a text that is to be rated; none where it is empty."""
        ids = tuple(self._codec.encode(Question(({"role": RAW, "content": text},)))) if text else ()
        if len(ids) > self._context:
            raise OverContext(f"{self.name} has a context of {self._context} tokens; text {i} takes {len(ids)}")
        return ids

    def _scores(self, texts: Sequence[tuple[int, ...]], engine: Engine) -> list[Score]:
        """The scores of tokenized texts; for the engine's thread."""
        scores = []
        for ids in texts:
            if len(ids) < (1 if self._valued else 2):
                scores.append(Score(not_judged="one token, with nothing before it" if ids else "the text is empty"))
            elif self._valued:
                scores.append(Score(value=float(engine.llama.logits(ids)[-1, 0])))
            else:
                scores.append(Score(value=float(engine.llama.logprobs(ids).double().mean())))
        return scores

    async def close(self) -> None:
        """Nothing to let go of: the engine stays for the next run."""


def _size(config: Mapping[str, Any], name: str) -> int:
    if not isinstance(config.get(name), int):
        raise Mistake(f"expected {name} in config.json as a whole number, found {config.get(name)!r}")
    return int(config[name])


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


def _engine(folder: Path, *how: Any) -> Engine:
    from ..engine import start

    return start(folder, *how)
