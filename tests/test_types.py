"""Addresses, questions, traces, bills: identity and derivation."""

from __future__ import annotations

import dataclasses
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vervet import types
from vervet.types import (
    Address,
    Bill,
    Candidate,
    Candidates,
    Endings,
    Question,
    Sample,
    Stream,
    Trace,
    canonical_json,
    digest,
    text_digest,
)

ASKED = ({"role": "user", "content": "2 + 2?"},)
json_data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), json_data, max_size=5))
def test_a_digest_does_not_depend_on_the_order_of_names(data: dict[str, object]) -> None:
    assert digest(data) == digest(dict(reversed(list(data.items()))))


def test_the_digest_of_a_question_is_what_it_was() -> None:
    """A change of this value throws recorded samples away."""
    assert Question(ASKED).digest == digest({"messages": [dict(ASKED[0])]})
    assert Question(ASKED, temperature=1.0, top_p=0.9).digest == digest(
        {"messages": [dict(ASKED[0])], "temperature": 1.0, "top_p": 0.9}
    )
    assert Question(ASKED).digest == "f6d91d15e7242ff3b37b317214ae6961"


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Question) if f.name != "messages"])
def test_every_field_that_is_set_is_part_of_the_identity(field: str) -> None:
    value: object = {"tools": ({"name": "f"},), "response_format": {"type": "json"}}.get(field, 1)
    assert dataclasses.replace(Question(ASKED), **{field: value}).digest != Question(ASKED).digest


def test_an_address_seeds_its_sample_and_no_other() -> None:
    stream = Stream("m@1", "q", 0, "")
    neighbours = [
        stream.at(0), stream.at(1), dataclasses.replace(stream, replicate=1).at(0),
        dataclasses.replace(stream, scope="a").at(0), dataclasses.replace(stream, model="m@2").at(0),
        dataclasses.replace(stream, question="r").at(0),
    ]  # fmt: skip
    assert len({a.seed for a in neighbours}) == len(neighbours)
    assert all(0 <= a.seed < 2**64 for a in neighbours)


def test_the_seed_of_an_address_is_what_it_was() -> None:
    """A change of this value makes every stored sample of a local model impossible to follow."""
    assert Address(Stream("embedded@0", "9f", 2, "a;occurrence=2"), 7).seed == 7139054303235109074


def test_endings_say_only_what_can_change_the_end() -> None:
    assert Endings().data == {}
    assert Endings(max_tokens=7, stop=("x",), logprobs=5).data == {"max_tokens": 7, "stop": ["x"]}


def test_a_shorter_trace_has_every_column_shorter() -> None:
    trace = Trace(
        array("i", [5, 6, 7]), array("i", [1, 2, 3]), array("f", [-1, -2, -3]), None, array("f", [0, 1, 2]), k=3
    )
    short = trace.first(2)
    assert (len(short), len(short.ends or ()), len(short.logprob or ()), short.topk, len(short.entropy or ())) == (
        2,
        2,
        2,
        None,
        2,
    )
    assert short != trace
    assert trace.first(3) == trace


@pytest.mark.parametrize(
    ("ended", "is_open"), [("eos", False), ("refused", False), ("length", True), ("stop:a", True), (None, True)]
)
def test_only_the_end_token_and_a_refusal_end_a_trajectory(ended: str | None, is_open: bool) -> None:
    assert Sample(Stream("m", "q").at(0), "a", ended).is_open == is_open


def test_bills_add_field_by_field() -> None:
    one, two = Bill(1, 2, 3, 4, 5, 6, 0.5), Bill(10, 20, 30, 40, 50, 60, 0.25)
    assert one + two == Bill(11, 22, 33, 44, 55, 66, 0.75)
    assert one.tokens == 1 + 2 + 6


def test_candidates_are_frozen_and_ordered() -> None:
    candidates = Candidates((Candidate("a"), Candidate("b"), Candidate("c")), notes={"tests": 3})
    assert [c.text for c in candidates.reorder([2, 0])] == ["c", "a"]
    assert candidates.reorder([2]).notes == {"tests": 3}
    with pytest.raises(dataclasses.FrozenInstanceError):
        candidates.items = ()  # type: ignore[misc]


def test_text_digests_fit_a_signed_column() -> None:
    assert all(-(2**63) <= text_digest(str(i)) < 2**63 for i in range(97))


def test_what_is_public_is_listed() -> None:
    assert set(types.__all__) == {n for n in vars(types) if not n.startswith("_") and n not in {
        "annotations", "asked", "drawn", "made", "plain", "protocols", "stored"}}  # fmt: skip


def test_canonical_json_refuses_what_has_no_spelling() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))
