"""What a run found and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ..batch import Collected
from ..scaling.forecast import Forecast
from ..scaling.imperfect import Imperfect
from ..types import Answer, Batch, Json, Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one problem: the final answer, its verdict, and why it is not a full one, if so."""

    problem: str
    text: str | None
    answer: Answer | None
    verdict: Verdict
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found and what it cost, over all its restarts.

    ``accuracy`` is the share of problems answered correctly, in [0, 1], with the 95 % ``interval`` for new problems;
    ``not_judged`` counts the problems without a verdict, and ``bounds`` takes them all wrong and all right.
    ``spent`` sums all restarts; ``fresh_now`` are the samples drawn by this start. ``ended`` names the limit that
    ended the run, or is None. ``verifiers``: each verifier against the grader, on the declared draws of the run;
    ``totals``: what else is published of the task;
    ``skipped``: the lines of a task's file that were left out; ``forecasts``: coverage at more draws than were made, as it
    was foretold when these draws were complete.
    """

    task: str
    model: str
    architecture: str
    problems: int
    accuracy: float
    interval: tuple[float, float]
    not_judged: int
    bounds: tuple[float, float]
    spent: Mapping[str, float | None]
    pool: str
    run: str
    fresh_now: int = 0
    ended: str | None = None
    collected: Collected | None = None
    waiting: tuple[Batch, ...] = ()
    verifiers: Mapping[str, Imperfect] = field(default_factory=dict)
    totals: Mapping[str, float] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    outcomes: tuple[Outcome, ...] = field(default=(), repr=False)

    @property
    def data(self) -> dict[str, Json]:
        """The result as one JSON object, without the single outcomes."""
        data = asdict(self)
        del data["outcomes"], data["waiting"]
        data["reasons"] = self.reasons
        return {**data, "files": [b.data for b in self.waiting], "requests": sum(b.n_draws for b in self.waiting)}

    @property
    def reasons(self) -> dict[str, int]:
        """Why problems have no verdict, or no text at all: how often, the most frequent first."""
        left = (o for o in self.outcomes if not o.verdict.judged or o.text is None)
        return dict(Counter(o.verdict.reason for o in left if o.verdict.reason).most_common())
