"""pass^k and G-Pass@k against enumeration, and coverage from counts against the published table."""

from __future__ import annotations

import csv
import doctest
import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.published import needs, published
from tests.test_scaling import COUNTS, PYTHIA
from vervet import select
from vervet.errors import Mistake
from vervet.scaling import counted, curves, intervals, passk, reliability
from vervet.scaling.counts import FIXED, Counts, Stopped
from vervet.scaling.draws import Draws

ANSWERS = "gpt35_last_letters_T0.7_answers.jsonl"


@pytest.mark.parametrize("module", [reliability, counted])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


# --- all of k, most of k ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 11), st.data())
def test_reliability_agrees_with_every_subset(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    share = data.draw(st.sampled_from([0.05, 0.25, 1 / 3, 0.5, 0.55, 0.75, 7 / 9, 1.0]))
    found = [sum(subset) for subset in itertools.combinations([1] * c + [0] * (n - c), k)]
    assert reliability.all_at_k(n, [c], [k])[0, 0] == pytest.approx(np.mean([m == k for m in found]), abs=1e-12)
    least = min(m for m in range(1, k + 1) if m >= share * k - 1e-9)
    most = reliability.most_at_k(n, [c], [k], share)[0, 0]
    assert most == pytest.approx(np.mean([m >= least for m in found]), abs=1e-12)
    steps = [reliability.most_at_k(n, [c], [k], i / k)[0, 0] for i in range(math.ceil(k / 2) + 1, k + 1)]
    assert reliability.mean_most_at_k(n, [c], [k])[0, 0] == pytest.approx(2 / k * sum(steps), abs=1e-12)


def test_the_ends_of_the_share_are_all_and_at_least_one() -> None:
    c, ks = np.arange(98), [1, 2, 13, 97]
    assert reliability.most_at_k(97, c, ks, 1.0) == pytest.approx(reliability.all_at_k(97, c, ks), abs=1e-11)
    assert reliability.most_at_k(97, c, ks, 0.01) == pytest.approx(passk.pass_at_k(97, c, ks), abs=1e-11)


def test_a_share_that_is_a_whole_number_of_draws_is_not_rounded_up() -> None:
    assert 0.28 * 50 > 14
    fourteen = reliability.most_at_k(80, [22], [50], 0.28)[0, 0]
    assert fourteen == pytest.approx(reliability.most_at_k(80, [22], [50], 0.279)[0, 0], abs=1e-15)
    assert fourteen > reliability.most_at_k(80, [22], [50], 0.281)[0, 0]


def test_pass_to_the_k_stays_exact_where_binomials_overflow() -> None:
    exact = math.comb(9_990, 5_000) / math.comb(10_000, 5_000)
    assert reliability.all_at_k(10_000, [9_990], [5_000])[0, 0] == pytest.approx(exact, rel=1e-9)
    tail = sum(math.comb(7_000, j) * math.comb(3_000, 10 - j) for j in range(8, 11)) / math.comb(10_000, 10)
    assert reliability.most_at_k(10_000, [7_000], [10], 0.8)[0, 0] == pytest.approx(tail, rel=1e-8)


def test_the_variance_of_all_is_that_of_one_wrong() -> None:
    right = np.array([True] * 12 + [False] * 5)
    left_out = [reliability.all_at_k(16, [np.delete(right, i).sum()], [3])[0, 0] for i in range(17)]
    assert passk.pass_variance(17, [17 - 12], [3])[0, 0] == pytest.approx(16 * np.var(left_out))


@pytest.mark.parametrize("k", [0, -1, 8])
def test_k_beyond_the_draws_is_refused(k: int) -> None:
    for call in (
        lambda: reliability.all_at_k(7, [5], [k]),
        lambda: reliability.most_at_k(7, [5], [k], 0.5),
        lambda: reliability.mean_most_at_k(7, [5], [k]),
        lambda: counted.pass_at_k_of(Counts([7, 9], [5, 5], stopped=FIXED), [k]),
        lambda: counted.pass_variance_of(Counts([7, 9], [5, 5], stopped=FIXED), [k]),
        lambda: counted.coverage_curve(Counts([7, 9], [5, 5], stopped=FIXED), [k], seed=0),
    ):
        with pytest.raises(Mistake, match="between 1 and the 7 draws"):
            call()
    for share in (0.0, -0.5, 1.01, math.nan):
        with pytest.raises(Mistake, match="share"):
            reliability.most_at_k(7, [5], [2], share)
    with pytest.raises(Mistake, match="right draws"):
        reliability.all_at_k(7, [8], [1])


# --- counts with their own n --------------------------------------------------------------------------------


def test_every_problem_is_averaged_over_its_own_draws() -> None:
    counts = Counts([5, 11, 5, 23], [2, 0, 5, 7], stopped=FIXED)
    found, variance = counted.pass_at_k_of(counts, [1, 4]), counted.pass_variance_of(counts, [1, 5])
    for row, (n, c) in enumerate(zip(counts.n, counts.correct, strict=True)):
        assert found[row] == pytest.approx(passk.pass_at_k(int(n), [c], [1, 4])[0])
        assert variance[row] == pytest.approx(passk.pass_variance(int(n), [c], [1, 5])[0], nan_ok=True)
    assert np.isnan(variance[[0, 2], 1]).all()


def test_sets_of_unknown_or_adaptive_origin_are_refused() -> None:
    with pytest.raises(Mistake, match="nothing says why"):
        counted.pass_at_k_of(Counts([5, 7], [2, 2]), [1])
    with pytest.raises(Mistake, match="nothing says why"):
        counted.coverage_curve(Counts([5, 7], [2, 2]), seed=0)
    with pytest.raises(Mistake, match="path counting"):
        counted.pass_at_k_of(Counts([5, 60], [1, 0], stopped=Stopped(1, 60)), [1])


def test_a_curve_of_counts_is_the_curve_of_the_draws() -> None:
    right = np.random.default_rng(3).random((43, 29)) < np.random.default_rng(4).random((43, 1))
    table = Draws([["a"] * 29] * 43, [[bool(one) for one in row] for row in right])
    assert counted.coverage_curve(Counts([29] * 43, right.sum(axis=1)), seed=5) == curves.curves(table, seed=5)[0]


def test_a_curve_of_different_declared_numbers() -> None:
    counts = Counts([31] * 20 + [47] * 21, [3] * 41, stopped=FIXED)
    curve = counted.coverage_curve(counts, seed=0)
    assert curve.k == (1, 2, 5, 10, 20, 31)
    assert curve.n_draws == 31
    assert curve.value[0] == pytest.approx((20 * 3 / 31 + 21 * 3 / 47) / 41)
    assert [end is not None for end in curve.draws_low] == [4 * k <= 31 for k in curve.k]
    never = counted.coverage_curve(Counts([8] * 3 + [16] * 2, [0] * 5, stopped=FIXED), [1, 2], seed=0)
    assert never.draws_high == pytest.approx([intervals.exact_floor(56), intervals.exact_floor(28)])


@pytest.mark.parametrize("ks", [[], [2, 1], [2, 2]])
def test_ks_that_do_not_increase_are_refused(ks: list[int]) -> None:
    with pytest.raises(Mistake, match="increase"):
        counted.coverage_curve(Counts([7, 7], [1, 2]), ks, seed=0)


# --- published figures --------------------------------------------------------------------------------------


@needs(COUNTS)
def test_coverage_curves_of_pythia_on_math() -> None:
    counts: dict[str, list[int]] = {}
    with published(COUNTS).open(newline="") as file:
        for row in csv.DictReader(file):
            counts.setdefault(row["model"], []).append(int(row["c"]))
    for model, expected in PYTHIA.items():
        curve = counted.coverage_curve(Counts([10_000] * 128, counts[model], model), [1, 10, 100, 1000, 10_000], seed=0)
        assert tuple(round(value, 5) for value in curve.value) == expected, model
        assert all(low < value < high for low, value, high in zip(curve.low, curve.value, curve.high, strict=True))
        assert curve.draws_high[-1] is None
        again = [(low, high) for low, high in zip(curve.draws_low, curve.draws_high, strict=True) if low and high]
        assert all(low < value < high for (low, high), value in zip(again, curve.value, strict=False))


@needs(ANSWERS)
def test_self_consistency_and_pass_at_k_of_gpt35_on_last_letters() -> None:
    rows = [json.loads(line) for line in published(ANSWERS).read_text().splitlines()]
    assert {len(row["answers"]) for row in rows} == {40}
    right = [[answer == row["gold"] for answer in row["answers"]] for row in rows]
    expected = {1: 0.7860, 5: 0.8100, 10: 0.8120, 20: 0.8100, 40: 0.8160}
    for k, share in expected.items():  # in file order, first seen wins
        first = [select.plurality(list(map(str, row["answers"][:k])))[0] for row in rows]
        assert np.mean([right[i][place] for i, place in enumerate(first)]) == pytest.approx(share, abs=1e-9), k
        plain = [Counter(row["answers"][:k]).most_common(1)[0][0] == row["gold"] for row in rows]
        assert np.mean(plain) == pytest.approx(share, abs=1e-9)
    counts = Counts([40] * 500, [sum(row) for row in right])
    curve = counted.coverage_curve(counts, [1, 2, 5, 10, 20, 40], seed=0)
    assert curve.value == pytest.approx((0.78715, 0.82984, 0.86188, 0.88242, 0.90260, 0.92000), abs=5.1e-6)
