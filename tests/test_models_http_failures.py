"""Every way to fail, as a typed failure that names the server, says what came and what to do, and hides the key."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.canned import canned, choice, event, http, piece, reply, until
from vervet.errors import ModelError
from vervet.models.http import Entry, HttpModel, Secret
from vervet.models.http.failures import names_n, retry_after_s
from vervet.rules import LowConfidence
from vervet.testing import Script, ScriptedServer, llm_for
from vervet.types import Bill, Delivery, Endings, Failure, Question, Request, Sample, Stream

ASKED = Request(Question(({"role": "user", "content": "2 + 2?"},)), Endings(max_tokens=50))
STREAMED = Request(ASKED.question, Endings(max_tokens=50, cut=LowConfidence(1000, 0.0)))
N_PROMPT = 64 + 16 + 6
KEY = "sk-T0pSecret-0123456789"


async def draw(model: HttpModel, request: Request = ASKED, n: int = 1) -> list[Delivery]:
    async with model.draw(request, Stream(model.name, "q"), range(n)) as call:
        return [delivery async for delivery in call]


def failure_of(*replies: Any, request: Request = ASKED, n: int = 1, **entry: Any) -> tuple[Failure, Bill]:
    """The failure that these bytes make of a draw, the same for all of ``n``, and the whole bill."""

    async def ask() -> tuple[Failure, Bill]:
        async with canned(*replies) as server:
            model = HttpModel(Entry("tiny", server.url, key=Secret("TINY_KEY", KEY), stops_on_close=True, **entry))
            try:
                found = await draw(model, request, n)
                assert [d.index for d in found] == list(range(n))
                assert len({d.outcome for d in found}) == 1
                failure = found[0].outcome
                assert isinstance(failure, Failure)
                assert failure.reason.startswith(f"{model.entry.host}: ")
                assert server.headers[0]["authorization"] == f"Bearer {KEY}"
                return failure, sum((d.bill for d in found), Bill())
            finally:
                assert model.pace.n_open == 0
                await model.close()

    return asyncio.run(ask())


def error(message: str = "went wrong", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (301, "fatal", "redirects to http://elsewhere/v1"), (400, "refused", "went wrong"), (401, "fatal", "the key in TINY_KEY"),
        (402, "fatal", "credit"), (403, "fatal", "the key in TINY_KEY"), (404, "fatal", "/v1"), (405, "fatal", "base_url"),
        (408, "transient", "went wrong"), (409, "transient", ""), (413, "refused", "shorter"), (418, "refused", ""),
        (422, "refused", "went wrong"), (425, "transient", ""), (429, "transient", "requests_per_minute"),
        (500, "transient", "the server's log"), (501, "transient", ""), (502, "transient", ""), (503, "transient", ""),
        (504, "transient", ""), (529, "transient", ""), (599, "transient", "status 599"), (204, "failed", ""),
    ],
)  # fmt: skip
def test_each_status(status: int, kind: str, says: str) -> None:
    answer = http(status, error() if status != 204 else b"", Location="http://elsewhere/v1", Connection="close")
    for request in (ASKED, STREAMED):
        failure, bill = failure_of(answer, request=request)
        assert (failure.kind, bill) == (kind, Bill())
        assert f"status {status}" in failure.reason
        assert says in failure.reason


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(429, "insufficient_quota", "fatal"), (400, "context_length_exceeded", "refused"), (400, "content_filter", "refused"),
     (400, "invalid_api_key", "fatal"), (400, "model_not_found", "fatal"), (500, "rate_limit_exceeded", "transient"),
     (429, "tokens", "transient")],
)  # fmt: skip
def test_a_code_says_more_than_its_status(status: int, code: str, kind: str) -> None:
    assert failure_of(http(status, error(code=code)))[0].kind == kind


@pytest.mark.parametrize(
    "body",
    [error("no such thing"), {"error": "no such thing"}, {"message": "no such thing"}, {"detail": "no such thing"},
     {"detail": [{"msg": "no such thing"}]}, b"<html><body><h1>no such\nthing</h1></body></html>", b"no such thing",
     b'"no such thing"', {"object": "error", "message": "no such thing"}],
)  # fmt: skip
def test_the_message_is_found_in_any_shape(body: Any) -> None:
    failure, _ = failure_of(http(500, body))
    assert "no such thing" in failure.reason
    assert "<" not in failure.reason


def test_a_long_message_is_shortened() -> None:
    failure, _ = failure_of(http(500, error("very " * 10_000)))
    assert len(failure.reason) < 500


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [({}, None), ({"Retry_After": "1.5"}, 1.5), ({"retry_after_ms": "250"}, 0.25), ({"Retry_After": "soon"}, None),
     ({"Retry_After": "-3"}, 0.0), ({"Retry_After": "nan"}, None), ({"retry_after_ms": "x", "Retry_After": "2"}, 2.0)],
)  # fmt: skip
def test_retry_after(headers: dict[str, str], wait_s: float | None) -> None:
    for status in (429, 500, 503):
        assert failure_of(http(status, error(), **headers))[0].retry_after_s == wait_s
    assert failure_of(http(400, error(), **headers))[0].retry_after_s is None


def test_retry_after_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    found = retry_after_s({"Retry-After": soon})
    assert found is not None
    assert 60 < found <= 90
    assert retry_after_s({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


def test_a_server_that_is_busy_slows_the_pace() -> None:
    async def ask() -> tuple[int, int]:
        async with canned(http(429, error(), Retry_After="0")) as server:
            model = HttpModel(Entry("tiny", server.url))
            before = model.pace.limit
            await draw(model)
            await model.close()
            return before, model.pace.limit

    before, after = asyncio.run(ask())
    assert after == before // 2


@pytest.mark.parametrize(
    "message",
    ["'n' must be 1", "`n` is not supported", "n > 1 is not supported", "n must be 1", 'parameter "n" unknown'],
)
def test_a_refusal_of_n_is_recognised(message: str) -> None:
    assert names_n(http(400, error(message)).partition(b"\r\n\r\n")[2])
    assert not names_n(b'{"error": {"message": "Invalid token in JSON\\n at n"}}')
    assert names_n(b'{"error": {"message": "no", "param": "n"}}')


# --- connections ---------------------------------------------------------------------------------------


async def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def stall(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.3)


def after(data: bytes, then: Any) -> Any:
    """Write some bytes, then do something bad."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0.01)
        await then(writer)

    return write


WHOLE = http(200, reply([choice()]))
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def test_a_refused_connection_is_transient_and_free() -> None:
    async def ask(url: str) -> Delivery:
        model = HttpModel(Entry("tiny", url))
        try:
            return (await draw(model))[0]
        finally:
            await model.close()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        found = asyncio.run(ask(url))
    assert isinstance(found.outcome, Failure)
    assert (found.outcome.kind, found.bill) == ("transient", Bill())
    assert "check that the server runs there" in found.outcome.reason


def test_a_server_that_speaks_no_tls_is_transient_and_free() -> None:
    async def ask() -> Delivery:
        async with canned(hang_up) as server:
            model = HttpModel(Entry("tiny", server.url.replace("http:", "https:")))
            try:
                return (await draw(model))[0]
            finally:
                await model.close()

    found = asyncio.run(ask())
    assert isinstance(found.outcome, Failure)
    assert (found.outcome.kind, found.bill) == ("transient", Bill())


@pytest.mark.parametrize("bad", [reset, hang_up, stall, after(WHOLE[:-9], hang_up), after(WHOLE[:-9], reset),
                                 after(b"HTTP/1.1 200 OK\r\nConte", hang_up), after(b"nonsense\r\n\r\n", hang_up)])  # fmt: skip
def test_what_breaks_after_it_was_sent_may_be_the_texts_fault(bad: Any) -> None:
    failure, bill = failure_of(bad, n=3, timeout_s=0.2)
    assert (failure.kind, bill) == ("failed", Bill(unsettled_tokens=N_PROMPT + 3 * 50))


def test_a_connection_closed_between_two_requests_is_transient() -> None:
    async def ask() -> list[Any]:
        async with canned(WHOLE, hang_up, WHOLE) as server:
            model = HttpModel(Entry("tiny", server.url))
            found = [(await draw(model))[0].outcome for _ in range(3)]
            await model.close()
            return found

    first, second, third = asyncio.run(ask())
    assert isinstance(first, Sample)
    assert isinstance(third, Sample)
    assert second.kind == "transient"


@pytest.mark.parametrize(
    "answer",
    [
        http(200, b'{"choices": [', Connection="close"), http(200, b""), http(200, b"\xff\xfe"), http(200, b"[" * 100_000),
        http(200, {}), http(200, []), http(200, {"choices": []}), http(200, {"choices": None}), http(200, {"choices": [3]}),
        http(200, b"<html>Log in</html>", "text/html"), http(200, reply([choice()]), "text/plain"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_failed(answer: bytes) -> None:
    failure, bill = failure_of(answer, n=2)
    assert (failure.kind, bill) == ("failed", Bill(unsettled_tokens=N_PROMPT + 2 * 50))


@pytest.mark.parametrize(
    ("finish", "kind", "says"), [("content_filter", "refused", "content filter"), ("abort", "failed", "'abort'"),
                                 (None, "failed", "finish_reason")],
)  # fmt: skip
def test_an_end_that_is_none(finish: str | None, kind: str, says: str) -> None:
    failure, bill = failure_of(http(200, reply([choice("x", finish)])))
    assert (failure.kind, bill) == (kind, Bill(7, 5))
    assert says in failure.reason


@pytest.mark.parametrize(
    ("body", "kind"),
    [(error("busy", code=429), "transient"), (error("x", code="rate_limit_exceeded"), "transient"),
     (error("x", type="invalid_request_error", code="context_length_exceeded"), "refused"), ({"error": "boom"}, "failed"),
     ({"object": "error", "message": "x", "code": 400}, "refused"), (error("x", code="invalid_api_key"), "fatal")],
)  # fmt: skip
def test_an_error_inside_status_200(body: Any, kind: str) -> None:
    for request, answer in ((ASKED, http(200, body)), (STREAMED, http(200, event(body), "text/event-stream"))):
        failure, bill = failure_of(answer, request=request)
        assert (failure.kind, bill) == (kind, Bill())


# --- streams -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [hang_up, reset, stall])
def test_a_stream_that_breaks_before_its_first_token_is_transient(bad: Any) -> None:
    begun = after(EVENTS + event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}), bad)
    failure, bill = failure_of(begun, request=STREAMED, timeout_s=0.2)
    assert (failure.kind, bill) == ("transient", Bill(unsettled_tokens=N_PROMPT + 50))


@pytest.mark.parametrize("bad", [hang_up, reset, stall])
def test_a_stream_that_breaks_later_failed_and_is_booked_between_two_bounds(bad: Any) -> None:
    begun = after(EVENTS + event(piece("one")) + event(piece(" two")), bad)
    failure, bill = failure_of(begun, request=STREAMED, timeout_s=0.2)
    assert (failure.kind, bill) == ("failed", Bill(completion_tokens=2, unsettled_tokens=N_PROMPT + 48))


@pytest.mark.parametrize("bad", [b'data: {"choices": [\n\n', event(error("boom", code=500)), event("nothing")])
def test_an_event_that_is_bad_after_tokens_failed(bad: bytes) -> None:
    failure, bill = failure_of(after(EVENTS + event(piece("one")) + bad, hang_up), request=STREAMED)
    assert (failure.kind, bill) == ("failed", Bill(completion_tokens=1, unsettled_tokens=N_PROMPT + 49))


def test_a_cut_without_logprobs_is_told_at_once() -> None:
    failure, _ = failure_of(after(EVENTS + event(piece("one", None)), stall), request=STREAMED)
    assert failure.kind == "fatal"
    assert "logprobs" in failure.reason


# --- the key -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [http(401, error(f"Incorrect API key provided: {KEY}.")), http(500, error("x" * 290 + KEY)), http(500, KEY.encode()),
     http(200, error(f"bad key {KEY}")), http(200, KEY.encode(), "text/plain"), http(302, b"", Location=f"/?k={KEY}"),
     after(f"HTTP/1.1 {KEY}\r\n\r\n".encode(), hang_up)],
)  # fmt: skip
def test_a_key_that_the_server_echoes_is_not_shown(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    failure, _ = failure_of(answer)
    for part in (KEY, KEY[:12]):
        assert part not in failure.reason
        assert part not in caplog.text


def test_a_fatal_failure_ends_a_drawing_without_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def ask() -> None:
        async with ScriptedServer("iid", Script(unauthorized=1.0)) as server:
            model = HttpModel(Entry("tiny", server.url, key=Secret("TINY_KEY", KEY)))
            llm = llm_for(model)
            try:
                await llm.draw(llm.ask("answer", llm.problem, max_tokens=50).request, 3)
            finally:
                await model.close()

    with pytest.raises(ModelError, match="check the key in TINY_KEY") as caught:
        asyncio.run(ask())
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert KEY not in shown + caplog.text


# --- all at once ---------------------------------------------------------------------------------------


def test_of_400_draws_with_every_fault_none_is_lost_or_paid_twice() -> None:
    faults = ("busy", "unavailable", "broken", "reset_before", "reset", "truncated", "half_json", "content_filter")
    script = Script(**dict.fromkeys(faults, 0.05), retry_after_s=0.01, seed=3)

    async def ask() -> None:
        async with ScriptedServer("iid", script) as server:
            model = HttpModel(Entry("tiny", server.url, n=4, timeout_s=5))
            llm = llm_for(model)
            try:
                drawn = await llm.draw(llm.ask("answer", llm.problem, max_tokens=50).request, 400)
            finally:
                await model.close()
            assert len(drawn.samples) + len(drawn.failures) == 400
            assert len({s.address for s in drawn.samples}) == len(drawn.samples)
            bill = llm.world.pool.spent(llm.world.run).bill
            assert bill.completion_tokens + bill.prompt_tokens <= server.log.tokens + server.log.prompt_tokens
            assert server.log.tokens + server.log.prompt_tokens <= bill.tokens
            assert llm.world.purse.n_open == 0
            assert model.pace.n_open == 0
            await until(lambda: not server.n_connections)

    asyncio.run(ask())
