"""Where accuracy and money are lost: the gap of generation, that of selection, and that of cost.

1.0 = selected + selection gap + generation gap. *Generation gap*: 1 - coverage(n), problems without a right draw among
n. *Selection gap*: coverage(n) less the best selector. *Cost gap*: what the n draws take / what the cheapest way takes
whose accuracy is within epsilon of the best selector's.

The best of several selectors is best partly by chance. It is therefore chosen on a random half of the problems (of the
clusters, where problems are variants) and counted on the other half, both ways round, over ``N_SPLITS`` splits; so is what
choosing the cheapest way loses; what is equally good shares. Intervals are over new problems, by bootstrap, jointly for all
gaps, these choices made anew in every resample. What a way costs is its own mean on all problems. A draw that was not judged
counts as incorrect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling import passk, vote
from vervet.scaling.draws import Bools, Draws, Floats
from vervet.scaling.intervals import (
    DIFFERENCE,
    LEVEL,
    N_RESAMPLES,
    UNBOUNDED,
    UNIT,
    Estimate,
    Range,
    exact_floor,
    resamples,
)
from vervet.scaling.replayed import Way, fixed_needed

N_SPLITS = 20
EPSILON = 0.01
_EQUAL = 1e-12
_VOTE_SEED = 0  # of the subsets of votes beyond n = 256


@dataclass(frozen=True, eq=False)
class Selector:
    """One way to choose among k of n draws: ``right``, the chance that its answer is right, (problems, ks).

    ``name``: its operator. ``ks`` increase, the last one is n. ``asks``: tokens that judging one draw takes, (problems,);
    None: it asks no model.
    """

    name: str
    ks: tuple[int, ...]
    right: Floats
    asks: Floats | None = None

    def at(self, k: int) -> Floats:
        """The chance at one of its ks, (problems,)."""
        return self.right[:, self.ks.index(k)]

    def ways(self, draws: Draws) -> list[Way]:
        """As ways to answer: one for each k, with what k draws take on average."""
        tokens = None if draws.tokens is None else np.asarray(draws.tokens, dtype=float).mean(axis=1)
        each = tokens if tokens is None or self.asks is None else tokens + self.asks
        return [
            Way(
                f"generate(n={k}) | {self.name}",
                right,
                np.full(len(right), float(k)),
                None if each is None else k * each,
            )
            for k, right in zip(self.ks, self.right.T, strict=True)
        ]


@dataclass(frozen=True)
class CostGap:
    """What all n draws take over what the cheapest way takes that stays within epsilon of the best selector.

    ``way``: the cheapest one on all problems; ``paid``: ``unit`` per problem for all draws, ``needed``: for this way, on all
    problems; ``ratio``: paid / needed >= 1. ``loss``: accuracy of the best selector less that of the cheapest way, both
    counted where they were not chosen. ``fixed_draws``: how many fixed draws the best selector needs for the way's accuracy,
    against which its saving is to be measured (None: over n, or the way is itself a fixed number).
    """

    ratio: Estimate
    way: str
    paid: float
    needed: Estimate
    way_draws: float
    loss: Estimate
    fixed_draws: float | None
    unit: str


@dataclass(frozen=True)
class Gaps:
    """Shares of problems with 95 % intervals over new problems: selected + selection + generation = 1.

    ``selector``: the best one on all problems; ``selected``: its accuracy, counted on halves where it was not chosen.
    ``standings``: every selector at n on all problems; ``n_not_judged``: draws without a verdict, counted as incorrect.
    """

    coverage: Estimate
    selected: Estimate
    selector: str
    generation: Estimate
    selection: Estimate
    cost: CostGap
    standings: Mapping[str, Estimate]
    n: int
    n_problems: int
    n_not_judged: int
    epsilon: float


def cost_ks(n: int) -> tuple[int, ...]:
    """The numbers of draws that are compared by cost: 1, 2, 3, 4, 6, 8, 12 ... below n, half of n, and n.

    >>> cost_ks(20)
    (1, 2, 3, 4, 6, 8, 10, 12, 16, 20)
    """
    steps = {lead << power for power in range(n.bit_length()) for lead in (1, 3)}
    return tuple(sorted({k for k in steps if k < n} | {max(1, n // 2), n}))


def selectors(
    draws: Draws, *, scores: Mapping[str, ArrayLike] | None = None, accepted: Mapping[str, ArrayLike] | None = None,
    asks: Mapping[str, ArrayLike] | None = None,
) -> list[Selector]:  # fmt: skip
    """The vote, the best by mean logprob, by each of ``scores``, and the first that each verifier of ``accepted`` accepts.

    ``scores``, ``accepted``: by scorer, (problems, n). ``asks``: by scorer, tokens per draw that it asks for, (problems,).
    All at ``cost_ks(n)``; the vote is exact up to n = 256, beyond it from 1,000 random subsets.

    >>> found = selectors(Draws([["4", "5"]], [[True, False]]), accepted={"tests": [[True, False]]})
    >>> {one.name: one.right.round(2).tolist() for one in found}
    {'vote()': [[0.5, 0.5]], "first(by='tests')": [[0.5, 1.0]]}
    """
    ks, cost = cost_ks(draws.n), {name: np.asarray(each, dtype=float) for name, each in (asks or {}).items()}
    tallies = [vote.tally(keys, right) for keys, right in zip(draws.keys, draws.right, strict=True)]
    exact = draws.n <= vote.MAX_EXACT
    found = [
        Selector(
            "vote()", ks, vote.vote_at_k(tallies, ks) if exact else vote.vote_at_k_sampled(tallies, ks, _VOTE_SEED)
        )
    ]
    tables = dict(scores or {})
    if draws.scores is not None and np.isfinite(draws.scores).any():
        tables = {"mean_logprob": draws.scores, **tables}
    for name, table in tables.items():
        found.append(Selector(f"best(by={name!r})", ks, passk.best_at_k(draws.right, table, ks), cost.get(name)))
    for name, table in (accepted or {}).items():
        right = first_accepted_at_k(draws.right, np.asarray(table, dtype=bool), ks)
        found.append(Selector(f"first(by={name!r})", ks, right, cost.get(name)))
    return found


def first_accepted_at_k(right: Bools, accepted: Bools, ks: Sequence[int]) -> Floats:
    """Chance that the first accepted of k draws is right, else, where none is accepted, the first: (problems, ks).

    Exact over all subsets and orders: with a accepted of n, none is among k with C(n - a, k) / C(n, k).

    >>> first_accepted_at_k(np.array([[True, False]]), np.array([[True, False]]), [1, 2]).tolist()
    [[0.5, 1.0]]
    """
    n, n_accepted = right.shape[1], accepted.sum(axis=1)
    some = passk.pass_at_k(n, n_accepted, ks)
    inside = (right & accepted).sum(axis=1) / np.maximum(n_accepted, 1)
    outside = (right & ~accepted).sum(axis=1) / np.maximum(n - n_accepted, 1)
    return np.asarray(some * inside[:, None] + (1 - some) * outside[:, None])


@dataclass(frozen=True)
class Halves:
    """Problems resampled and split: who chooses, who reports. Row 0 of all weights counts every problem once.

    ``n_problems``, ``seed``; ``clusters``: one label per problem, drawn and split whole.
    """

    n_problems: int
    seed: int
    clusters: Sequence[object] | None = None

    @cached_property
    def labels(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The unit of each problem: (problems,)."""
        if self.clusters is None:
            return np.arange(self.n_problems)
        numbers: dict[object, int] = {}
        return np.array([numbers.setdefault(one, len(numbers)) for one in self.clusters])

    @property
    def n_units(self) -> int:
        """Independent cases: clusters, or problems."""
        return int(self.labels.max()) + 1

    @cached_property
    def weights(self) -> Floats:
        """How often each problem counts: (1 + resamples, problems)."""
        drawn = resamples(self.n_units, self.seed, N_RESAMPLES)
        return np.concatenate((np.ones((1, self.n_units)), drawn))[:, self.labels]

    @cached_property
    def splits(self) -> list[Bools]:
        """Which problems lie in the first half, (problems,), for each split."""
        generator, units = np.random.default_rng(self.seed), np.arange(self.n_units)
        return [generator.permutation(units)[self.labels] < self.n_units // 2 for _ in range(N_SPLITS)]

    def mean(self, values: ArrayLike) -> Floats:
        """The mean of one value per problem in every resample: (1 + resamples,)."""
        return np.asarray(self.weights @ np.asarray(values, dtype=float) / self.weights.sum(axis=1))

    def crossed(self, table: Floats) -> Iterator[tuple[Floats, Floats]]:
        """For each split, both ways round: the means of the columns of a table (problems, columns) over the half that
        chooses, and their sums over the half that reports, both (1 + resamples, columns).

        Where a resample holds nothing of the half that chooses, all its problems choose.
        """
        total, n_total = self.weights @ table, self.weights.sum(axis=1, keepdims=True)
        for half in self.splits:
            sums, n = self.weights[:, half] @ table[half], self.weights[:, half].sum(axis=1, keepdims=True)
            for choosing, n_choosing in ((sums, n), (total - sums, n_total - n)):
                means = np.where(n_choosing > 0, choosing / np.maximum(n_choosing, 1), total / n_total)
                yield means, total - choosing

    def estimate(self, found: Floats, within: Range) -> Estimate:
        """From a figure in every resample, row 0 being the figure itself, to its interval, which knows its floor."""
        value, tail = float(found[0]), (1 - LEVEL) / 2
        low, high = (float(end) for end in np.quantile(found[1:], [tail, 1 - tail]))
        if within is not None:
            floor = exact_floor(self.n_units)
            low = max(min(low, value - floor * (value - within[0])), within[0])
            high = min(max(high, value + floor * (within[1] - value)), within[1])
        return Estimate(value, low, high)


@dataclass(frozen=True, eq=False)
class Found:
    """The gaps, and what a purchase is measured from: ``halved``, the best selector at half the draws, and ``selected``,
    both in every resample (1 + resamples,); ``right``: per problem what is selected, (problems,)."""

    gaps: Gaps
    halves: Halves
    selected: Floats
    halved: Floats
    right: Floats


def gaps(
    draws: Draws, chosen_from: Sequence[Selector], ways: Sequence[Way] = (), *, epsilon: float = EPSILON, seed: int
) -> Found:
    """The three gaps of n recorded draws, with intervals over new problems.

    ``chosen_from``: the selectors (at least one); each at each of its ks is a way too, and ``ways`` are the others: rules
    replayed, other runs on the same problems. ``epsilon``: the loss that a cheaper way may bring, a share of problems.
    Raises Mistake for an epsilon outside [0, 1), no selector, or figures of other problems.

    >>> draws = Draws([["4", "5"], ["1", "1"]], [[True, False], [False, False]])
    >>> found = gaps(draws, selectors(draws), seed=0).gaps
    >>> found.selected.value, found.selection.value, found.generation.value
    (0.25, 0.25, 0.5)
    """
    if not 0 <= epsilon < 1:
        raise Mistake(f"expected an epsilon from 0 to below 1 (0.01 = one point), got {epsilon=}")
    ways = [*(way for one in chosen_from for way in one.ways(draws)), *ways]
    if not chosen_from or any(len(way.right) != draws.n_problems for way in ways):
        raise Mistake(f"expected at least one selector, and figures of the same {draws.n_problems} problems")
    if any(way.cost.mean() <= 0 for way in ways):
        raise Mistake("expected ways that cost something; where tokens are not known, give draws without them")
    halves = Halves(draws.n_problems, seed, draws.clusters)
    right = np.stack([one.right[:, -1] for one in chosen_from], axis=1)
    halved = np.stack([one.at(max(1, draws.n // 2)) for one in chosen_from], axis=1)
    way_right, way_cost = (np.stack([getattr(w, name) for w in ways], axis=1) for name in ("right", "cost"))
    ends = np.cumsum([right.shape[1], halved.shape[1], len(ways)])
    sums = np.zeros((3, N_RESAMPLES + 1))  # selected, halved, the cheapest way's accuracy
    for means, reported in halves.crossed(np.concatenate((right, halved, way_right, way_cost), axis=1)):
        best, _, accuracy, cost = np.split(means, ends, axis=1)
        best_share, way_share = _best(best), _cheapest(best.max(axis=1), accuracy, cost, epsilon)
        parts = np.split(reported, ends, axis=1)
        for i, share in enumerate((best_share, best_share, way_share)):
            sums[i] += (parts[i] * share).sum(axis=1)
    sums /= N_SPLITS * halves.weights.sum(axis=1)
    covered = halves.mean(draws.right.any(axis=1))
    top = int(right.mean(axis=0).argmax())
    overall = [table.mean(axis=0)[None] for table in (right, way_right, way_cost)]
    way = int(_cheapest(overall[0].max(axis=1), overall[1], overall[2], epsilon)[0].argmax())
    cost_gap = _cost_gap(draws, chosen_from[top], ways[way], halves, sums[0] - sums[2])
    return Found(
        Gaps(
            coverage=halves.estimate(covered, UNIT),
            selected=halves.estimate(sums[0], UNIT),
            selector=chosen_from[top].name,
            generation=halves.estimate(1 - covered, UNIT),
            selection=halves.estimate(covered - sums[0], UNIT),  # what is selected was drawn
            cost=cost_gap,
            standings={one.name: halves.estimate(halves.mean(one.right[:, -1]), UNIT) for one in chosen_from},
            n=draws.n,
            n_problems=draws.n_problems,
            n_not_judged=draws.n_not_judged,
            epsilon=epsilon,
        ),
        halves, sums[0], sums[1], right[:, top],
    )  # fmt: skip


def _best(accuracy: Floats) -> Floats:
    """Which column is the best in every resample, (rows, columns): 1, shared where several are equally good."""
    top = accuracy >= accuracy.max(axis=1, keepdims=True) - _EQUAL
    return np.asarray(top / top.sum(axis=1, keepdims=True))


def _cheapest(best: Floats, accuracy: Floats, cost: Floats, epsilon: float) -> Floats:
    """Which column is the cheapest of those within epsilon of the best, as ``_best``; of equal cost, the more accurate."""
    near = accuracy >= best[:, None] - epsilon - _EQUAL
    least = np.where(near, cost, np.inf).min(axis=1, keepdims=True)
    return _best(np.where(near & (cost <= least * (1 + _EQUAL)), accuracy, -np.inf))


def _cost_gap(draws: Draws, best: Selector, way: Way, halves: Halves, loss: Floats) -> CostGap:
    paid, needed = halves.mean(best.ways(draws)[-1].cost), halves.mean(way.cost)
    fixed = (
        None if np.ptp(way.samples) == 0 else fixed_needed(best.ks, best.right.mean(axis=0), float(way.right.mean()))
    )
    return CostGap(
        ratio=halves.estimate(
            (paid / needed).round(9), UNBOUNDED
        ),  # of fixed numbers always the same, but for rounding
        way=way.name,
        paid=float(paid[0]),
        needed=halves.estimate(needed, UNBOUNDED),
        way_draws=float(way.samples.mean()),
        loss=halves.estimate(loss, DIFFERENCE),
        fixed_draws=fixed,
        unit="samples" if draws.tokens is None else "completion tokens",
    )
