"""Path counting: unbiased by enumeration of every order of draws, for several rules and rates, in whole numbers."""

from __future__ import annotations

import doctest
from fractions import Fraction

import numpy as np
import pytest

from vervet.errors import Mistake
from vervet.scaling import counted, passk, stopped
from vervet.scaling.counts import FIXED, Counts, Stopped

RATES = [Fraction(1, 13), Fraction(1, 2), Fraction(7, 9), Fraction(0), Fraction(1)]
RULES = {
    "first right of 7": stopped.until(1, 7),
    "second right of 6": stopped.until(2, 6),
    "third right of 8": stopped.until(3, 8),
    "5 draws": lambda n, c: n >= 5,
    "two more wrong than right, or 9": lambda n, c: n - 2 * c >= 4 or c >= 2 or n >= 9,
    "a look at 3 and at 6": lambda n, c: (n == 3 and c >= 2) or n >= 6,
}


def ends(stops: stopped.Rule, rate: Fraction) -> dict[tuple[int, int], Fraction]:
    """Where drawing can end, and how likely: one order of draws after the other."""
    found: dict[tuple[int, int], Fraction] = {}

    def draw(n: int, c: int, chance: Fraction) -> None:
        if n and stops(n, c):
            found[n, c] = found.get((n, c), Fraction(0)) + chance
        else:
            draw(n + 1, c + 1, chance * rate)
            draw(n + 1, c, chance * (1 - rate))

    draw(0, 0, Fraction(1))
    return found


def longest_failure(stops: stopped.Rule) -> int:
    return next(n for n in range(1, 100) if stops(n, 0))


def test_doctests() -> None:
    assert doctest.testmod(stopped).failed == 0


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_the_mean_over_all_orders_is_the_truth(rule: stopped.Rule, rate: Fraction) -> None:
    found = ends(rule, rate)
    assert sum(found.values()) == 1
    for k in range(1, longest_failure(rule) + 1):
        mean = sum(chance * stopped.first_fail(rule, n, c, k) for (n, c), chance in found.items())
        assert mean == (1 - rate) ** k


@pytest.mark.parametrize(("successes", "cap"), [(1, 1), (1, 7), (2, 6), (3, 8), (5, 5)])
def test_the_closed_form_counts_the_same_paths(successes: int, cap: int) -> None:
    rule = stopped.until(successes, cap)
    states = sorted(ends(rule, Fraction(1, 2)))
    counts = Counts([n for n, _ in states], [c for _, c in states], stopped=Stopped(successes, cap))
    ks = range(1, cap + 1)
    plain = [[1 - float(stopped.first_fail(rule, n, c, k)) for k in ks] for n, c in states]
    assert stopped.stopped_at_k(counts, ks) == pytest.approx(np.array(plain), abs=1e-12)


def test_the_rate_of_inverse_sampling() -> None:
    counts = Counts([9, 4, 31], [4, 4, 4], stopped=Stopped(4))
    assert stopped.stopped_at_k(counts, [1])[:, 0] == pytest.approx([3 / 8, 1, 3 / 30])


def test_a_fixed_number_of_draws_is_pass_at_k() -> None:
    for c in range(8):
        found = 1 - float(stopped.first_fail(lambda n, c: n >= 7, 7, c, 3))
        assert found == pytest.approx(passk.pass_at_k(7, [c], [3])[0, 0])


def first_right_of_60(n_problems: int, seed: int) -> tuple[Counts, np.ndarray]:
    """Problems drawn until the first right draw, at most 60, and their rates."""
    generator = np.random.default_rng(seed)
    rates = generator.beta(0.4, 2.0, n_problems)
    first = generator.geometric(rates)
    return Counts(np.minimum(first, 60), (first <= 60).astype(int), stopped=Stopped(1, 60)), rates


def test_a_set_stopped_at_its_first_success() -> None:
    counts, rates = first_right_of_60(4001, seed=1)
    naive = float((counts.correct / counts.n).mean())
    curve = counted.coverage_curve(counts, [1, 5, 20, 60], seed=0)
    truth = [float((1 - (1 - rates) ** k).mean()) for k in curve.k]
    assert naive > 1.3 * rates.mean()
    for value, low, high, true in zip(curve.value, curve.low, curve.high, truth, strict=True):
        assert low < true < high
        assert abs(value - true) < 4 * (0.25 / 4001) ** 0.5
    share = [float(((counts.n <= k) & (counts.correct == 1)).mean()) for k in curve.k]
    assert curve.value == pytest.approx(share)
    assert curve.draws_low == curve.draws_high == (None,) * 4
    assert curve.n_draws == 60


def test_what_would_be_biased_is_refused() -> None:
    counts, _ = first_right_of_60(11, seed=2)
    for call in (
        lambda: counted.pass_at_k_of(counts, [1]),
        lambda: counted.pass_variance_of(counts, [1]),
        lambda: counts.rates,
        lambda: counts.common_n,
    ):
        with pytest.raises(Mistake, match="path counting"):
            call()
    with pytest.raises(Mistake, match="cap of 60"):
        counted.coverage_curve(counts, [1, 61], seed=0)
    with pytest.raises(Mistake, match="until so many"):
        stopped.stopped_at_k(Counts([7, 9], [1, 2], stopped=FIXED), [1])


def test_no_cap_knows_every_k() -> None:
    counts = Counts([1, 3, 200], [1, 1, 1], stopped=Stopped(1))
    assert stopped.stopped_at_k(counts, [1, 3, 199, 200, 1000]).mean(axis=0) == pytest.approx(
        [1 / 3, 2 / 3, 2 / 3, 1, 1]
    )
    assert counted.coverage_curve(counts, seed=0).k[-1] == 200


@pytest.mark.parametrize(
    ("rule", "n", "c", "k", "why"),
    [
        (stopped.until(1, 5), 3, 0, 1, "goes on"),
        (stopped.until(1, 5), 3, 2, 1, "no order"),
        (stopped.until(1, 5), 5, 0, 6, "failures in a row"),
        (stopped.until(1, 5), 5, 0, 0, "k >= 1"),
        (lambda n, c: n == 2 or n >= 5, 2, 0, 3, "failures in a row"),
    ],
)
def test_what_no_path_can_tell_is_refused(rule: stopped.Rule, n: int, c: int, k: int, why: str) -> None:
    with pytest.raises(Mistake, match=why):
        stopped.first_fail(rule, n, c, k)
