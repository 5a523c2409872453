"""How reliably a problem is solved: all k of k draws right, or at least a share of them. The mirror of pass@k.

Coverage says what a verifier could find in k draws; these say what somebody meets who takes every one of them. Each is
averaged over all subsets of k of the n recorded draws, hence unbiased for its value at k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from vervet.errors import Mistake
from vervet.scaling.chosen import selector_curve
from vervet.scaling.counts import Counts
from vervet.scaling.curves import Curve
from vervet.scaling.draws import Floats, Ints
from vervet.scaling.passk import check_ks


def all_at_k(n: int, correct: ArrayLike, ks: Sequence[int]) -> Floats:
    """Chance that all of k draws are right (pass^k), per problem: shape (problems, ks), in [0, 1].

    ``n``: draws per problem. ``correct``: right ones per problem, 0 to n, shape (problems,). Raises Mistake where
    k > n. Its variance under new draws is that of "at least one wrong": ``pass_variance(n, n - correct, ks)``.

    Reference: Yao et al. 2024, tau-bench, arXiv 2406.12045 (pass^k): C(c, k) / C(n, k), here as
    prod over i = c+1 .. n of (1 - k/i), summed as logs.

    >>> all_at_k(10, [8, 10, 1], [1, 2, 5]).round(6).tolist()
    [[0.8, 0.622222, 0.222222], [1.0, 1.0, 1.0], [0.1, 0.0, 0.0]]
    """
    check_ks(ks, n)
    wrong = n - _right(n, correct)
    return np.stack([_all_table(n, k)[wrong] for k in ks], axis=-1)


def most_at_k(n: int, correct: ArrayLike, ks: Sequence[int], share: float) -> Floats:
    """Chance that at least ceil(share x k) of k draws are right (G-Pass@k_tau), per problem: shape (problems, ks).

    ``share``: tau, over 0 up to 1; 1 gives pass^k, a share of at most 1 / k gives pass@k. Share x k that is a whole
    number up to 1e-9 is that number, whatever its floating-point rest. Exact to about 1e-10. Raises Mistake where
    k > n or the share is outside.

    Reference: Liu et al. 2024, Are Your LLMs Capable of Stable Reasoning?, arXiv 2412.13147 (G-Pass@k_tau):
    sum over j >= ceil(tau k) of C(c, j) C(n-c, k-j) / C(n, k).

    >>> most_at_k(10, [5], [4], 0.5).round(6).tolist()
    [[0.738095]]
    """
    check_ks(ks, n)
    if not 0 < share <= 1:
        raise Mistake(f"expected a share of the draws over 0 and at most 1, but got {share=}")
    counts, place = np.unique(_right(n, correct), return_inverse=True)
    tails = [_chances(n, counts, k)[:, math.ceil(share * k - 1e-9) :].sum(axis=1) for k in ks]
    return np.asarray(np.clip(np.stack(tails, axis=-1)[place], 0.0, 1.0))


def mean_most_at_k(n: int, correct: ArrayLike, ks: Sequence[int]) -> Floats:
    """The mean of G-Pass@k_tau over tau from one half to 1 (mG-Pass@k), per problem: shape (problems, ks).

    As published, a sum of k - ceil(k/2) terms times 2 / k: a problem that is always solved scores 1 for even k, but
    1 - 1/k for odd k (0 at k = 1). Compare values of one k only. Raises Mistake where k > n.

    Reference: Liu et al. 2024, arXiv 2412.13147 (mG-Pass@k): 2/k times the sum over i = ceil(k/2)+1 .. k of
    G-Pass@k at tau = i/k.

    >>> mean_most_at_k(10, [5, 10], [4, 5]).round(6).tolist()
    [[0.142857, 0.042857], [1.0, 0.8]]
    """
    check_ks(ks, n)
    counts, place = np.unique(_right(n, correct), return_inverse=True)
    columns = []
    for k in ks:
        beyond = np.maximum(np.arange(k + 1) - math.ceil(k / 2), 0)  # in how many of the terms j right draws count
        columns.append(2 / k * (_chances(n, counts, k) @ beyond))
    return np.asarray(np.clip(np.stack(columns, axis=-1)[place], 0.0, 1.0))


def _right(n: int, correct: ArrayLike) -> Ints:
    right = np.asarray(correct, dtype=np.int64)
    if right.size and (right.min() < 0 or right.max() > n):
        raise Mistake(f"right draws must lie between 0 and {n=}, got {right.min()} to {right.max()}")
    return right


def _all_table(n: int, k: int) -> Floats:
    """pass^k for 0, 1, ... n wrong draws, shape (n + 1,)."""
    i = np.arange(n, k, -1)  # beyond n - k wrong draws every subset holds one
    return np.concatenate(([1.0], np.exp(np.cumsum(np.log1p(-k / i))), np.zeros(k)))


def _chances(n: int, counts: Ints, k: int) -> Floats:
    """Chance of exactly j right among k of n draws of which c are right: shape (counts, k + 1)."""
    c, j = counts[:, None], np.arange(k + 1)[None, :]
    possible = (j <= c) & (k - j <= n - c)
    inside = np.where(possible, j, 0)
    left = np.where(possible, k - j, 0)
    logs = _log_comb(c, inside) + _log_comb(n - c, left) - _log_comb(np.array(n), np.array(k))
    return np.where(possible, np.exp(logs), 0.0)


def _log_comb(n: Ints, k: Ints) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def reliability_curves(counts: Counts, ks: Sequence[int], *, seed: int) -> list[Curve]:
    """pass^k, and G-Pass@k at shares of .5 and .75, against k: means over problems with intervals over new problems.

    Raises Mistake for adaptively drawn counts and for different numbers of draws.

    >>> [curve.name for curve in reliability_curves(Counts([4, 4], [4, 1]), [1, 2], seed=0)]
    ['pass^k', 'G-Pass@k .5', 'G-Pass@k .75']
    """
    n = counts.common_n
    found = {"pass^k": all_at_k(n, counts.correct, ks)}
    found |= {
        f"G-Pass@k {share:g}".replace("0.", "."): most_at_k(n, counts.correct, ks, share) for share in (0.5, 0.75)
    }
    return [selector_curve(name, tuple(ks), values, n, seed=seed) for name, values in found.items()]
