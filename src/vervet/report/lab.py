"""Everything that is said of a set of draws: curves, laws, forecasts and what became of them, costs, other runs.

Two ways in: the runs of a pool, and tables of success counts. Both give ``Figures``, one for each set of draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from threadpoolctl import threadpool_limits

from vervet.pool import judged
from vervet.pool.rows import RunRow
from vervet.pool.store import SqlitePool
from vervet.report import pages
from vervet.report.costs import SAMPLES, chosen, costs_of
from vervet.report.figures import Figures, FittedLaw, Point, Told
from vervet.report.judgements import judgements
from vervet.report.samples import shown_problems
from vervet.run.declared import counts_of, declared_draws, draws_of
from vervet.run.foretold import ahead_of, foretell, truth
from vervet.scaling.choice import verdict
from vervet.scaling.chosen import selector_curves
from vervet.scaling.cost import Cost, Shape
from vervet.scaling.counted import coverage_curve
from vervet.scaling.counts import Counts
from vervet.scaling.distributional import induced
from vervet.scaling.draws import Bools, Draws
from vervet.scaling.forecast import forecasts
from vervet.scaling.intervals import Estimate
from vervet.scaling.laws import LAWS, fit, parameter_intervals
from vervet.scaling.reliability import reliability_curves
from vervet.scaling.resampling import Resampling, resampling
from vervet.types import Prices

LEAST_DRAWS = 4  # a problem, from which a law is fitted
WITH_INTERVALS = ("loglog", "nls", "scaled beta")  # the laws whose parameters are fitted again to resampled problems


@dataclass(frozen=True)
class Worth:
    """What an answer is worth beside a right one, 1: a wrong one, none at all (abstaining), and each draw."""

    wrong: float = -1.0
    abstain: float = 0.0
    draw: float = 0.0


@dataclass(frozen=True)
class Asked:
    """What is to be shown: ``ks``, the ``axis`` of costs with what it is reckoned by, the ``seed`` of the resampling
    of counts (runs have their own).

    ``worth``: of answers, for drawing until a verifier accepts; ``reliability``: show pass^k and G-Pass@k too.
    """

    ks: Sequence[int] | None = None
    axis: str | None = None
    prices: Prices | None = None
    shape: Shape | None = None
    seed: int = 0
    worth: Worth = Worth()
    reliability: bool = False


def of_pool(path: str, run: str | None = None, asked: Asked = Asked()) -> list[Figures]:
    """The figures of every run of a pool that can be analysed, or of one. Raises ``Mistake`` where there is none."""
    with threadpool_limits(1, "blas"):  # many small products: threads take ten times as long on a busy machine
        return pages.of_pool(path, run, asked.ks, lambda pool, row, figures: _of_run(pool, row, figures, asked))


def of_counts(tables: Sequence[Counts], asked: Asked = Asked()) -> list[Figures]:
    """The figures of tables of success counts, one each. Raises ``Mistake`` where pass@k from one would be biased."""
    with threadpool_limits(1, "blas"):
        return [_of_counts(counts, asked) for counts in tables]


def _of_counts(counts: Counts, asked: Asked) -> Figures:
    curve = coverage_curve(counts, asked.ks, seed=asked.seed)
    facts: dict[str, object] = {"model": counts.name, "problems": counts.n_problems, "draws": int(counts.n.sum())}
    if drawn := pages.how_drawn(counts):
        facts["drawn"] = drawn
    more = reliability_curves(counts, curve.k, seed=asked.seed) if asked.reliability else []
    figures = Figures(facts, [curve, *more], axis=chosen({"samples": SAMPLES}, asked.axis))
    if counts.adaptive:
        return replace(figures, notes=[pages.stopped_note(counts)])
    told = [Told(one) for one in forecasts(counts, ahead_of(counts), seed=asked.seed)]
    return replace(_with_laws(figures, counts, asked), forecasts=told, rates=counts.rates.tolist())


def _of_run(pool: SqlitePool, row: RunRow, figures: Figures, asked: Asked) -> Figures:
    if declared_draws(row) is None:  # it stopped at the first right answers: k draws have no cost of their own
        return replace(figures, axis=chosen({"samples": SAMPLES}, asked.axis))
    asked = replace(asked, seed=row.identity["seed"])
    counts, draws = counts_of(pool, row), draws_of(pool, row)
    costs = costs_of(pool, row, draws, asked.prices, asked.shape)
    axis = chosen(costs, asked.axis)
    told = [Told(one, truth(pool, row, one)) for one in foretell(pool, row)]
    said = judgements(pool, row, counts.problems, draws.n)
    more = selector_curves(
        draws, figures.coverage.k, scores=said.scores, accepted=said.accepted, seed=row.identity["seed"]
    )
    if asked.reliability:
        more += reliability_curves(counts, figures.coverage.k, seed=row.identity["seed"])
    figures = replace(
        figures,
        curves=[*figures.curves, *more],
        notes=[*figures.notes, *said.notes],
        resampling={name: _resampled(draws, table, asked) for name, table in said.accepted.items()},
        axis=axis,
        costs=costs,
        forecasts=told,
        points=_points(pool, row, axis, costs.get("tokens")),
        rates=counts.rates.tolist(),
        problems=shown_problems(pool, row),
    )
    return _with_laws(figures, counts, asked)


def _with_laws(figures: Figures, counts: Counts, asked: Asked) -> Figures:
    """Every law fitted, those that are compared with others most with the intervals of their parameters; which one fits."""
    if counts.least_n < LEAST_DRAWS:
        return replace(
            figures, notes=[*figures.notes, f"No law is fitted to fewer than {LEAST_DRAWS} draws a problem."]
        )
    fitted = [_fitted(name, counts, asked.seed) for name in LAWS]
    return replace(figures, laws=fitted, verdict=verdict(counts, asked.seed).sentence)


def _fitted(name: str, counts: Counts, seed: int) -> FittedLaw:
    law = fit(name, counts)
    if law.undefined:
        return FittedLaw(law)
    intervals = parameter_intervals(name, counts, seed) if name in WITH_INTERVALS else {}
    return FittedLaw(law, intervals, induced(law) if "asymptotic exponent" in law.parameters else None)


def _resampled(draws: Draws, accepted: Bools, asked: Asked) -> Resampling:
    worth = asked.worth
    return resampling(
        accepted.tolist(), draws.correct, v_fp=worth.wrong, v_abstain=worth.abstain, cost=worth.draw, seed=asked.seed
    )


def _points(pool: SqlitePool, row: RunRow, axis: Cost, tokens: Cost | None) -> list[Point]:
    """The other runs of the model on the same problems: what each used per problem, as draws of this one, and its accuracy."""
    mine = {answer.problem for answer in pool.answers(row.id)}
    found = []
    for other in pool.runs():
        if other.id == row.id or other.identity["models"] != row.identity["models"]:
            continue
        if {answer.problem for answer in pool.answers(other.id)} != mine:
            continue
        used, facts = judged.n_used(pool, other.id), pages.facts_of(pool, other)
        if not used:
            continue
        n_draws = sum(n for n, _ in used.values()) / len(used)
        if tokens is not None:
            n_draws = sum(n for _, n in pool.used(other.id).values()) / len(used) / tokens.each
        low, high = facts["interval"]
        found.append(Point(other.identity["architecture"], axis.at(n_draws), Estimate(facts["accuracy"], low, high)))
    return found
