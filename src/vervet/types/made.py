"""What is made of samples: answers, scores, verdicts, candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .asked import Address, Problem
from .drawn import Sample
from .plain import Json


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


@dataclass(frozen=True, slots=True)
class Example:
    """A problem with its hidden target. Only ``run`` and the task hold it."""

    problem: Problem
    target: Json
    level: int | None = None
