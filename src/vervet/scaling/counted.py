"""Coverage from success counts, however many draws each problem has: declared before drawing, or by a known rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vervet.errors import Mistake
from vervet.scaling import passk
from vervet.scaling.counts import Counts
from vervet.scaling.curves import DRAWS_PER_K, Curve, default_ks
from vervet.scaling.draws import Floats, Ints
from vervet.scaling.intervals import new_draws, new_problems
from vervet.scaling.stopped import stopped_at_k


def pass_at_k_of(counts: Counts, ks: Sequence[int]) -> Floats:
    """pass@k of every problem from its own number of draws: shape (problems, ks), in [0, 1].

    Unbiased, whatever the numbers, as long as they were fixed before drawing. Raises Mistake where they were not, and
    where k is over the fewest draws of a problem.

    Reference: Chen et al. 2021, arXiv 2107.03374, equation 1.

    >>> from vervet.scaling.counts import FIXED
    >>> pass_at_k_of(Counts([2, 4], [1, 1], stopped=FIXED), [1, 2]).round(6).tolist()
    [[0.5, 1.0], [0.25, 0.5]]
    """
    return _by_n(counts, ks, passk.pass_at_k)


def pass_variance_of(counts: Counts, ks: Sequence[int]) -> Floats:
    """Variance of ``pass_at_k_of`` under new draws (jackknife), shape (problems, ks); NaN where a problem has k draws."""
    return _by_n(counts, ks, passk.pass_variance)


def coverage_at_k(counts: Counts, ks: Sequence[int]) -> Floats:
    """Unbiased pass@k of every problem by the way it was drawn: fixed numbers, or path counting. (problems, ks).

    Raises Mistake for numbers of draws that differ without a reason, and for k beyond what was drawn.
    """
    return stopped_at_k(counts, ks) if counts.adaptive else pass_at_k_of(counts, ks)


def coverage_curve(counts: Counts, ks: Sequence[int] | None = None, *, seed: int) -> Curve:
    """Coverage against k with both intervals, as ``curves`` gives it for one table of draws: same k, same resamples.

    ``n_draws`` of the curve: the fewest draws of a problem, or of an adaptive set the cap (without one, the most that a
    problem took); ``ks``: increasing, up to there (else Mistake), by default ``default_ks`` of it. New draws: where k is at
    most a quarter of it; an adaptive set has one path per problem, from which its variance cannot be told: None.

    Reference: Brown et al. 2024, Large Language Monkeys, arXiv 2407.21787, section 2 (coverage).

    >>> curve = coverage_curve(Counts([8, 8, 8, 8], [0, 1, 4, 8]), [1, 2, 4, 8], seed=0)
    >>> [round(value, 6) for value in curve.value]
    [0.40625, 0.508929, 0.621429, 0.75]
    """
    n = _reach(counts)
    chosen = tuple(default_ks(n) if ks is None else ks)
    if not chosen or list(chosen) != sorted(set(chosen)):
        raise Mistake(f"ks must increase, got {list(chosen)}")
    values = coverage_at_k(counts, chosen)
    mean = tuple(values.mean(axis=0).tolist())
    band = new_problems(values, seed)
    low, high = _again(counts, chosen, values)
    return Curve(
        "coverage", chosen, mean, tuple(band.low.tolist()), tuple(band.high.tolist()), low, high, mean, mean,
        n_problems=counts.n_problems, n_draws=n,
    )  # fmt: skip


Known = tuple[float | None, ...]


def _again(counts: Counts, ks: Sequence[int], values: Floats) -> tuple[Known, Known]:
    """Lower and upper ends over new draws, None where there is no such interval."""
    known = [not counts.adaptive and k * DRAWS_PER_K <= counts.least_n for k in ks]
    if not any(known):
        return (None,) * len(ks), (None,) * len(ks)
    variances = np.where(known, pass_variance_of(counts, ks), np.nan)
    band = new_draws(values, variances, [int((counts.n // k).sum()) for k in ks])
    low, high = (
        tuple(float(end) if is_known else None for end, is_known in zip(ends, known, strict=True))
        for ends in (band.low, band.high)
    )
    return low, high


def _reach(counts: Counts) -> int:
    rule = counts.stopped
    if rule is None or not rule.successes:
        counts.expect_fixed()
        return counts.least_n
    return rule.cap or int(counts.n.max())


def _by_n(counts: Counts, ks: Sequence[int], measure: Callable[[int, Ints, Sequence[int]], Floats]) -> Floats:
    counts.expect_fixed()
    passk.check_ks(ks, counts.least_n)
    result = np.empty((counts.n_problems, len(ks)))
    for n in np.unique(counts.n).tolist():
        rows = counts.n == n
        result[rows] = measure(n, counts.correct[rows], ks)
    return result
