"""Laws of reasoning on variant families: published vectors, brute force, flat families."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vervet.errors import Mistake
from vervet.scaling import reasoning
from vervet.scaling.reasoning import Family, compositionality, log_accuracy, monotonicity, spearman


def test_doctests() -> None:
    assert doctest.testmod(reasoning).failed == 0


def test_vectors_of_lore() -> None:
    assert spearman([1, 2, 3, 4, 5], [100, 150, 140, 300, 400]) == pytest.approx(0.9)
    found = compositionality([500, 800, 300], [600, 700, 400], [0, 0, 0], seed=0)
    assert found is not None
    assert found.value == pytest.approx(0.176471, abs=1e-6)
    assert found.low <= found.value <= found.high


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=13))
def test_spearman_is_scipys_and_none_where_that_is_undefined(pairs: list[tuple[int, int]]) -> None:
    x, y = zip(*pairs, strict=True)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert spearman(x, y) is None
    else:
        assert spearman(x, y) == pytest.approx(float(stats.spearmanr(x, y).statistic))


def test_a_model_that_obeys_the_laws_has_correlations_of_one() -> None:
    """C = a k and A = exp(-l k) over k = 1 .. 17, in exact figures; half the draws of the last variants are none."""
    draws = 1_000_000
    obeying = [
        Family([scale * k for k in range(1, 18)], [round(draws * math.exp(-rate * k)) for k in range(1, 18)], draws)
        for scale, rate in ((70, 0.1), (31, 0.3), (11, 0.5))
    ]
    found = monotonicity(obeying, seed=0)
    assert found.compute is not None
    assert found.accuracy is not None
    assert (found.compute.value, found.accuracy.value) == (pytest.approx(1.0), pytest.approx(-1.0))
    assert found.compute.low < 1 and found.accuracy.high > -1  # three families prove little: the floor shows
    assert found.compute.unit == "new families"


def test_the_mean_is_over_families_and_flat_ones_are_counted() -> None:
    rising, falling = Family([1, 2, 3], [3, 2, 1], 4), Family([3, 2, 1], [4, 4, 4], 4)
    found = monotonicity([rising, falling, rising], seed=0)
    assert found.compute is not None
    assert found.accuracy is not None
    assert (found.compute.value, found.accuracy.value) == (pytest.approx(1 / 3), pytest.approx(-1.0))
    assert (found.n_families, found.n_flat_compute, found.n_flat_accuracy) == (3, 0, 1)
    flat = monotonicity([Family([5, 5], [0, 0], 2)], seed=0)
    assert (flat.compute, flat.accuracy, flat.n_flat_compute, flat.n_flat_accuracy) == (None, None, 1, 1)


def test_an_accuracy_of_zero_is_clipped_below_every_other() -> None:
    found = log_accuracy([0, 1, 8], 8)
    assert found.tolist() == pytest.approx([math.log(1 / 16), math.log(1 / 8), 0.0])


def test_composition_of_log_accuracies() -> None:
    """Independent questions multiply: nMAD 0; a model that loses half of the whole besides is log 2 off."""
    first, second = np.log([0.5, 0.8, 0.9]), np.log([0.7, 0.6, 0.3])
    exact = compositionality(first + second, first, second, seed=0)
    halved = compositionality(first + second - np.log(2), first, second, seed=0)
    assert exact is not None
    assert halved is not None
    assert exact.value == pytest.approx(0.0, abs=1e-12)
    assert halved.value == pytest.approx(3 * np.log(2) / -(first + second).sum())


def test_degenerate_input() -> None:
    assert compositionality([0.1, 0.0], [0.0, 0.0], [0.0, 0.0], seed=0) is None  # always right: log accuracy 0
    some = compositionality([1.0, 0.0], [1.0, 0.0], [0.0, 0.0], seed=0)
    assert some is not None and some.value == 0.0
    for tokens, right, draws in (
        ([1], [1], 1),
        ([1, 2], [1], 1),
        ([1, 2], [1, 3], 2),
        ([1, 2], [0, 0], 0),
        ([1, np.nan], [0, 0], 1),
    ):
        with pytest.raises(Mistake, match="expected"):
            Family(tokens, right, draws)
    with pytest.raises(Mistake, match="at least one family"):
        monotonicity([], seed=0)
    with pytest.raises(Mistake, match="three figures"):
        compositionality([1.0], [1.0, 2.0], [1.0], seed=0)
    with pytest.raises(Mistake, match="finite"):
        compositionality([-np.inf], [1.0], [1.0], seed=0)
    with pytest.raises(Mistake, match="both known"):
        spearman([1.0, np.nan], [1.0, 2.0])
