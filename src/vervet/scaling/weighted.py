"""The weighted vote at k, averaged over all subsets of k of the n that were drawn. What a vote is stands in ``subsets``.

Counting the subsets in which a sum of real weights is largest takes time exponential in n; with whole weights of 0 to L it
takes about L n^2 per answer. So the average is exact, up to n = 256, where the weights of a problem lie on a grid of at
most ``LEVELS`` equal steps from 0 to the largest (0 or 1, marks of 1 to 5, percentages), and wherever the subsets are few
enough to look at each; elsewhere it comes from random subsets, with its standard error.

Real weights are never rounded here. To count them exactly, round them to hundredths of the largest yourself: against every
subset of 2 to 12 draws, that moved the value of a problem by .0045 rms for uniform weights (at most .04), and by .046 for
rewards that crowd near 0 and 1 (at most .5: what ranks .999 over .998 is gone).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from vervet.scaling.draws import Floats, Ints
from vervet.scaling.passk import check_ks
from vervet.scaling.subsets import TIE, Averages, Ballot, common_n, vote_over_all, vote_sampled

Complex = NDArray[np.complex128]
LEVELS = 100  # steps of a grid up to which it is counted
MAX_EXACT = 256  # draws per problem beyond which counting takes too long
FEW = 5000  # subsets of one size that are looked at one by one
TINY = 1e-13  # chances below this are left out


def weighted_vote_at_k(ballots: Sequence[Ballot], ks: Sequence[int], seed: int, n_orders: int = 1000) -> Averages:
    """Chance that the weighted vote over k draws is right, per problem. All ballots share one n. With equal weights: the vote.

    Exact (error 0) for problems whose weights lie on a grid, up to n = 256, and for ks with at most ``FEW`` subsets; else
    from ``n_orders`` random orders (``vote_sampled``), standard error at most .5 / sqrt(n_orders) per problem. For intervals
    under new draws see ``block_variance``. Raises Mistake for k > n and for ballots of different n.

    Reference: Li et al. 2023, Making Language Models Better Reasoners with Step-Aware Verifier, arXiv 2206.02336 (the
    rule: sums of a verifier's scores); exact expectation by generating functions, ties shared.

    >>> from vervet.scaling.subsets import ballot
    >>> found = weighted_vote_at_k([ballot(["a", "a", "b"], [True, True, False], [0.3, 0.3, 0.5])], [1, 2, 3], seed=0)
    >>> found.values.round(4).tolist(), found.errors.tolist()
    ([[0.6667, 0.3333, 1.0]], [[0.0, 0.0, 0.0]])
    """
    n = common_n(ballots)
    check_ks(ks, n)
    values, errors = np.zeros((2, len(ballots), len(ks)))
    few = np.array([comb(n, k) <= FEW for k in ks])
    levels = [levels_of(one) if n <= MAX_EXACT else 0 for one in ballots]
    many = [k for k, is_few in zip(ks, few, strict=True) if not is_few]
    for row, one in enumerate(ballots):
        if not any(one.right):
            continue
        if levels[row]:
            values[row] = counted(one, levels[row], ks)
        else:
            values[row, few] = [vote_over_all(one, k) for k, is_few in zip(ks, few, strict=True) if is_few]
    rest = [row for row, one in enumerate(ballots) if not levels[row] and any(one.right)]
    if rest and many:
        sampled = vote_sampled([ballots[row] for row in rest], many, seed, n_orders)
        place = np.ix_(np.array(rest), ~few)
        values[place], errors[place] = sampled.values, sampled.errors
    return Averages(np.clip(values, 0.0, 1.0), errors)


def block_variance(values: Floats, n: int, ks: Sequence[int]) -> Floats:
    """Variance of any vote at k under new draws, on average not too small: (problems, ks); NaN where 2 k > n.

    ``values``: (problems, ks), averages over the subsets of k of n draws. They vary less than the mean of the n // k
    disjoint blocks that the draws hold, which varies by v (1 - v) / blocks. Leaving out the draws one by one would be
    closer for larger k, but takes n times as long; at k = 1 the two are the same.

    Reference: Hoeffding 1948, A Class of Statistics with Asymptotically Normal Distribution, Annals of Mathematical
    Statistics 19 (the average over all subsets varies at most k / n times as much as one subset).

    >>> block_variance(np.array([[0.5, 0.5]]), 8, [1, 2]).round(4).tolist()
    [[0.0357, 0.0833]]
    """
    blocks = np.array([n // k for k in ks], dtype=float)
    return np.asarray(values * (1 - values) / np.where(blocks >= 2, blocks - 1, np.nan))


def levels_of(one: Ballot) -> int:
    """The fewest equal steps from 0 to the largest weight on which all weights lie; 0 where that is over ``LEVELS``.

    >>> levels_of(Ballot(3, ((0.2, 0.5), (0.5,)), (0, 1))), levels_of(Ballot(2, ((0.3141, 1.0),), (2,)))
    (5, 0)
    """
    weights = np.array([weight for row in one.weights for weight in row])
    if not weights.max(initial=0.0):
        return 1
    steps = np.arange(1, LEVELS + 1)[:, None] * (weights / weights.max())
    fits = (np.abs(steps - np.rint(steps)) <= TIE * steps).all(axis=1)  # what is not 0 is not taken for 0
    return int(np.argmax(fits)) + 1 if fits.any() else 0


def counted(one: Ballot, levels: int, ks: Sequence[int]) -> Floats:
    """The vote of one problem whose weights lie on a grid of so many levels, exact: (ks,)."""
    largest = max((weight for row in one.weights for weight in row), default=0.0) or 1.0
    tables = [_counts(np.rint(np.array(row) / largest * levels).astype(np.int64)) for row in one.weights]
    return np.array([_won(one.n, tables, one.credit, k) for k in ks])


# --- who wins among whole weights: the exact part ---------------------------------------------------------


@dataclass(frozen=True)
class _Class:
    """One answer at a share of draws and at every node: chance times phase that its sum is below s, and is s."""

    below: Complex  # (nodes, sums); at 0: that it is not drawn at all
    equal: Complex  # (nodes, sums)
    total: Complex  # (nodes,)

    @property
    def reach(self) -> int:
        """Sums are under this."""
        return int(self.equal.shape[1])


def _counts(weights: Ints) -> Floats:
    """Of the subsets of m draws of a class, the share with the sum s: (draws + 1, sums)."""
    n, most = len(weights), int(weights.sum())
    table = np.zeros((n + 1, most + 1))
    table[0, 0] = 1.0
    reach = 1
    for i, weight in enumerate(np.sort(weights).tolist()):
        table[1 : i + 2, weight : weight + reach] += table[: i + 1, :reach]
        reach += weight
    return np.asarray(table / np.exp(_log_comb(n, np.arange(n + 1)))[:, None])


def _won(n: int, tables: Sequence[Floats], credit: Floats, k: int) -> float:
    """Expected credit of the winner among k of n draws.

    k draws without replacement are independent Binomial(n_a, k/n) counts per class, given that they sum to k; a finite
    Fourier transform fixes the sum, an integral of y^(t-1) over [0, 1] shares a tie of t. See ``vote.py``.
    """
    if k == n:
        return _at_all(tables, credit)
    share = k / n
    phases, weight = _nodes(n, k)
    classes = [_class(table, share, phases) for table in tables]
    order = sorted(range(len(classes)), key=lambda i: -classes[i].reach)
    silent = ((1 - share) + share * phases) ** (n - sum(len(table) - 1 for table in tables))
    won = 0.0
    for target in order:
        if credit[target]:
            others = [classes[i] for i in order if i != target]
            won += credit[target] * float(np.real((_wins(classes[target], others) * silent) @ weight))
    return won


def _at_all(tables: Sequence[Floats], credit: Floats) -> float:
    """The vote of all draws: every class has its whole sum."""
    sums = np.array([table.shape[1] for table in tables])
    if not len(sums):
        return 0.0
    return float(credit[sums == sums.max()].mean())


@lru_cache(maxsize=1024)
def _nodes(n: int, k: int) -> tuple[Complex, Complex]:
    """Points of the unit circle, and weights that pick the terms of sum k: as few as keep other sums under ``TINY``."""
    size = np.arange(n + 1)
    chance = np.exp(_log_chance(n, size, k / n))
    count = next(c for c in range(1, n + 2) if chance[(size - k) % c == 0].sum() - chance[k] <= TINY * chance[k])
    angles = 2 * np.pi * np.arange(count // 2 + 1) / count  # conjugates are counted by weight
    phases = np.exp(1j * angles)
    twice = np.where((angles == 0) | np.isclose(angles, np.pi), 1.0, 2.0)
    return phases, twice * phases ** (-k) / count / chance[k]


def _class(table: Floats, share: float, phases: Complex) -> _Class:
    n = len(table) - 1
    m = np.arange(n + 1)
    chance = np.exp(_log_chance(n, m, share))
    wave = chance * phases[:, None] ** m  # (nodes, draws + 1)
    equal = wave.real @ table + 1j * (wave.imag @ table)
    equal[:, 0] -= chance[0]
    below = np.empty_like(equal)
    below[:, 0] = chance[0]
    np.cumsum(equal[:, :-1], axis=1, out=below[:, 1:])
    below[:, 1:] += chance[0]
    return _Class(below, equal, ((1 - share) + share * phases) ** n)


def _wins(target: _Class, others: Sequence[_Class]) -> Complex:
    """Chance times phase that the target wins, shared where tied: (nodes,). ``others``: largest reach first."""
    mass = np.cumsum(target.equal[0].real)
    lowest, high = (int(np.searchsorted(mass, m)) for m in (TINY, mass[-1] - TINY))
    high = min(high + 1, target.reach)
    won = np.zeros(len(target.total), dtype=complex)
    nodes = 1  # q nodes are exact where at most 2 q - 1 others can tie
    while high > lowest:
        low = max(lowest, others[2 * nodes - 1].reach if len(others) > 2 * nodes - 1 else 0)
        if low < high:
            won += _between(target, others, low, high, nodes)
        high, nodes = min(high, low), 2 * nodes
    return won


def _between(target: _Class, others: Sequence[_Class], low: int, high: int, n_nodes: int) -> Complex:
    """The part where the target wins with a sum of ``low`` up to below ``high``: (nodes,)."""
    nodes, node_weights = np.polynomial.legendre.leggauss(n_nodes)
    y = ((nodes + 1) / 2)[:, None, None]
    product = np.repeat(target.equal[None, :, low:high], n_nodes, axis=0)  # (tie nodes, nodes, sums)
    scale = np.ones(len(target.total), dtype=complex)
    for other in others:
        end = min(high, other.reach)
        if end <= low:
            scale *= other.total
            continue
        product[:, :, : end - low] *= other.below[:, low:end] + y * other.equal[:, low:end]
        product[:, :, end - low :] *= other.total[:, None]
    return np.asarray((node_weights / 2) @ product.sum(axis=2) * scale)


def _log_comb(n: int, k: Ints | int) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(np.asarray(k) + 1) - gammaln(n - np.asarray(k) + 1))


def _log_chance(n: int, m: Ints, share: float) -> Floats:
    """Log of the chance of exactly m of n at a share over 0 and under 1."""
    return np.asarray(_log_comb(n, m) + m * np.log(share) + (n - m) * np.log1p(-share))
