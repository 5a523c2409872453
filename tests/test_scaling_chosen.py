"""Curves of selectors that go by scores: equal to looking at every subset, whatever the scores are."""

from __future__ import annotations

import doctest
import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest

from vervet.scaling import chosen
from vervet.scaling.chosen import selector_curves
from vervet.scaling.curves import Curve
from vervet.scaling.draws import Draws
from vervet.scaling.intervals import new_problems

KS = [1, 2, 3, 5]
KEYS = [["a", "b", "a", None, "c"], ["d", "d", "d", "e", "e"], ["f", None, None, "g", "f"]]
RIGHT = [[True, False, True, False, False], [False, False, False, True, True], [False, False, False, True, False]]
DRAWS = Draws(KEYS, RIGHT)
SCORES = [[0.3, 0.9, 0.5, 0.8, 0.5], [0.1, 0.2, 0.3, 0.25, 0.6], [0.4, 0.9, 0.1, 0.6, 0.3]]
ACCEPTED = [[True, False, False, True, False], [False] * 5, [False, False, False, True, True]]


def test_doctests() -> None:
    assert doctest.testmod(chosen).failed == 0


def curve(name: str, draws: Draws = DRAWS, **tables: object) -> Curve:
    given = {"scores": {}, "accepted": {}, **{kind: {"r": table} for kind, table in tables.items()}}
    found = {one.name: one for one in selector_curves(draws, KS, seed=3, **given)}  # type: ignore[arg-type]
    return found[name]


def best(row: int, subset: Sequence[int], scores: Sequence[Sequence[float]]) -> float:
    top = max(scores[row][i] for i in subset)
    ties = [RIGHT[row][i] for i in subset if scores[row][i] == top]
    return sum(ties) / len(ties)


def vote(row: int, subset: Sequence[int], weights: Sequence[Sequence[float]]) -> float:
    sums: dict[str, float] = defaultdict(float)
    for i in subset:
        if (key := KEYS[row][i]) is not None:
            sums[key] += weights[row][i]
    leading = [key for key, value in sums.items() if value >= max(sums.values()) - 1e-9]
    right = {key: RIGHT[row][KEYS[row].index(key)] for key in leading}
    return sum(right.values()) / len(right) if right else 0.0


def first(row: int, order: Sequence[int]) -> float:
    return float(RIGHT[row][next((i for i in order if ACCEPTED[row][i]), order[0])])


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def subsets(k: int) -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(5), k))


def test_the_best_of_k_is_that_of_every_subset() -> None:
    brute = [mean([best(row, s, SCORES) for row in range(3) for s in subsets(k)]) for k in KS]
    found = curve("best by r", scores=SCORES)
    assert found.value == pytest.approx(brute)
    assert len(set(brute)) > 1


@pytest.mark.parametrize("scores", [SCORES, [[1, 0, 1, 1, 0]] * 3, [[0] * 5] * 3], ids=["any", "marks", "nothing"])
def test_the_weighted_vote_is_that_of_every_subset(scores: list[list[float]]) -> None:
    brute = [mean([vote(row, s, scores) for row in range(3) for s in subsets(k)]) for k in KS]
    assert curve("vote weighted by r", scores=scores).value == pytest.approx(brute)


def test_the_first_that_is_accepted_is_that_of_every_order() -> None:
    brute = [mean([first(row, o) for row in range(3) for o in itertools.permutations(range(5), k)]) for k in KS]
    assert curve("first accepted by r", accepted=ACCEPTED).value == pytest.approx(brute)
    assert len(set(brute)) > 1


def test_negative_scores_weigh_by_the_logistic() -> None:
    rewards = np.array([[-3.0, 4.0, -1.0, 0.5, 0.0], [2.0, -2.0, -9.0, 1.0, 0.3], [-8.0, 0.0, 8.0, 5.9, 0.1]])
    weights = 1 / (1 + np.exp(-rewards))
    brute = [mean([vote(row, s, weights.tolist()) for row in range(3) for s in subsets(k)]) for k in KS]
    found = curve("vote weighted by r", scores=rewards)
    assert found.value == pytest.approx(brute)
    assert found.value != pytest.approx(curve("vote weighted by r", scores=rewards - rewards.min()).value)
    assert curve("best by r", scores=rewards).value == pytest.approx(curve("best by r", scores=weights).value)


def test_rewards_of_any_size_are_weighed() -> None:
    draws = Draws([["a", "b", "b", "c", "c"]], [[True, False, False, False, False]])
    found = curve("vote weighted by r", draws, scores=[[800.0, -800.0, -800.0, -5e3, -5e3]])
    assert found.value == pytest.approx([1 / 5, 2 / 5, 3 / 5, 1])


def test_scores_without_a_negative_one_weigh_as_they_are() -> None:
    brute = [mean([vote(row, s, SCORES) for row in range(3) for s in subsets(k)]) for k in KS]
    logistic = (1 / (1 + np.exp(-np.array(SCORES)))).tolist()
    other = [mean([vote(row, s, logistic) for row in range(3) for s in subsets(k)]) for k in KS]
    assert brute != pytest.approx(other)
    assert curve("vote weighted by r", scores=SCORES).value == pytest.approx(brute)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_unknown_is_never_preferred_and_weighs_nothing(sign: int) -> None:
    """One right draw that nobody liked, and wrong ones with a score, though the least there is."""
    draws = Draws([["a", "b", "b", "c", "c"]], [[True, False, False, False, False]])
    scores = [[-np.inf, *(sign * value for value in (1e-9, 2e-9, 3e-9, 4e-9))]]
    for name in ("best by r", "vote weighted by r"):
        found = curve(name, draws, scores=scores)
        assert found.value[0] == pytest.approx(1 / 5)  # alone, it is all there is
        assert found.value[1:] == pytest.approx([0] * 3)


def test_intervals_are_those_of_the_other_curves_and_new_draws_have_none() -> None:
    found = curve("best by r", scores=SCORES)
    per_problem = np.array([[mean([best(row, s, SCORES) for s in subsets(k)]) for k in KS] for row in range(3)])
    band = new_problems(per_problem, 3)
    assert found.low == pytest.approx(band.low.tolist())
    assert found.high == pytest.approx(band.high.tolist())
    assert found.draws_low == found.draws_high == (None,) * 4
    assert (found.n_problems, found.n_draws, found.k, found.unit) == (3, 5, (1, 2, 3, 5), "share of problems")


def test_draws_that_were_not_judged_count_as_wrong() -> None:
    draws = Draws([["a", "b", "a", "b", "b"]], [[None, True, None, True, True]])
    found = curve("best by r", draws, scores=[[9, 1, 9, 1, 1]])
    assert found.value[-1] == 0
    assert found.n_not_judged == 2


def test_no_scorer_no_curve() -> None:
    assert selector_curves(DRAWS, KS, scores={}, accepted={}, seed=0) == []
