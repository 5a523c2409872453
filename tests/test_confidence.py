"""Confidence figures against the vectors of the papers, and what is said where a figure is missing."""

from __future__ import annotations

import doctest
import math
from array import array
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vervet import confidence
from vervet.errors import MissingFigures, Mistake
from vervet.types import Trace


def confident(values: list[float]) -> Trace:
    return Trace(array("i", range(len(values))), topk=array("d", [-v for v in values]), k=20)


PAPER = confident([5, 4, 3, 2, 1, 6, 7, 8, 9, 10])
BARE = Trace(array("i", [1, 2, 3]))
EMPTY = Trace(array("i"), logprob=array("f"), topk=array("f"), entropy=array("f"))


def test_doctests() -> None:
    assert doctest.testmod(confidence).failed == 0


def test_vectors_of_deepconf() -> None:
    assert confidence.lowest_group(PAPER, 4) == 2.5
    assert confidence.bottom_groups(PAPER, 4) == 2.5
    assert confidence.bottom_groups(PAPER, 4, share=0.5) == 3.0
    assert confidence.mean_confidence(PAPER) == 5.5
    assert confidence.tail_confidence(PAPER, 3) == 9.0
    assert confidence.token_confidence(confident([2.2, 1.1])) == pytest.approx([2.2, 1.1])


def test_a_sample_shorter_than_the_window_is_one_group() -> None:
    assert confidence.lowest_group(PAPER) == confidence.tail_confidence(PAPER) == confidence.bottom_groups(PAPER) == 5.5


def test_perplexity_and_entropy() -> None:
    trace = Trace(
        array("i", [1, 2]), logprob=array("d", [math.log(0.5), math.log(0.125)]), entropy=array("d", [0.5, 1.5])
    )
    assert confidence.perplexity(trace) == pytest.approx(4.0)
    assert confidence.mean_entropy(trace) == 1.0


@given(st.lists(st.floats(0, 30), min_size=1, max_size=29), st.integers(1, 31))
def test_groups_agree_with_the_plain_window(values: list[float], window: int) -> None:
    width = min(window, len(values))
    plain = [float(np.mean(values[i : i + width])) for i in range(len(values) - width + 1)]
    assert confidence.group_means(values, window) == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize(
    ("figure", "column"),
    [
        (confidence.mean_logprob, "logprob"),
        (confidence.perplexity, "logprob"),
        (confidence.mean_entropy, "entropy"),
        *[(confidence.FIGURES[name], "topk") for name in confidence.FIGURES if name != "mean_logprob"],
    ],
)
def test_a_missing_column_is_named_and_an_empty_sample_has_none(
    figure: Callable[[Trace], float | None], column: str
) -> None:
    with pytest.raises(MissingFigures, match=f"'{column}'.*--replicate"):
        figure(BARE)
    assert figure(EMPTY) is None


def test_bad_windows_and_shares_are_refused() -> None:
    with pytest.raises(Mistake):
        confidence.lowest_group(PAPER, 0)
    with pytest.raises(Mistake):
        confidence.tail_confidence(PAPER, 0)
    with pytest.raises(Mistake):
        confidence.bottom_groups(PAPER, share=0)
