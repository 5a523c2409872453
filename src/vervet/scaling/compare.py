"""Comparisons: two architectures on the same problems; a score between right and wrong samples; lengths of both.

All intervals are over *new problems*: the problem is the unit that is resampled, whatever is compared within it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling.draws import Bools, Floats, Ints
from vervet.scaling.intervals import DIFFERENCE, UNBOUNDED, UNIT, Estimate, Range, new_problems, resamples

N_RESAMPLES_POOLED = 1000


@dataclass(frozen=True)
class Discrimination:
    """How well a score separates right from wrong samples: AUROC, .5 = not at all, 1 = always higher when right.

    ``within``: mean over the ``n_mixed`` problems that have both right and wrong samples, each problem with the same
    weight, whatever its number of pairs. ``pooled``: over all pairs of samples of all problems, so that problems that
    are easy and score high help it; it says nothing about choosing among the samples of one problem.
    """

    within: Estimate | None
    pooled: Estimate | None
    n_mixed: int


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of right and of wrong samples (pooled), and their difference within a problem, right minus wrong.

    ``difference`` is the mean over the ``n_mixed`` problems that have both, each with the same weight; None without.
    """

    right: Estimate | None
    wrong: Estimate | None
    difference: Estimate | None
    n_mixed: int


def paired_difference(
    a: ArrayLike, b: ArrayLike, seed: int, *, within: Range = DIFFERENCE, clusters: Sequence[Hashable] | None = None
) -> Estimate:
    """Mean of a - b over the same problems with its interval over new problems; both draw the same resamples.

    ``a``, ``b``: one value per problem (an estimate at k, or 0 / 1), shape (problems,). ``within``: the range of one
    difference, for the floor; None where it has none (tokens). Raises Mistake where the shapes differ.

    >>> paired_difference([1, 1, 0], [1, 0, 0], seed=0).value.__round__(3)
    0.333
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise Mistake(f"expected one value per problem on both sides, got shapes {first.shape} and {second.shape}")
    return _mean(first - second, seed, within, clusters)


def discrimination(right: ArrayLike, scores: ArrayLike, seed: int) -> Discrimination:
    """AUROC of ``scores`` for ``right``, both (problems, n). Samples without a score (NaN or infinite) are left out.

    ``within`` is None where no problem has both right and wrong samples; ``pooled`` where the whole has not.

    Reference: Hanley and McNeil 1982, Radiology 143 (AUROC = chance that a right sample outscores a wrong one, ties
    counting one half).

    >>> discrimination([[True, False, False]], [[0.5, 0.1, 0.5]], seed=0).within.value
    0.75
    """
    truth, values = np.asarray(right, dtype=bool), np.asarray(scores, dtype=float)
    known = np.isfinite(values)
    rows = [auroc(t[k], v[k]) for t, v, k in zip(truth, values, known, strict=True)]
    mixed = np.array([row for row in rows if row is not None])
    within = _mean(mixed, seed, UNIT, None) if len(mixed) else None
    return Discrimination(within, _pooled(truth, values, known, seed), len(mixed))


def auroc(right: ArrayLike, scores: ArrayLike) -> float | None:
    """Chance that a right sample outscores a wrong one, ties one half; None without one of each. Shapes (samples,).

    >>> auroc([True, False, True], [3.0, 2.0, 1.0])
    0.5
    """
    truth, values = np.asarray(right, dtype=bool), np.asarray(scores, dtype=float)
    wrong = np.sort(values[~truth])
    if not 0 < truth.sum() < len(truth):
        return None
    below = np.searchsorted(wrong, values[truth], "left")
    up_to = np.searchsorted(wrong, values[truth], "right")
    return float((below + up_to).mean() / 2 / len(wrong))


def lengths(right: ArrayLike, tokens: ArrayLike, seed: int) -> Lengths:
    """Lengths in tokens of right and wrong samples, both tables (problems, n).

    >>> lengths([[True, False]], [[70, 101]], seed=0).difference.value
    -31.0
    """
    truth, counts = np.asarray(right, dtype=bool), np.asarray(tokens, dtype=float)
    n_right, n_wrong = truth.sum(axis=1), (~truth).sum(axis=1)
    right_tokens, wrong_tokens = (counts * truth).sum(axis=1), (counts * ~truth).sum(axis=1)
    mixed = (n_right > 0) & (n_wrong > 0)
    gaps = right_tokens[mixed] / n_right[mixed] - wrong_tokens[mixed] / n_wrong[mixed]
    difference = _mean(gaps, seed, UNBOUNDED, None) if len(gaps) else None
    return Lengths(
        _ratio(right_tokens, n_right, seed), _ratio(wrong_tokens, n_wrong, seed), difference, int(mixed.sum())
    )


def _mean(values: Floats, seed: int, within: Range, clusters: Sequence[Hashable] | None) -> Estimate:
    band = new_problems(values[:, None], seed, within=within, clusters=clusters)
    return Estimate(float(values.mean()), float(band.low[0]), float(band.high[0]))


def _ratio(sums: Floats, counts: Ints, seed: int) -> Estimate | None:
    """Sum over sum, with the problems resampled; None where there is nothing to count."""
    if not counts.sum():
        return None
    drawn = resamples(len(sums), seed)
    below = drawn @ counts
    return _estimate(float(sums.sum() / counts.sum()), (drawn @ sums)[below > 0] / below[below > 0])


def _pooled(truth: Bools, values: Floats, known: Bools, seed: int) -> Estimate | None:
    problem = np.repeat(np.arange(len(truth)), truth.shape[1])[known.ravel()]
    right, flat = truth[known], values[known]
    value = auroc(right, flat)
    if value is None:
        return None
    order = np.argsort(flat, kind="stable")
    problem, right, flat = problem[order], right[order], flat[order]
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))  # first of each run of equal scores
    drawn = resamples(len(truth), seed, N_RESAMPLES_POOLED)
    found = [_weighted_auroc(weights[problem], right, starts) for weights in drawn]
    return _estimate(value, np.array([one for one in found if one is not None]))


def _weighted_auroc(weights: Floats, right: Bools, starts: Ints) -> float | None:
    """AUROC of samples sorted by score that count ``weights`` times; runs of equal scores begin at ``starts``."""
    rights = np.add.reduceat(weights * right, starts)
    wrongs = np.add.reduceat(weights * ~right, starts)
    pairs = rights.sum() * wrongs.sum()
    return float(rights @ (np.cumsum(wrongs) - wrongs / 2) / pairs) if pairs else None


def _estimate(value: float, resampled: Floats) -> Estimate:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
