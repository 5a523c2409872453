"""The plurality vote at k, averaged over all subsets of k of the n that were drawn, with ties shared.

First-seen in index order and shared credit agree in expectation; shared credit has no noise. An answer whose samples
are partly right (one key, several texts) is worth the share of them that is right. Draws without an answer take a
place and vote for nothing; a subset without any answer is wrong.

Exact at a cost that depends on the distinct class sizes: k draws without replacement are independent Binomial(n_i, k/n)
counts per class, given that they sum to k; the sum is fixed by a finite Fourier transform, the sharing of a tie among t
classes, 1/t, is the integral of y^(t-1) over [0, 1], exact by Gauss-Legendre nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import lgamma

import numpy as np
from numpy.typing import NDArray

from vervet.errors import Mistake
from vervet.scaling.draws import Bools, Floats, Ints
from vervet.scaling.intervals import jackknife
from vervet.scaling.passk import check_ks

Complex = NDArray[np.complex128]
Profile = tuple[tuple[int, int], ...]  # (class size, number of classes of that size), by size
CHUNK = 2**17  # complex numbers that are worked on at once
MAX_EXACT = 256  # draws per problem beyond which vote_at_k takes too long and is refused


@dataclass(frozen=True)
class Tally:
    """The answers of one problem: draws in all, and per answer class how many draws and how many of them right."""

    n: int
    counts: tuple[int, ...]
    right: tuple[int, ...]

    @property
    def profile(self) -> Profile:
        """What alone decides who wins."""
        return tuple(sorted(Counter(self.counts).items()))

    def credit(self) -> dict[int, float]:
        """Per class size, the summed shares of right draws of the classes of that size (zeros left out)."""
        shares: dict[int, float] = {}
        for count, right in zip(self.counts, self.right, strict=True):
            if right:
                shares[count] = shares.get(count, 0.0) + right / count
        return shares

    def without(self, place: int, one_right: bool) -> Tally:
        """The tally with one draw of the class at ``place`` left out."""
        counts, right = list(self.counts), list(self.right)
        counts[place] -= 1
        right[place] -= one_right
        kept = [i for i, count in enumerate(counts) if count]
        return Tally(self.n - 1, tuple(counts[i] for i in kept), tuple(right[i] for i in kept))


def tally(keys: Sequence[str | None], right: Sequence[bool] | Bools) -> Tally:
    """Count the answers of one problem.

    >>> tally(["4", "5", None, "4"], [True, False, False, True])
    Tally(n=4, counts=(2, 1), right=(2, 0))
    """
    classes: dict[str, list[int]] = {}
    for key, good in zip(keys, right, strict=True):
        if key is not None:
            row = classes.setdefault(key, [0, 0])
            row[0] += 1
            row[1] += bool(good)
    return Tally(len(keys), tuple(c for c, _ in classes.values()), tuple(r for _, r in classes.values()))


def vote_at_k(tallies: Sequence[Tally], ks: Sequence[int]) -> Floats:
    """Exact chance that the vote over k draws is right, per problem: shape (problems, ks). All share one n <= 256.

    Raises Mistake for k > n, for tallies of different n, and beyond n = 256 (then: ``vote_at_k_sampled``).

    Reference: Wang et al. 2023, Self-Consistency, arXiv 2203.11171 (the rule); exact expectation by generating
    functions, ties shared.

    >>> vote_at_k([Tally(3, (2, 1), (2, 0))], [1, 2, 3]).round(4).tolist()
    [[0.6667, 0.6667, 1.0]]
    """
    n = _common_n(tallies)
    check_ks(ks, n)
    if n > MAX_EXACT:
        raise Mistake(f"the exact vote goes up to n = {MAX_EXACT}, got {n=}; use vote_at_k_sampled")
    cases: dict[tuple[Profile, int], int] = {}
    terms = []  # (problem, case, credit)
    for row, one in enumerate(tallies):
        for size, credit in one.credit().items():
            terms.append((row, cases.setdefault((one.profile, size), len(cases)), credit))
    result = np.zeros((len(tallies), len(ks)))
    if terms:
        rows, places, credits = (np.array(column) for column in zip(*terms, strict=True))
        wins = np.stack([_win(n, list(cases), k) for k in ks], axis=1)  # (cases, ks)
        np.add.at(result, rows, credits[:, None] * wins[places])
    return np.clip(result, 0.0, 1.0)


def vote_at_k_plain(keys: Sequence[str | None], right: Sequence[bool], k: int) -> float:
    """The plain twin of ``vote_at_k`` for one problem: look at every subset of k. For small n.

    >>> round(vote_at_k_plain(["4", "4", "5"], [True, True, False], 2), 4)
    0.6667
    """
    check_ks([k], len(keys))
    whole = tally(keys, right)
    worth = dict(zip(dict.fromkeys(key for key in keys if key is not None), _shares(whole), strict=True))
    total, n_subsets = 0.0, 0
    for subset in combinations(keys, k):
        seen = Counter(key for key in subset if key is not None)
        winners = [key for key in seen if seen[key] == max(seen.values())]
        total += sum(worth[key] for key in winners) / len(winners) if winners else 0.0
        n_subsets += 1
    return float(total / n_subsets)


def vote_at_k_sampled(tallies: Sequence[Tally], ks: Sequence[int], seed: int, n_subsets: int = 1000) -> Floats:
    """``vote_at_k`` by ``n_subsets`` random subsets per problem and k (without replacement), for any n.

    Same shape; standard error at most .5 / sqrt(n_subsets) per problem. Deterministic in ``seed``.
    """
    check_ks(ks, _common_n(tallies))
    generator = np.random.default_rng(seed)
    result = np.zeros((len(tallies), len(ks)))
    for row, one in enumerate(tallies):
        if any(one.right):
            pot = [*one.counts, one.n - sum(one.counts)]
            for j, k in enumerate(ks):
                drawn = generator.multivariate_hypergeometric(pot, k, size=n_subsets, method="marginals")[:, :-1]
                top = (drawn == drawn.max(axis=1, keepdims=True)) & (drawn > 0)
                result[row, j] = np.mean((top @ _shares(one)) / np.maximum(top.sum(axis=1), 1))
    return result


def vote_variance(tallies: Sequence[Tally], ks: Sequence[int]) -> Floats:
    """Variance of each problem's vote at k under new draws (jackknife), shape (problems, ks); NaN where k = n."""
    n = _common_n(tallies)
    variances = np.full((len(tallies), len(ks)), np.nan)
    columns = [j for j, k in enumerate(ks) if k < n]
    if not columns:
        return variances
    ways = [_ways(one) for one in tallies]
    flat = vote_at_k([left for problem in ways for left, _ in problem], [ks[j] for j in columns])
    ends = np.cumsum([len(problem) for problem in ways])
    for row, (problem, end) in enumerate(zip(ways, ends, strict=True)):
        multiplicity = np.array([times for _, times in problem], dtype=float)
        variances[row, columns] = jackknife(flat[end - len(problem) : end], multiplicity)
    return variances


def _ways(one: Tally) -> list[tuple[Tally, int]]:
    """The distinct tallies with one draw left out, and how many draws lead to each."""
    ways: Counter[tuple[tuple[tuple[int, int], ...], int]] = Counter()
    for place, (count, right) in enumerate(zip(one.counts, one.right, strict=True)):
        for one_right, times in ((True, right), (False, count - right)):
            if times:
                left = one.without(place, one_right)
                ways[tuple(sorted(zip(left.counts, left.right, strict=True))), left.n] += times
    silent = one.n - sum(one.counts)
    if silent:
        ways[tuple(sorted(zip(one.counts, one.right, strict=True))), one.n - 1] += silent
    return [
        (Tally(n, tuple(c for c, _ in rows), tuple(r for _, r in rows)), times) for (rows, n), times in ways.items()
    ]


def _shares(one: Tally) -> Floats:
    return np.asarray(np.array(one.right) / np.array(one.counts))


def _common_n(tallies: Sequence[Tally]) -> int:
    sizes = {one.n for one in tallies}
    if len(sizes) != 1:
        raise Mistake(f"expected problems with one number of draws, got {sorted(sizes) or 'no problem'}")
    return sizes.pop()


# --- who wins: the exact part ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Slots:
    """Cases laid out for tables: most distinct sizes first, so that slot d concerns the first rows only."""

    order: Ints  # (cases,) place in the caller's list
    target: Ints  # (cases,) place of the target's size in ``sizes``
    silent: Ints  # (cases,) draws without an answer
    factors: Ints  # (cases, slots) row of the power table; 0 is the row of ones
    sizes: Ints  # (sizes,)
    most: Ints  # (sizes,) highest power needed of each size's factor


def _win(n: int, cases: Sequence[tuple[Profile, int]], k: int) -> Floats:
    """Chance that one class of the target's size wins among k of n draws, shared where tied, per case: (cases,)."""
    if k == n:
        return np.array([(size == profile[-1][0]) / profile[-1][1] for profile, size in cases], dtype=float)
    slots = _lay_out(n, cases)
    share = k / n
    # n + 1 nodes of the unit circle pick out the terms of sum k; conjugates are counted by weight
    angles = 2 * np.pi * np.arange((n + 1) // 2 + 1 if n % 2 else n // 2 + 1) / (n + 1)
    phases = np.exp(1j * angles)
    weight = np.where((angles == 0) | np.isclose(angles, np.pi), 1.0, 2.0) * phases ** (-k) / (n + 1)
    silent = ((1 - share) + share * phases)[None, :] ** np.arange(n + 1)[:, None]  # (draws, nodes)
    won = np.zeros(len(cases))
    fewer = np.zeros((len(slots.sizes), len(phases)), dtype=complex)  # class has fewer than m
    just = _binomial(slots.sizes, 0, share)[:, None] + 0j * phases  # class has exactly m
    for m in range(1, min(k, int(slots.sizes.max())) + 1):
        fewer = fewer + just
        just = _binomial(slots.sizes, m, share)[:, None] * phases**m
        live = np.flatnonzero(slots.sizes[slots.target] >= m)
        if len(live):
            nodes = (k // m - 1) // 2 + 1  # at most k // m - 1 others tie with it
            won[live] += _tied_at(slots, live, fewer, just, nodes, silent, weight)
    result = np.empty(len(cases))
    result[slots.order] = won / _binomial(np.array([n]), k, share)[0]
    return result


def _tied_at(
    slots: _Slots, live: Ints, fewer: Complex, just: Complex, n_nodes: int, silent: Complex, weight: Complex
) -> Floats:
    """The part of the cases ``live`` where the winner has exactly m: (live,)."""
    nodes, node_weights = np.polynomial.legendre.leggauss(n_nodes)
    base = fewer[:, :, None] + just[:, :, None] * ((nodes + 1) / 2)  # (sizes, circle, nodes)
    table = _powers(base, slots.most)
    parts = []
    step = max(1, CHUNK // base[0].size)
    for begin in range(0, len(live), step):
        rows = live[begin : begin + step]
        product = table[slots.factors[rows, 0]]
        for d in range(1, slots.factors.shape[1]):
            used = np.count_nonzero(slots.factors[rows, d])  # rows are sorted: those that use slot d stand first
            product[:used] *= table[slots.factors[rows[:used], d]]
        shared = product @ (node_weights / 2)  # (rows, circle)
        parts.append(np.real((shared * just[slots.target[rows]] * silent[slots.silent[rows]]) @ weight))
    return np.concatenate(parts)


def _powers(base: Complex, most: Ints) -> Complex:
    """A row of ones, then base[i] ** 1 .. most[i] for every size i: (1 + sum of most, circle, nodes)."""
    table = np.ones((1 + int(most.sum()), *base.shape[1:]), dtype=complex)
    row = 1
    for factor, highest in zip(base, most, strict=True):
        for power in range(highest):
            table[row] = factor if power == 0 else table[row - 1] * factor
            row += 1
    return table


def _lay_out(n: int, cases: Sequence[tuple[Profile, int]]) -> _Slots:
    most: dict[int, int] = {}
    for profile, _ in cases:
        for size, times in profile:
            most[size] = max(most.get(size, 0), times)
    sizes = sorted(most)
    place = {size: i for i, size in enumerate(sizes)}
    before = np.cumsum([0, *(most[size] for size in sizes)])  # rows of the power table before each size
    rows = []
    for profile, target in cases:
        others = [(size, times - (size == target)) for size, times in profile]
        rows.append([int(before[place[size]]) + times for size, times in others if times])
    order = sorted(range(len(cases)), key=lambda i: -len(rows[i]))
    factors = np.zeros((len(cases), max(1, len(rows[order[0]]))), dtype=np.int64)
    for to, i in enumerate(order):
        factors[to, : len(rows[i])] = rows[i]
    return _Slots(
        order=np.array(order),
        target=np.array([place[cases[i][1]] for i in order]),
        silent=np.array([n - sum(size * times for size, times in cases[i][0]) for i in order]),
        factors=factors,
        sizes=np.array(sizes),
        most=np.array([most[size] for size in sizes]),
    )


def _binomial(sizes: Ints, m: int, share: float) -> Floats:
    """Chance of exactly m of each size at the given share, shape (sizes,); 0 where the size is below m."""
    logs = [
        lgamma(size + 1) - lgamma(m + 1) - lgamma(size - m + 1) + m * np.log(share) + (size - m) * np.log1p(-share)
        if size >= m
        else -np.inf
        for size in sizes.tolist()
    ]
    return np.asarray(np.exp(logs))
