"""Laws of coverage: published tables to their digits, closed forms, independent quadrature, and every degenerate set."""

from __future__ import annotations

import csv
import doctest
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import comb
from scipy.stats import beta as beta_law

from tests.published import needs, published
from vervet.errors import Mistake
from vervet.scaling import distributional, law, laws, mixture, power_law
from vervet.scaling.counts import FIXED, Counts, Stopped
from vervet.scaling.distributional import induced
from vervet.scaling.law import grid
from vervet.scaling.laws import LAWS, fit, parameter_intervals, refitted
from vervet.scaling.mixture import Spread
from vervet.scaling.passk import coverage

COUNTS = "pythia_math_n10000_counts.csv"
# Brown et al. 2024 on the counts of Schaeffer et al. 2025: |a| and b by loglog; a, b and the largest error by nls
CURVES = {
    "Pythia 70M": (7.8065, -0.1902, -8.2846, -0.1992, 0.0018),
    "Pythia 160M": (6.5340, -0.2778, -6.2839, -0.2743, 0.0349),
    "Pythia 410M": (5.4726, -0.2848, -5.5674, -0.2888, 0.0212),
    "Pythia 1B": (5.3045, -0.3103, -5.6012, -0.3195, 0.0105),
    "Pythia 2.8B": (4.1346, -0.3358, -4.3150, -0.3457, 0.0238),
    "Pythia 6.9B": (4.2886, -0.3488, -4.4912, -0.3593, 0.0177),
    "Pythia 12B": (4.1077, -0.3691, -4.2990, -0.3784, 0.0166),
}
# scaled beta: alpha, beta, scale, nll, induced exponent and prefactor
SCALED = {
    "Pythia 70M": (0.0546, 2.004, 0.0349, 1.5373, 0.1885, 7.058),
    "Pythia 160M": (0.1503, 1.685, 0.0368, 3.3806, 0.2709, 6.271),
    "Pythia 410M": (0.1534, 1.719, 0.0954, 4.0329, 0.2683, 4.820),
    "Pythia 1B": (0.1861, 2.250, 0.1370, 4.4968, 0.2912, 4.596),
    "Pythia 2.8B": (0.2174, 2.562, 0.3178, 5.5002, 0.3082, 3.555),
    "Pythia 6.9B": (0.2324, 2.249, 0.2447, 5.5320, 0.3225, 3.705),
    "Pythia 12B": (0.2500, 1.821, 0.2346, 5.8368, 0.3368, 3.465),
}
TWELVE = Counts([100] * 12, [0, 0, 0, 1, 1, 2, 3, 5, 8, 13, 21, 34])
DISTRIBUTIONAL = list(distributional.SEARCHES)
POWERS = [
    Spread("beta", 0.3, 2),
    Spread("beta", 0.3, 2, 0.5),
    Spread("kumaraswamy", 0.3, 2),
    Spread("kumaraswamy", 0.3, 2, 0.5),
]


@cache
def pythia(model: str) -> Counts:
    with published(COUNTS).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == model]
    return Counts([int(row["n"]) for row in rows], [int(row["c"]) for row in rows], name=model)


@pytest.mark.parametrize("module", [law, laws, power_law, mixture, distributional])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


# --- published figures --------------------------------------------------------------------------------------


@needs(COUNTS)
@pytest.mark.parametrize("model", CURVES)
def test_the_table_of_large_language_monkeys(model: str) -> None:
    a_log, b_log, a, b, error = CURVES[model]
    line, curve = fit("loglog", pythia(model)), fit("nls", pythia(model))
    assert line.parameters["a"] == pytest.approx(-a_log, abs=5e-5)
    assert line.parameters["b"] == pytest.approx(b_log, abs=5e-5)
    assert curve.parameters["a"] == pytest.approx(a, abs=6e-5)
    assert curve.parameters["b"] == pytest.approx(b, abs=5e-5)
    assert curve.max_error == pytest.approx(error, abs=5e-5)


@needs(COUNTS)
@pytest.mark.parametrize("model", SCALED)
def test_the_scaled_beta_rows(model: str) -> None:
    alpha, beta, scale, nll, exponent, prefactor = SCALED[model]
    found = fit("scaled beta", pythia(model))
    assert found.parameters["alpha"] == pytest.approx(alpha, rel=0.005)
    assert found.parameters["beta"] == pytest.approx(beta, rel=0.005)
    assert found.parameters["scale"] == pytest.approx(scale, abs=5e-5)
    assert found.nll == pytest.approx(nll, abs=1e-3)
    assert induced(found).exponent == pytest.approx(exponent, rel=2e-3)
    assert induced(found).prefactor == pytest.approx(prefactor, rel=3e-3)


@pytest.mark.parametrize(
    ("spread", "failures"),
    [
        (Spread("beta", 0.3, 2, 0.5), (0.934783, 0.668854, 0.357971, 0.180687)),
        (Spread("kumaraswamy", 0.3, 2, 0.5), (0.956731, 0.761912, 0.468962, 0.256693)),
        (Spread("beta", 0.3, 2), (0.869565, 0.558508, 0.291629, 0.146808)),
    ],
)
def test_failure_rates_of_schaeffer(spread: Spread, failures: tuple[float, ...]) -> None:
    assert 1 - spread.coverage([1, 10, 100, 1000]) == pytest.approx(failures, abs=1e-6)


def test_asymptote_of_schaeffer() -> None:
    prefactor = Spread("beta", 0.3, 2, 0.5).prefactor
    assert [prefactor * k**-0.3 for k in (10, 100, 1000)] == pytest.approx([0.719901, 0.360805, 0.180831], abs=1e-6)


def test_fits_of_schaeffer_at_a_hundred_draws() -> None:
    two, scaled, binned = (fit(name, TWELVE) for name in ("beta", "scaled beta", "discretised"))
    assert [two.parameters[p] for p in ("alpha", "beta", "asymptotic exponent")] == pytest.approx(
        [0.43252, 5.50683, 0.43252], rel=5e-4
    )
    assert two.nll == pytest.approx(2.92363, abs=5e-6)
    assert [scaled.parameters[p] for p in ("alpha", "beta", "scale")] == pytest.approx(
        [0.33468, 1.24652, 0.36833], rel=5e-4
    )
    assert scaled.nll == pytest.approx(2.91570, abs=5e-6)
    assert induced(scaled).exponent == pytest.approx(0.40071, abs=1e-4)
    assert induced(scaled).prefactor == pytest.approx(2.36195, abs=1e-3)
    assert [binned.parameters[p] for p in ("alpha", "beta", "scale")] == pytest.approx(
        [0.42148, 1.56143, 0.34], rel=1e-3
    )
    assert binned.nll is not None
    assert binned.nll * 12 / 10 == pytest.approx(2.46481, abs=5e-6)  # theirs is per bin, ours per problem


def test_induced_exponent_of_schaeffer() -> None:
    ks = grid(10_000)
    found = power_law.loglog_points(ks, np.exp(-2 * ks**-0.35))
    assert found == pytest.approx([-2, -0.35], abs=1e-9)  # their search stops at 2.00007, .35001


# --- closed forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", POWERS)
def test_a_tail_at_zero_is_a_power_law(spread: Spread) -> None:
    ks = np.array([10**4, 10**5, 10**6])
    scaled = (1 - spread.coverage(ks)) * ks**spread.alpha
    assert scaled[-1] == pytest.approx(spread.prefactor, rel=0.01)
    assert abs(scaled[-1] / scaled[-2] - 1) < 0.01


def test_no_mass_near_zero_is_no_power_law() -> None:
    ks = np.array([1, 2, 4, 8, 16, 32])
    delta = 1 - 0.7**ks  # every problem is solved in three draws of ten
    uniform = Spread("beta", 1, 1, floor=0.2).coverage(ks)
    assert uniform == pytest.approx(1 - 0.8 ** (ks + 1) / (ks + 1) / 0.8, abs=1e-12)
    for values in (delta, uniform):
        slopes = -np.diff(np.log(-np.log(values))) / np.diff(np.log(ks))
        assert (np.diff(slopes) > 0.1).all()  # ever steeper: no exponent holds
        assert slopes[-1] > 3.5


def test_unsolvable_problems_cap_coverage() -> None:
    spread = Spread("beta", 2, 2, unsolvable=0.4)
    assert spread.coverage([10**6]) == pytest.approx([0.6], abs=1e-9)
    assert np.exp(spread.log_likelihood([5] * 6, range(6))).sum() == pytest.approx(1)


@pytest.mark.parametrize("spread", [*POWERS, Spread("beta", 0.7, 2, floor=0.1), Spread("kumaraswamy", 1.7, 0.4, 0.9)])
def test_the_chances_of_all_counts_sum_to_one(spread: Spread) -> None:
    assert np.exp(spread.log_likelihood([41] * 42, range(42))).sum() == pytest.approx(1, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 2.5), st.floats(0.3, 6), st.floats(0.05, 0.95), st.integers(1, 97), st.floats(0, 1))
def test_likelihood_agrees_with_adaptive_quadrature(alpha: float, beta: float, scale: float, n: int, at: float) -> None:
    c = int(at * n * scale)

    def by_quantile(q: float) -> float:
        p = scale * beta_law.ppf(q, alpha, beta)
        return float(comb(n, c) * p**c * (1 - p) ** (n - c))

    exact = quad(by_quantile, 0, 1, limit=400, epsabs=1e-13, epsrel=1e-7, points=[0.01, 0.1, 0.5, 0.9, 0.99])[0]
    assert np.exp(Spread("beta", alpha, beta, scale).log_likelihood([n], [c])[0]) == pytest.approx(
        exact, rel=1e-4, abs=1e-11
    )


@given(st.floats(-8, -0.1), st.floats(-0.9, -0.05), st.floats(0, 0.6))
def test_curves_that_obey_a_law_give_it_back(a: float, b: float, u: float) -> None:
    ks = grid(1000)
    plain, capped = power_law.curve(np.array([a, b]), ks), power_law.curve(np.array([a, b, u]), ks)
    assert power_law.loglog_points(ks, plain) == pytest.approx([a, b], rel=1e-6)
    assert power_law.nls_points(ks, plain) == pytest.approx([a, b], rel=1e-3)
    found = power_law.saturating_points(ks, capped)
    assert not isinstance(found, str)
    assert power_law.curve(found, ks) == pytest.approx(capped, abs=1e-4)


@pytest.mark.parametrize("name", ["beta", "scaled beta", "kumaraswamy", "scaled kumaraswamy"])
def test_likelihood_finds_the_spread_that_made_the_counts(name: str) -> None:
    uniform = np.random.default_rng(5).random(1009)
    scale = 0.6 if name.startswith("scaled") else 1.0
    shaped = (1 - (1 - uniform) ** (1 / 3)) ** (1 / 0.4) if "kumaraswamy" in name else beta_law.ppf(uniform, 0.4, 3)
    correct = np.random.default_rng(7).binomial(307, scale * shaped)
    found = fit(name, Counts([307] * 1009, correct)).parameters
    assert found["alpha"] == pytest.approx(0.4, rel=0.12)
    assert found["asymptotic exponent"] == found["alpha"]
    assert 0.8 * scale < found["scale"] <= 1.05 * scale  # from the largest of 1,009 rates


def test_unsolvable_share_is_found() -> None:
    generator = np.random.default_rng(3)
    rates = np.where(np.arange(400) % 4 == 0, 0, generator.beta(2, 3, 400))
    found = fit("saturating beta", Counts([101] * 400, generator.binomial(101, rates))).parameters
    assert found["u"] == pytest.approx(0.25, abs=0.02)


# --- what every law owes ------------------------------------------------------------------------------------

GENERATOR = np.random.default_rng(0)
ODD_SETS = {
    "nothing right": Counts([100] * 5, [0] * 5),
    "all right": Counts([100] * 5, [100] * 5),
    "all but one right": Counts([100] * 5, [100] * 4 + [99]),
    "one problem": Counts([100], [3]),
    "one problem, one draw": Counts([1], [1]),
    "one draw": Counts([1] * 9, [0, 1] * 4 + [0]),
    "two draws": Counts([2] * 9, [0, 1, 2] * 3),
    "two draws alike": Counts([2] * 9, [1] * 9),
    "alike": Counts([100] * 9, [7] * 9),
    "alike and high": Counts([10_000] * 26, [9_500] * 26),
    "alike of two": Counts([2] * 49, [2] * 46 + [1] * 3),
    "all or nothing": Counts([100] * 6, [0, 100] * 3),
    "unequal": Counts([100, 50, 200, 10], [1, 0, 50, 10], stopped=FIXED),
    "a million draws": Counts([10**6] * 41, GENERATOR.binomial(10**6, GENERATOR.beta(0.3, 3, 41))),
    "one of a million": Counts([10**6] * 7, [0] * 6 + [1]),
}


@pytest.mark.parametrize("title", ODD_SETS)
@pytest.mark.parametrize("name", LAWS)
def test_every_law_on_every_odd_set_is_a_law_or_says_why_not(name: str, title: str) -> None:
    found = fit(name, ODD_SETS[title])
    values = found.coverage_at([1, 10, 1000, 10**6])
    assert len(values) == 4
    if found.undefined:
        assert np.isnan(values).all()
        assert np.isnan(list(found.parameters.values())).all()
    else:
        assert ((values >= 0) & (values <= 1)).all()
        assert (np.diff(values) >= -1e-9).all()
        assert np.isfinite(found.max_error)


@pytest.mark.parametrize("name", LAWS)
def test_reasons_are_given(name: str) -> None:
    assert fit(name, ODD_SETS["nothing right"]).undefined
    assert fit(name, ODD_SETS["all right"]).undefined
    assert fit(name, ODD_SETS["one draw"]).undefined


@pytest.mark.parametrize("name", LAWS)
def test_a_weight_is_a_number_of_copies(name: str) -> None:
    right = np.array([3, 1, 2, 5, 8, 13, 21, 34])
    weights = np.array([2.0, 0, 1, 0, 3, 1, 0, 1])
    refit = LAWS[name](Counts([101] * 8, right))
    copies = fit(name, Counts([101] * 8, np.repeat(right, weights.astype(int))))
    weighted = refit(weights)
    assert weighted.coverage_at([1, 7, 1000]) == pytest.approx(copies.coverage_at([1, 7, 1000]), abs=2e-5)
    assert weighted.max_error == pytest.approx(copies.max_error, abs=2e-5)
    assert refit(np.ones(8)).coverage_at([7]) == pytest.approx(refit(None).coverage_at([7]), abs=2e-5)


@pytest.mark.parametrize("name", LAWS)
def test_adaptive_and_unexplained_draws_are_refused(name: str) -> None:
    with pytest.raises(Mistake, match="path counting"):
        fit(name, Counts([3, 60], [1, 0], stopped=Stopped(successes=1, cap=60)))
    with pytest.raises(Mistake, match="nothing says why"):
        fit(name, Counts([3, 60], [1, 0]))


def test_an_unknown_law_names_the_known() -> None:
    with pytest.raises(Mistake, match="scaled kumaraswamy"):
        fit("gamma", TWELVE)


def test_the_largest_error_is_over_the_grid() -> None:
    found, ks = fit("nls", TWELVE), [int(k) for k in grid(100)]
    assert found.max_error == np.abs(found.coverage_at(ks) - coverage(100, TWELVE.correct, ks)).max()


# --- uncertainty --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nls", "beta", "scaled beta"])
def test_intervals_are_of_refits_and_repeat(name: str) -> None:
    found = parameter_intervals(name, TWELVE, seed=1, n_resamples=40)
    assert found == parameter_intervals(name, TWELVE, seed=1, n_resamples=40)
    key = "b" if name == "nls" else "alpha"
    one = refitted(name, TWELVE, lambda law: law.parameters[key], seed=1, n_resamples=40)
    assert one == found[key]
    assert one.low < one.value < one.high
    assert one.n_undefined == 0


def test_the_interval_of_an_exponent_holds_its_truth() -> None:
    held = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        counts = Counts([211] * 97, generator.binomial(211, generator.beta(0.4, 3, 97)))
        found = parameter_intervals("beta", counts, seed=seed, n_resamples=60)["alpha"]
        held += found.low <= 0.4 <= found.high
    assert held >= 15  # 19 of 20 expected; 14 or fewer has a chance of .0003 at 95 %


def test_undefined_resamples_are_counted() -> None:
    found = refitted("nls", Counts([10] * 3, [0, 0, 4]), lambda law: law.parameters["b"], seed=0, n_resamples=100)
    assert 15 < found.n_undefined < 45  # (2/3)^3 of the resamples have no right draw
    assert found.low <= found.high
    never = refitted("nls", Counts([10] * 3, [0, 0, 0]), lambda law: law.parameters["b"], seed=0, n_resamples=10)
    assert never.n_undefined == 10
    assert np.isnan([never.value, never.low, never.high]).all()


def test_one_problem_has_no_interval() -> None:
    found = refitted("nls", Counts([10], [4]), lambda law: law.parameters["b"], seed=0, n_resamples=10)
    assert np.isfinite(found.value)
    assert np.isnan([found.low, found.high]).all()


def test_a_share_that_no_refit_finds_is_not_impossible() -> None:
    counts = Counts([10] * 40, [1, 2, 3, 5, 9] * 8)
    assert parameter_intervals("saturating beta", counts, seed=0, n_resamples=20)["u"].high >= 0.08
