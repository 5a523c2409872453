"""Votes, weighted or not, over subsets that are looked at: every one where they are few, random ones where they are many.

Every draw has a weight (a reward, a confidence; 1 for the plain vote); the answer with the largest sum of weights wins. Sums
within 1e-9 of the largest tie with it and share the win. A draw of weight 0, or of unknown weight, still names its answer:
where nothing drawn weighs anything, the answers drawn share the win. Draws without an answer take a place and vote for
nothing. An answer whose draws are partly right is worth the share of them that is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from math import fsum

import numpy as np

from vervet.errors import Mistake
from vervet.scaling.draws import Bools, Floats, Ints
from vervet.scaling.passk import check_ks

TIE = 1e-9  # of the larger sum: the order in which weights are added must not matter
CHUNK = 2**21  # sums that are held at once


@dataclass(frozen=True)
class Ballot:
    """The answers of one problem: draws in all, and per answer class the weights of its draws and how many are right."""

    n: int
    weights: tuple[tuple[float, ...], ...]
    right: tuple[int, ...]

    @property
    def credit(self) -> Floats:
        """What each answer is worth when it wins, the share of its draws that is right: (answers,), in [0, 1]."""
        return np.array([right / len(row) for row, right in zip(self.weights, self.right, strict=True)])


@dataclass(frozen=True)
class Averages:
    """Averages over subsets, per problem and k, both (problems, ks).

    ``errors``: the standard error of each value from looking at some of the subsets only; 0 where all were counted.
    """

    values: Floats
    errors: Floats


def ballot(
    keys: Sequence[str | None], right: Sequence[bool] | Bools, weights: Sequence[float | None] | Floats | None = None
) -> Ballot:
    """Count the answers of one problem. ``weights``: one per draw, 0 or more; without them every draw weighs 1.

    None, NaN and -inf mean an unknown weight and count as 0. Raises Mistake for negative and infinite weights, and for
    columns of different lengths.

    >>> ballot(["4", "5", None, "4"], [True, False, False, True], [0.5, 0.9, 0.7, None])
    Ballot(n=4, weights=((0.5, 0.0), (0.9,)), right=(2, 0))
    """
    plain = [1.0] * len(keys) if weights is None else _checked(weights)
    good = np.asarray(right, dtype=bool).tolist()
    if not len(keys) == len(good) == len(plain):
        raise Mistake(f"expected a verdict and a weight per draw, got {len(keys)}, {len(good)} and {len(plain)}")
    rows: dict[str, list[float]] = {}
    hits: dict[str, int] = {}
    for key, is_right, weight in zip(keys, good, plain, strict=True):
        if key is not None:
            if key not in rows:
                rows[key], hits[key] = [], 0
            rows[key].append(weight)
            hits[key] += is_right
    return Ballot(len(keys), tuple(tuple(row) for row in rows.values()), tuple(hits.values()))


def vote_over_all(one: Ballot, k: int) -> float:
    """The vote of one problem over every subset of k draws, C(n, k) of them at once: for few.

    >>> vote_over_all(ballot(["a", "a", "b", None], [True, True, False, False]), 2).__round__(4)
    0.6667
    """
    check_ks([k], one.n)
    draws = np.fromiter(chain.from_iterable(combinations(range(one.n), k)), dtype=np.int64).reshape(-1, k)
    labels, weights, least = _flat(one)
    n_labels = len(one.weights) + 1
    at_once = max(1, CHUNK // n_labels)
    won = []
    for begin in range(0, len(draws), at_once):
        part = draws[begin : begin + at_once]
        cells = labels[part] * len(part) + np.arange(len(part))[:, None]
        held = _sums(cells, weights[part], n_labels * len(part)).reshape(n_labels, len(part))
        won.append(_won(held[:-1], one.credit, least))
    return float(np.concatenate(won).mean())


def vote_over_all_plain(one: Ballot, k: int) -> float:
    """The plain twin of every vote here and in ``weighted``, for one problem: one subset after the other. For small n.

    >>> round(vote_over_all_plain(ballot(["a", "a", "b"], [True, True, False], [0.3, 0.3, 0.5]), 2), 4)
    0.3333
    """
    check_ks([k], one.n)
    slips = [(i, weight) for i, row in enumerate(one.weights) for weight in row]
    slips += [(-1, 0.0)] * (one.n - len(slips))  # no answer
    won = []
    for subset in combinations(slips, k):
        sums = {i: fsum(w for j, w in subset if j == i) for i, _ in subset if i >= 0}
        top = [i for i, total in sums.items() if total >= max(sums.values()) * (1 - TIE)]
        won.append(fsum(one.credit[i] for i in top) / len(top) if top else 0.0)
    return fsum(won) / len(won)


def vote_sampled(ballots: Sequence[Ballot], ks: Sequence[int], seed: int, n_orders: int = 1000) -> Averages:
    """The vote over k draws by random subsets, for any n and any weights. All ballots share one n.

    Every problem is put in ``n_orders`` random orders; the first k of each are a subset, for all ks in one pass. Values at
    neighbouring ks therefore move together, and so do ballots of the same draws with other weights under the same seed:
    compare them in pairs. Standard error at most .5 / sqrt(n_orders) per problem and .5 / sqrt(n_orders x problems) of the
    mean over problems; it is stated as at least 1 / n_orders, which so many subsets can miss, unless k = n. Raises
    Mistake for k > n, ballots of different n, and fewer than 2 orders.

    >>> found = vote_sampled([ballot(["a", "a", "b"], [True, True, False])], [2, 3], seed=0)
    >>> bool(abs(found.values[0, 0] - 2 / 3) < 4 * found.errors[0, 0]), found.values[0, 1], found.errors[0, 1]
    (True, np.float64(1.0), np.float64(0.0))
    """
    check_ks(ks, common_n(ballots))
    if n_orders < 2:
        raise Mistake(f"a standard error needs at least 2 orders, got {n_orders=}")
    sizes, place = np.unique(np.array(ks), return_inverse=True)
    values, errors = np.zeros((2, len(ballots), len(sizes)))
    for row, one in enumerate(ballots):
        if any(one.right):
            won = _in_orders(one, sizes, np.random.default_rng([seed, row]), n_orders)
            spread = won.std(axis=1, ddof=1) / np.sqrt(n_orders)
            values[row] = won.mean(axis=1)
            errors[row] = np.where(sizes < one.n, np.maximum(spread, 1 / n_orders), 0.0)
    return Averages(values[:, place], errors[:, place])


def common_n(ballots: Sequence[Ballot]) -> int:
    """The number of draws that every problem has. Raises Mistake where they differ or there is no problem."""
    sizes = {one.n for one in ballots}
    if len(sizes) != 1:
        raise Mistake(f"expected problems with one number of draws, got {sorted(sizes) or 'no problem'}")
    return sizes.pop()


def _checked(weights: Sequence[float | None] | Floats) -> list[float]:
    values = np.array(weights, dtype=float)  # None becomes NaN
    values[np.isnan(values) | (values == -np.inf)] = 0.0
    bad = values[(values < 0) | np.isinf(values)]
    if len(bad):
        raise Mistake(
            f"a vote needs finite weights of 0 or more, got {bad[0]}; shift the scores, or pass logits through a sigmoid "
            "and log-probabilities through exp"
        )
    return list(values.tolist())


def _flat(one: Ballot) -> tuple[Ints, Floats, float]:
    """Label and weight of every draw, (n,), the last label for no answer; and the least sum that is not nothing.

    A trace is added to every weight, so that a sum over 0 means: was drawn.
    """
    labels = np.repeat(np.arange(len(one.weights) + 1), [*map(len, one.weights), one.n - sum(map(len, one.weights))])
    weights = np.zeros(one.n)
    known = np.fromiter(chain.from_iterable(one.weights), dtype=float)
    least = float(known[known > 0].min(initial=np.inf))
    least = least if least < np.inf else 1.0
    weights[: len(known)] = known + least * TIE**1.5
    return labels, weights, least


def _won(sums: Floats, credit: Floats, least: float) -> Floats:
    """Credit of the winners, shared where tied, from the sums of every answer: (..., answers, subsets)."""
    highest = sums.max(axis=-2, keepdims=True, initial=0.0)
    bar = np.where(highest > least / 2, highest * (1 - TIE), least * TIE**2)  # traces alone: whatever was drawn
    top = sums >= bar
    won = sum((top[..., i, :] * credit[i] for i in np.flatnonzero(credit)), np.zeros(highest[..., 0, :].shape))
    return np.asarray(won / np.maximum(top.sum(axis=-2), 1))


def _in_orders(one: Ballot, sizes: Ints, generator: np.random.Generator, n_orders: int) -> Floats:
    """The credit of the winner among the first k of every order: (sizes, orders). ``sizes`` increase.

    An order is drawn as the step at which each draw comes in, the first size that holds it: nothing else matters.
    """
    labels, weights, least = _flat(one)
    n_labels, n_steps = len(one.weights) + 1, len(sizes) + 1  # the last step: after the largest size
    steps = np.searchsorted(sizes, np.arange(one.n), side="right").astype(np.uint16)
    at_once = max(1, CHUNK // (n_labels * n_steps))
    won = []
    for begin in range(0, n_orders, at_once):
        count = min(at_once, n_orders - begin)
        order = generator.permuted(np.tile(steps, (count, 1)), axis=1)
        cells = (order * np.int64(n_labels) + labels) * count + np.arange(count)[:, None]
        held = _sums(cells, np.tile(weights, count), n_steps * n_labels * count).reshape(n_steps, n_labels, count)
        for step in range(1, n_steps):
            held[step] += held[step - 1]
        won.append(_won(held[:-1, :-1], one.credit, least))
    return np.concatenate(won, axis=1)


def _sums(cells: Ints, weights: Floats, n_cells: int) -> Floats:
    """The weights that fall into each cell, (cells,)."""
    return np.bincount(cells.ravel(), weights.ravel(), n_cells).astype(float, copy=False)
