"""The guard warns where it should and, as its formula promises, nowhere else."""

from __future__ import annotations

import math
import random
import warnings
from array import array
from collections.abc import Sequence
from typing import Any

import pytest

from vervet.models.fake import FakeModel
from vervet.models.http.guard import Guard, SamplingWarning
from vervet.models.laws import Iid
from vervet.testing import problem_for
from vervet.types import Question, Request, Sample, Stream, Trace


def request(number: int = 0, **options: Any) -> Request:
    return Request(Question(problem_for(number).messages, **options))


def sample(text: str, logprob: float | None = None, n_tokens: int = 20, number: int = 0, **more: Any) -> Sample:
    """A sample of one text; ``logprob`` is that of each of its tokens."""
    columns = None if logprob is None else array("f", [logprob] * n_tokens)
    trace = Trace(array("i", [1] * n_tokens), logprob=columns)
    address = Stream("http/m", request(number).question.digest).at(0)
    return Sample(address, text, **{"ended": "eos", "n_tokens": n_tokens, "trace": trace, **more})


def heard(calls: Sequence[Sequence[Sample]], asked: Request | None = None, guard: Guard | None = None) -> list[str]:
    """The warnings while a guard sees the samples, call by call."""
    guard = guard or Guard()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for samples in calls:
            guard.see(asked or request(), samples, "fp_0")
    assert all(w.category is SamplingWarning for w in caught)
    return [str(w.message) for w in caught]


# --- equal answers -------------------------------------------------------------------------------------


def test_an_unlikely_pair_is_doubted_once_and_says_what_to_do() -> None:
    (message,) = heard([[sample("a", -1.0)], [sample("b", -1.0)], [sample("a", -1.0)], [sample("a", -1.0)] * 5])
    assert "expected 3 independent samples, but 2 of them are one text of 20 tokens" in message
    assert "below 1e-06" in message
    assert "caching gateway" in message
    assert "temperature" in message


@pytest.mark.parametrize("m", [2, 5, 100])
def test_a_pair_is_doubted_where_pairs_times_probability_is_below_one_in_a_million(m: int) -> None:
    edge = -math.log(1e-6) + math.log(math.comb(m, 2))
    others = [sample(f"other {i}", -50.0) for i in range(m - 2)]
    for total, n_warnings in ((-edge * 0.999, 0), (-edge * 1.001, 1)):
        pair = [sample("a", total / 20)] * 2
        assert len(heard([[*others, *pair]])) == n_warnings, (m, total)


def test_more_repeats_need_less_unlikely_texts() -> None:
    assert not heard([[sample("a", -0.3)] * 3]), "e^-6 for a pair, e^-12 for three"
    assert heard([[sample("a", -0.3)] * 4])
    assert not heard([[sample("yes", -0.01)] * 64]), "a text of probability .82"


def test_independent_samples_of_a_law_are_not_doubted() -> None:
    """Short texts of little freedom come often; the formula grants it."""
    rng, guard = random.Random(3), Guard()
    words, p = ("one", "two", "three", "four"), (0.7, 0.2, 0.09, 0.01)
    for number in range(300):
        drawn = []
        for _ in range(40):
            picked = rng.choices(range(4), p, k=3)
            logprobs = array("f", [math.log(p[i]) for i in picked])
            address = Stream("http/m", f"q{number}").at(0)
            text = " ".join(words[i] for i in picked)
            drawn.append(Sample(address, text, "eos", 3, trace=Trace(array("i", [0] * 3), logprob=logprobs)))
        assert not heard([drawn], guard=guard)
    model = FakeModel(Iid())
    row = Stream(model.name, request().question.digest)
    assert not heard([[model.trajectory(request().question, row.at(i)) for i in range(500)]])


def test_sampling_that_makes_texts_likelier_is_granted() -> None:
    pair = [[sample("a", -0.7)] * 2]  # e^-14 is below one in a million
    assert heard(pair)
    assert heard(pair, request(temperature=1.0))
    assert heard(pair, request(temperature=2.0))
    assert not heard(pair, request(temperature=0.5)), "figures are from before the temperature"
    assert not heard(pair, request(top_p=0.9)), "0.7 - 0.105 per token"
    scaled = Trace(array("i", [1] * 20), logprob=array("f", [-0.7] * 20), source="scaled")
    assert heard([[sample("a", trace=scaled)] * 2], request(temperature=0.5))


def test_without_logprobs_three_long_ones_must_all_be_equal() -> None:
    assert not heard([[sample("a")] * 2])
    assert not heard([[sample("a", n_tokens=19)] * 9])
    assert not heard([[sample("b")], [sample("a")] * 9])
    (message,) = heard([[sample("a")], [sample("a", trace=None)], [sample("a")], [sample("a")]])
    assert "expected 3 independent samples, but 3 of them" in message
    assert "no logprobs" in message


def test_reasoning_and_tool_calls_are_part_of_a_text() -> None:
    assert not heard([[sample("a", reasoning=str(i)) for i in range(5)]])
    assert not heard([[sample("", tool_calls=({"id": i},)) for i in range(5)]])
    assert heard([[sample("a", reasoning="so", tool_calls=({"id": 1},)) for _ in range(5)]])


def test_what_is_no_text_is_not_compared() -> None:
    refused = [sample("", ended="refused")] * 3
    begun = [sample("a", -9.0, ended=None)] * 3
    empty = [sample("", n_tokens=0)] * 3
    assert not heard([refused, begun, empty])


def test_each_question_is_warned_of_by_itself() -> None:
    guard = Guard()
    for number in range(3):
        assert len(heard([[sample("a", -1.0, number=number)] * 2], guard=guard)) == 1
        assert not heard([[sample("a", -1.0, number=number)] * 2], guard=guard)


def test_greedy_samples_are_equal_by_right_which_is_said_once() -> None:
    for options in ({"temperature": 0}, {"temperature": 0.0}, {"top_k": 1}):
        guard = Guard()
        assert not heard([[sample("a", -1.0)]], request(**options), guard)
        (message,) = heard([[sample("a", -1.0)]] * 3, request(**options), guard)
        assert "equal ones are what was asked for" in message
        assert not heard([[sample("a", -1.0, number=1)] * 3], request(**options), guard)


# --- a model that changes ------------------------------------------------------------------------------


def test_a_changed_revision_is_warned_of_once() -> None:
    guard = Guard()
    for revision in (None, "fp_0", "fp_0", None):
        guard.see(request(), [sample("a", n_tokens=2)], revision)
    guard.see(request(1), [sample("a", number=1)], "fp_1")  # another question, whose first it is
    with pytest.warns(SamplingWarning, match="'fp_0', which answered first, but 'fp_1'") as caught:
        guard.see(request(), [sample("b")], "fp_1")
    assert len(caught) == 1
    assert "Pin the revision in vervet.toml" in str(caught[0].message)
    guard.see(request(), [sample("c")], "fp_2")


# --- memory --------------------------------------------------------------------------------------------


def test_memory_is_bounded_and_the_oldest_go() -> None:
    guard = Guard()
    for number in range(10_100):
        address = Stream("http/m", f"q{number}").at(0)
        guard.see(request(), [Sample(address, "a", "eos", 1)], None)
    assert len(guard._rows) == 10_000
    assert ("http/m", "q99") not in guard._rows
    assert ("http/m", "q100") in guard._rows


def test_texts_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vervet.models.http.guard._MOST_TEXTS", 200)
    guard = Guard()
    for number in range(5):
        address = Stream("http/m", f"q{number % 3}").at(0)
        for start in range(0, 310, 31):
            drawn = [Sample(address, f"{number} {start + i}", "eos", 1) for i in range(31)]
            guard.see(request(), drawn, None)
            assert guard._n_texts == sum(len(row.texts) for row in guard._rows.values()) <= 231
    assert guard._rows
