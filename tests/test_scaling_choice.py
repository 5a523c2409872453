"""The choice of a law on counts whose law is known: it finds it where it can, and says so where it cannot."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from tests.published import needs, published
from tests.test_scaling_laws import COUNTS, ODD_SETS, pythia
from vervet.errors import Mistake
from vervet.scaling import choice
from vervet.scaling.choice import held_out, verdict
from vervet.scaling.counts import Counts, Stopped


def drawn(rates: np.ndarray[tuple[int], np.dtype[np.float64]], n: int) -> Counts:
    return Counts([n] * len(rates), np.random.default_rng(1).binomial(n, rates))


def generator() -> np.random.Generator:
    return np.random.default_rng(2)


def half_impossible(n_problems: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.where(np.arange(n_problems) % 2 == 0, 0.0, generator().beta(2, 3, n_problems))


def test_doctests() -> None:
    assert doctest.testmod(choice).failed == 0


def test_a_tail_is_a_power_law() -> None:
    found = verdict(drawn(np.random.default_rng(11).beta(0.3, 2, 199), 503), seed=0)
    assert found.power_law is True
    assert found.sentence.startswith("A power law (")
    assert set(found.close) & set(choice.POWER_LAWS)
    assert {each.name for each in found.curves} == {"loglog", "nls", "saturating"}
    assert all(each.up_to == 22 and each.max_error < 0.1 for each in found.curves)


def test_a_floor_is_no_power_law() -> None:
    found = verdict(drawn(generator().uniform(0.2, 0.9, 1009), 499), seed=0)
    assert found.power_law is False
    assert found.best == "floored beta"
    assert found.sentence.startswith("No power law: every problem was solved at least ")


def test_impossible_problems_bend_the_curve() -> None:
    found = verdict(drawn(half_impossible(200), 101), seed=0)
    assert found.power_law is False
    assert found.best == "saturating beta"
    assert found.sentence.startswith("The curve bends: a share u = 0.")


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        (generator().uniform(0.2, 0.9, 60), "No heavy tail: every problem was solved"),
        (generator().beta(3, 2, 200), "No heavy tail: every problem was solved"),
        (generator().beta(1.5, 3, 200), "The counts do not tell"),
    ],
)
def test_what_the_counts_cannot_say_is_not_said(rates: np.ndarray[tuple[int], np.dtype[np.float64]], says: str) -> None:
    found = verdict(drawn(rates, 100), seed=0)
    assert found.power_law is None
    assert found.sentence.startswith(says)


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        (ODD_SETS["nothing right"], "No draw of any problem was right"),
        (ODD_SETS["all right"], "Every draw of every problem was right"),
        (ODD_SETS["one problem"], "Too few problems"),
        (Counts([2] * 40, [0, 1] * 20), "Too few draws"),
    ],
)
def test_too_little_is_said(counts: Counts, says: str) -> None:
    found = verdict(counts, seed=0)
    assert found.power_law is None
    assert not found.best
    assert found.sentence.startswith(says)


@pytest.mark.parametrize(
    "counts",
    [
        Counts([100] * 40, [7] * 40),
        Counts([100] * 40, [0, 100] * 20),
        Counts([100] * 40, [0] * 39 + [3]),
        Counts([100] * 40, [100] * 39 + [3]),
        Counts([10] * 30, [0, 0, 1, 2, 10] * 6),
    ],
)
def test_odd_sets_give_a_verdict(counts: Counts) -> None:
    found = verdict(counts, seed=0)
    assert found.sentence.endswith(".")
    assert [row.name for row in found.table if not row.undefined][:1] == [found.best][: bool(found.best)]


def test_the_table_is_paired_and_ranked() -> None:
    counts = drawn(half_impossible(97), 53)
    table = held_out(counts, seed=3)
    assert str(table) == str(held_out(counts, seed=3))  # NaN where a law was undefined
    assert (table[0].name, table[0].behind, table[0].error) == ("saturating beta", 0.0, 0.0)
    fitted = [row for row in table if not row.undefined]
    assert [row.log_likelihood for row in fitted] == sorted((row.log_likelihood for row in fitted), reverse=True)
    assert all(row.behind == pytest.approx(table[0].log_likelihood - row.log_likelihood) for row in fitted)
    assert [row.name for row in table if row.undefined] == ["floored beta"]
    assert held_out(Counts([100] * 2, [3, 4]), seed=0)[0].log_likelihood < 0


def test_adaptive_draws_are_refused() -> None:
    with pytest.raises(Mistake, match="path counting"):
        verdict(Counts([3, 60], [1, 0], stopped=Stopped(successes=1, cap=60)), seed=0)


@needs(COUNTS)
@pytest.mark.parametrize("model", ["Pythia 70M", "Pythia 410M", "Pythia 12B"])
def test_published_counts_follow_a_power_law(model: str) -> None:
    assert published(COUNTS).is_file()
    assert verdict(pythia(model), seed=0).power_law is True
