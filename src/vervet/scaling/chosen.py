"""Curves of selectors that go by scores: the best, the weighted vote, the first that a verifier accepts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from vervet.scaling.curves import Curve
from vervet.scaling.draws import Draws, Floats
from vervet.scaling.gaps import first_accepted_at_k
from vervet.scaling.intervals import new_problems
from vervet.scaling.passk import best_at_k
from vervet.scaling.subsets import ballot
from vervet.scaling.weighted import weighted_vote_at_k


def selector_curves(
    draws: Draws, ks: Sequence[int], *, scores: Mapping[str, ArrayLike], accepted: Mapping[str, ArrayLike], seed: int
) -> list[Curve]:
    """For each of ``scores`` the best of k and the vote weighted by it, for each of ``accepted`` the first that is accepted.

    Both are tables by scorer, (problems, n). A score with negative values weighs 1 / (1 + exp(-score)) in the vote: a reward
    is a logit, and a negative weight would be a vote for everybody else. Draws that were not judged count as incorrect.
    Intervals over new problems share the resamples of ``curves``; new draws have none here.

    >>> draws = Draws([["4", "5", "4"]], [[True, False, True]])
    >>> rows = selector_curves(draws, [1, 3], scores={"reward": [[0.1, 0.9, 0.2]]}, accepted={}, seed=0)
    >>> [(row.name, [round(value, 3) for value in row.value]) for row in rows]
    [('best by reward', [0.667, 0.0]), ('vote weighted by reward', [0.667, 0.0])]
    """
    right, found = draws.right, dict[str, Floats]()
    for name, table in scores.items():
        values = np.asarray(table, dtype=float)
        found[f"best by {name}"] = best_at_k(right, values, ks)
        weights = _weights(values)
        ballots = [ballot(*row) for row in zip(draws.keys, right, weights, strict=True)]
        found[f"vote weighted by {name}"] = weighted_vote_at_k(ballots, ks, seed).values
    for name, table in accepted.items():
        found[f"first accepted by {name}"] = first_accepted_at_k(right, np.asarray(table, dtype=bool), ks)
    return [
        selector_curve(name, ks, values, draws.n, draws.n_not_judged, seed=seed, clusters=draws.clusters)
        for name, values in found.items()
    ]


def _weights(values: Floats) -> Floats:
    """The scores as weights of 0 or more; what is unknown weighs nothing."""
    known = np.isfinite(values)
    if not (values[known] < 0).any():
        return np.where(known, values, 0.0)
    with np.errstate(over="ignore"):
        return np.where(known, 1 / (1 + np.exp(-np.where(known, values, 0.0))), 0.0)


def selector_curve(
    name: str, ks: Sequence[int], values: Floats, n: int, n_not_judged: int = 0, *, seed: int,
    clusters: Sequence[Hashable] | None = None,
) -> Curve:  # fmt: skip
    """A curve from the value of each problem at each k, (problems, ks), of ``n`` draws each; new problems alone have an interval."""
    band, mean = new_problems(values, seed, clusters=clusters), tuple(values.mean(axis=0).tolist())
    unknown = (None,) * len(ks)
    return Curve(
        name, tuple(ks), mean, tuple(band.low.tolist()), tuple(band.high.tolist()), unknown, unknown, mean, mean, len(values),
        n, n_not_judged,
    )  # fmt: skip
