"""How many problems, and how many answers to each, an effect needs; reckoned from draws that exist.

Two promises are kept apart. *Half-width*: an interval of 95 % reaches this far to both sides. *Detection*: a difference of
this size is found significant at 5 % (two-sided) in 80 % of studies; it takes twice as many problems. Both speak of new
problems, by the normal approximation. All shares and effects lie between 0 and 1 (one point is .01).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log, log1p, sqrt

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling.counts import Counts
from vervet.scaling.draws import Floats
from vervet.scaling.intervals import UNIT, Estimate, Range, Z, exact_floor, new_problems

Z_POWER = 0.8416212335729143  # 80 % of the standard normal lies below
LEAST_EFFECT = 1e-6
_SLACK = 1e-9  # so that rounding does not ask for one problem more


@dataclass(frozen=True)
class Bought:
    """What a budget buys: ``problems`` with ``samples`` answers each, and the 95 % half-width of the figure then."""

    problems: int
    samples: int
    half_width: float


@dataclass(frozen=True)
class Power:
    """What an ``effect`` (a share, .01 = one point) needs, by what ``n_problems`` problems have shown.

    ``accuracy``: of one answer. ``discordance``: share of problems on which two answers disagree about being right: two
    independent answers of this rule, or one of this and one of the other. None where every problem has one answer only.
    ``half_width_problems``: for a paired difference, one answer per side, known to +-effect; ``detect_problems``: for a paired
    difference of that size to be found. Two rules that differ by the effect disagree at least that often, so less is never
    reckoned with. ``accuracy_problems``: for one accuracy known to +-effect, one answer each.
    ``floor_problems``: problems without one discordance that exclude an effect of this size (97.5 %); ``excluded``: the
    effect that as many problems as there are would exclude so.
    ``between``, ``within``: variances of the figure (the accuracy; with another rule, the difference): of problems among each
    other, and of the answers to a problem, so that m problems with n answers have an error of sqrt((between + within / n) / m).
    ``best_samples``: answers per problem that make the error least for the money; None where the answers' part is not
    known, or problems show no difference at all. ``bought``: what the budget buys with them; None without a budget or them.
    """

    effect: float
    n_problems: int
    accuracy: Estimate
    discordance: Estimate | None
    half_width_problems: int | None
    detect_problems: int | None
    accuracy_problems: int
    floor_problems: int
    excluded: float
    between: float | None
    within: float | None
    best_samples: int | None
    bought: Bought | None


def power(
    right: ArrayLike | Counts, effect: float, *, cost_per_problem: float, cost_per_sample: float,
    budget: float | None = None, other: ArrayLike | Counts | None = None, seed: int,
) -> Power:  # fmt: skip
    """What an effect needs, and the best split of a budget, from draws of one rule, or of two on the same problems.

    ``right``, ``other``: tables (problems, n) of right and wrong answers, or counts; a declared range. The answers of the two
    must be independent: draws that both use agree more than that. Every problem stands for itself; of variants of a problem,
    hand in one. ``cost_per_problem``: what a problem costs before it is answered (its prompt, its making),
    ``cost_per_sample``: one answer (with ``other``, one of each), ``budget``: in all; one unit for the three. Discordance per
    problem: 2 c (n - c) / (n (n - 1)), or p (1 - q) + q (1 - p) of both rates.
    Raises Mistake for an effect outside 1e-6 to 1, a negative cost or a free answer, tables of other problems, a budget that
    buys no answer, and counts that stopped at what was drawn.

    Reference: Connor 1987, Biometrics 43 (paired proportions: z^2 d / h^2 problems, d our discordance, h our effect); Cochran
    1977, Sampling Techniques, section 10.6 (two stages: n = sqrt(c1 / c2 x within / between)).

    >>> pilot = [[True, True], [True, False], [False, False], [True, True]]
    >>> found = power(pilot, 0.1, cost_per_problem=0, cost_per_sample=1, seed=0)
    >>> found.discordance.value, found.half_width_problems, found.detect_problems, found.best_samples
    (0.25, 97, 197, 1)
    """
    _check(effect, cost_per_problem, cost_per_sample, budget)
    one = _counts(right)
    two = None if other is None else _counts(other)
    if two is not None and two.n_problems != one.n_problems:
        raise Mistake(f"expected the same problems on both sides, got {one.n_problems} and {two.n_problems}")
    accuracy = _estimate(one.rates, UNIT, seed)
    disagree = _disagreement(one, two)
    discordance = None if disagree is None else _estimate(disagree, UNIT, seed)
    d = None if discordance is None else max(discordance.value, effect)
    between, within = _variances(one, two)
    samples = _best_samples(between, within, cost_per_problem, cost_per_sample)
    bought = None
    if budget is not None and samples is not None and between is not None and within is not None:
        bought = _bought(budget, samples, between, within, cost_per_problem, cost_per_sample)
    spread = accuracy.value * (1 - accuracy.value)
    floor_problems = _up(log(0.025) / log1p(-effect))
    return Power(
        effect=effect,
        n_problems=one.n_problems,
        accuracy=accuracy,
        discordance=discordance,
        half_width_problems=None if d is None else problems_for_half_width(d, effect),
        detect_problems=None if d is None else problems_to_detect(d, effect),
        accuracy_problems=max(problems_for_half_width(spread, effect), floor_problems),
        floor_problems=floor_problems,
        excluded=exact_floor(one.n_problems),
        between=between,
        within=within,
        best_samples=samples,
        bought=bought,
    )


def problems_for_half_width(variance: float, half_width: float) -> int:
    """Problems after which a 95 % interval reaches ``half_width`` to both sides: 3.84 variance / half_width^2, rounded up.

    ``variance``: of one problem's figure: the discordance for a paired difference, p (1 - p) for one accuracy.

    >>> problems_for_half_width(0.03, 0.01), problems_for_half_width(0.2, 0.01)
    (1153, 7683)
    """
    return _up(Z**2 * variance / half_width**2)


def problems_to_detect(discordance: float, effect: float) -> int:
    """Problems in which a paired difference of ``effect`` is significant (5 %, two-sided) 80 % of the time, rounded up.

    (1.96 + 0.84)^2 discordance / effect^2.

    >>> problems_to_detect(0.03, 0.01)
    2355
    """
    return _up((Z + Z_POWER) ** 2 * discordance / effect**2)


# --- parts -----------------------------------------------------------------------------------------------


def _check(effect: float, cost_per_problem: float, cost_per_sample: float, budget: float | None) -> None:
    if not LEAST_EFFECT <= effect < 1:
        raise Mistake(f"expected an effect from {LEAST_EFFECT:g} to below 1 (one point is 0.01), but got {effect=}")
    if not (cost_per_problem >= 0 and cost_per_sample > 0 and np.isfinite(cost_per_problem + cost_per_sample)):
        raise Mistake(f"expected {cost_per_problem=} of at least 0 and {cost_per_sample=} above 0")
    if budget is not None and not (np.isfinite(budget) and budget >= cost_per_problem + cost_per_sample):
        raise Mistake(
            f"expected a budget that buys an answer to a problem ({cost_per_problem + cost_per_sample:g}), but got {budget=}"
        )


def _counts(right: ArrayLike | Counts) -> Counts:
    if isinstance(right, Counts):
        right.expect_fixed()
        return right
    table = np.asarray(right, dtype=bool)
    if table.ndim != 2 or not table.size:
        raise Mistake(f"expected right and wrong answers as (problems, n), got shape {table.shape}")
    return Counts(np.full(len(table), table.shape[1]), table.sum(axis=1))


def _spread(counts: Counts) -> Floats | None:
    """The variance of one answer within each problem, unbiased: c (n - c) / (n (n - 1)); None where one n is 1."""
    n, c = counts.n, counts.correct
    return None if (n < 2).any() else np.asarray(c * (n - c) / (n * (n - 1)))


def _disagreement(one: Counts, two: Counts | None) -> Floats | None:
    """Chance that two answers to a problem differ in being right, per problem, unbiased."""
    if two is not None:
        p, q = one.rates, two.rates
        return np.asarray(p * (1 - q) + q * (1 - p))
    spread = _spread(one)
    return None if spread is None else 2 * spread


def _variances(one: Counts, two: Counts | None) -> tuple[float | None, float | None]:
    """Between problems (at least 0) and within, of the accuracy or of the difference, each freed of the other's part."""
    parts = [(side, _spread(side)) for side in (one, two) if side is not None]
    if one.n_problems < 2 or any(spread is None for _, spread in parts):
        return None, None
    figure = one.rates - (two.rates if two is not None else 0.0)
    within = sum(float(spread.mean()) for _, spread in parts if spread is not None)
    noise = sum(float((spread / side.n).mean()) for side, spread in parts if spread is not None)
    return max(0.0, float(figure.var(ddof=1)) - noise), within


def _best_samples(
    between: float | None, within: float | None, cost_per_problem: float, cost_per_sample: float
) -> int | None:
    if between is None or within is None or not between:
        return None
    best = max(1.0, sqrt(cost_per_problem / cost_per_sample * within / between))
    return min(
        (floor(best), ceil(best)), key=lambda n: (between + within / n) * (cost_per_problem + n * cost_per_sample)
    )


def _bought(
    budget: float, samples: int, between: float, within: float, cost_per_problem: float, cost_per_sample: float
) -> Bought:
    """The budget spent with so many answers to a problem; on one problem, with as many as it allows, if it is small."""
    samples = min(samples, floor((budget - cost_per_problem) / cost_per_sample + _SLACK))
    problems = floor(budget / (cost_per_problem + samples * cost_per_sample) + _SLACK)
    return Bought(problems, samples, Z * sqrt((between + within / samples) / problems))


def _estimate(values: Floats, within: Range, seed: int) -> Estimate:
    band = new_problems(values[:, None], seed, within=within)
    return Estimate(float(values.mean()), float(band.low[0]), float(band.high[0]))


def _up(problems: float) -> int:
    return ceil(problems - _SLACK)
