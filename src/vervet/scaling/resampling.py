"""Sampling until a verifier that can be wrong accepts: what it is worth, when to stop, and what no budget exceeds.

The procedure: draw, submit the first draw that is accepted, at most K times, else abstain. A right one is worth 1, a wrong
one ``v_fp`` (below 0 where a wrong answer does harm), abstaining ``v_abstain``, each draw costs ``cost``, all on one scale.
Each wrong acceptance takes its chance anew, and problems that stay are the harder ones: so the best K can be small.
``optimal_budget`` reckons from types of problems, ``resampling`` from recorded draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling.draws import Bools, Floats, Ints
from vervet.scaling.imperfect import Judged
from vervet.scaling.intervals import UNIT, Estimate, Range, new_problems
from vervet.scaling.passk import pass_at_k


@dataclass(frozen=True, eq=False)
class Budget:
    """The best number of draws under a law of types.

    ``k_star``: 0 where not to draw is best; where it is the largest k, more may be better still. ``values``: (k_max,), the
    value of at most 1, 2, ... draws. ``beliefs``: (k_max, types), the chance of each type before the first, second ... draw.
    ``ceiling``: share of problems that end right with no limit; ``limit``: the value then, -inf where it would cost for ever.
    """

    k_star: int
    values: Floats
    beliefs: Floats
    ceiling: float
    limit: float


def optimal_budget(
    right: ArrayLike, prior: ArrayLike, completeness: ArrayLike, soundness: ArrayLike, *, v_fp: float,
    v_tp: float = 1.0, v_abstain: float = 0.0, cost: float = 0.0, k_max: int = 100,
) -> Budget:  # fmt: skip
    """The value of every number of draws up to ``k_max``, and the best of them.

    ``right``: chance that a draw is right, per type (types,); ``prior``: how frequent each type is, summing to 1;
    ``completeness``: P(accept | right); ``soundness``: P(reject | wrong), one number or one per type. Raises Mistake for what
    is no probability.

    The authors' notebook weights the value of draw k with the belief and with the share of problems that reach it, which is
    the belief counted twice; here it is the share of each type that reaches it.

    Reference: Stroebl et al. 2024, arXiv 2411.17501, the model of problem types (r_t our right, p_t our prior, c our
    completeness, s our soundness, q our cost): V(K) = sum over k <= K, t of p_t b_t^(k-1) [c r_t + V (1 - r_t)(1 - s) - q],
    b_t = (1 - c) r_t + s (1 - r_t).

    >>> found = optimal_budget([0.87, 0.13], [0.58, 0.42], completeness=1, soundness=0.75, v_fp=-1, k_max=15)
    >>> found.k_star, found.values[:3].round(4).tolist(), round(found.ceiling, 3)
    (2, [0.449, 0.4724, 0.4614], 0.716)
    """
    rates, shares, complete, sound = _types(right, prior, completeness, soundness)
    _check(v_fp, v_tp, v_abstain, cost)
    if k_max < 1:
        raise Mistake(f"expected at least one draw, but got {k_max=}")
    true, false = complete * rates, (1 - sound) * (1 - rates)
    ends = true + false  # chance that a draw is accepted
    left = np.clip(1 - ends, 0, 1) ** np.arange(k_max + 1)[:, None]  # (draws so far, types): none accepted yet
    draws = np.cumsum(np.pad(left[:-1], ((1, 0), (0, 0))), axis=0)
    gain = v_tp * true + v_fp * false - cost
    values = (draws * gain + left * v_abstain) @ shares  # the first: no draw at all
    reach = left[:-1] * shares
    total = reach.sum(axis=1, keepdims=True)
    beliefs = np.divide(reach, total, out=np.full_like(reach, np.nan), where=total > 0)
    for_ever = np.full_like(gain, -np.inf if cost else v_abstain)  # where nothing is ever accepted
    limits = np.divide(gain, ends, out=for_ever, where=ends > 0)
    ceilings = np.divide(true, ends, out=np.zeros_like(true), where=ends > 0)
    here = shares > 0
    limit = float(limits[here] @ shares[here])
    return Budget(int(_first_best(values)), values[1:], beliefs, float(ceilings @ shares), limit)


def _types(*given: ArrayLike) -> tuple[Floats, Floats, Floats, Floats]:
    rates, shares, complete, sound = np.broadcast_arrays(*(np.atleast_1d(np.asarray(g, dtype=float)) for g in given))
    probabilities = np.concatenate([rates, shares, complete, sound])
    if rates.ndim != 1 or not ((probabilities >= 0) & (probabilities <= 1)).all() or abs(shares.sum() - 1) > 1e-9:
        raise Mistake(
            f"expected probabilities per type of problem, the prior summing to 1, got {rates.tolist()}, {shares.tolist()}, "
            f"{complete.tolist()}, {sound.tolist()}"
        )
    return rates, shares, complete, sound


# --- from recorded draws -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resampling:
    """Drawing until the verifier accepts, at most K times, else abstaining, on the problems of a pool.

    All tuples are aligned with ``ks`` = 1 .. n and are means over problems: ``accuracy`` (a right draw was submitted),
    ``abstained``, ``draws`` (made until then), ``value``. ``best_k``: the K of most value, the smallest where several have it;
    0 where abstaining at once is best. ``best_value``: the value of choosing K on all problems but one (or one cluster) and using it on
    that one, so that it is not flattered by the choice, with its 95 % interval; with one alone, K is chosen on itself.
    ``ceiling``: what no K exceeds, mean share of right ones among the accepted, of problems that have accepted draws (None:
    none has); ``never_accepted``: share of problems that have none, which abstain. ``n_not_judged`` draws lack a judgement:
    without the verifier's they are not accepted, without the grader's they are wrong, and right at the intervals' upper end.
    """

    ks: tuple[int, ...]
    accuracy: tuple[float, ...]
    abstained: tuple[float, ...]
    draws: tuple[float, ...]
    value: tuple[float, ...]
    best_k: int
    best_value: Estimate
    ceiling: Estimate | None
    never_accepted: float
    n_problems: int
    n_draws: int
    n_not_judged: int


def resampling(
    accepted: Judged, correct: Judged, *, v_fp: float = -1.0, v_abstain: float = 0.0, cost: float = 0.0,
    clusters: Sequence[Hashable] | None = None, seed: int,
) -> Resampling:  # fmt: skip
    """What drawing until the verifier accepts is worth, for every K up to n, exact over all orders of the draws.

    ``accepted``, ``correct``: (problems, n), a declared index range, never what was drawn until one was accepted; None where
    not judged. ``cost``: of one draw, in right answers. ``clusters``: one label per problem where problems are variants of each
    other; they are resampled and left out together. Of n draws, a accepted and g of these right: the chance that none of
    K draws is accepted is C(n-a, K) / C(n, K), and the first accepted one is each of the a with equal chance.
    Raises Mistake where the tables differ in shape, have no draw, or rows of several lengths, or for values without sense.

    Reference: Stroebl et al. 2024, arXiv 2411.17501, section 3 (their K and value of a false positive; they average 1,000
    random orders of each problem, which this does exactly).

    >>> found = resampling([[True, True, False], [False, True, False]], [[True, False, False], [False, True, False]], seed=0)
    >>> [round(v, 3) for v in found.accuracy], [round(v, 3) for v in found.abstained], found.best_k
    ([0.333, 0.583, 0.75], [0.5, 0.167, 0.0], 3)
    """
    _check(v_fp, 1.0, v_abstain, cost)
    took, least, most, n_not_judged = _tables(accepted, correct)
    n = took.shape[1]
    ks = tuple(range(1, n + 1))
    n_accepted = took.sum(axis=1)
    submitted = pass_at_k(n, n_accepted, ks)  # (problems, ks): chance that one was accepted by then
    draws = np.cumsum(np.pad(1 - submitted, ((0, 0), (1, 0)), constant_values=1.0)[:, :-1], axis=1)
    shares = [
        np.divide((took & right).sum(axis=1), n_accepted, out=np.zeros(len(took)), where=n_accepted > 0)
        for right in (least, most)
    ]
    low, high = (
        submitted * (share + (1 - share) * v_fp)[:, None] + (1 - submitted) * v_abstain - cost * draws
        for share in shares
    )
    value = low.mean(axis=0)
    span = (min(v_fp, v_abstain) - cost * n, max(v_abstain, 1.0))
    some, labels = n_accepted > 0, _labels(clusters, len(took))
    return Resampling(
        ks, _plain((submitted * shares[0][:, None]).mean(axis=0)), _plain(1 - submitted.mean(axis=0)),
        _plain(draws.mean(axis=0)), _plain(value), int(_first_best(np.array([v_abstain, *value]))),
        _estimate(_crossed(low, v_abstain, labels), _crossed(high, v_abstain, labels), span, labels, seed),
        _estimate(shares[0][some], shares[1][some], UNIT, labels[some], seed) if some.any() else None,
        float(1 - some.mean()), len(took), took.size, n_not_judged,
    )  # fmt: skip


def _tables(accepted: Judged, correct: Judged) -> tuple[Bools, Bools, Bools, int]:
    """Accepted, right, right at most, all (problems, n), and the draws without one of the judgements."""
    lengths = {len(row) for row in (*accepted, *correct)}
    if len(accepted) != len(correct) or len(lengths) != 1 or not min(lengths):
        raise Mistake(
            f"expected the same problems and draws on both sides, each problem with one number of draws, got {len(accepted)} "
            f"and {len(correct)} problems of {sorted(lengths)} draws"
        )
    took, right = (np.array([[one is not None and bool(one) for one in row] for row in t]) for t in (accepted, correct))
    not_wrong = np.array([[one is None or bool(one) for one in row] for row in correct])
    pairs = (pair for rows in zip(accepted, correct, strict=True) for pair in zip(*rows, strict=True))
    return took, right, not_wrong, sum(None in pair for pair in pairs)


def _labels(clusters: Sequence[Hashable] | None, n_problems: int) -> Ints:
    """A number for the cluster of each problem, from 0 on."""
    if clusters is None:
        return np.arange(n_problems)
    if len(clusters) != n_problems:
        raise Mistake(f"expected one cluster per problem ({n_problems}), got {len(clusters)}")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)


def _crossed(values: Floats, v_abstain: float, labels: Ints) -> Floats:
    """Each problem's value at the K that is best for all other clusters (K = 0: abstaining), (problems,)."""
    table = np.pad(values, ((0, 0), (1, 0)), constant_values=v_abstain)
    own = np.zeros((labels.max() + 1, table.shape[1]))
    np.add.at(own, labels, table)
    others = own.sum(axis=0) - own if len(own) > 1 else own
    return np.asarray(table[np.arange(len(table)), _first_best(others / len(table))[labels]])


def _estimate(least: Floats, most: Floats, within: Range, labels: Ints, seed: int) -> Estimate:
    clusters = labels.tolist()
    low, high = (new_problems(values[:, None], seed, within=within, clusters=clusters) for values in (least, most))
    return Estimate(float(least.mean()), float(low.low[0]), float(high.high[0]))


def _first_best(values: Floats) -> Ints:
    """Where the largest value of a row stands, the first of those that differ by rounding alone."""
    return np.asarray(np.argmax(values >= values.max(axis=-1, keepdims=True) - 1e-12, axis=-1))


def _check(v_fp: float, v_tp: float, v_abstain: float, cost: float) -> None:
    if not (np.isfinite([v_fp, v_tp, v_abstain, cost]).all() and v_fp <= v_tp and cost >= 0):
        raise Mistake(
            f"expected a wrong one to be worth at most a right one and a draw to cost at least 0, got {v_fp=}, {cost=}"
        )


def _plain(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
