"""What the pool tells reports: named rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from vervet.types import Json


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run that the pool knows; ``seconds`` over all its restarts."""

    id: str
    identity: Mapping[str, Json]
    seconds: float


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """What is in a pool. ``models`` counts samples by model; ``n_open_calls`` includes those of dead owners."""

    path: str
    schema_version: int
    n_bytes: int
    counts: Mapping[str, int]
    models: Mapping[str, int]
    n_open_calls: int


@dataclass(frozen=True, slots=True)
class UseRow:
    """One draw that a run used, graded where ``outcome`` is not None.

    ``mean_logprob`` is over the tokens that were used; ``text_length`` is of the stored text, in characters.
    """

    problem: str
    operator: str
    order: int
    key: str | None
    outcome: str | None
    n_tokens: int
    mean_logprob: float | None
    text_length: int


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """The final answer of a run to a problem; ``text`` None where it had none."""

    problem: str
    text: str | None
    answer: str | None
    key: str | None
    outcome: str
    reason: str


class Foretold(Protocol):
    """A forecast as laws make it: ``value`` with ``low`` and ``high`` at ``level``, at ``k``, made from ``n`` draws."""

    @property
    def law(self) -> str:
        """Which law says it."""

    @property
    def target(self) -> str:
        """Of which problems."""

    @property
    def n(self) -> int:
        """Draws a problem that it was made from."""

    @property
    def k(self) -> int:
        """Draws a problem that it speaks of."""

    @property
    def value(self) -> float:
        """Coverage there."""

    @property
    def low(self) -> float:
        """The lower end of its interval."""

    @property
    def high(self) -> float:
        """The upper end of its interval."""

    @property
    def level(self) -> float:
        """Of that interval: 0.9 for 90 %."""


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """A forecast that was kept with a run; ``made``: when, in seconds since 1970."""

    run: str
    law: str
    target: str
    n: int
    k: int
    value: float
    low: float
    high: float
    level: float
    made: float


class CallTime(NamedTuple):
    """When a settled call began, in seconds since 1970, and how many seconds it took."""

    started: float
    seconds: float
