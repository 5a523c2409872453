"""A model over HTTP: what is sent, what comes back, and draws through ``llm``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

import pytest

from tests.canned import canned, choice, http, reply
from vervet.errors import MissingFigures, Mistake, Unsupported
from vervet.models.http import TABLE, Entry, HttpModel, SamplingWarning
from vervet.models.http.body import count
from vervet.testing import MODEL_CHECKS, Script, ScriptedServer, llm_for
from vervet.types import Bill, Delivery, Endings, Failure, Question, Request, Sample, Stream

USER = {"role": "user", "content": "Which number is hidden behind door 1?"}
ASKED = Question((USER,))
SHORT = Endings(max_tokens=64)


async def draw(
    model: HttpModel, request: Request, indices: Sequence[int] = (0,), so_far: dict[int, Sample] | None = None
) -> list[Delivery]:
    """One call, and the end of its connections."""
    try:
        async with model.draw(request, Stream(model.name, "q"), indices, so_far) as call:
            return [delivery async for delivery in call]
    finally:
        await model.close()


def body_of(request: Request, n: int = 1, so_far: Sample | None = None, **entry: Any) -> dict[str, Any]:
    """The body that a server records."""

    async def ask() -> dict[str, Any]:
        content = {"choices": [{"index": i, "text": "x", "finish_reason": "stop"} for i in range(n)]}
        usage = {"prompt_tokens": 7, "completion_tokens": 5 * n}
        whole = reply([choice(index=i) for i in range(n)]) if entry.get("api") != "completions" else content
        async with canned(http(200, {**whole, "usage": usage})) as server:
            model = HttpModel(Entry("tiny", server.url, **entry))
            await draw(model, request, range(n), {0: so_far} if so_far else None)
            (body,) = server.bodies
            return body

    return asyncio.run(ask())


def sent(question: dict[str, Any] | None = None, endings: dict[str, Any] | None = None, **entry: Any) -> dict[str, Any]:
    """What is sent beyond the model, the messages or the prompt, and the seed."""
    request = Request(replace(ASKED, **(question or {})), Endings(**(endings or {})))
    body = body_of(request, **entry)
    body.pop("seed", None)
    assert body.pop("model") == "tiny"
    assert body.pop("messages", None) == [USER] or body.pop("prompt") == USER["content"]
    return body


# --- what is sent --------------------------------------------------------------------------------------

TOOLS = ({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},)
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
VALUES: dict[str, Any] = {
    "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "presence_penalty": -0.5, "frequency_penalty": 0.25,
    "tools": TOOLS, "response_format": FORMAT, "reasoning_effort": "low",
}  # fmt: skip


def test_the_table_has_a_row_for_every_field() -> None:
    assert [row.field for row in TABLE] == [f.name for kind in (Question, Endings) for f in fields(kind)]


def test_what_is_not_set_is_absent() -> None:
    assert sent() == {}
    assert sent(api="completions") == {}
    assert "seed" not in body_of(Request(ASKED), seed=False)


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("field", VALUES)
def test_a_field_of_the_question_is_sent_alone_or_refused(field: str, api: str) -> None:
    key = getattr(next(row for row in TABLE if row.field == field), api)
    if key is None:
        with pytest.raises(Unsupported, match=field):
            sent({field: VALUES[field]}, api=api)
    else:
        assert sent({field: VALUES[field]}, api=api) == {key: json.loads(json.dumps(VALUES[field]))}


@pytest.mark.filterwarnings("ignore:.*sent none")
def test_endings_are_sent() -> None:
    assert sent(endings={"max_tokens": 17}) == {"max_tokens": 17}
    assert sent(endings={"max_tokens": 17}, max_tokens_field="max_completion_tokens") == {"max_completion_tokens": 17}
    assert sent(endings={"stop": ("a", "\n\n")}) == {"stop": ["a", "\n\n"]}
    assert sent(endings={"logprobs": 3}) == {"logprobs": True, "top_logprobs": 3}
    assert sent(endings={"logprobs": 0}) == {"logprobs": True}
    assert sent(endings={"logprobs": 3}, api="completions") == {"logprobs": 3}
    assert sent(endings={"logprobs": 0}, api="completions") == {"logprobs": 1}


@pytest.mark.parametrize(
    ("question", "endings", "entry", "says"),
    [
        ({}, {"min_tokens": 3}, {}, "min_tokens=3"),
        ({}, {"logprobs": 21}, {}, "the most is 20"),
        ({}, {"logprobs": 6}, {"api": "completions"}, "the most is 5"),
        ({}, {"logprobs": 3}, {"logprobs": 2}, "the most is 2"),
        ({}, {"cut": object()}, {}, "vervet check-server"),
        ({"prefill": "So"}, {}, {}, "continuation"),
        ({"temperature": 0.5}, {}, {"reasoning": True}, "samples at 1"),
        ({}, {"max_tokens": 0}, {}, "at least 1"),
        ({}, {"stop": ("",)}, {}, "not be empty"),
        ({"messages": (USER, USER)}, {}, {"api": "completions"}, 'api = "chat"'),
        ({"messages": ({"role": "user", "content": [{"type": "text", "text": "?"}]},)}, {}, {"api": "completions"}, "parts"),
        ({"temperature": float("nan")}, {}, {}, "JSON"),
        ({"response_format": object()}, {}, {}, "JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused(question: Any, endings: Any, entry: Any, says: str) -> None:
    with pytest.raises(Mistake, match=says):
        sent(question, endings, **entry)


@pytest.mark.parametrize("temperature", [None, 1, 1.0])
def test_a_reasoning_model_is_sent_no_temperature(temperature: float | None) -> None:
    assert sent({"temperature": temperature}, reasoning=True) == {}


def test_messages_are_untouched() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5000}}
    messages = (
        {"role": "system", "content": "Be brief. \U0001f98a\ud800 ünï"},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "4"},
        MappingProxyType({"role": "user", "content": "And now?", "name": "Ann"}),
    )
    body = body_of(Request(replace(ASKED, messages=messages)))
    assert body["messages"] == [dict(m) for m in messages]
    assert 2_048 < count(Question(messages)) < 2_500, "an image counts as so many tokens, not as its bytes"


def test_large_bodies_go_out() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (1 << 20)}}
    messages = ({"role": "user", "content": [image]},)
    assert body_of(Request(Question(messages)))["messages"] == [dict(messages[0])]


def test_the_seed_is_that_of_the_first_index_and_moves_on_with_the_sample() -> None:
    async def seeds() -> list[int]:
        async with canned(http(200, reply([choice()]))) as server:
            model = HttpModel(Entry("tiny", server.url, continuation="final-message", revision="1"))
            for indices in ([0], [3], [3, 4]):
                await draw(model, Request(ASKED, SHORT), indices)
            known = Sample(Stream(model.name, "q").at(3), "fo", "length", 5)
            await draw(model, Request(ASKED, SHORT), [3], {3: known})
            return [body["seed"] for body in server.bodies]

    first, third, both, later = asyncio.run(seeds())
    row = Stream("tiny@1", "q")
    assert (first, third) == (row.at(0).seed & 0x7FFFFFFF, row.at(3).seed & 0x7FFFFFFF)
    assert both == third
    assert later == (row.at(3).seed + 5) & 0x7FFFFFFF


def test_n_is_sent_where_it_is_more_than_one() -> None:
    assert "n" not in body_of(Request(ASKED))
    assert body_of(Request(ASKED), n=3)["n"] == 3
    model = HttpModel(Entry("tiny", "http://127.0.0.1:9/v1", n=2))
    with pytest.raises(Unsupported, match="takes 2 samples"):
        asyncio.run(draw(model, Request(ASKED), range(3)))


# --- continuation --------------------------------------------------------------------------------------


def test_a_prefill_and_what_is_known_begin_the_reply() -> None:
    question, row = replace(ASKED, prefill="So "), Stream("tiny@1", "q")
    known = Sample(row.at(0), "it is", "stop:a", 5)
    resent = {"role": "assistant", "content": "So it isa"}
    chat = body_of(Request(question, SHORT), so_far=known, continuation="final-message")
    assert chat["messages"] == [USER, resent]
    assert (chat["continue_final_message"], chat["add_generation_prompt"], chat["max_tokens"]) == (True, False, 59)
    assert body_of(Request(question, SHORT), continuation="final-message")["messages"][-1]["content"] == "So "
    plain = body_of(Request(question, SHORT), so_far=known, api="completions", continuation="completions")
    assert (plain["prompt"], plain["max_tokens"]) == (USER["content"] + "So it isa", 59)
    assert body_of(Request(question, SHORT), api="completions")["prompt"] == USER["content"] + "So "
    thought = replace(known, text="", reasoning="hm", ended="length")
    assert body_of(Request(ASKED, SHORT), so_far=thought, api="completions", continuation="completions")[
        "prompt"
    ].endswith("<think>hm")


def test_without_continuation_what_is_known_is_drawn_anew() -> None:
    body = body_of(Request(ASKED, SHORT), so_far=Sample(Stream("tiny@1", "q").at(0), "it is", "length", 5))
    assert (body["messages"], body["max_tokens"]) == ([USER], 64)


def test_what_is_followed_is_joined_and_only_the_new_is_billed() -> None:
    async def follow(known: Sample, endings: Endings = SHORT, **more: Any) -> tuple[list[Delivery], list[Any]]:
        figures = {"content": [{"token": " four", "logprob": -0.5, "top_logprobs": [{"logprob": -0.5}]}]}
        answer = reply([choice(" four", logprobs=figures)], {"prompt_tokens": 11, "completion_tokens": 2}, **more)
        async with canned(http(200, answer)) as server:
            model = HttpModel(Entry("tiny", server.url, continuation="final-message", revision="1"))
            found = await draw(model, Request(ASKED, endings), [1, 0], {0: known})
            return found, server.bodies

    from array import array

    from vervet.types import Trace

    row = Stream("tiny@1", "q")
    trace = Trace(array("i", [-1, -1]), array("i", [2, 5]), array("f", [-1, -2]), array("f", [-1, -2]), None, 1)
    known = Sample(row.at(0), "it is", "length", 2, 7, trace=trace)
    found, bodies = asyncio.run(follow(known))
    assert [d.index for d in found] == [0], "one sample is followed, the others stay undelivered"
    assert (bodies[0]["logprobs"], bodies[0]["top_logprobs"]) == (True, 1)
    sample = found[0].outcome
    assert isinstance(sample, Sample)
    assert (sample.text, sample.n_tokens, sample.prompt_tokens, sample.ended) == ("it is four", 4, 7, "eos")
    assert sample.trace == Trace(
        array("i", [-1] * 3), array("i", [2, 5, 10]), array("f", [-1, -2, -0.5]), array("f", [-1, -2, -0.5]), None, 1
    )
    assert found[0].bill == Bill(11, 2)
    found, bodies = asyncio.run(follow(replace(known, trace=None)))
    assert "logprobs" not in bodies[0]
    assert found[0].outcome.trace is None
    found, bodies = asyncio.run(follow(known, Endings(max_tokens=1)))
    assert bodies == [], "enough is known"
    assert (found[0].outcome.text, found[0].bill) == ("it", Bill())
    with pytest.raises(MissingFigures, match="truncated to 1"):
        asyncio.run(follow(replace(known, trace=None), Endings(max_tokens=1)))
    with pytest.raises(Unsupported, match="which stop"):
        asyncio.run(follow(replace(known, ended="stop:?", trace=None)))
    with pytest.raises(Unsupported, match="reasoning"):
        asyncio.run(follow(replace(known, reasoning="hm", trace=None)))


def test_a_sample_that_no_context_has_room_for_is_refused() -> None:
    async def follow() -> list[Delivery]:
        answer = reply([choice("", "length")], {"prompt_tokens": 11, "completion_tokens": 0})
        async with canned(http(200, answer)) as server:
            model = HttpModel(Entry("tiny", server.url, continuation="final-message", revision="1"))
            known = Sample(Stream(model.name, "q").at(0), "it is", "length", 2)
            return await draw(model, Request(ASKED, SHORT), [0], {0: known})

    outcome = asyncio.run(follow())[0].outcome
    assert isinstance(outcome, Failure)
    assert (outcome.kind, "context" in outcome.reason) == ("refused", True)


# --- n -------------------------------------------------------------------------------------------------


def test_a_server_that_brings_fewer_is_learned_and_the_rest_asked_for() -> None:
    async def ask() -> None:
        async with ScriptedServer("iid", Script(ignore_n=1.0)) as server:
            model = HttpModel(Entry("tiny", server.url, n=8))
            llm = llm_for(model)
            drawn = await llm.draw(llm.ask("answer", llm.problem, max_tokens=64).request, 8)
            assert len(drawn) == 8
            assert model.supports.n == 1
            assert [body.get("n", 1) for body in server.log.bodies] == [8, *[1] * 7]
            assert llm.world.pool.spent(llm.world.run).bill.tokens == server.log.tokens + server.log.prompt_tokens
            await model.close()

    asyncio.run(ask())


def test_a_server_that_refuses_n_is_learned_and_nothing_is_lost() -> None:
    refusal = http(400, {"error": {"message": "'n' must be 1", "param": None, "code": None}})

    async def ask() -> None:
        async with canned(refusal, http(200, reply([choice()]))) as server:
            model = HttpModel(Entry("tiny", server.url))
            assert await draw(model, Request(ASKED, SHORT), [0, 1]) == []
            assert model.supports.n == 1
            assert [d.index for d in await draw(model, Request(ASKED, SHORT), [0, 1])] == [0]

    asyncio.run(ask())


def test_more_choices_than_asked_for_are_cut_off_and_their_order_is_by_index() -> None:
    async def ask() -> list[Delivery]:
        answers = [choice(f"answer {i}", index=i) for i in (2, 0, 1)]
        async with canned(http(200, reply(answers, {"prompt_tokens": 7, "completion_tokens": 8}))) as server:
            return await draw(HttpModel(Entry("tiny", server.url)), Request(ASKED, SHORT), [5, 6])

    assert [(d.index, d.outcome.text) for d in asyncio.run(ask())] == [(5, "answer 0"), (6, "answer 1")]


def test_a_content_filter_on_one_of_n_leaves_the_others() -> None:
    async def ask() -> list[Delivery]:
        answers = [choice("fine"), choice("", "content_filter", 1), choice("good", index=2)]
        async with canned(http(200, reply(answers, {"prompt_tokens": 7, "completion_tokens": 9}))) as server:
            return await draw(HttpModel(Entry("tiny", server.url)), Request(ASKED, SHORT), [0, 1, 2])

    first, second, third = asyncio.run(ask())
    assert (first.outcome.text, third.outcome.text) == ("fine", "good")
    assert isinstance(second.outcome, Failure)
    assert second.outcome.kind == "refused"
    assert "content filter" in second.outcome.reason
    assert sum(d.bill.completion_tokens for d in (first, second, third)) == 9
    assert [d.bill.prompt_tokens for d in (first, second, third)] == [7, 0, 0]


# --- all of it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("continuation", [None, "final-message"])
@pytest.mark.parametrize("n", [1, 16])
def test_conformance(check, continuation: str | None, n: int) -> None:
    async def run() -> None:
        async with ScriptedServer("iid") as server:
            await check(HttpModel(Entry("tiny", server.url, n=n, continuation=continuation)))

    asyncio.run(run())


def test_a_draw_through_llm_and_again_from_the_pool(tmp_path) -> None:
    from vervet.testing import pool_for

    async def ask(server: ScriptedServer, pool: Any) -> list[Sample]:
        model = HttpModel(Entry("tiny", server.url, revision="1"))
        llm = llm_for(model, pool=pool)
        request = llm.ask("answer", llm.problem, max_tokens=64, logprobs=5).request
        drawn = await llm.draw(request, 37)
        await model.close()
        return list(drawn)

    async def run() -> None:
        async with ScriptedServer("iid") as server:
            pool = pool_for(tmp_path / "pool")
            fresh = await ask(server, pool)
            n_calls = server.log.n_requests
            assert n_calls == 3
            assert await ask(server, pool) == fresh
            assert server.log.n_requests == n_calls
            assert all(len(s.trace) == s.n_tokens - 1 and s.trace.topk is not None for s in fresh)
            pool.close()

    asyncio.run(run())


def test_one_model_serves_loop_after_loop_and_needs_no_close() -> None:
    async def ask(model: HttpModel) -> str:
        async with model.draw(Request(ASKED, SHORT), Stream(model.name, "q"), [0]) as call:
            return (await anext(call)).outcome.text

    async def serve() -> None:
        async with canned(http(200, reply([choice()]), Connection="close")) as server:
            model = HttpModel(Entry("tiny", server.url))
            for _ in range(2):
                assert await asyncio.to_thread(asyncio.run, ask(model)) == "four"
            assert len(server.bodies) == 2
            assert model.sessions.n_open == 0, "asyncio closed them with their loops"

    asyncio.run(serve())


def test_a_changed_revision_is_told() -> None:
    async def ask() -> None:
        async with ScriptedServer("iid", Script(revision_after=1)) as server:
            model = HttpModel(Entry("tiny", server.url))
            await draw(model, Request(ASKED, SHORT), [0])
            await draw(model, Request(ASKED, SHORT), [1])

    with pytest.warns(SamplingWarning, match="fp_1"):
        asyncio.run(ask())
