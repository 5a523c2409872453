"""How many problems an effect needs: vectors, closed forms, and promises kept in simulation."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from vervet.errors import Mistake
from vervet.scaling import power as module
from vervet.scaling.counts import FIXED, Counts, Stopped
from vervet.scaling.intervals import Z
from vervet.scaling.power import Power, power, problems_for_half_width, problems_to_detect


def test_doctests() -> None:
    assert doctest.testmod(module).failed == 0


def answers(rates: np.ndarray, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((len(rates), n)) < rates[:, None]


def asked(right: object, effect: float = 0.05, **changes: object) -> Power:
    return power(right, effect, **{"cost_per_problem": 0.0, "cost_per_sample": 1.0, "seed": 0, **changes})  # type: ignore[arg-type]


def test_vectors() -> None:
    assert problems_for_half_width(0.03, 0.01) == pytest.approx(1_150, rel=0.005)
    assert problems_for_half_width(0.20, 0.01) == pytest.approx(7_700, rel=0.005)
    assert problems_to_detect(0.03, 0.01) == pytest.approx((1.96 + 0.84) ** 2 * 0.03 / 0.01**2, rel=0.005)
    found = asked(answers(np.full(500, 0.5), 1, 0), 0.01)
    assert found.excluded == pytest.approx(0.0073, abs=1e-4)
    assert found.floor_problems == 368
    assert 1 - 0.025 ** (1 / 368) <= 0.01 < 1 - 0.025 ** (1 / 367)


def test_discordance_and_variances_are_unbiased() -> None:
    """Means over 401 pilots of 37 problems x 3 answers, rates Beta(2, 3); tolerance 4 standard errors."""
    generator = np.random.default_rng(1)
    found = [asked(answers(generator.beta(2, 3, size=37), 3, i)) for i in range(401)]
    mean_square = 2 * 3 / (5 * 6)  # a + 1 over a + b + 1, times a over a + b
    within, between = 0.4 - mean_square, 0.4 * 0.6 / 6
    discordances = np.array([f.discordance.value for f in found if f.discordance is not None])
    withins = np.array([f.within for f in found])
    assert discordances.mean() == pytest.approx(2 * within, abs=4 * discordances.std() / 20)
    assert withins.mean() == pytest.approx(within, abs=4 * withins.std() / 20)
    betweens = np.array([f.between for f in found])
    assert betweens.mean() == pytest.approx(between, abs=4 * betweens.std() / 20)


def test_two_rules_disagree_by_their_rates() -> None:
    one, two = np.array([[1, 1, 0, 0], [1, 1, 1, 1]]), np.array([[1, 0], [0, 0]])
    found = asked(one, other=two)
    assert found.discordance is not None
    assert found.discordance.value == pytest.approx((0.5 + 1.0) / 2)
    assert found.accuracy.value == 0.75
    assert found.within == pytest.approx(np.mean([1 / 3, 0]) + np.mean([0.5, 0]))
    noise = np.mean([1 / 3 / 4, 0]) + np.mean([0.5 / 2, 0])
    assert found.between == pytest.approx(np.var([0.0, 1.0], ddof=1) - noise)


def test_the_promised_half_width_is_reached() -> None:
    """Two independent answers per side of the same rule on as many new problems as promised: the difference, truly 0, is
    within the effect in 95 % of 2,003 studies; tolerance 3 standard errors of .005. Discordance is known: rates .3 or .9.
    """
    generator = np.random.default_rng(2)
    effect = 0.05
    pilot = asked(answers(generator.choice([0.3, 0.9], size=5_003), 2, 3), effect)
    assert pilot.discordance is not None
    assert pilot.discordance.value == pytest.approx(0.3, abs=0.02)
    assert pilot.half_width_problems is not None
    p = generator.choice([0.3, 0.9], size=(2003, pilot.half_width_problems))
    differences = ((generator.random(p.shape) < p).astype(float) - (generator.random(p.shape) < p)).mean(axis=1)
    assert np.mean(np.abs(differences) <= effect) == pytest.approx(0.95, abs=0.015)


def test_the_promised_power_is_reached() -> None:
    """A rule better by the effect at the promised number of problems is found in 80 % of 2,003 studies: 3 standard errors
    of .009, and the approximation itself leaves out effect squared, which makes it a little better than promised.
    """
    generator = np.random.default_rng(4)
    p, effect = 0.4, 0.06
    d = p * (1 - p - effect) + (1 - p) * (p + effect)
    m = problems_to_detect(d, effect)
    better = (generator.random((2003, m)) < p + effect).astype(float) - (generator.random((2003, m)) < p)
    z = better.mean(axis=1) / (better.std(axis=1, ddof=1) / np.sqrt(m))
    assert np.mean(z > Z) == pytest.approx(0.8, abs=0.03)


def test_the_best_split_is_the_best_and_the_error_what_was_said() -> None:
    rates = np.random.default_rng(5).choice([0.2, 0.6], size=4_001)
    found = asked(answers(rates, 8, 6), cost_per_problem=12.0, cost_per_sample=1.0, budget=6_000.0)
    assert found.between is not None
    assert found.within is not None
    assert found.best_samples in (7, 8)  # sqrt(12 x .2 / .04) = 7.75
    assert found.bought is not None
    assert found.bought.problems == int(6_000 // (12 + found.best_samples))

    def half_width(n: int) -> float:
        return Z * float(np.sqrt((found.between + found.within / n) / (6_000 // (12 + n))))  # type: ignore[operator]

    assert found.bought.half_width == pytest.approx(half_width(found.best_samples))
    assert found.bought.half_width <= min(half_width(n) for n in range(1, 40)) * 1.002  # but for what is left over
    generator = np.random.default_rng(7)
    p = generator.choice([0.2, 0.6], size=(2003, found.bought.problems))
    error = np.abs(generator.binomial(found.bought.samples, p).mean(axis=1) / found.bought.samples - 0.4)
    assert np.mean(error <= found.bought.half_width) == pytest.approx(0.95, abs=0.02)


def test_a_small_budget_buys_fewer_answers_to_one_problem() -> None:
    found = asked(answers(np.array([0.1, 0.9] * 50), 5, 8), cost_per_problem=100.0, budget=103.0)
    assert found.best_samples is not None and found.best_samples > 3
    assert found.bought is not None
    assert (found.bought.problems, found.bought.samples) == (1, 3)


def test_where_nothing_differs_the_floor_speaks() -> None:
    found = asked([[True, True, True]] * 11, 0.01)
    assert found.discordance is not None
    assert (found.discordance.value, found.within, found.between) == (0.0, 0.0, 0.0)
    assert found.discordance.high == pytest.approx(1 - 0.025 ** (1 / 11))
    assert found.accuracy_problems == found.floor_problems == 368
    assert found.half_width_problems == 385  # two rules that differ by a point disagree on a hundredth at least
    assert found.best_samples is None
    assert asked([[True, True, True]] * 11, budget=10.0).bought is None


def test_one_answer_per_problem_says_nothing_of_its_luck() -> None:
    found = asked([[True], [False], [True]])
    nothing = (found.discordance, found.half_width_problems, found.detect_problems, found.between, found.within)
    assert nothing == (None,) * 5
    assert found.accuracy_problems == problems_for_half_width(2 / 9, 0.05)
    beside = asked([[True], [False], [True]], other=[[False], [False], [True]])
    assert beside.discordance is not None
    assert beside.discordance.value == pytest.approx(1 / 3)
    alone = asked([[True, False]])
    assert alone.discordance is not None
    assert (alone.discordance.value, alone.between, alone.best_samples) == (1.0, None, None)


def test_counts_are_taken_where_their_drawing_was_declared() -> None:
    table = np.array([[1, 0, 1], [1, 1, 1], [0, 0, 1]])
    assert asked(table) == asked(Counts([3, 3, 3], [2, 3, 1]))
    assert asked(Counts([2, 5], [1, 1], stopped=FIXED)).discordance is not None
    with pytest.raises(Mistake, match="path counting"):
        asked(Counts([2, 5], [1, 1], stopped=Stopped(1)))
    with pytest.raises(Mistake, match="nothing says why"):
        asked(Counts([2, 5], [1, 1]))


@pytest.mark.parametrize(
    ("right", "changes", "said"),
    [
        ([[True]], {"effect": 0.0}, "effect"),
        ([[True]], {"effect": 1.0}, "effect"),
        ([[True]], {"effect": float("nan")}, "effect"),
        ([[True]], {"cost_per_problem": -1.0}, "cost_per_problem"),
        ([[True]], {"cost_per_sample": 0.0}, "cost_per_sample"),
        ([[True]], {"budget": 0.5}, "buys an answer"),
        ([[True]], {"other": [[True], [False]]}, "same problems"),
        ([], {}, r"\(problems, n\)"),
        ([True, False], {}, r"\(problems, n\)"),
    ],
)
def test_what_cannot_be_reckoned_is_refused(right: object, changes: dict[str, object], said: str) -> None:
    with pytest.raises(Mistake, match=said):
        asked(right, **changes)  # type: ignore[arg-type]
