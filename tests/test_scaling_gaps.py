"""Gaps: what they add up to, winners that do not profit from having won, closed forms of verifiers, paired tests."""

from __future__ import annotations

import doctest
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from vervet.errors import Mistake
from vervet.scaling import gaps as gaps_module
from vervet.scaling import paired as paired_module
from vervet.scaling import purchases as purchases_module
from vervet.scaling.draws import Draws
from vervet.scaling.forecast import Forecast
from vervet.scaling.gaps import Halves, Selector, cost_ks, first_accepted_at_k, gaps, selectors
from vervet.scaling.intervals import DIFFERENCE, Estimate
from vervet.scaling.paired import coverage_difference, holm, paired, sign_test
from vervet.scaling.purchases import OtherModel, points, purchases, soundness_needed, verified_accuracy
from vervet.scaling.replayed import Agreement, FirstAccepted, Way, replay

M, N = 101, 16


def drawn(seed: int = 0, tokens: bool = True) -> Draws:
    """Problems of all difficulties; the wrong answers of half of them agree, so that a vote can lose."""
    generator = np.random.default_rng(seed)
    rates = generator.beta(1, 1, M)
    right = generator.random((M, N)) < rates[:, None]
    spread = np.where(np.arange(M)[:, None] % 2, generator.integers(1, 9, (M, N)), 1)
    keys = [["0" if r else str(w) for r, w in zip(*row, strict=True)] for row in zip(right, spread, strict=True)]
    lengths = generator.integers(5, 50, (M, N)).tolist() if tokens else None
    return Draws(keys, right.tolist(), lengths)


@pytest.mark.parametrize("module", [gaps_module, purchases_module, paired_module])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


# --- the gaps --------------------------------------------------------------------------------------------


def test_selected_and_both_gaps_add_up_to_one() -> None:
    draws = drawn()
    scores = np.random.default_rng(1).random((M, N)) + 0.2 * draws.right
    found = gaps(draws, selectors(draws, scores={"reward": scores}), seed=0).gaps
    assert found.selected.value + found.selection.value + found.generation.value == pytest.approx(1)
    assert found.coverage.value == pytest.approx(draws.right.any(axis=1).mean())
    for one in (found.selected, found.selection, found.generation, found.coverage):
        assert one.low < one.value < one.high
    assert set(found.standings) == {"vote()", "best(by='reward')"}


def test_a_verifier_that_is_never_wrong_closes_the_selection_gap() -> None:
    draws = drawn()
    found = gaps(draws, selectors(draws, accepted={"tests": draws.right}), seed=0).gaps
    assert found.selector == "first(by='tests')"
    assert found.selection.value == pytest.approx(0)
    assert found.selection.high == pytest.approx(1 - 0.025 ** (1 / M))


def test_the_best_of_many_equal_selectors_is_no_better_than_one_of_them() -> None:
    """20 selectors that toss a coin, ten times over: the best of them is 9 points over .5, what is reported is not."""
    generator, draws = np.random.default_rng(2), Draws([["0", "1"]] * M, [[True, False]] * M)
    naive, reported, held = [], [], 0
    for _ in range(10):
        tosses = (generator.random((20, M, 1)) < 0.5).astype(float)
        coins = [Selector(f"coin {i}", (1, 2), np.tile(one, 2)) for i, one in enumerate(tosses)]
        found = gaps(draws, coins, seed=0).gaps
        naive.append(max(one.value for one in found.standings.values()))
        reported.append(found.selected.value)
        held += found.selected.low < 0.5 < found.selected.high
    assert np.mean(naive) == pytest.approx(0.59, abs=0.02)
    assert np.mean(reported) == pytest.approx(0.5, abs=0.05)  # three standard errors
    assert held >= 8


def test_the_interval_of_the_selection_gap_holds_the_truth() -> None:
    """Vote and a coin on problems with a known law: the 95 % interval holds the mean of large samples, 19 of 20 times."""
    large = Draws(*_law(9, 20_000))
    truth = (large.right.any(axis=1) - selectors(large)[0].at(4)).mean()
    held = 0
    for seed in range(100, 130):
        draws = Draws(*_law(seed, M))
        one = gaps(draws, selectors(draws), seed=seed).gaps.selection
        held += one.low <= truth <= one.high
    assert held >= 25  # of 30; fewer has a chance of .5 %


def _law(seed: int, problems: int) -> tuple[list[list[str]], list[list[bool]]]:
    generator = np.random.default_rng(seed)
    right = generator.random((problems, 4)) < generator.beta(1, 1, problems)[:, None]
    return np.where(right, "0", "1").tolist(), right.tolist()


def test_variants_of_a_problem_are_split_and_drawn_together() -> None:
    draws = drawn()
    clusters = [i // 4 for i in range(M)]
    halves = Halves(M, 0, clusters)
    assert halves.n_units == 26
    for half in halves.splits:
        assert all(len({bool(half[i]) for i in range(M) if clusters[i] == c}) == 1 for c in set(clusters))
    together = Draws(draws.keys, draws.correct, draws.tokens, clusters=clusters)
    wide, narrow = (gaps(one, selectors(one), seed=0).gaps.generation for one in (together, draws))
    assert wide.high - wide.low > narrow.high - narrow.low


def test_a_single_problem_works() -> None:
    draws = Draws([["1"]], [[True]])
    found = gaps(draws, selectors(draws), seed=0)
    assert found.gaps.selected.value == 1
    assert found.gaps.selected.low == pytest.approx(0.025)
    assert [one.what for one in purchases(draws, found).ranked] == ["a verifier", "more samples"]


def test_the_cheapest_way_is_near_the_best_selector_and_told_with_its_loss() -> None:
    draws = drawn()
    ways = replay(
        draws, [Agreement(s) for s in (0.5, 0.8)] + [FirstAccepted("tests")], 0, accepted={"tests": draws.right}
    )
    found = gaps(draws, selectors(draws, accepted={"tests": draws.right}), ways, seed=0).gaps
    assert found.cost.way == "generate(n=16, until=accepted(by='tests'), ahead=1) | first(by='tests')"
    assert found.cost.ratio.low > 1
    assert found.cost.paid == pytest.approx(np.sum(draws.tokens or 0) / M)
    assert found.cost.needed.value == pytest.approx(ways[-1].cost.mean())
    assert found.cost.loss.value == pytest.approx(0)
    assert found.cost.fixed_draws == pytest.approx(16, abs=1e-6)
    assert gaps(drawn(tokens=False), selectors(draws), seed=0).gaps.cost.unit == "samples"


def test_what_the_named_way_costs_is_its_own_cost() -> None:
    """Halves choose other ways than all problems do; what is printed beside a name is of that name alone."""
    draws = drawn()
    chosen = selectors(draws)
    found = gaps(draws, chosen, epsilon=0.05, seed=0).gaps.cost
    named = {way.name: way for one in chosen for way in one.ways(draws)}[found.way]
    assert 1 < named.samples[0] < N
    assert found.needed.value == pytest.approx(named.cost.mean())
    assert found.needed.low < found.needed.value < found.needed.high
    assert found.ratio.low == found.ratio.value == found.ratio.high == pytest.approx(N / named.samples[0])
    assert found.fixed_draws is None  # the way is itself a fixed number


def test_what_a_judge_asks_of_a_model_counts() -> None:
    draws = drawn()
    free, paid = (
        selectors(draws, scores={"judge": draws.right + 0.0}, asks=asks)[1].ways(draws)[-1].cost
        for asks in (None, {"judge": np.full(M, 7.0)})
    )
    assert (paid - free).tolist() == [7.0 * N] * M


def test_bad_input_of_gaps() -> None:
    draws = drawn()
    chosen = selectors(draws)
    with pytest.raises(Mistake, match="epsilon"):
        gaps(draws, chosen, epsilon=1.5, seed=0)
    with pytest.raises(Mistake, match="at least one selector"):
        gaps(draws, [], seed=0)
    with pytest.raises(Mistake, match="same 101 problems"):
        gaps(draws, chosen, [Way("short", np.ones(3), np.ones(3))], seed=0)
    with pytest.raises(Mistake, match="cost something"):
        gaps(draws, chosen, [Way("free", np.ones(M), np.zeros(M))], seed=0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_the_first_accepted_is_what_all_orders_give(pairs: list[tuple[bool, bool]]) -> None:
    right, accepted = (np.array([[pair[i] for pair in pairs]]) for i in (0, 1))
    ks = list(range(1, len(pairs) + 1))
    for k, exact in zip(ks, first_accepted_at_k(right, accepted, ks)[0], strict=True):
        tried = [next((r for r, a in order[:k] if a), order[0][0]) for order in permutations(pairs)]
        assert exact == pytest.approx(np.mean(tried))


@given(st.integers(1, 300))
def test_the_compared_numbers_of_draws(n: int) -> None:
    ks = cost_ks(n)
    assert list(ks) == sorted(set(ks))
    assert (ks[0], ks[-1]) == (1, n)
    assert max(1, n // 2) in ks


# --- purchases -------------------------------------------------------------------------------------------


def test_a_verifier_of_stated_errors_is_worth_what_simulation_says() -> None:
    """200,000 tries; four standard errors are .0045."""
    generator, n, right, c, s = np.random.default_rng(0), 7, 3, 0.8, 0.6
    truth = generator.permuted(np.tile([True] * right + [False] * (n - right), (200_000, 1)), axis=1)
    accepted = generator.random(truth.shape) < np.where(truth, c, 1 - s)
    place = np.where(accepted.any(axis=1), accepted.argmax(axis=1), 0)
    simulated = truth[np.arange(len(truth)), place].mean()
    assert verified_accuracy(n, [right], c, s)[0] == pytest.approx(simulated, abs=0.0045)


def test_the_worth_of_a_verifier_tends_to_its_ceiling() -> None:
    """c r / (c r + (1 - r)(1 - s)) for n without end."""
    n, r, c, s = 4000, 0.2, 0.7, 0.9
    exact = verified_accuracy(n, [round(r * n)], c, s)[0]
    assert exact == pytest.approx(c * r / (c * r + (1 - r) * (1 - s)), abs=2e-3)


def test_soundness_that_is_needed_is_enough_and_no_less_is() -> None:
    counts = drawn().right.sum(axis=1)
    target = counts.mean() / N + 0.1
    needed = soundness_needed(N, counts, 0.9, target)
    assert needed is not None
    assert verified_accuracy(N, counts, 0.9, needed).mean() >= target
    assert verified_accuracy(N, counts, 0.9, needed - 1e-6).mean() < target
    assert soundness_needed(N, counts, 0.9, 1.0) is None


def test_purchases_are_ranked_and_say_what_they_rest_on() -> None:
    draws = drawn()
    found = gaps(draws, selectors(draws), replay(draws, [Agreement(0.6)], 0), epsilon=0.02, seed=0)
    better = OtherModel("other", np.where(np.arange(M) < 90, 1.0, np.nan), np.ones(M), np.full(M, 100.0))
    told = Forecast("beta", "same problems", N, 10 * N, 0.97, 0.95, 0.99)
    bought = purchases(draws, found, models=[better], forecasts=[told])
    what = [one.what for one in bought.ranked]
    gains = [one.gain.value for one in bought.ranked if one.gain is not None and one.what != "stop earlier"]
    assert sorted(gains, reverse=True) == gains
    assert "another model: other" in what
    worth = bought.ranked[: what.index("stop earlier")]
    assert all(one.gain is not None and one.gain.value > 0.02 for one in worth)
    other = next(one for one in bought.ranked if one.what.startswith("another"))
    assert "90 problems" in other.sentence
    assert other.cost_factor == pytest.approx(100 / found.gaps.cost.paid)
    more = next(one for one in bought.ranked if one.what == "more samples")
    assert "forecast at 97.0 % [95.0, 99.0]" in more.sentence
    assert more.cost_factor == 2
    assert {one.completeness for one in bought.verifiers} == {0.8, 0.9, 1.0}


def test_the_gain_of_another_model_is_over_the_common_problems() -> None:
    draws = drawn()
    found = gaps(draws, selectors(draws), seed=0)
    known = np.arange(M) % 3 == 0
    right = np.where(known, 1.0, np.nan)
    (other,) = (one for one in purchases(draws, found, models=[OtherModel("x", right, known + 0.0, known + 1.0)]).ranked
                if one.what.startswith("another"))  # fmt: skip
    assert other.gain is not None
    assert other.gain.value == pytest.approx((1 - found.right[known]).mean())


def test_a_fixed_number_is_not_measured_against_a_fixed_number() -> None:
    draws = drawn()
    found = gaps(draws, selectors(draws), epsilon=0.05, seed=0)
    (saving,) = (one for one in purchases(draws, found).ranked if one.what == "stop earlier")
    assert "where a fixed number needs" not in saving.sentence
    assert "choosing so loses" in saving.sentence
    assert "on problems it was not chosen on" in saving.sentence


def test_where_nothing_drawn_is_right_nothing_is_to_be_spared() -> None:
    right = np.zeros((M, N), dtype=bool)
    draws = Draws(drawn().keys, right.tolist(), drawn().tokens)
    found = gaps(draws, selectors(draws), replay(draws, [Agreement(0.5)], 0), seed=0)
    assert found.gaps.cost.ratio.value > 1.02
    assert "stop earlier" not in [one.what for one in purchases(draws, found).ranked]


def test_points_are_never_minus_nothing() -> None:
    assert points(Estimate(-0.0001, -0.01, 0.01)) == "+0.0 points [-1.0, 1.0]"


# --- paired ----------------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_the_sign_test_is_the_exact_binomial(a: int, b: int) -> None:
    expected = binomtest(a, a + b).pvalue if a + b else 1.0
    assert sign_test(a, b) == pytest.approx(expected)


def test_the_sign_test_of_many_agrees_with_the_whole_numbers() -> None:
    assert sign_test(560, 441) == pytest.approx(binomtest(560, 1001).pvalue, rel=1e-9)


def test_runs_that_never_differ_exclude_little() -> None:
    found = paired([True] * 200, [True] * 200, seed=0)
    assert (found.a_only, found.b_only, found.p_value) == (0, 0, 1.0)
    assert found.floor == pytest.approx(0.0183, abs=1e-4)
    assert found.difference.high == pytest.approx(found.floor)
    with pytest.raises(Mistake, match="one value per problem"):
        paired([True], [True, False], seed=0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(values: list[float]) -> None:
    corrected = holm(values)
    assert all(new >= old and new <= 1 for new, old in zip(corrected, values, strict=True))
    order = sorted(range(len(values)), key=lambda i: values[i])
    assert [corrected[i] for i in order] == sorted(corrected)
    assert corrected[order[-1]] >= max(values)


def test_differences_of_coverage_are_paired() -> None:
    found = coverage_difference(8, [4, 0, 8], 4, [2, 0, 4], [1, 4], seed=0)
    assert found.difference[0].value == pytest.approx(0)
    assert found.difference[0].low >= DIFFERENCE[0]
    assert found.k == (1, 4)
    with pytest.raises(Mistake, match="k=8"):
        coverage_difference(8, [4], 4, [2], [8], seed=0)
    with pytest.raises(Mistake, match="same problems"):
        coverage_difference(8, [4], 4, [2, 1], [1], seed=0)
