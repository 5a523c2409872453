"""The frozen data that every room shares, and the protocols that join the rooms.

Nothing here does anything but hold and derive: no I/O, no clock, no randomness, only the standard library.
The words are those of ``docs/design.md``; a word means one thing everywhere.
"""

from __future__ import annotations

import enum
import hashlib
import json
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol, runtime_checkable

Json = Any
Message = Mapping[str, Json]


def canonical_json(value: Json) -> str:
    """One spelling for equal data: sorted keys, no blanks, UTF-8 kept.

    >>> canonical_json({"b": 1, "a": [1.0, "é"]})
    '{"a":[1.0,"é"],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Json) -> str:
    """32 hexadecimal digits that stand for the data (BLAKE2b of its canonical JSON).

    >>> digest({"a": 1}) == digest({"a": 1})
    True
    """
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


def text_digest(text: str) -> int:
    """A signed 64-bit number that stands for a text inside one problem."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


# --- what is asked -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """What is asked. Plain data: no callable, and never the target.

    ``fixed`` is what the asker fixed (temperature, max_tokens, tools ...): it is merged only into questions
    whose text is an answer. ``reader`` and ``verifier`` are names that the run resolves; ``hints`` are the
    public facts that they take as arguments (for countdown: the numbers and the number to reach).
    """

    id: str
    messages: tuple[Message, ...]
    reader: str
    verifier: str | None = None
    hints: Mapping[str, Json] = field(default_factory=dict)
    fixed: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """What determines the distribution of a text, and nothing that merely ends it.

    A field that is None was not set; it is then neither sent nor part of the identity. ``role`` is the role
    and its version in the dialect (``embedded/repair.1``), or None where a problem is asked as it stands.

    >>> Question(messages=({"role": "user", "content": "2 + 2?"},)).temperature is None
    True
    """

    messages: tuple[Message, ...]
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tools: tuple[Json, ...] | None = None
    response_format: Json | None = None
    reasoning_effort: str | None = None
    prefill: str | None = None
    role: str | None = None

    @property
    def data(self) -> dict[str, Json]:
        """The fields that are set, as JSON data."""
        rows = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: list(value) if isinstance(value, tuple) else value for name, value in rows if value is not None}

    @property
    def digest(self) -> str:
        """The identity of the question: 32 hexadecimal digits over the fields that are set."""
        return digest(self.data)


@dataclass(frozen=True, slots=True)
class Endings:
    """What ends a text or is noted about it; none of it changes the distribution of its tokens.

    ``max_tokens`` None: as far as the model's context reaches. ``logprobs`` is the k of the top-k mean that
    is wanted per token; None takes what the model gives.
    """

    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    cut: Cut | None = None
    logprobs: int | None = None

    @property
    def data(self) -> dict[str, Json]:
        """What can change where the text ends, as JSON data: the part of ``scope`` where a model cannot continue."""
        data: dict[str, Json] = {}
        if self.max_tokens is not None:
            data["max_tokens"] = self.max_tokens
        if self.min_tokens:
            data["min_tokens"] = self.min_tokens
        if self.stop:
            data["stop"] = list(self.stop)
        if self.cut is not None:
            data["cut"] = repr(self.cut)
        return data


@dataclass(frozen=True, slots=True)
class Request:
    """A question together with its endings: what a model is asked to draw."""

    question: Question
    endings: Endings = Endings()


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """An address without its index: the endless row of samples of one question."""

    model: str
    question: str
    replicate: int = 0
    scope: str = ""

    def at(self, index: int) -> Address:
        """The address of one sample of the row."""
        return Address(self, index)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """The identity of a sample, for ever: (model and revision, question, replicate, scope, index).

    >>> Stream("embedded@1", "9f").at(3).index
    3
    """

    stream: Stream
    index: int

    @property
    def seed(self) -> int:
        """A 64-bit number that is a function of the address: the source of all randomness of its sample."""
        s = self.stream
        name = canonical_json([s.model, s.question, s.replicate, s.scope, self.index])
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")

    def __str__(self) -> str:
        s = self.stream
        scope = f"/{s.scope}" if s.scope else ""
        return f"{s.model}/{s.question[:8]}/r{s.replicate}{scope}#{self.index}"


# --- what comes back -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Per-token columns of one sample, all of one length; a column that is unknown is None.

    ``ids``: token ids (array 'i'). ``ends``: where each token's text ends, in characters of ``reasoning + text``
    (array 'i'; a mark or an end token has no text). ``logprob``: natural log of the chosen token's probability; ``topk``: mean logprob of the ``k`` likeliest
    tokens; ``entropy``: in nats (arrays 'f', rounded to the pool's half precision by ``llm``).
    ``source`` says which logits the figures come from: "raw" (before temperature) or "scaled".
    """

    ids: array[int]
    ends: array[int] | None = None
    logprob: array[float] | None = None
    topk: array[float] | None = None
    entropy: array[float] | None = None
    k: int = 0
    source: Literal["raw", "scaled"] = "raw"

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(self))

    def first(self, n_tokens: int) -> Trace:
        """The columns of the first ``n_tokens`` tokens."""
        columns = {c: getattr(self, c) for c in ("ids", "ends", "logprob", "topk", "entropy")}
        return replace(self, **{c: None if v is None else v[:n_tokens] for c, v in columns.items()})


@dataclass(frozen=True, slots=True)
class Sample:
    """One trajectory drawn from a question, as far as it is known.

    ``ended``: "eos", "stop:WHICH", "length", "cut:RULE", "refused", or None while it is open. Only "eos" and "refused"
    end the trajectory itself; the others say how far it was followed. ``text`` never holds the stop string.
    ``reasoning`` is what stood between the model's thinking marks, where it has such. ``n_tokens`` counts all
    completion tokens (the end token and hidden reasoning included); ``prompt_tokens`` those of the prompt.
    """

    address: Address
    text: str
    ended: str | None = None
    n_tokens: int = 0
    prompt_tokens: int = 0
    reasoning: str = ""
    tool_calls: tuple[Json, ...] = ()
    trace: Trace | None = field(default=None, repr=False, hash=False)

    @property
    def is_open(self) -> bool:
        """True where the trajectory itself goes on beyond what is known."""
        return self.ended not in ("eos", "refused")


@dataclass(frozen=True, slots=True)
class Bill:
    """What an attempt cost. All tokens are counts; ``unsettled`` are completion tokens booked at their bound.

    >>> (Bill(completion_tokens=5) + Bill(prompt_tokens=2)).tokens
    7
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    unsettled_tokens: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together, those booked at their bound included."""
        return self.prompt_tokens + self.completion_tokens + self.unsettled_tokens

    def __add__(self, other: Bill) -> Bill:
        return Bill(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


FailureKind = Literal["transient", "failed", "refused", "fatal"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A draw that gave no sample, recorded as such: never text, never dropped, never zero.

    ``transient``: the cause cannot depend on the text (refused connection, 429, 5xx before the first token).
    ``failed``: after the first token (timeout, reset, malformed body). ``refused``: content filter, 400, context.
    ``fatal``: nothing that is asked of this model can succeed (authentication, unknown model).
    """

    kind: FailureKind
    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Void:
    """An index that a broken block took out of use for ever: skipped and counted."""


Stored = Sample | Failure | Void


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one attempt brings for one index, and what it adds to the attempt's bill."""

    index: int
    outcome: Sample | Failure
    bill: Bill = Bill()


@dataclass(frozen=True, slots=True)
class Drawn(Sequence[Sample]):
    """The samples of one draw in index order, the failures by index, and why it ended early, if it did.

    ``ended``: None where all that was asked for came, else "wallet", "budget" or "until:RULE".
    ``n_void`` counts the indices that were skipped as void.
    """

    samples: tuple[Sample, ...]
    failures: Mapping[int, Failure] = field(default_factory=dict)
    ended: str | None = None
    n_void: int = 0

    def __getitem__(self, i: Any) -> Any:
        return self.samples[i]

    def __len__(self) -> int:
        return len(self.samples)


# --- what is made of it --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader found in a text: the answer as written, and the canonical key under which equal answers meet."""

    text: str
    key: str


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer says of one candidate.

    ``accepted`` None: the scorer does not accept or reject. ``not_judged`` holds the reason where there is no score.
    """

    value: float | None = None
    accepted: bool | None = None
    steps: tuple[float, ...] = ()
    evidence: str = ""
    not_judged: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the grader says of one text: correct, incorrect or not judged, with the reason for the last."""

    outcome: Literal["correct", "incorrect", "not_judged"]
    reason: str = ""

    @property
    def correct(self) -> bool:
        """True only for a correct answer; read together with ``judged``."""
        return self.outcome == "correct"

    @property
    def judged(self) -> bool:
        """False where the grader failed; figures then carry two bounds."""
        return self.outcome != "not_judged"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposed answer on its way through an architecture.

    ``sample`` is the draw that the text came from, where it is one; ``lineage`` the addresses it rests on.
    """

    text: str
    answer: Answer | None = None
    scores: Mapping[str, Score] = field(default_factory=dict)
    critiques: tuple[str, ...] = ()
    lineage: tuple[Address, ...] = ()
    sample: Sample | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> str | None:
        """The canonical key of the answer, or None where the reader found none."""
        return self.answer.key if self.answer else None

    def scored(self, scorer: str, score: Score) -> Candidate:
        """The same candidate with one more score."""
        return replace(self, scores={**self.scores, scorer: score})


@dataclass(frozen=True, slots=True)
class Candidates(Sequence[Candidate]):
    """Candidates in order of preference: the first is the answer. ``notes`` need no candidate (unit tests, plans).

    >>> c = Candidates((Candidate("a"), Candidate("b")))
    >>> c.reorder([1, 0])[0].text
    'b'
    """

    items: tuple[Candidate, ...] = ()
    notes: Mapping[str, Json] = field(default_factory=dict)

    def __getitem__(self, i: Any) -> Any:
        return self.items[i]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.items)

    @property
    def answer(self) -> Candidate | None:
        """The preferred candidate, or None where there is none."""
        return self.items[0] if self.items else None

    def reorder(self, order: Sequence[int]) -> Candidates:
        """The candidates at these positions, in this order."""
        return replace(self, items=tuple(self.items[i] for i in order))

    def with_items(self, items: Sequence[Candidate]) -> Candidates:
        """Other candidates, the same notes."""
        return replace(self, items=tuple(items))


class Stop(str):
    """Why an ``until`` rule ends the drawing, in words."""


# --- what a model can do -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Supports:
    """What a model can do. Asked for what it cannot do, a model raises ``Unsupported``; it never ignores.

    ``n``: the most samples that one call may bring. ``logprobs``: the largest k of a top-k mean, 0 for the chosen
    token alone, None for no figures at all. ``context``: prompt and completion tokens together, None if unknown.
    ``stops_on_close``: leaving a call ends what it costs.
    """

    roles: frozenset[str] = frozenset({"answer"})
    n: int = 1
    logprobs: int | None = None
    continuation: bool = False
    cut: bool = False
    fork: bool = False
    seed: bool = False
    rate: bool = False
    context: int | None = None
    stops_on_close: bool = False


class Call(Protocol):
    """One attempt under way: an async iterator of deliveries that can be asked to end early.

    After ``stop()`` the iterator still delivers what was computed and paid for of the unfinished samples, then ends.
    """

    def __aiter__(self) -> AsyncIterator[Delivery]: ...
    async def __anext__(self) -> Delivery: ...
    def stop(self) -> None:
        """End the attempt as soon as possible."""


@runtime_checkable
class Model(Protocol):
    """One way of getting tokens. ``name`` is its identity with revision; ``dialect`` says which roles' texts it knows."""

    name: str
    dialect: str
    supports: Supports

    def count(self, question: Question) -> int:
        """An upper bound of the prompt's tokens."""

    def draw(
        self, request: Request, stream: Stream, indices: Sequence[int], so_far: Mapping[int, Sample] | None = None
    ) -> AbstractAsyncContextManager[Call]:
        """One attempt, no retry; leaving the block ends the call. Open samples in ``so_far`` are followed further."""

    async def rate(self, texts: Sequence[str]) -> list[Score]:
        """Rewards or logprobs of given texts, where supported."""


# --- rules, operators, tasks ---------------------------------------------------------------------------


class Cut(Protocol):
    """A rule that ends one sample while it is generated: frozen data and a pure stepper."""

    @property
    def name(self) -> str: ...

    def fires_at(self, trace: Trace) -> int | None:
        """The number of tokens after which the sample ends, or None while it goes on."""


class Until(Protocol):
    """A rule that ends drawing: sees the candidates so far, in index order."""

    def __call__(self, candidates: Candidates) -> Stop | None: ...


Reader = Callable[[Problem, str], Answer | None]
Grader = Callable[[Problem, Json, Answer | None], Verdict]


class Operator(Protocol):
    """The one thing you extend: candidates in, candidates out; the world is reached through ``llm`` alone."""

    async def __call__(self, problem: Problem, candidates: Candidates, llm: Any) -> Candidates: ...


class Scorer(Protocol):
    """Scores for candidates, in their order."""

    def __call__(self, problem: Problem, candidates: Candidates, llm: Any) -> Awaitable[list[Score]]: ...


@dataclass(frozen=True, slots=True)
class Example:
    """A problem with its hidden target. Only ``run`` and the task hold it."""

    problem: Problem
    target: Json
    level: int | None = None


class Task(Protocol):
    """A benchmark: problems, the names of its reader and verifier, and its grader."""

    name: str
    levels: Sequence[int]

    def examples(self, split: str, n: int, seed: int, level: int | None = None) -> list[Example]:
        """``n`` examples of one split, a function of the arguments alone."""

    def grade(self, problem: Problem, target: Json, answer: Answer | None) -> Verdict:
        """Compare an answer with the hidden target."""


# --- the store -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer of the pool to an attempt that wants to draw: which indices it holds now, and which another call holds.

    ``call`` is the id of the open call (None where nothing was granted).
    """

    call: int | None
    granted: tuple[int, ...]
    busy: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """That a run used a draw: by which operator, in which order, in which role, and how many of its tokens."""

    problem: str
    operator: str
    address: Address
    order: int
    role: str
    n_tokens: int
    text_digest: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has freshly paid over all its restarts."""

    bill: Bill = Bill()
    calls: int = 0
    fresh_samples: int = 0
    seconds: float = 0.0


class Pool(Protocol):
    """The durable store. One row per address, the first write wins (an open sample may be replaced by more of it).

    Methods return at once and are safe from any thread; what they write is readable here at once, on disk within a
    second, and in the order of the calls. Only ``claim`` and ``flush`` wait for the disk. A store that can no longer
    write raises ``PoolFull`` from every writing method, with the number of samples that could not be stored.
    """

    path: str

    def start_run(self, identity: Mapping[str, Json]) -> str:
        """The id of the run with this identity; its row is made if there is none."""

    def add_problem(self, task: str, example: Example) -> None:
        """Keep a problem with its target, which only the grader reads."""

    def add_question(self, question: Question) -> str:
        """Keep a question; its digest."""

    def question(self, digest: str) -> Question:
        """The question of a digest."""

    def find(self, stream: Stream, indices: Sequence[int]) -> dict[int, Stored]:
        """What is known at these indices; an absent index is absent from the result. Transient failures are not here."""

    async def claim(self, run: str, stream: Stream, indices: Sequence[int], reserve: Bill, continues: bool) -> Claim:
        """Open a call, durably, on those indices that nobody holds and that are vacant or open.

        ``reserve`` is what the call may cost per index. Calls of owners that are no longer alive are closed first:
        what they had not settled is booked as unsettled, and where the model does not continue their block turns void.
        """

    def record(self, call: int, index: int, outcome: Sample | Failure, bill: Bill) -> None:
        """Keep what an open call brought for one index and add to its bill. Transient failures are kept with the call."""

    def settle(self, call: int, bill: Bill = Bill(), seconds: float = 0.0) -> None:
        """Close a call: add the last of its bill and let go of its indices."""

    def void(self, stream: Stream, indices: Sequence[int]) -> None:
        """Take indices out of use for ever."""

    def keep_failures(self, run: str, problem: str, failures: Mapping[Address, Failure]) -> None:
        """In this run these failures stay: a later question was built without them."""

    def kept_failures(self, run: str) -> dict[Address, Failure]:
        """The failures that stay in this run."""

    def add_uses(self, run: str, uses: Sequence[Use]) -> None:
        """Note which draws a run used; equal rows are kept once."""

    def add_verdicts(self, problem: str, rows: Mapping[int, tuple[Answer | None, Verdict]]) -> None:
        """Keep verdicts on texts of a problem, by text digest."""

    def scores(self, scorer: str, problem: str, texts: Sequence[int], replicate: int) -> dict[int, Score]:
        """Known scores by text digest."""

    def add_scores(self, scorer: str, problem: str, rows: Mapping[int, Score], replicate: int) -> None:
        """Keep scores by text digest."""

    def add_answer(self, run: str, problem: str, text: str | None, answer: Answer | None, verdict: Verdict) -> None:
        """Keep the final answer of a run to a problem; the same run again replaces it by the same."""

    def spent(self, run: str) -> Spent:
        """What this run has paid over all its restarts."""

    def add_seconds(self, run: str, seconds: float) -> None:
        """Add to the wall time of a run."""

    async def flush(self) -> None:
        """Wait until everything written so far is on disk."""

    def close(self) -> None:
        """Write what is queued and let go of the file."""
