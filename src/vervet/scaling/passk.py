"""What k draws give, averaged over all subsets of k of the n that were drawn: coverage, best by a score, mean.

Each estimator is unbiased for its value at k; each comes with the variance that new draws would give it (delete-one
jackknife, needs k < n). Samples are counted without replacement throughout. The vote has a file of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling.draws import Floats, Ints


def pass_at_k(n: int, correct: ArrayLike, ks: Sequence[int]) -> Floats:
    """Chance that at least one of k draws is right, per problem: shape (problems, ks), in [0, 1].

    ``n``: draws per problem. ``correct``: right ones per problem, 0 to n, shape (problems,). Raises Mistake where
    k > n: n draws say nothing unbiased about more than n (the formula would silently return 1 for many of them).

    Reference: Chen et al. 2021, Evaluating Large Language Models Trained on Code, arXiv 2107.03374, equation 1:
    1 - C(n-c, k) / C(n, k), here as 1 - prod over i = n-c+1 .. n of (1 - k/i).

    >>> pass_at_k(10, [3], [1, 2, 5, 8, 10]).round(6).tolist()
    [[0.3, 0.533333, 0.916667, 1.0, 1.0]]
    """
    check_ks(ks, n)
    right = np.asarray(correct, dtype=np.int64)
    if right.size and (right.min() < 0 or right.max() > n):
        raise Mistake(f"right draws must lie between 0 and {n=}, got {right.min()} to {right.max()}")
    columns = [_pass_table(n, k)[right] for k in ks]
    return np.stack(columns, axis=-1)


def _pass_table(n: int, k: int) -> Floats:
    """pass@k for 0, 1, ... n right draws, shape (n + 1,)."""
    i = np.arange(n, k, -1)  # beyond n - k right draws every subset holds one
    miss = np.concatenate(([0.0], np.cumsum(np.log1p(-k / i))))
    return np.concatenate((-np.expm1(miss), np.ones(k)))


def pass_variance(n: int, correct: ArrayLike, ks: Sequence[int]) -> Floats:
    """Variance of each problem's pass@k under new draws, shape (problems, ks); NaN where k = n.

    Leaving out one of the c right draws gives pass@k of (n-1, c-1), one of the wrong ones that of (n-1, c).
    """
    right = np.asarray(correct, dtype=np.int64)
    variances = np.full((len(right), len(ks)), np.nan)
    columns = [j for j, k in enumerate(ks) if k < n]
    if columns:
        inner = [ks[j] for j in columns]
        less = pass_at_k(n - 1, np.maximum(right - 1, 0), inner)
        same = pass_at_k(n - 1, np.minimum(right, n - 1), inner)
        share = (right / n)[:, None]
        variances[:, columns] = (n - 1) * share * (1 - share) * (less - same) ** 2
    return variances


def coverage(n: int, correct: ArrayLike, ks: Sequence[int]) -> Floats:
    """Mean pass@k over problems, each with the same weight: shape (ks,).

    Reference: Brown et al. 2024, Large Language Monkeys, arXiv 2407.21787, section 2.

    >>> coverage(8, [0, 1, 4, 8], [1, 2, 4, 8]).round(6).tolist()
    [0.40625, 0.508929, 0.621429, 0.75]
    """
    return np.asarray(pass_at_k(n, correct, ks).mean(axis=0))


def best_at_k(right: ArrayLike, scores: ArrayLike, ks: Sequence[int]) -> Floats:
    """Chance that the highest-scored of k draws is right, per problem: shape (problems, ks).

    ``right``, ``scores``: (problems, n). Exact: the draw of rank i (1 = lowest) is the highest of C(i-1, k-1) subsets.
    Equal scores share the credit. An unknown score is -inf (or NaN): below every known one.

    >>> best_at_k([[True, False, False]], [[0.9, 0.1, 0.5]], [1, 2, 3]).round(3).tolist()
    [[0.333, 0.667, 1.0]]
    """
    table, values = np.asarray(right, dtype=float), _known(scores)
    n = table.shape[1]
    check_ks(ks, n)
    order = np.argsort(values, axis=1, kind="stable")
    credit = _shared(np.take_along_axis(table, order, 1), np.take_along_axis(values, order, 1))
    return np.asarray(credit @ _top_weights(n, ks))


def best_variance(right: ArrayLike, scores: ArrayLike, ks: Sequence[int]) -> Floats:
    """Variance of each problem's best-at-k under new draws, shape (problems, ks); NaN where k = n.

    Equal scores fall in index order here, not shared: that can only widen the interval.
    """
    table, values = np.asarray(right, dtype=float), _known(scores)
    n_problems, n = table.shape
    variances = np.full((n_problems, len(ks)), np.nan)
    order = np.argsort(values, axis=1, kind="stable")
    credit = np.take_along_axis(table, order, 1)  # (problems, ranks)
    for j, k in enumerate(ks):
        if k < n:
            weights = _top_weights(n - 1, [k])[:, 0]
            below = np.cumsum(credit[:, :-1] * weights, axis=1)  # ranks under the one left out keep theirs
            above = np.cumsum((credit[:, 1:] * weights)[:, ::-1], axis=1)[:, ::-1]  # those over it move down by one
            left_out = np.pad(below, ((0, 0), (1, 0))) + np.pad(above, ((0, 0), (0, 1)))
            variances[:, j] = (n - 1) * left_out.var(axis=1)
    return variances


def mean_at_k(values: ArrayLike, ks: Sequence[int]) -> Floats:
    """Expected sum over k draws, per problem: k times the mean of the row, shape (problems, ks).

    >>> mean_at_k([[10, 20]], [1, 2]).tolist()
    [[15.0, 30.0]]
    """
    table = np.asarray(values, dtype=float)
    check_ks(ks, table.shape[1])
    return np.asarray(table.mean(axis=1)[:, None] * np.asarray(ks, dtype=float))


def check_ks(ks: Sequence[int], n: int) -> None:
    """Raise Mistake unless every k lies between 1 and the n draws of a problem."""
    bad = [k for k in ks if not 1 <= k <= n]
    if bad:
        raise Mistake(
            f"k must lie between 1 and the {n} draws per problem, got k={bad[0]}; draw more, or ask for a smaller k"
        )


def _top_weights(n: int, ks: Sequence[int]) -> Floats:
    """C(i-1, k-1) / C(n, k) for rank i = 1 .. n (the last is the highest), shape (n, ks)."""
    i = np.arange(n - 1, 0, -1)[:, None]
    k = np.asarray(ks, dtype=float)
    steps = np.maximum(i - k + 1, 0) / i  # from rank i + 1 down to rank i
    weights = np.concatenate((k[None, :] / n, k / n * np.cumprod(steps, axis=0)))
    return np.asarray(weights[::-1])


def _shared(credit: Floats, ordered: Floats) -> Floats:
    """The mean credit within every run of equal scores, shape (problems, n)."""
    starts = np.ones(ordered.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    groups: Ints = np.cumsum(starts.ravel()) - 1  # a row begins with a start: groups do not cross rows
    means = np.bincount(groups, credit.ravel()) / np.bincount(groups)
    return np.asarray(means[groups].reshape(credit.shape))


def _known(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, dtype=float)
    return np.where(np.isnan(values), -np.inf, values)
