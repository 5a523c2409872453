"""What is asked, of whom, and under which address the answer is known for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from .plain import Json, Message, canonical_json, digest

if TYPE_CHECKING:
    from .protocols import Cut


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
