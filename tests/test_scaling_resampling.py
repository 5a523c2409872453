"""Drawing until a verifier accepts: published vectors, the authors' double count, brute force, the scripted judge."""

from __future__ import annotations

import doctest
import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vervet.errors import Mistake
from vervet.models.laws import Judge, is_right
from vervet.scaling import resampling as module
from vervet.scaling.imperfect import imperfect
from vervet.scaling.resampling import Budget, optimal_budget, resampling
from vervet.types import Question

EASY_HARD, PRIOR, SOUNDNESS = np.array([0.87, 0.13]), np.array([0.58, 0.42]), 0.75
# by value of a false positive: the authors' cumulative values at 1 .. 6 and 15, ours, and the best number of draws
PUBLISHED = {
    -0.7: ((0.4821, 0.5526, 0.5541, 0.5491, 0.5452, 0.5425, 0.5377), (0.4821, 0.5239, 0.5246, 0.5224, 0.5208, 0.5197, 0.5176), 3),
    -1.0: ((0.4490, 0.4884, 0.4637, 0.4407, 0.4249, 0.4146, 0.3956), (0.4490, 0.4724, 0.4614, 0.4516, 0.4450, 0.4406, 0.4326), 2),
    -2.0: ((0.3388, 0.2746, 0.1623, 0.0793, 0.0242, -0.0118, -0.0781), (0.3388, 0.3007, 0.2506, 0.2155, 0.1923, 0.1772, 0.1493), 1),
}  # fmt: skip
ROW = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=5, max_size=5)


def test_doctests() -> None:
    assert doctest.testmod(module).failed == 0


# --- from types ------------------------------------------------------------------------------------------


def notebook(v_fp: float, **changes: float) -> Budget:
    return optimal_budget(EASY_HARD, PRIOR, 1.0, SOUNDNESS, v_fp=v_fp, k_max=15, **changes)


def double_counted(v_fp: float) -> np.ndarray:
    """The authors' series: the value of a draw weighted with the belief, times the reach weighted with the belief again."""
    rejected, gain = SOUNDNESS * (1 - EASY_HARD), EASY_HARD + v_fp * (1 - EASY_HARD) * (1 - SOUNDNESS)
    reach = rejected ** np.arange(15)[:, None]
    belief = reach * PRIOR / (reach * PRIOR).sum(axis=1, keepdims=True)
    return np.cumsum((belief * gain).sum(axis=1) * (belief * reach).sum(axis=1))


@pytest.mark.parametrize("v_fp", PUBLISHED)
def test_vectors_and_the_authors_double_count(v_fp: float) -> None:
    theirs, ours, best = PUBLISHED[v_fp]
    at = [0, 1, 2, 3, 4, 5, 14]
    found = notebook(v_fp)
    assert double_counted(v_fp)[at] == pytest.approx(theirs, abs=6e-5)
    assert found.values[at] == pytest.approx(ours, abs=6e-5)
    assert found.k_star == best == 1 + int(np.argmax(double_counted(v_fp)))
    assert abs(found.values[1] - double_counted(v_fp)[1]) > 0.01


def test_values_follow_the_closed_form_and_its_limit() -> None:
    rejected, gain = SOUNDNESS * (1 - EASY_HARD), EASY_HARD - (1 - EASY_HARD) * (1 - SOUNDNESS) - 0.03
    k = np.arange(1, 16)[:, None]
    closed = (PRIOR * gain * (1 - rejected**k) / (1 - rejected)).sum(axis=1)
    found = notebook(-1.0, cost=0.03)
    assert found.values == pytest.approx(closed)
    assert found.limit == pytest.approx((PRIOR * gain / (1 - rejected)).sum())
    precisions = [Judge(c=1.0, s=SOUNDNESS).precision(r) for r in EASY_HARD]
    assert found.ceiling == pytest.approx(PRIOR @ precisions)


def test_what_is_still_there_is_ever_harder() -> None:
    found = notebook(-1.0)
    assert found.beliefs[0] == pytest.approx(PRIOR)
    assert found.beliefs.sum(axis=1) == pytest.approx(np.ones(15))
    assert (np.diff(found.beliefs[:, 1]) > 0).all()


def test_where_abstaining_is_best_nothing_is_drawn() -> None:
    assert notebook(-30.0).k_star == 0
    assert notebook(-1.0, v_abstain=0.9).k_star == 0
    assert notebook(-1.0, cost=0.9).k_star == 0


def test_types_that_are_never_accepted() -> None:
    silent = optimal_budget([0.0], [1.0], 1.0, 1.0, v_fp=-1, k_max=3)
    assert (silent.k_star, silent.values.tolist(), silent.ceiling, silent.limit) == (0, [0.0, 0.0, 0.0], 0.0, 0.0)
    paid = optimal_budget([0.0, 1.0], [0.5, 0.5], 1.0, 1.0, v_fp=-1, cost=0.1, k_max=3)
    assert paid.values == pytest.approx([0.4, 0.35, 0.3])
    assert (paid.k_star, paid.limit) == (1, -np.inf)
    sure = optimal_budget([1.0], [1.0], 1.0, 1.0, v_fp=-1, k_max=3)
    assert sure.k_star == 1
    assert np.isnan(sure.beliefs[1:]).all()


@pytest.mark.parametrize(
    ("right", "prior", "changes"),
    [([1.2], [1.0], {}), ([0.5], [0.9], {}), ([0.5, 0.5], [1.0], {}), ([0.5], [1.0], {"k_max": 0}),
     ([0.5], [1.0], {"v_fp": 2.0}), ([0.5], [1.0], {"cost": -1.0}), ([float("nan")], [1.0], {})],
)  # fmt: skip
def test_what_is_no_law_is_refused(right: list[float], prior: list[float], changes: dict[str, float]) -> None:
    with pytest.raises(Mistake, match="expected"):
        optimal_budget(right, prior, 1.0, 0.5, **{"v_fp": -1.0, **changes})  # type: ignore[arg-type]


# --- from draws ------------------------------------------------------------------------------------------


def submit(order: list[tuple[bool, bool]], k: int) -> tuple[int, bool | None]:
    """The procedure itself on draws in one order: how many were made, and the outcome (None: abstained)."""
    for made, (accepted, right) in enumerate(order[:k], 1):
        if accepted:
            return made, right
    return k, None


@given(st.lists(ROW, min_size=1, max_size=3), st.floats(-3, 1), st.floats(-1, 1), st.floats(0, 0.5))
def test_every_figure_is_the_mean_over_all_orders(
    rows: list[list[tuple[bool, bool]]], v_fp: float, v_abstain: float, cost: float
) -> None:
    accepted, correct = ([[pair[i] for pair in row] for row in rows] for i in (0, 1))
    found = resampling(accepted, correct, v_fp=v_fp, v_abstain=v_abstain, cost=cost, seed=0)
    values = [v_abstain]
    for k in found.ks:
        outcomes = [submit(list(order), k) for row in rows for order in itertools.permutations(row)]
        right, none = (float(np.mean([o is kind for _, o in outcomes])) for kind in (True, None))
        draws = float(np.mean([made for made, _ in outcomes]))
        i = k - 1
        assert (found.accuracy[i], found.abstained[i], found.draws[i]) == pytest.approx((right, none, draws), abs=1e-9)
        values.append(right + v_fp * (1 - right - none) + v_abstain * none - cost * draws)
        assert found.value[i] == pytest.approx(values[-1], abs=1e-9)
    assert values[found.best_k] == pytest.approx(max(values), abs=1e-9)
    assert found.best_value.low <= found.best_value.value + 1e-9
    assert found.best_value.value <= found.best_value.high + 1e-9


def test_a_thousand_random_orders_come_close() -> None:
    """The authors' way, 1,000 orders of each of 31 problems: within 4 standard errors of at most .5 / sqrt(31,000)."""
    generator = np.random.default_rng(5)
    accepted, correct = generator.random((31, 23)) < 0.15, generator.random((31, 23)) < 0.4
    found = resampling(accepted.tolist(), correct.tolist(), seed=0)
    hits = []
    for took, right in zip(accepted, correct, strict=True):
        for _ in range(1000):
            order = generator.permutation(23)[:7]
            hits.append(submit([(took[i], right[i]) for i in order], 7)[1] is np.True_)
    assert found.accuracy[6] == pytest.approx(np.mean(hits), abs=4 * 0.5 / 31_000**0.5)


def drawn_by_judge(judge: Judge, rates: list[float], n: int) -> tuple[list[list[bool]], list[list[bool]]]:
    """Answers of a scripted generator with each rate, and what the scripted judge says of them."""
    accepted: list[list[bool]] = []
    correct: list[list[bool]] = []
    for i, rate in enumerate(rates):
        problem, rng = f"problem {i}", random.Random(i)
        texts = [
            "".join(Judge(p=rate).write(Question(({"role": "user", "content": problem},)), rng).pieces)
            for _ in range(n)
        ]
        accepted.append([judge.accepts(problem, text) for text in texts])
        correct.append([is_right(problem, text) for text in texts])
    return accepted, correct


def test_the_scripted_judge_gives_what_the_types_foretell() -> None:
    """409 problems x 29 draws; a share's standard error is at most .5 / sqrt(409) = .025, here at most .02: 3 of them."""
    judge, easy, hard = Judge(c=0.9, s=0.75), 0.87, 0.13
    accepted, correct = drawn_by_judge(judge, [easy] * 237 + [hard] * 172, 29)
    found = resampling(accepted, correct, v_fp=-1.0, seed=0)
    law = optimal_budget([easy, hard], [237 / 409, 172 / 409], judge.c, judge.s, v_fp=-1.0, k_max=29)
    assert found.value[:5] == pytest.approx(law.values[:5], abs=0.06)
    assert found.best_k in (1, 2, 3)
    assert law.k_star == 2
    assert found.best_value.low < law.values[1] < found.best_value.high
    assert found.ceiling is not None
    assert found.ceiling.value == pytest.approx(law.ceiling, abs=0.06)
    assert found.ceiling.value == pytest.approx(
        (237 * judge.precision(easy) + 172 * judge.precision(hard)) / 409, abs=0.06
    )
    again = [[judge.accepts(f"problem {i}", text) for text in ("same", "same")] for i in range(101)]
    assert all(first == second for first, second in again)  # the error is the text's: to ask twice does not square it


def test_the_best_value_is_not_flattered_by_the_choice() -> None:
    """The value at the chosen K is its mean over 211 tables above the truth, the crossed one not: .013 is 4 standard errors.

    Truth: all that is accepted is right or wrong with even chances at -1, so that every K is worth 0.
    """
    generator = np.random.default_rng(11)
    crossed, chosen = [], []
    for _ in range(211):
        accepted, correct = generator.random((23, 7)) < 0.2, generator.random((23, 7)) < 0.5
        found = resampling(accepted.tolist(), correct.tolist(), seed=0)
        crossed.append(found.best_value.value)
        chosen.append(max(0.0, *found.value))
    assert np.mean(chosen) > 0.05
    assert np.mean(crossed) < 0.5 * np.mean(chosen)


def test_variants_of_one_problem_are_one_case() -> None:
    generator = np.random.default_rng(13)
    accepted, correct = (generator.random((17, 5)) < 0.5).tolist(), (generator.random((17, 5)) < 0.7).tolist()
    alone, tripled = (resampling(accepted * m, correct * m, clusters=list(range(17)) * m, seed=0) for m in (1, 3))
    assert alone == resampling(accepted, correct, seed=0)
    assert tripled.best_value.value == pytest.approx(alone.best_value.value)
    assert (tripled.best_value.low, tripled.best_value.high) == pytest.approx(
        (alone.best_value.low, alone.best_value.high)
    )
    with pytest.raises(Mistake, match="one cluster per problem"):
        resampling(accepted, correct, clusters=["a"], seed=0)


def test_ceiling_and_those_that_are_never_accepted_stand_apart() -> None:
    accepted, correct = [[True, True], [False, False], [True, False]], [[True, False], [True, True], [True, True]]
    found = resampling(accepted, correct, seed=0)
    assert found.ceiling is not None
    assert (found.ceiling.value, found.never_accepted) == (0.75, pytest.approx(1 / 3))
    beside = imperfect(accepted, correct, seed=0).ceiling
    assert beside is not None
    assert beside.value == pytest.approx(found.ceiling.value * (1 - found.never_accepted))


def test_a_verifier_that_accepts_nothing_or_is_perfect() -> None:
    nothing = resampling([[False, False]], [[True, True]], seed=0)
    assert (nothing.ceiling, nothing.never_accepted, nothing.best_k, nothing.abstained) == (None, 1.0, 0, (1.0, 1.0))
    truth = [[True, False, False, False, False]] * 3 + [[False, True, True, True, False]]
    perfect = resampling(truth, truth, seed=0)
    assert perfect.best_k == 5
    assert perfect.accuracy == pytest.approx([1 - none for none in perfect.abstained])
    assert resampling([[True] * 3], [[True] * 3], seed=0).best_k == 1  # more draws are never made: the smallest K


def test_what_was_not_judged_widens_the_interval_upwards() -> None:
    known = resampling([[True]] * 7, [[True]] * 3 + [[False]] * 4, seed=0)
    found = resampling([[True]] * 7, [[True]] * 3 + [[None]] * 4, seed=0)
    assert found.accuracy == known.accuracy
    assert (found.n_not_judged, known.n_not_judged) == (4, 0)
    assert found.ceiling is not None and known.ceiling is not None
    assert found.ceiling.low == known.ceiling.low
    assert found.ceiling.high == 1.0 > known.ceiling.high
    unseen = resampling([[None, True]], [[True, True]], seed=0)
    assert unseen.accuracy == (0.5, 1.0)


@pytest.mark.parametrize(
    ("accepted", "correct"),
    [([], []), ([[]], [[]]), ([[True]], [[True, True]]), ([[True], [True, False]], [[True], [True, True]])],
)
def test_tables_that_are_no_declared_range_are_refused(accepted: list[list[bool]], correct: list[list[bool]]) -> None:
    with pytest.raises(Mistake, match="one number of draws"):
        resampling(accepted, correct, seed=0)


def test_values_without_sense_are_refused() -> None:
    for changes in ({"v_fp": 2.0}, {"cost": -0.1}, {"v_abstain": float("nan")}):
        with pytest.raises(Mistake, match="at most a right one"):
            resampling([[True]], [[True]], seed=0, **changes)
