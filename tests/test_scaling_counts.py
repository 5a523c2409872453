"""Counts: which numbers of draws and right draws may be analysed, and what is refused with which reason."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling import counts, law
from vervet.scaling.counts import FIXED, Counts, Stopped
from vervet.scaling.law import Law, grid


@pytest.mark.parametrize("module", [counts, law])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_counts_know_their_problems() -> None:
    found = Counts([7, 7, 7], np.array([0.0, 3.0, 7.0]), "m", ["a", "b", "c"])
    assert (found.n_problems, found.least_n, found.common_n, found.adaptive) == (3, 7, 7, False)
    assert found.rates.tolist() == [0, 3 / 7, 1]
    assert (found.name, found.problems) == ("m", ("a", "b", "c"))
    assert (found.n.dtype, found.correct.dtype) == (np.int64, np.int64)
    assert Counts([2, 2], [1, 1]).problems == ("0", "1")


@pytest.mark.parametrize(
    ("n", "correct", "said"),
    [
        ([], [], "at least one problem"),
        ([3, 3], [1], "shapes"),
        ([[3]], [[1]], "shapes"),
        ([3], [4], "0 <= c <= n"),
        ([3], [-1], "0 <= c <= n"),
        ([0], [0], "1 <= n"),
        ([3], [1.5], "whole numbers"),
        ([3.5], [1], "whole numbers"),
        ([3], [float("nan")], "whole numbers"),
        ([float("inf")], [1], "whole numbers"),
        (["3"], [1], "whole numbers"),
    ],
)
def test_what_cannot_be_counts_is_refused(n: ArrayLike, correct: ArrayLike, said: str) -> None:
    with pytest.raises(Mistake, match=said):
        Counts(n, correct)


def test_ids_are_one_for_each_problem() -> None:
    with pytest.raises(Mistake, match="ids of 2 problems, got 3"):
        Counts([5, 5], [1, 2], problems=["a", "b", "c"])


def test_numbers_that_differ_without_a_reason_are_refused_with_both_ways_out() -> None:
    found = Counts([5, 11], [1, 2], "gpt")
    for refused in (found.expect_fixed, lambda: found.rates, lambda: found.common_n):
        with pytest.raises(Mistake, match=r"gpt: 5 to 11 draws.*fixed.*name the rule.*biased"):
            refused()


def test_numbers_that_were_fixed_may_differ_but_are_not_one() -> None:
    found = Counts([5, 11], [1, 2], stopped=FIXED)
    assert found.rates.tolist() == [1 / 5, 2 / 11]
    assert (found.least_n, found.adaptive) == (5, False)
    with pytest.raises(Mistake, match="one number of draws for every problem, got 5 to 11"):
        _ = found.common_n


def test_what_stopped_at_right_draws_has_no_rates() -> None:
    found = Counts([2, 60], [1, 0], stopped=Stopped(1, 60))
    assert found.adaptive
    for refused in (found.expect_fixed, lambda: found.rates, lambda: found.common_n):
        with pytest.raises(Mistake, match=r"until 1 right.*biased.*path counting"):
            refused()


@pytest.mark.parametrize(
    ("n", "correct", "rule", "fits"),
    [
        (7, 1, Stopped(1, 60), True),
        (60, 0, Stopped(1, 60), True),
        (60, 1, Stopped(1, 60), True),
        (7, 1, Stopped(1), True),
        (7, 0, Stopped(1, 60), False),  # it went on
        (7, 0, Stopped(1), False),
        (7, 2, Stopped(1, 60), False),  # it had stopped
        (61, 1, Stopped(1, 60), False),
        (60, 1, Stopped(2, 60), True),
        (59, 1, Stopped(2, 60), False),
    ],
)
def test_a_rule_must_be_able_to_lead_to_the_counts(n: int, correct: int, rule: Stopped, fits: bool) -> None:
    if fits:
        assert Counts([n], [correct], stopped=rule).n.tolist() == [n]
        return
    with pytest.raises(Mistake, match=f"problem p: {correct} right of {n} draws cannot come"):
        Counts(
            [3 if rule.successes == 1 else 60, n],
            [rule.successes - (rule.successes == 2), correct],
            "",
            ["o", "p"],
            rule,
        )


@pytest.mark.parametrize(("successes", "cap"), [(-1, None), (1, 0), (0, -3)])
def test_a_rule_has_sizes(successes: int, cap: int | None) -> None:
    with pytest.raises(Mistake, match="successes >= 0 and cap >= 1"):
        Stopped(successes, cap)


@given(st.integers(1, 20_000), st.integers(2, 60))
def test_a_grid_begins_at_one_ends_at_n_and_holds_each_once(n: int, points: int) -> None:
    found = grid(n, points)
    assert found[0] == 1
    assert len(found) <= points
    assert (np.diff(found) > 0).all()
    assert found[-1] == n


@pytest.mark.parametrize("n", [2, 10, 97, 100, 1000, 8192, 10_000])
def test_a_grid_ends_at_n_though_its_logarithm_is_rounded(n: int) -> None:
    assert grid(n)[-1] == n


def test_a_law_is_told_apart_by_what_was_fitted() -> None:
    one = Law("beta", {"alpha": 0.4}, lambda ks: np.ones(len(ks)))
    assert one == Law("beta", {"alpha": 0.4}, lambda ks: np.zeros(len(ks)), one.max_error)
    assert "lambda" not in repr(one)
