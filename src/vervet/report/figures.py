"""What is shown of one set of draws, as plain data: the table, the page, the files and ``--json`` are made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vervet.scaling.cost import Cost
from vervet.scaling.curves import Curve
from vervet.scaling.distributional import Induced
from vervet.scaling.forecast import Forecast
from vervet.scaling.imperfect import Imperfect
from vervet.scaling.intervals import Estimate
from vervet.scaling.law import Law
from vervet.scaling.resampling import Resampling

SHARE = "share of problems"


Axis = Cost


@dataclass(frozen=True)
class Point:
    """A run beside the curve: what it is called, what it used per problem in the unit of the axis, and its accuracy."""

    name: str
    cost: float
    accuracy: Estimate


@dataclass(frozen=True)
class Told:
    """A forecast that was stored, and what later draws of the same problems made of it: ``truth`` None while unknown."""

    forecast: Forecast
    truth: float | None = None

    @property
    def held(self) -> bool | None:
        """Whether the truth lies in the interval; None while it is unknown."""
        return None if self.truth is None else self.forecast.low <= self.truth <= self.forecast.high


@dataclass(frozen=True)
class FittedLaw:
    """A law with the 95 % intervals of its parameters over new problems, by refitting over resampled problems.

    ``induced``: the exponent and prefactor of the power law that it looks like up to k = 10,000; None for laws that are one.
    """

    law: Law
    intervals: Mapping[str, Estimate] = field(default_factory=dict)
    induced: Induced | None = None


@dataclass(frozen=True)
class ShownSample:
    """One draw as a reader of the page sees it; ``outcome``: correct, incorrect, not_judged."""

    index: int
    text: str
    answer: str | None
    outcome: str
    tokens: int


@dataclass(frozen=True)
class ShownProblem:
    """One problem: what was asked, how many of n draws were right, what the vote chose and whether that is right (None: unknown),
    and some of its samples.
    """

    id: str
    prompt: str
    target: str
    n: int
    correct: int
    voted: str | None = None
    samples: Sequence[ShownSample] = ()
    voted_correct: bool | None = None


@dataclass(frozen=True)
class Figures:
    """What is shown of one set of draws (a run of a pool, or a model in a table of counts).

    ``facts``: the object that a run prints with ``--json`` (task, model, architecture, problems, accuracy, interval,
    not_judged, bounds, spent ...); what is missing is left out, what is unknown is listed. ``curves``: coverage first;
    shares of problems and tokens, all on the same ks. ``verifiers``: each verifier of the run against the grader;
    ``resampling``: drawing until it accepts. ``laws`` with ``verdict``, a sentence that says which law fits best and whether
    there is a power law at all. ``forecasts``: stored ones and what became of them. ``axis``: what draws cost, as it is
    drawn, None where only draws are known; ``costs``: every axis that is known, by name. ``points``: other runs on the same
    problems. ``rates``: share of right draws of each problem. ``problems``: for the browser. ``notes``: what else must be
    said, a sentence each.
    """

    facts: Mapping[str, Any]
    curves: Sequence[Curve]
    verifiers: Mapping[str, Imperfect] = field(default_factory=dict)
    resampling: Mapping[str, Resampling] = field(default_factory=dict)
    laws: Sequence[FittedLaw] = ()
    verdict: str = ""
    forecasts: Sequence[Told] = ()
    axis: Cost | None = None
    costs: Mapping[str, Cost] = field(default_factory=dict)
    points: Sequence[Point] = ()
    rates: Sequence[float] = ()
    problems: Sequence[ShownProblem] = ()
    notes: Sequence[str] = ()

    @property
    def title(self) -> str:
        """Task and model."""
        return " · ".join(str(self.facts[key]) for key in ("task", "model") if key in self.facts) or "Scaling curves"

    @property
    def coverage(self) -> Curve:
        """The curve of coverage."""
        return next(curve for curve in self.curves if curve.name == "coverage")

    @property
    def data(self) -> dict[str, Any]:
        """Facts, verifiers and curves as JSON data."""
        verifiers = {name: asdict(one) for name, one in self.verifiers.items()}
        return {**self.facts, "verifiers": verifiers, "curves": [asdict(curve) for curve in self.curves]}
