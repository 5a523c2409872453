"""Rules on hand-made candidates and traces; their suite runs in test_conformance.py."""

from __future__ import annotations

from array import array

import pytest

from vervet.errors import MissingFigures, Mistake
from vervet.rules import Accepted, Agree, LowConfidence, Tokens
from vervet.types import Answer, Candidate, Candidates, Sample, Score, Stream, Trace


def voted(*keys: str | None) -> Candidates:
    row = Stream("m", "q")
    samples = [Sample(row.at(i), str(k), "eos", 10) for i, k in enumerate(keys)]
    answers = [None if k is None else Answer(k, k) for k in keys]
    return Candidates(tuple(Candidate(str(k), a, sample=s) for k, a, s in zip(keys, answers, samples, strict=True)))


def test_agree() -> None:
    rule = Agree(0.75, at_least=4)
    assert rule(voted("a", "a", "a")) is None, "three are too few"
    assert rule(voted("a", "a", "a", "b")) == "agree"
    assert rule(voted("a", "a", "b", "b")) is None
    assert rule(voted("a", "a", None, "a")) == "agree"
    assert rule(voted("a", "a", None, None)) is None, "no answer counts against"
    assert Agree(1.0, at_least=1)(voted(None)) is None


def test_accepted_sees_the_last_candidate() -> None:
    yes, no = Candidate("a", scores={"v": Score(1.0, True)}), Candidate("b", scores={"v": Score(0.0, False)})
    rule = Accepted("v")
    assert rule.needs == {"v"}
    assert rule(Candidates((no, yes))) == "accepted"
    assert rule(Candidates((no,))) is None
    assert rule(Candidates((Candidate("c"),))) is None
    assert rule(Candidates()) is None


def test_tokens_as_until_and_as_cut() -> None:
    rule = Tokens(25)
    assert rule(voted("a", "b")) is None
    assert rule(voted("a", "b", "c")) == "tokens"
    assert rule.fires_at(Trace(array("i", range(24)))) is None
    assert rule.fires_at(Trace(array("i", range(31)))) == 25


def test_low_confidence_needs_a_full_window() -> None:
    rule = LowConfidence(window=3, below=1.0)
    topk = array("f", [-0.5, -0.5, -2.0, -0.5, -0.25, -2.0])
    trace = Trace(array("i", range(6)), topk=topk)
    # means of three: 1.0, 1.0, .9167, .9167; the first below 1 ends at token 5
    assert rule.fires_at(trace) == 5
    assert rule.fires_at(trace.first(2)) is None
    with pytest.raises(MissingFigures, match="top-k mean"):
        rule.fires_at(Trace(array("i", [1, 2, 3])))


def test_joined_rules_stop_at_the_first_that_fires() -> None:
    rule = Agree(0.9) & Tokens(30) & Accepted("judge")
    assert rule(voted("a", "b", "c")) == "tokens"
    assert rule(voted("a", "a", "a", "a")) == "agree"
    assert rule(voted("a", "b")) is None
    assert rule.needs == {"judge"}
    assert len(rule.parts) == 3


@pytest.mark.parametrize(
    ("rule", "settings"),
    [(Agree, {"share": 0}), (Agree, {"share": 1.1}), (Agree, {"at_least": 0}), (Tokens, {"n": 0}),
     (LowConfidence, {"window": 0, "below": 1.0})],
)  # fmt: skip
def test_settings_out_of_range_are_refused(rule, settings: dict) -> None:
    with pytest.raises(Mistake, match=next(iter(settings))):
        rule(**settings)
