"""Streams: however their bytes are split; cut rules end them at once; stopping and cancelling leave nothing open."""

from __future__ import annotations

import asyncio
import json
from array import array
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from tests.canned import Canned, canned, choice, event, http, piece, reply, until
from vervet.models.http import Entry, HttpModel
from vervet.models.http.events import BROKEN, DONE, Events, objects, pieces
from vervet.rules import LowConfidence
from vervet.testing import Script, ScriptedServer, llm_for
from vervet.types import Bill, Delivery, Endings, Question, Request, Sample, Stream

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

QUESTION = Question(({"role": "user", "content": "2 + 2?"},))
N_PROMPT = 64 + 16 + 6
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def cut_request(window: int = 2, below: float = 1.0, **endings: Any) -> Request:
    return Request(QUESTION, Endings(max_tokens=50, cut=LowConfidence(window, below), **endings))


def model_at(url: str, **entry: Any) -> HttpModel:
    return HttpModel(Entry("tiny", url, **{"stops_on_close": True, **entry}))


async def draw(model: HttpModel, request: Request, indices: Sequence[int] = (0,)) -> list[Delivery]:
    try:
        async with model.draw(request, Stream(model.name, "q"), indices) as call:
            return [delivery async for delivery in call]
    finally:
        await model.close()
        assert model.pace.n_open == 0


# --- events --------------------------------------------------------------------------------------------

EVENTS = ['{"a":1}', '{"text":"é\U0001f98a"}', '{"b":\n2}', DONE]


def written(events: Sequence[str], end: str, comment: bool = True) -> bytes:
    """Events as servers may write them: comments, other fields, data over several lines, with or without a blank."""
    rows = [": a comment", "event: x", "id"] if comment else []
    for i, data in enumerate(events):
        rows += [f"data:{' ' if i % 2 else ''}{line}" for line in data.split("\n")] + ["", ""][: 1 + i % 2]
    return (end.join(rows) + end).encode()


def read(parts: Sequence[bytes]) -> list[str]:
    events = Events()
    return [event for part in parts for event in events.feed(part)] + events.end()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_are_the_same_split_at_every_byte(end: str) -> None:
    data = b"\xef\xbb\xbf" + written(EVENTS, end)
    assert read([data]) == EVENTS
    for i in range(len(data) + 1):
        assert read([data[:i], data[i:]]) == EVENTS
    assert read([data[i : i + 1] for i in range(len(data))]) == EVENTS


@hypothesis.given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), min_size=1), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 400)),
    st.booleans(),
)
def test_events_are_the_same_however_they_are_split(texts: list[str], end: str, cuts: list[int], comment: bool) -> None:
    events = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    data = written(events, end, comment)
    at = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    assert read([data[a:b] for a, b in pairwise(at)]) == events


@hypothesis.given(st.binary(max_size=200))
def test_no_bytes_are_too_bad(data: bytes) -> None:
    for found in read([data[:50], data[50:]]):
        try:
            objects(found)
        except ValueError:
            continue


def test_a_truncated_event_is_broken_and_lines_in_a_row_are_read_one_by_one() -> None:
    class Response:
        """A reply whose body is given."""

        def __init__(self, data: bytes) -> None:
            self.content, self._data, self.ended = self, data, True

        async def iter_any(self) -> Any:
            yield self._data

        def at_eof(self) -> bool:
            return True

    async def read_all(data: bytes) -> list[Any]:
        return [found async for found in pieces(Response(data))]

    assert asyncio.run(read_all(b'data: {"a": 1}\n\ndata: {"a"')) == [{"a": 1}, BROKEN]
    assert asyncio.run(read_all(b'data: {"a": 1}\ndata: {"a": 2}\ndata: [DONE]\n\n')) == [{"a": 1}, {"a": 2}]
    assert asyncio.run(read_all(b'data: [DONE]\n\ndata: {"a": 2}\n\n')) == []


# --- whole streams -------------------------------------------------------------------------------------

TOKENS = ["It", " is", " f", "our", "."]


def stream_of(tokens: Sequence[str] = TOKENS, finish: str = "stop", usage: Any = None, done: bool = True) -> bytes:
    rows = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}]
    rows += [piece(token) for token in tokens]
    rows.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish, "stop_reason": None}]})
    rows += [{"choices": [], "usage": usage}] if usage else []
    return b"".join(map(event, rows)) + (event(DONE) if done else b"")


def outcome_of(body: bytes, request: Request | None = None, parts: int = 1, **entry: Any) -> tuple[Sample, Bill]:
    """What a stream of these bytes, sent in so many parts, is read as."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        step = -(-len(body) // parts)
        for i in range(0, len(body), step):
            writer.write(body[i : i + step])
            await writer.drain()
            await asyncio.sleep(0)

    async def ask() -> tuple[Sample, Bill]:
        async with canned(write) as server:
            (found,) = await draw(model_at(server.url, **entry), request or cut_request(below=-9.0))
            assert server.bodies[0]["stream_options"] == {"include_usage": True}
            assert (server.bodies[0]["stream"], server.bodies[0]["top_logprobs"]) == (True, 20)
            return found.outcome, found.bill

    return asyncio.run(ask())


USAGE = {"prompt_tokens": 7, "completion_tokens": 6}


@pytest.mark.parametrize("parts", [1, 2, 7, 100])
def test_a_stream_to_its_end_is_as_a_whole_reply(parts: int) -> None:
    sample, bill = outcome_of(stream_of(usage=USAGE), parts=parts)
    assert (sample.text, sample.ended, sample.n_tokens, sample.prompt_tokens) == ("It is four.", "eos", 6, 7)
    assert sample.trace.ends == array("i", [2, 5, 7, 10, 11])
    assert sample.trace.logprob == sample.trace.topk == array("f", [-0.5] * 5)
    assert bill == Bill(7, 6)


@pytest.mark.parametrize("done", [True, False])
def test_a_stream_without_usage_is_billed_by_what_came(done: bool) -> None:
    sample, bill = outcome_of(stream_of(done=done))
    assert (sample.text, sample.n_tokens) == ("It is four.", 5)
    assert bill == Bill(completion_tokens=5, unsettled_tokens=N_PROMPT + 1)
    _, bill = outcome_of(stream_of(finish="length", done=done))
    assert bill == Bill(completion_tokens=5, unsettled_tokens=N_PROMPT)


def test_pieces_of_tool_calls_and_reasoning_are_joined() -> None:
    def part(**delta: Any) -> bytes:
        return event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    def call(**function: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "function": function}]}

    body = part(reasoning_content="hm") + part(tool_calls=[{"index": 0, "id": "1", "type": "function", "function": {
        "name": "add", "arguments": ""}}]) + part(**call(arguments='{"a":')) + part(**call(arguments="1}"))  # fmt: skip
    body += event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": USAGE})
    figures = {"content": [{"token": "hm", "logprob": -0.5, "top_logprobs": [{"logprob": -0.5}]}]}
    first = {"choices": [{"index": 0, "delta": {"reasoning_content": "so "}, "logprobs": figures}]}
    sample, bill = outcome_of(event(first) + body)
    function = {"name": "add", "arguments": '{"a":1}'}
    assert sample.tool_calls == ({"id": "1", "type": "function", "function": function},)
    assert (sample.text, sample.reasoning, sample.ended) == ("", "so hm", "eos")
    assert bill == Bill(7, 6)


def test_a_server_that_does_not_stream_is_cut_all_the_same() -> None:
    rows = [{"token": token, "logprob": -0.5, "top_logprobs": [{"logprob": -0.5}]} for token in TOKENS]

    async def ask() -> Delivery:
        whole = reply([choice("It is four.", logprobs={"content": rows})], USAGE)
        async with canned(http(200, whole)) as server:
            return (await draw(model_at(server.url), cut_request(window=3)))[0]

    found = asyncio.run(ask())
    assert (found.outcome.text, found.outcome.ended, found.outcome.n_tokens) == ("It is f", "cut:low_confidence", 3)
    assert found.bill == Bill(7, 6)


# --- cut -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 100])
def test_a_cut_ends_with_exactly_its_tokens(parts: int) -> None:
    sample, bill = outcome_of(stream_of(usage=USAGE), cut_request(window=3), parts)
    assert (sample.text, sample.ended, sample.n_tokens) == ("It is f", "cut:low_confidence", 3)
    assert sample.trace.ends == array("i", [2, 5, 7])
    assert bill.completion_tokens >= 3
    assert bill == Bill(7, 6) or bill.unsettled_tokens >= N_PROMPT


def test_a_cut_closes_the_connection_and_books_what_may_have_run_over() -> None:
    async def ask() -> None:
        closed = asyncio.Event()

        async def write(writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + b"".join(event(piece(token)) for token in TOKENS[:3]))
            await wait_for_end(writer, closed)

        async with canned(write) as server:
            model = model_at(server.url, overrun_tokens=5)
            model.learn_prompt("q", 9)
            (found,) = await draw(model, cut_request(window=3), [4, 5, 6])
            assert (found.index, found.outcome.ended, found.outcome.prompt_tokens) == (4, "cut:low_confidence", 9)
            assert found.bill == Bill(9, 3, unsettled_tokens=5)
            assert "n" not in server.bodies[0]
            await asyncio.wait_for(closed.wait(), 5)

    asyncio.run(ask())


async def wait_for_end(writer: asyncio.StreamWriter, closed: asyncio.Event) -> None:
    """Write comments until the other side is gone."""
    while not writer.transport.is_closing():
        writer.write(b": still here\n\n")
        await asyncio.sleep(0.005)
    closed.set()


def test_a_cut_on_a_scripted_server_ends_generation_there() -> None:
    async def ask() -> None:
        async with ScriptedServer("length", Script(drip=1.0, drip_s=0.005)) as server:
            model = model_at(server.url)
            (found,) = await draw(model, Request(QUESTION, Endings(max_tokens=60, cut=LowConfidence(5, 99.0))))
            assert (found.outcome.n_tokens, len(found.outcome.trace)) == (5, 5)
            await until(lambda: not server.n_connections)
            assert server.log.tokens <= 5 + 5
            assert server.log.tokens <= found.bill.tokens

    asyncio.run(ask())


def test_cuts_through_llm_are_kept_and_given_again() -> None:
    async def ask() -> None:
        async with ScriptedServer("iid") as server:
            llm = llm_for(model_at(server.url, revision="1"))
            request = llm.ask("answer", llm.problem, max_tokens=50, cut=LowConfidence(3, 1.6)).request
            drawn = await llm.draw(request, 12)
            assert {s.ended for s in drawn} == {"eos", "cut:low_confidence"}
            for sample in drawn:
                at = request.endings.cut.fires_at(sample.trace)
                assert at == (sample.n_tokens if sample.ended != "eos" else None)
            bill = llm.world.pool.spent(llm.world.run).bill
            assert server.log.tokens + server.log.prompt_tokens <= bill.tokens
            await llm.model.close()

    asyncio.run(ask())


# --- stopping ------------------------------------------------------------------------------------------

Break = Callable[[HttpModel, Request], Awaitable[list[Delivery]]]


def stopped(reply: Any, request: Request, n: int = 1, wait: bool = True, **entry: Any) -> tuple[list[Delivery], Canned]:
    """What a call brings that is stopped once the server has the request and wrote its reply."""

    async def ask() -> tuple[list[Delivery], Canned]:
        async with canned(reply) as server:
            model = model_at(server.url, **entry)
            try:
                async with model.draw(request, Stream(model.name, "q"), range(n)) as call:
                    if wait:
                        await until(lambda: server.bodies)
                    await asyncio.sleep(0.02 if wait else 0)
                    call.stop()
                    found = [delivery async for delivery in call]
                assert model.pace.n_open == 0
            finally:
                await model.close()
            return found, server

    return asyncio.run(ask())


async def never(writer: asyncio.StreamWriter) -> None:
    await wait_for_end(writer, asyncio.Event())


async def two_tokens(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + event(piece("one")) + event(piece(" two")))
    await wait_for_end(writer, asyncio.Event())


async def silence(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n")
    await wait_for_end(writer, asyncio.Event())


def test_stop_of_a_whole_reply_books_its_bound() -> None:
    request = Request(QUESTION, Endings(max_tokens=50))
    found, _ = stopped(silence, request, 3)
    assert [(d.outcome.text, d.outcome.ended) for d in found] == [("", None)] * 3
    assert [d.bill for d in found] == [Bill(unsettled_tokens=N_PROMPT + 50), *[Bill(unsettled_tokens=50)] * 2]


def test_stop_of_a_stream_brings_what_arrived() -> None:
    found, _ = stopped(two_tokens, cut_request(below=-9.0), overrun_tokens=5)
    (sample,) = [d.outcome for d in found]
    assert (sample.text, sample.ended, sample.n_tokens, len(sample.trace)) == ("one two", None, 2, 2)
    assert found[0].bill == Bill(completion_tokens=2, unsettled_tokens=N_PROMPT + 5)


def test_stop_before_anything_was_sent_costs_nothing() -> None:
    found, server = stopped(never, Request(QUESTION, Endings(max_tokens=50)), wait=False)
    assert (found, server.bodies) == ([], [])


def test_a_cancelled_wait_breaks_nothing_and_leaving_closes() -> None:
    async def ask() -> None:
        async with ScriptedServer("iid", delay_s=0.1) as server:
            model = HttpModel(Entry("tiny", server.url))
            request = Request(QUESTION, Endings(max_tokens=50))
            async with model.draw(request, Stream(model.name, "q"), [0]) as call:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(call.__anext__(), 0.01)
                assert isinstance((await call.__anext__()).outcome, Sample)
            async with model.draw(request, Stream(model.name, "q"), [1]):
                await asyncio.sleep(0.02)
                assert model.pace.n_open == 1
            assert model.pace.n_open == 0
            await until(lambda: server.n_connections == 1)
            await model.close()
            assert server.log.n_requests == 2

    asyncio.run(ask())


def test_1000_cancellations_leave_every_permit_free_and_no_connection_open() -> None:
    async def ask() -> None:
        async with ScriptedServer("iid", delay_s=0.01) as server:
            model = model_at(server.url, concurrency=20)

            async def one(i: int) -> None:
                request = cut_request() if i % 3 == 0 else Request(QUESTION, Endings(max_tokens=50))
                async with model.draw(request, Stream(model.name, "q"), [i]) as call:
                    if i % 5 == 0:
                        asyncio.get_running_loop().call_later(0.003 * (i % 7), call.stop)
                    async for _ in call:
                        pass

            tasks = [asyncio.create_task(one(i)) for i in range(1000)]
            for i, task in enumerate(tasks):
                if i % 2:
                    await asyncio.sleep(0.0001 * (i % 3))
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (model.pace.n_open, model.pace.n_waiting) == (0, 0)
            assert all(task.cancelled() or task.exception() is None for task in tasks)
            await model.close()
            await until(lambda: not server.n_connections)

    asyncio.run(ask())
