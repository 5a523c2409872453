"""Two rules on the same problems: how far they differ, whether that is chance, and what is not excluded where they do not.

The problem is the unit. The interval is over new problems; the p-value is exact: that of the problems on which just one of
the two is right, how many go to either side (a two-sided sign test). Draws that both share make this comparison sharper;
they are no replicates, and nothing is said of other draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, exp, lgamma, log

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling.compare import paired_difference
from vervet.scaling.draws import Floats
from vervet.scaling.intervals import DIFFERENCE, Estimate, accuracy, exact_floor, new_problems
from vervet.scaling.passk import check_ks, pass_at_k

_EXACT = 1000  # discordant problems up to which whole numbers are added


@dataclass(frozen=True)
class Paired:
    """Two rules on the same ``n_problems``: the accuracy of each, a - b, and how often just one of them was right.

    ``p_value``: two-sided, exact, of ``a_only`` against ``b_only``; 1 where they never differ. ``floor``: the share of
    problems on which they may differ although they never did on these (exact, 97.5 %).
    """

    n_problems: int
    a: Estimate
    b: Estimate
    difference: Estimate
    a_only: int
    b_only: int
    p_value: float
    floor: float


@dataclass(frozen=True)
class CoverageDifference:
    """Coverage of a less that of b at each of ``k`` draws, with intervals over new problems."""

    k: tuple[int, ...]
    a: tuple[float, ...]
    b: tuple[float, ...]
    difference: tuple[Estimate, ...]


def paired(a: Sequence[bool], b: Sequence[bool], seed: int) -> Paired:
    """Compare two rules by whether each problem was answered right. Raises Mistake for none, or for different lengths.

    Reference: McNemar 1947, Psychometrika 12 (paired proportions), in its exact form: the binomial of the discordant pairs.

    >>> found = paired([True] * 6 + [False], [False] * 6 + [False], seed=0)
    >>> found.a_only, found.b_only, found.p_value
    (6, 0, 0.03125)
    """
    difference = paired_difference(a, b, seed)
    one, two = (accuracy(list(side), seed) for side in (a, b))
    a_only = sum(x and not y for x, y in zip(a, b, strict=True))
    b_only = sum(y and not x for x, y in zip(a, b, strict=True))
    first, second = (Estimate(found.value, found.low, found.high) for found in (one, two))
    return Paired(len(a), first, second, difference, a_only, b_only, sign_test(a_only, b_only), exact_floor(len(a)))


def sign_test(a_only: int, b_only: int) -> float:
    """Two-sided exact p-value of so many discordant cases on either side, if each side is as likely: in (0, 1].

    >>> sign_test(6, 0), sign_test(3, 3), sign_test(0, 0), round(sign_test(60, 40), 4)
    (0.03125, 1.0, 1.0, 0.0569)
    """
    total, few = a_only + b_only, min(a_only, b_only)
    if total <= _EXACT:
        return min(1.0, float(2 * sum(comb(total, i) for i in range(few + 1)) / 2**total))
    logs = [lgamma(total + 1) - lgamma(i + 1) - lgamma(total - i + 1) - total * log(2) for i in range(few + 1)]
    return min(1.0, 2 * sum(map(exp, logs)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value corrected for their number, so that the chance of one false find among all stays below 5 % at .05.

    Reference: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, highest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def coverage_difference(
    a_n: int, a_right: ArrayLike, b_n: int, b_right: ArrayLike, ks: Sequence[int], seed: int
) -> CoverageDifference:
    """Coverage of two sets of draws of the same problems, at ks that both have; right draws of each problem, (problems,).

    Raises Mistake for a k that one side has not, and for different problems.

    >>> found = coverage_difference(2, [2, 1], 4, [1, 0], [1, 2], seed=0)
    >>> [round(one.value, 3) for one in found.difference]
    [0.625, 0.75]
    """
    check_ks(ks, min(a_n, b_n))
    one, two = pass_at_k(a_n, a_right, ks), pass_at_k(b_n, b_right, ks)
    if one.shape != two.shape:
        raise Mistake(f"expected the same problems on both sides, got {len(one)} and {len(two)}")
    gaps: Floats = one - two
    band = new_problems(gaps, seed, within=DIFFERENCE)
    found = zip(gaps.mean(axis=0), band.low, band.high, strict=True)
    return CoverageDifference(
        tuple(ks),
        _plain(one),
        _plain(two),
        tuple(Estimate(float(v), float(low), float(high)) for v, low, high in found),
    )


def _plain(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in np.asarray(values).mean(axis=0))
