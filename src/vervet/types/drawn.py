"""What comes back: samples with their figures, failures, bills."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from .asked import Address
from .plain import Json


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Per-token columns of one sample, all of one length; a column that is unknown is None.

    ``ids``: token ids (array 'i'). ``ends``: where each token's text ends, in characters of ``reasoning + text``
    (array 'i'; a mark or an end token has no text). ``logprob``: natural log of the chosen token's probability;
    ``topk``: mean logprob of the ``k`` likeliest tokens; ``entropy``: in nats (arrays 'f', rounded to the pool's half
    precision by ``llm``). ``source`` says which logits they come from: "raw" (before temperature) or "scaled".
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
        columns: dict[str, Any] = {c: getattr(self, c) for c in ("ids", "ends", "logprob", "topk", "entropy")}
        shorter: dict[str, Any] = {c: None if v is None else v[:n_tokens] for c, v in columns.items()}
        return replace(self, **shorter)


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
        return Bill(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.unsettled_tokens + other.unsettled_tokens,
            self.usd + other.usd,
        )


@dataclass(frozen=True, slots=True)
class Prices:
    """What a model costs, in US dollars per million tokens. ``None``: no price of its own, it costs what a prompt token costs.

    Hidden reasoning is paid as completion. ``batch`` is the share of the price that a batch file pays.

    >>> Prices(prompt=2.0, completion=8.0, cached_prompt=0.5).usd(Bill(1_000_000, 500_000, cached_prompt_tokens=400_000))
    5.4
    """

    prompt: float
    completion: float
    cached_prompt: float | None = None
    cache_write: float | None = None
    batch: float = 0.5

    def usd(self, bill: Bill) -> float:
        """What the tokens of a bill cost; unsettled ones are taken for the dearest kind that they can be."""
        cached = self.prompt if self.cached_prompt is None else self.cached_prompt
        written = self.prompt if self.cache_write is None else self.cache_write
        plain = bill.prompt_tokens - bill.cached_prompt_tokens - bill.cache_write_tokens
        paid = plain * self.prompt + bill.cached_prompt_tokens * cached + bill.cache_write_tokens * written
        paid += bill.completion_tokens * self.completion
        return (paid + bill.unsettled_tokens * max(self.completion, self.prompt, written)) / 1e6

    def worst(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What these tokens cost at the most."""
        written = self.prompt if self.cache_write is None else self.cache_write
        return (
            prompt_tokens * max(self.prompt, written) + completion_tokens * max(self.completion, self.prompt, written)
        ) / 1e6


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
