"""Replies read without a server: ends, reasoning, figures in every shape, and what is billed."""

from __future__ import annotations

import asyncio
import warnings
from array import array
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests.canned import choice, reply
from vervet.errors import MissingFigures
from vervet.models.endings import truncated
from vervet.models.http import Entry, HttpModel, SamplingWarning
from vervet.models.http.body import plan_of
from vervet.models.http.figures import Figures
from vervet.models.http.reading import read_whole
from vervet.models.http.replies import Growing
from vervet.models.http.usage import apportion
from vervet.rules import LowConfidence
from vervet.types import Bill, Delivery, Endings, Failure, Question, Request, Sample, Stream, Trace

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

QUESTION = Question(({"role": "user", "content": "2 + 2?"},))
SHORT = Endings(max_tokens=50)
N_PROMPT = 64 + 16 + 6


def read(
    data: Any,
    n: int = 1,
    endings: Endings = SHORT,
    model: HttpModel | None = None,
    **entry: Any,
) -> list[Delivery]:
    """What a reply's JSON brings."""
    model = model or HttpModel(Entry("tiny", "http://127.0.0.1:9/v1", **entry))
    request = Request(QUESTION, endings)
    plan = plan_of(model.entry, model.supports, request, Stream(model.name, "q"), range(n), None)
    return read_whole(model, request, plan, data)


def outcome_of(found: dict[str, Any], endings: Endings = SHORT, **entry: Any) -> Any:
    return read(reply([found], {"prompt_tokens": 7, "completion_tokens": 20}), endings=endings, **entry)[0].outcome


def chat_figures(tokens: list[Any], top: int = 1) -> dict[str, Any]:
    rows = [{"token": t, "logprob": -0.5, "bytes": list(t.encode())} if isinstance(t, str) else t for t in tokens]
    others = [{"token": "x", "logprob": -1.5 - j} for j in range(top - 1)]
    return {
        "content": [{**row, "top_logprobs": [{"logprob": row["logprob"]}, *others]} for row in rows],
        "refusal": None,
    }


# --- ends ----------------------------------------------------------------------------------------------

STOPS = Endings(max_tokens=50, stop=("\n\n", "END"))


@pytest.mark.parametrize(
    ("endings", "more", "ended"),
    [
        (Endings(max_tokens=50), {}, "eos"),
        (Endings(max_tokens=50), {"finish_reason": "length"}, "length"),
        (Endings(max_tokens=50), {"finish_reason": "tool_calls"}, "eos"),
        (Endings(max_tokens=50), {"finish_reason": "eos_token"}, "eos"),
        (STOPS, {"stop_reason": "END"}, "stop:END"),
        (STOPS, {"stop_reason": None}, "eos"),
        (STOPS, {"stop_reason": 151643}, "eos"),
        (STOPS, {"matched_stop": "\n\n"}, "stop:\n\n"),
        (STOPS, {"matched_stop": 2}, "eos"),
        (STOPS, {}, "stop:?"),
        (STOPS, {"finish_reason": "stop_sequence"}, "stop:?"),
        (STOPS, {"logprobs": chat_figures(["fo", "ur", "END"])}, "stop:END"),
    ],
)  # fmt: skip
def test_how_a_sample_ended(endings: Endings, more: dict[str, Any], ended: str) -> None:
    sample = outcome_of({**choice(), **more}, endings)
    assert (sample.text, sample.ended) == ("four", ended)


def test_a_model_that_continues_must_know_its_stops() -> None:
    found = outcome_of(choice(), STOPS, continuation="final-message")
    assert isinstance(found, Failure)
    assert found.kind == "fatal"
    assert "remove continuation" in found.reason
    assert outcome_of(choice(), continuation="final-message").ended == "eos"


def test_a_refusal_is_an_end_of_its_own() -> None:
    message = {"role": "assistant", "content": None, "refusal": "I would rather not."}
    sample = outcome_of({"index": 0, "message": message, "finish_reason": "stop"})
    assert (sample.text, sample.ended, sample.n_tokens) == ("I would rather not.", "refused", 20)


# --- text and reasoning --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "reasoning", "text"),
    [
        ({"content": "four", "reasoning_content": "hm"}, "hm", "four"),
        ({"content": "four", "reasoning": "hm"}, "hm", "four"),
        ({"content": "<think>hm</think>\nfour"}, "hm", "\nfour"),
        ({"content": "\n<think>\nhm"}, "\nhm", ""),
        ({"content": "I <think> so"}, "", "I <think> so"),
        ({"content": None, "reasoning_content": "hm"}, "hm", ""),
        ({"content": [{"type": "text", "text": "fo"}, {"type": "text", "text": "ur"}, {"type": "x"}]}, "", "four"),
        ({"content": "", "reasoning_content": None}, "", ""),
        ({}, "", ""),
    ],
)  # fmt: skip
def test_reasoning_is_kept_apart(message: dict[str, Any], reasoning: str, text: str) -> None:
    sample = outcome_of({"index": 0, "message": message, "finish_reason": "stop"})
    assert (sample.reasoning, sample.text) == (reasoning, text)


def test_tool_calls_are_kept_whole() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}, {"id": "2"}]
    sample = outcome_of({"index": 0, "message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"})
    assert sample.tool_calls == tuple(calls)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [(["it is four"], " four"), (["it", " i", "s fo", "ur"], " four"), (["it is", " four"], " four"), (["it is"], ""),
     (["it was"], None), (["it", " was"], None), (["four"], None), (["it"], None)],
)  # fmt: skip
def test_what_a_server_repeats_is_no_part_of_the_new_text(pieces: list[str], text: str | None) -> None:
    model = HttpModel(Entry("tiny", "http://127.0.0.1:9/v1", continuation="echo"))
    known = Sample(Stream(model.name, "q").at(0), "it is", "length", 2)
    plan = plan_of(model.entry, model.supports, Request(QUESTION, SHORT), known.address.stream, [0], known)
    assert plan.body["messages"][-1] == {"role": "assistant", "content": "it is"}
    grown = Growing(plan)
    for piece in pieces:
        grown.add({"index": 0, "message": {"content": piece}})
    grown.add({"index": 0, "message": {"content": ""}, "finish_reason": "stop"})
    found = grown.sample(0, 3, 7)
    if text is None:
        assert isinstance(found, Failure)
        assert "echo" in found.reason
    else:
        assert isinstance(found, Sample)
        assert (found.text, found.n_tokens) == ("it is" + text, 5)


def test_a_cut_rule_sees_what_was_known_too() -> None:
    model = HttpModel(Entry("tiny", "http://127.0.0.1:9/v1", continuation="echo", stops_on_close=True))
    cut = Endings(max_tokens=50, cut=LowConfidence(3, 9.0))
    trace = Trace(array("i", [-1, -1]), None, array("f", [-1, -1]), array("f", [-1, -1]), None, 1)
    known = Sample(Stream(model.name, "q").at(0), "it is", "length", 2, 7, trace=trace)
    plan = plan_of(model.entry, model.supports, Request(QUESTION, cut), known.address.stream, [0], known)
    assert plan.body["top_logprobs"] == 1
    grown = Growing(plan)
    for token in (" four", " or", " so"):  # pieces of a stream repeat nothing
        grown.add({"index": 0, "delta": {"content": token}, "logprobs": chat_figures([token])})
    assert grown.check_cut()
    sample = grown.sample(0, 3, 7)
    assert isinstance(sample, Sample)
    assert (sample.text, sample.ended, sample.n_tokens) == ("it is four", "cut:low_confidence", 3)
    assert sample.trace is not None
    assert len(sample.trace) == 3
    with pytest.raises(MissingFigures, match="no figures"):
        plan_of(
            model.entry, model.supports, Request(QUESTION, cut), known.address.stream, [0], replace(known, trace=None)
        )


# --- figures -------------------------------------------------------------------------------------------

WITH_FIGURES = Endings(max_tokens=50, logprobs=3)


def test_figures_in_the_shape_of_chat() -> None:
    tokens: list[Any] = ["fo", {"token": "token_id:17", "logprob": -0.25, "bytes": list(b"ur")}]
    tokens.append({"token": "!", "logprob": -0.5, "id": 5})
    trace = outcome_of(choice("four!", logprobs=chat_figures(tokens, 3)), WITH_FIGURES).trace
    assert trace.ids == array("i", [-1, 17, 5])
    assert trace.ends == array("i", [2, 4, 5])
    assert trace.logprob == array("f", [-0.5, -0.25, -0.5])
    assert trace.topk == array("f", [-1.5, -1.4169921875, -1.5])  # (-0.25 - 1.5 - 2.5) / 3 in half precision
    assert (trace.k, trace.entropy, trace.source) == (3, None, "raw")


def test_figures_in_the_shape_of_completions() -> None:
    figures = {
        "tokens": ["fo", "token_id:17", "!"], "token_logprobs": [-0.5, -0.25, -0.5], "text_offset": [10, 12, 14],
        "top_logprobs": [{"fo": -0.5, "x": -1.5}, {"ur": -0.25, "x": -1.75}, {"!": -0.5, "x": -1.5}],
    }  # fmt: skip
    found = {"index": 0, "text": "four!", "finish_reason": "stop", "logprobs": figures}
    trace = outcome_of(found, WITH_FIGURES, api="completions").trace
    assert (trace.ids, trace.ends) == (array("i", [-1, 17, -1]), array("i", [2, 4, 5]))
    assert (trace.logprob, trace.topk, trace.k) == (array("f", [-0.5, -0.25, -0.5]), array("f", [-1, -1, -1]), 2)
    short = {**figures, "text_offset": None, "top_logprobs": None}
    trace = outcome_of({**found, "logprobs": short}, WITH_FIGURES, api="completions").trace
    assert (trace.ends, trace.topk, len(trace)) == (None, None, 3)


@pytest.mark.parametrize("bad", [None, float("nan"), "x", True, float("-inf")])
def test_a_figure_that_is_none_costs_its_column_alone(bad: Any) -> None:
    tokens: list[Any] = ["fo", {"token": "ur", "logprob": bad}]
    trace = outcome_of(choice(logprobs=chat_figures(tokens, 2)), WITH_FIGURES).trace
    assert trace.logprob is None
    assert trace.topk == array("f", [-1.0, -1.5])
    assert trace.ends == array("i", [2, 4])


def test_minus_infinity_is_no_part_of_a_mean() -> None:
    figures = chat_figures(["four"], 1)
    figures["content"][0]["top_logprobs"] += [{"logprob": -9999.0}, {"logprob": -99999.0}, {"logprob": None}]
    figures["content"][0]["logprob"] = -9999.0
    trace = outcome_of(choice(logprobs=figures), WITH_FIGURES).trace
    assert (trace.topk, trace.k) == (array("f", [-0.5]), 1)
    assert trace.logprob == array("f", [-10000.0])  # in half precision


@pytest.mark.parametrize(
    "figures",
    [None, [], "x", {}, {"content": None}, {"content": []}, {"content": [None, 3]}, {"tokens": None}, {"tokens": []}],
)
def test_figures_that_are_none(figures: Any) -> None:
    with pytest.warns(SamplingWarning, match="sent none"):
        sample = outcome_of(choice(logprobs=figures), WITH_FIGURES)
    assert sample.trace is None


@pytest.mark.parametrize(
    ("tokens", "text", "beyond", "ends"),
    [
        (["fo", "ur"], "four", False, [2, 4]),
        ([" fo", "ur"], "four", False, [2, 4]),
        (["fo", "ur", "<|im_end|>"], "four", False, [2, 4, 4]),
        (["fo", "ur.", "\n\n"], "four", True, [2, 5, 7]),
        (["fo", "urEN", "D"], "four", True, [2, 6, 7]),
        (["<think>", "hm", "</think>", "\n\n", "four"], "hmfour", False, [0, 2, 2, 2, 6]),
        (["<think>", "\nhm", "\n</think>", "four"], "hmfour", False, [0, 2, 2, 6]),
        (["h\ufffd", "\ufffd", "\ufffdo", " you"], "h\u00e9llo you", False, None),
        (["h", "\ufffd", "\ufffd", "llo"], "h\U0001f98allo", False, [1, 2, 2, 5]),
        (["h", "\ufffd", "\ufffd"], "h\U0001f98a", False, [1, 1, 2]),
        (["fi", "ve"], "four", False, None),
        (["fo", None], "four", False, None),
        (["", "fo", "", "ur", ""], "four", False, [0, 2, 2, 4, 4]),
        ([], "", False, []),
    ],
)  # fmt: skip
def test_where_tokens_end(tokens: list[str | None], text: str, beyond: bool, ends: list[int] | None) -> None:
    figures = Figures(0)
    figures.pieces = list(tokens)
    found = figures.ends(text, beyond)
    assert (None if found is None else list(found)) == ends


@hypothesis.given(st.text(max_size=20), st.lists(st.integers(1, 80), max_size=12))
def test_tokens_that_split_characters_still_spell_the_text(text: str, cuts: list[int]) -> None:
    data = text.encode()
    at = [0, *sorted({c for c in cuts if c < len(data)}), len(data)]
    tokens = [{"token": "?", "logprob": -0.5, "bytes": list(data[a:b])} for a, b in pairwise(at)]
    figures = Figures(0)
    for token in tokens:
        figures.add({"content": [token]})
    assert "".join(piece or "" for piece in figures.pieces) == text
    ends = figures.ends(text, beyond=False)
    assert ends is not None
    assert list(ends) == [len(data[:b].decode("utf-8", "ignore")) for b in at[1:]]


@pytest.mark.parametrize(
    ("more", "tokens", "known"),
    [({}, ["fo", "ur"], True), ({}, ["fo", "ur", "!"], True), ({}, ["four"], False),
     ({"finish_reason": "length"}, ["fo", "ur", ""], True), ({"finish_reason": "length"}, ["fo", "ur"], False),
     ({"stop_reason": "END"}, ["fo", "ur", "END"], True), ({"stop_reason": "END"}, ["fo", "ur", ""], False)],
)  # fmt: skip
def test_a_sample_is_truncated_only_by_figures_that_reach_over_it(more: Any, tokens: list[str], known: bool) -> None:
    endings = Endings(max_tokens=50, logprobs=1, stop=("END",) if "stop_reason" in more else ())
    found = reply([{**choice(logprobs=chat_figures(tokens)), **more}], {"prompt_tokens": 7, "completion_tokens": 3})
    sample = read(found, endings=endings, continuation="final-message")[0].outcome
    assert (sample.trace.ends is not None) is known
    shown = truncated(sample, replace(endings, max_tokens=3))
    assert shown is not None
    assert (shown.text, shown.ended) == (sample.text, sample.ended)


# --- usage ---------------------------------------------------------------------------------------------


def billed(usage: Any, choices: Any = None, **options: Any) -> list[Bill]:
    choices = choices or [choice()]
    return [d.bill for d in read(reply(choices, usage), len(choices), **options)]


@pytest.mark.parametrize(
    ("usage", "bill"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 5}, Bill(7, 5)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": None}, Bill(7, 5)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}, Bill(7, 5, 4)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2},
         Bill(7, 5, 3, 2)),
        ({"prompt_tokens": 2, "completion_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2},
         Bill(7, 5, 3, 2)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 4}},
         Bill(7, 5, reasoning_tokens=4)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": "4"}}, Bill(7, 5)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 99}}, Bill(7, 5, 7)),
    ],
)  # fmt: skip
def test_usage_that_can_be_true(usage: Any, bill: Bill) -> None:
    assert billed(usage) == [bill]


WRONG = [
    {"prompt_tokens": -1, "completion_tokens": 5}, {"prompt_tokens": 7, "completion_tokens": -5}, {"prompt_tokens": 7},
    {"prompt_tokens": 7, "completion_tokens": 0}, {"prompt_tokens": 7, "completion_tokens": 51},
    {"prompt_tokens": 7.5, "completion_tokens": 5}, {"prompt_tokens": 7, "completion_tokens": "5"}, "none", [3],
    {"prompt_tokens": True, "completion_tokens": 5}, {},
]  # fmt: skip


@pytest.mark.parametrize("usage", WRONG)
def test_usage_that_cannot_be_true_is_told_once_and_the_bound_is_booked(usage: Any) -> None:
    model = HttpModel(Entry("tiny", "http://127.0.0.1:9/v1"))
    with pytest.warns(SamplingWarning, match="usage cannot be true"):
        bills = billed(usage, model=model)
    assert bills == [Bill(unsettled_tokens=N_PROMPT + 50)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert billed(usage, model=model) == bills


def test_without_usage_the_figures_count_else_the_bound_is_booked() -> None:
    assert billed(None) == [Bill(unsettled_tokens=N_PROMPT + 50)]
    figured = choice(logprobs=chat_figures(["fo", "ur"]))
    bills = billed(None, [figured, choice(index=1, finish="length", logprobs=chat_figures(["fo", "ur"]))])
    assert bills == [Bill(0, 2, unsettled_tokens=N_PROMPT + 1), Bill(0, 2)]
    (sample,) = [d.outcome for d in read(reply([choice()], None))]
    assert sample.n_tokens == 5, "no text has more tokens than bytes, and an end"
    (sample,) = [d.outcome for d in read(reply([choice(finish="length")], None))]
    assert sample.n_tokens == 50


@pytest.mark.parametrize("timed", [True, False])
def test_usage_of_one_sample_of_several_is_recognised(timed: bool) -> None:
    model = HttpModel(Entry("tiny", "http://127.0.0.1:9/v1"))
    figures = {} if timed else {"logprobs": chat_figures(["fo", "ur"])}
    data = reply([choice(index=i, **figures) for i in range(3)], {"prompt_tokens": 7, "completion_tokens": 3})
    data |= {"timings": {"predicted_n": 3}} if timed else {}
    bills = [d.bill for d in read(data, 3, model=model)]
    assert model.supports.n == 1
    rest = Bill(unsettled_tokens=50) if timed else Bill(completion_tokens=2, unsettled_tokens=1)
    assert bills == [Bill(7, 3), rest, rest]


def test_usage_of_several_samples_is_shared_out() -> None:
    texts = [choice("a" * 10), choice("a" * 20, index=1), choice("", index=2), choice("a" * 30, index=3)]
    bills = billed({"prompt_tokens": 7, "completion_tokens": 61}, texts)
    assert [b.completion_tokens for b in bills] == [10, 20, 1, 30]
    assert [b.prompt_tokens for b in bills] == [7, 0, 0, 0]
    figured = [choice(index=i, logprobs=chat_figures(["fo", "ur"])) for i in range(3)]
    figured[1]["finish_reason"] = "length"
    bills = billed({"prompt_tokens": 7, "completion_tokens": 8}, figured)
    assert [b.completion_tokens for b in bills] == [3, 2, 3]


@hypothesis.given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 50)), min_size=1, max_size=9), st.data())
def test_shares_add_up_and_keep_their_bounds(rows: list[tuple[int, int]], data: Any) -> None:
    weights, most = zip(*rows, strict=True)
    total = data.draw(st.integers(0, sum(most)))
    shares = apportion(total, weights, most)
    assert sum(shares) == total
    assert all(0 <= share <= m for share, m in zip(shares, most, strict=True))


KEYS = st.sampled_from(
    ["choices", "message", "delta", "text", "content", "tool_calls", "function", "arguments", "name", "index", "finish_reason",
     "stop_reason", "logprobs", "token", "tokens", "logprob", "bytes", "top_logprobs", "token_logprobs", "text_offset",
     "reasoning", "refusal", "usage", "prompt_tokens", "completion_tokens", "error", "code", "type", "model", "id"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@hypothesis.given(st.lists(st.dictionaries(KEYS, JSON, max_size=8), min_size=1, max_size=3), JSON)
@pytest.mark.filterwarnings("ignore::vervet.models.http.SamplingWarning")
def test_no_reply_is_too_strange(choices: list[Any], usage: Any) -> None:
    found = read({"choices": choices, "usage": usage}, 2, WITH_FIGURES)
    assert {d.index for d in found} <= {0, 1}
    assert all(isinstance(d.outcome, (Sample, Failure)) and d.bill.tokens >= 0 for d in found)


def test_a_bill_is_the_servers_word_whatever_the_texts_are() -> None:
    async def ask() -> None:
        from vervet.testing import Script, ScriptedServer

        script = Script(wrong_usage=0.2, no_usage=0.2, drop_logprobs=0.3, seed=1)
        async with ScriptedServer("length", script) as server:
            model = HttpModel(Entry("tiny", server.url, n=3))
            bill = Bill()
            for i in range(0, 60, 3):
                async with model.draw(
                    Request(QUESTION, WITH_FIGURES), Stream(model.name, "q"), range(i, i + 3)
                ) as call:
                    bill = sum([d.bill async for d in call], bill)
            await model.close()
            assert server.log.tokens + server.log.prompt_tokens <= bill.tokens

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        asyncio.run(ask())
