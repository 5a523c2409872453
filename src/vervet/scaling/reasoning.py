"""Laws of reasoning: does a model think longer, and fail more, the more steps a question takes, and do both add up?

Two figures over families of variants, each for the compute (mean reasoning tokens) and for the accuracy. *Monotonicity*:
Spearman's correlation of a variant's place with the figure, mean over families. *Compositionality*: how far the figure of
two questions asked as one is from the sum of both. The variants must come in the order of their steps, the two questions
must be independent of each other; neither can be seen from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling.draws import Floats
from vervet.scaling.intervals import LEVEL, Estimate, new_problems, resamples

SPEARMAN = (-1.0, 1.0)


@dataclass(frozen=True)
class Family:
    """One seed question in variants of 1, 2, 3 ... steps, in this order: of each the mean reasoning ``tokens``, and how many
    of its ``draws`` answers were ``right``. Raises Mistake for fewer than two variants, or counts that cannot be.
    """

    tokens: Sequence[float]
    right: Sequence[int]
    draws: int

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.right) or len(self.tokens) < 2:
            raise Mistake(
                f"expected tokens and right answers of the same variants, at least two, got {len(self.tokens)} and "
                f"{len(self.right)}"
            )
        if not np.isfinite(self.tokens).all():
            raise Mistake(f"expected the mean tokens of every variant, got {list(self.tokens)}")
        log_accuracy(self.right, self.draws)


@dataclass(frozen=True)
class Monotonicity:
    """Mean Spearman correlation of the number of steps with mean tokens (``compute``, ideally 1) and with log accuracy
    (``accuracy``, ideally -1), with 95 % intervals over new families.

    A family in which the figure never changes has no correlation: it is left out and counted (``n_flat_compute``,
    ``n_flat_accuracy``); None where all are flat.
    """

    compute: Estimate | None
    accuracy: Estimate | None
    n_families: int
    n_flat_compute: int
    n_flat_accuracy: int


def monotonicity(families: Sequence[Family], seed: int) -> Monotonicity:
    """Whether compute rises and accuracy falls with the number of steps. Raises Mistake for no family.

    Reference: Zhang et al. 2025, When Reasoning Meets Its Laws, arXiv 2512.17901, monotonicity (Spearman's rho over the
    variants of a seed question, averaged over questions). The authors' code for it is not public.

    >>> family = Family(tokens=[100, 150, 140, 300, 400], right=[8, 7, 7, 2, 0], draws=8)
    >>> found = monotonicity([family], seed=0)
    >>> round(found.compute.value, 6), round(found.accuracy.value, 4)
    (0.9, -0.9747)
    """
    if not families:
        raise Mistake("expected at least one family of variants, got none")
    compute = [_trend(family.tokens) for family in families]
    accuracy = [_trend(log_accuracy(family.right, family.draws)) for family in families]
    return Monotonicity(
        _mean(compute, seed), _mean(accuracy, seed), len(families), compute.count(None), accuracy.count(None)
    )


def spearman(x: ArrayLike, y: ArrayLike) -> float | None:
    """Correlation of the ranks of two figures, (cases,) each, equal ones sharing their mean rank; None where one is constant.

    Reference: Spearman 1904, American Journal of Psychology 15.

    >>> round(spearman([1, 2, 3, 4, 5], [100, 150, 140, 300, 400]), 6)
    0.9
    """
    one, other = (np.asarray(values, dtype=float) for values in (x, y))
    if one.shape != other.shape or one.ndim != 1 or not len(one) or np.isnan([one, other]).any():
        raise Mistake(f"expected two figures of each case, both known, got shapes {one.shape} and {other.shape}")
    first, second = (ranks - ranks.mean() for ranks in (_ranks(one), _ranks(other)))
    scale = np.sqrt((first @ first) * (second @ second))
    return float(np.clip(first @ second / scale, -1, 1)) if scale else None


def log_accuracy(right: ArrayLike, draws: int) -> Floats:
    """Natural log of right / draws; none right counts as half a one, which is finite and below every other.

    Raises Mistake where right is not between 0 and draws.

    >>> log_accuracy([0, 4], 4).round(4).tolist()
    [-2.0794, 0.0]
    """
    counts = np.asarray(right, dtype=float)
    if draws < 1 or not ((counts >= 0) & (counts <= draws)).all():
        raise Mistake(f"expected right answers between 0 and {draws=}, at least one draw, got {counts.tolist()}")
    return np.asarray(np.log(np.maximum(counts, 0.5) / draws))


def compositionality(whole: ArrayLike, first: ArrayLike, second: ArrayLike, seed: int) -> Estimate | None:
    """nMAD of mean tokens, or of log accuracy: sum of |whole - (first + second)| over sum of |first + second|; 0 is ideal.

    All (pairs,): of the two questions asked as one, and of each alone. The 95 % interval is over new pairs. None where the
    parts are 0 throughout (always right: their log accuracy says nothing). Raises Mistake where the shapes differ.

    Reference: Zhang et al. 2025, arXiv 2512.17901, compositionality (f(x12) our whole, f(x1) and f(x2) our first, second).

    >>> compositionality([500, 800, 300], [350, 300, 100], [250, 400, 300], seed=0).value.__round__(6)
    0.176471
    """
    together, one, other = (np.asarray(values, dtype=float) for values in (whole, first, second))
    if not together.shape == one.shape == other.shape or together.ndim != 1 or not len(together):
        raise Mistake(
            f"expected three figures for each pair, got shapes {together.shape}, {one.shape} and {other.shape}"
        )
    if not np.isfinite([together, one, other]).all():
        raise Mistake("expected a finite figure of each question; clip the log of an accuracy of 0 (log_accuracy)")
    off, size = np.abs(together - (one + other)), np.abs(one + other)
    if not size.sum():
        return None
    drawn = resamples(len(off), seed)
    below = drawn @ size
    low, high = np.quantile((drawn @ off)[below > 0] / below[below > 0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(off.sum() / size.sum()), float(low), float(high), "new pairs")


def _trend(values: ArrayLike) -> float | None:
    return spearman(np.arange(len(np.asarray(values))), values)


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place.reshape(-1)], dtype=float)


def _mean(correlations: Sequence[float | None], seed: int) -> Estimate | None:
    known = np.array([value for value in correlations if value is not None])
    if not len(known):
        return None
    band = new_problems(known[:, None], seed, within=SPEARMAN)
    return Estimate(float(known.mean()), float(band.low[0]), float(band.high[0]), "new families")
