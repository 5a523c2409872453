"""Two models or architectures on the same problems at equal cost, or in equal time: paired differences, and where they cross.

Between two recorded ks a side is taken to give a share of the problems the smaller k and the others the larger, so that the
mean cost is exactly the budget: what anyone can do, and never more than the true curve where that is concave. Budgets that
one side cannot spend, or cannot do with, are refused, because there the costs would not be equal.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vervet.errors import Mistake
from vervet.scaling.compare import paired_difference
from vervet.scaling.draws import Floats
from vervet.scaling.intervals import DIFFERENCE, Estimate, Range

N_BUDGETS = 20


@dataclass(frozen=True, eq=False)
class Side:
    """What one of the two gives at which cost.

    ``ks``: numbers of draws, rising. ``costs``: (ks,), what a problem costs on average with so many, rising, above 0, in the
    unit of both sides (seconds too); what selects among the draws counts. ``values``: (problems, ks), the estimate of each
    problem there. Raises Mistake where the shapes do not fit, or ks or costs do not rise.
    """

    ks: Sequence[int]
    costs: Sequence[float]
    values: Floats

    def __post_init__(self) -> None:
        ks, costs, values = np.asarray(self.ks), np.asarray(self.costs, dtype=float), np.asarray(self.values)
        if values.ndim != 2 or not values.size or not values.shape[1] == len(ks) == len(costs):
            raise Mistake(
                f"expected values of (problems, ks) with a cost for each k, got values of shape {values.shape}, {len(ks)} ks "
                f"and {len(costs)} costs"
            )
        if not (costs[0] > 0 and np.isfinite(costs[-1]) and (np.diff(ks) > 0).all() and (np.diff(costs) > 0).all()):
            raise Mistake(f"expected ks that rise and costs above 0 that rise, got {list(ks)} at {costs.tolist()}")


@dataclass(frozen=True)
class Row:
    """Both sides where a problem costs ``budget``: mean draws ``a_k``, ``b_k``, mean values ``a``, ``b``, and a - b, paired."""

    budget: float
    a_k: float
    b_k: float
    a: float
    b: float
    difference: Estimate


@dataclass(frozen=True)
class Matched:
    """The rows, cheapest first, and the costs of a problem at which the measured curves cross, rising.

    A crossing is one of the two measured means; whether the sides differ before and after it, the rows say.
    """

    rows: tuple[Row, ...]
    crossings: tuple[float, ...]


def matched(
    a: Side, b: Side, budgets: Sequence[float] | None = None, *, seed: int, within: Range = DIFFERENCE,
    clusters: Sequence[Hashable] | None = None,
) -> Matched:  # fmt: skip
    """Differences a - b at equal cost with 95 % intervals over new problems, all from the same resamples.

    ``budgets``: costs of a problem, in the unit of both sides; None: 20 from the least to the most that both can spend,
    evenly on a log axis. ``within``: the range of one difference. ``clusters``: as of ``paired_difference``. Raises Mistake
    where the problems differ in number, no cost is common to both, or a budget lies outside what both can spend.

    >>> cheap = Side([1, 2, 4], [1.0, 2.0, 4.0], [[0.1, 0.2, 0.4], [0.5, 0.7, 0.9]])
    >>> dear = Side([1, 2], [2.0, 4.0], [[0.3, 0.4], [0.5, 0.6]])
    >>> found = matched(cheap, dear, [2.0, 3.0, 4.0], seed=0)
    >>> [(row.a_k, row.b_k, round(row.difference.value, 3)) for row in found.rows]
    [(2.0, 1.0, 0.05), (3.0, 1.5, 0.1), (4.0, 2.0, 0.15)]
    """
    if len(a.values) != len(b.values):
        raise Mistake(f"expected the same problems on both sides, got {len(a.values)} and {len(b.values)}")
    least, most = max(a.costs[0], b.costs[0]), min(a.costs[-1], b.costs[-1])
    if least > most:
        raise Mistake(
            f"a problem costs {a.costs[0]:g} to {a.costs[-1]:g} on one side and {b.costs[0]:g} to {b.costs[-1]:g} on the "
            "other: no budget is common to both; draw more of the cheaper one"
        )
    even = np.unique(np.clip(np.geomspace(least, most, N_BUDGETS), least, most))
    chosen = even if budgets is None else np.sort(np.asarray(budgets, dtype=float))
    if not len(chosen) or not (chosen[0] >= least and chosen[-1] <= most):
        raise Mistake(f"expected budgets from {least:g} to {most:g}, which both sides can spend, got {chosen.tolist()}")
    return Matched(
        tuple(_row(a, b, float(budget), seed, within, clusters) for budget in chosen), _crossings(a, b, least, most)
    )


def _at(side: Side, budget: float) -> tuple[float, Floats]:
    """Mean draws a problem and the value of each problem, (problems,), for a budget between the least and the largest cost."""
    costs, values = np.asarray(side.costs, dtype=float), np.asarray(side.values, dtype=float)
    right = min(max(int(np.searchsorted(costs, budget)), 1), len(costs) - 1)
    left = max(right - 1, 0)
    share = (budget - costs[left]) / (costs[right] - costs[left]) if right > left else 0.0
    mixed = (1 - share) * values[:, left] + share * values[:, right]
    return float((1 - share) * side.ks[left] + share * side.ks[right]), np.asarray(mixed)


def _row(a: Side, b: Side, budget: float, seed: int, within: Range, clusters: Sequence[Hashable] | None) -> Row:
    (a_k, ours), (b_k, theirs) = _at(a, budget), _at(b, budget)
    difference = paired_difference(ours, theirs, seed, within=within, clusters=clusters)
    return Row(budget, a_k, b_k, float(ours.mean()), float(theirs.mean()), difference)


def _crossings(a: Side, b: Side, least: float, most: float) -> tuple[float, ...]:
    """Where the difference of the means, linear between all recorded costs, changes its sign."""
    knots = np.unique([least, most, *(cost for side in (a, b) for cost in side.costs if least < cost < most)])
    gaps = np.array([_at(a, cost)[1].mean() - _at(b, cost)[1].mean() for cost in knots])
    gaps[np.abs(gaps) < 1e-12] = 0.0  # equal but for rounding
    parted = np.flatnonzero(gaps)  # curves that touch and part on the same side do not cross
    found = []
    for i, j in pairwise(parted):
        if gaps[i] * gaps[j] < 0:
            if j > i + 1:  # equal between: the first cost at which they are
                found.append(float(knots[i + 1]))
            else:
                found.append(float(knots[i] + (knots[j] - knots[i]) * gaps[i] / (gaps[i] - gaps[j])))
    return tuple(found)
