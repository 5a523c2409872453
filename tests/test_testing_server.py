"""The scripted server: right answers in the right shape, every fault as its script says, and books that agree."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from vervet.models.fake import FakeModel
from vervet.models.laws import Iid, is_right
from vervet.testing import Script, ScriptedServer
from vervet.types import Question, Stream

DOOR = "Which number is hidden behind door 3?"
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": DOOR}]}
BROKEN = (aiohttp.ClientError, ConnectionResetError, asyncio.IncompleteReadError)
Use = Callable[[ScriptedServer, aiohttp.ClientSession], Awaitable[Any]]


def served(use: Use, script: Script = Script(), law: str = "iid", delay_s: float = 0.0) -> Any:  # noqa: B008
    """What ``use`` gives with a server and a client; at the end nothing is left of either."""

    async def main() -> Any:
        async with ScriptedServer(law, script, delay_s) as server, aiohttp.ClientSession() as session:
            result = await use(server, session)
        assert server.n_connections == 0
        assert len(asyncio.all_tasks()) == 1
        return result

    result = asyncio.run(main())
    gc.collect()  # a socket that nobody closed would warn here
    return result


async def ask(
    server: ScriptedServer, session: aiohttp.ClientSession, path: str = "chat/completions", **more: Any
) -> Any:
    base = CHAT if path == "chat/completions" else {"prompt": DOOR}
    async with session.post(f"{server.url}/{path}", json={**base, **more}) as reply:
        return await reply.json()


async def events(
    server: ScriptedServer, session: aiohttp.ClientSession, path: str = "chat/completions", **more: Any
) -> list[Any]:
    """The data of the events of a stream; the text of what is no JSON."""
    base = CHAT if path == "chat/completions" else {"prompt": DOOR}
    async with session.post(f"{server.url}/{path}", json={**base, "stream": True, **more}) as reply:
        assert reply.content_type == "text/event-stream"
        lines = [line.removeprefix("data: ") for line in (await reply.text()).split("\n\n") if line]
    return [json.loads(line) if line.endswith("}") else line for line in lines]


# --- good answers --------------------------------------------------------------------------------------


def test_chat_and_completions_agree_whole_and_streamed() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        asked: dict[str, Any] = {"n": 3, "seed": 7, "stream_options": {"include_usage": True}}
        chat = await ask(server, session, **asked)
        plain = await ask(server, session, "completions", **asked)
        texts = [c["message"]["content"] for c in chat["choices"]]
        assert [c["text"] for c in plain["choices"]] == texts
        assert len(set(texts)) == 3
        for path, said in (
            ("chat/completions", lambda c: c["delta"].get("content", "")),
            ("completions", lambda c: c["text"]),
        ):
            *parts, usage, done = await events(server, session, path, **asked)
            assert done == "[DONE]"
            assert usage["choices"] == []
            assert usage["usage"]["completion_tokens"] == chat["usage"]["completion_tokens"]
            choices = [c for part in parts for c in part["choices"]]
            assert ["".join(said(c) for c in choices if c["index"] == i) for i in range(3)] == texts
            assert [c["finish_reason"] for c in choices if c["finish_reason"]] == ["stop"] * 3

    served(use)


def test_samples_are_the_fake_models_and_obey_the_law() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> list[str]:
        first = await ask(server, session, seed=5, n=2)
        address = Stream(server.model, "seed 5").at(1)
        question = Question(({"role": "user", "content": DOOR},))
        whole = FakeModel(Iid(p=0.3)).trajectory(question, address)
        assert first["choices"][1]["message"]["content"] == whole.text
        replies = [await ask(server, session, n=100) for _ in range(3)]
        return [c["message"]["content"] for reply in replies for c in reply["choices"]]

    texts = served(use, law="iid?p=0.3")
    assert len(set(texts)) > 290, "without a seed every request is another draw"
    assert abs(sum(is_right(DOOR, text) for text in texts) / 300 - 0.3) < 0.12


def test_usage_counts_every_token_and_what_was_in_the_cache() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        for cached in (0, 8):
            reply = await ask(server, session, n=2, seed=3)
            n_words = sum(len(c["message"]["content"].split()) for c in reply["choices"])
            usage = reply["usage"]
            assert usage["completion_tokens"] == n_words + 2, "one for each end"
            assert usage["prompt_tokens"] == 8
            assert usage["total_tokens"] == 8 + usage["completion_tokens"]
            assert usage["prompt_tokens_details"]["cached_tokens"] == cached
            assert server.log.requests[-1].tokens == usage["completion_tokens"]
        assert (server.log.n_requests, server.log.outcomes) == (2, Counter(ok=2))

    served(use)


def test_max_tokens_and_stop_end_a_text() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        whole = (await ask(server, session, seed=1))["choices"][0]["message"]["content"]
        for name in ("max_tokens", "max_completion_tokens"):
            reply = await ask(server, session, seed=1, **{name: 3})
            choice = reply["choices"][0]
            assert choice["message"]["content"] == " ".join(whole.split(" ")[:3])
            assert (choice["finish_reason"], reply["usage"]["completion_tokens"]) == ("length", 3)
        for stop in ("wer:", ["never", "wer:"]):
            reply = await ask(server, session, seed=1, stop=stop)
            choice = reply["choices"][0]
            assert choice["message"]["content"] == whole.partition("wer:")[0]
            assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", "wer:")
            parts = (await events(server, session, seed=1, stop=stop))[:-1]
            assert "".join(p["choices"][0]["delta"].get("content", "") for p in parts) == whole.partition("wer:")[0]

    served(use)


def test_logprobs_in_both_shapes() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        chat = (await ask(server, session, seed=1, logprobs=True, top_logprobs=4))["choices"][0]
        rows = chat["logprobs"]["content"]
        text = chat["message"]["content"]
        assert "".join(row["token"] for row in rows) == text
        assert b"".join(bytes(row["bytes"]) for row in rows).decode() == text
        assert all(row["top_logprobs"][0]["logprob"] == row["logprob"] for row in rows)
        address, question = Stream(server.model, "seed 1").at(0), Question(({"role": "user", "content": DOOR},))
        trace = FakeModel(Iid()).trajectory(question, address).trace
        assert trace is not None
        assert trace.topk is not None
        for row, topk in zip(rows, trace.topk, strict=False):
            assert len({t["token"] for t in row["top_logprobs"]}) == 4
            assert sum(t["logprob"] for t in row["top_logprobs"]) / 4 == pytest.approx(topk, abs=1e-6)
        plain = (await ask(server, session, "completions", seed=1, logprobs=4))["choices"][0]["logprobs"]
        assert plain["tokens"] == [row["token"] for row in rows]
        assert plain["token_logprobs"] == [row["logprob"] for row in rows]
        assert [len(top) for top in plain["top_logprobs"]] == [4] * len(rows)
        assert [text[at : at + len(t)] for at, t in zip(plain["text_offset"], plain["tokens"], strict=True)] == plain[
            "tokens"
        ]
        streamed = await events(server, session, seed=1, logprobs=True, top_logprobs=4)
        parts = [p["choices"][0].get("logprobs") for p in streamed[:-1]]
        assert [row for part in parts if part for row in part["content"]] == rows
        bare = await ask(server, session, seed=1, logprobs=True)
        assert [row["top_logprobs"] for row in bare["choices"][0]["logprobs"]["content"]] == [[]] * len(rows)
        assert (await ask(server, session, seed=1))["choices"][0]["logprobs"] is None

    served(use)


def test_a_message_is_continued_along_its_trajectory() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        whole = await ask(server, session, seed=2)
        start = await ask(server, session, seed=2, max_tokens=3)
        said = start["choices"][0]["message"]
        more = {"messages": [*CHAT["messages"], said], "continue_final_message": True, "add_generation_prompt": False}
        rest = await ask(server, session, seed=2, logprobs=True, **more)
        choice = rest["choices"][0]
        assert said["content"] + choice["message"]["content"] == whole["choices"][0]["message"]["content"]
        assert "".join(row["token"] for row in choice["logprobs"]["content"]) == choice["message"]["content"]
        assert rest["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] - 3
        assert rest["usage"]["prompt_tokens"] == 8 + 3
        other = await ask(
            server, session, seed=2, **(more | {"messages": [*CHAT["messages"], said | {"content": "Hm"}]})
        )
        assert other["choices"][0]["message"]["content"], "no prefix of the trajectory: a text all the same"

    served(use)


def test_models_health_and_what_is_not_there() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        root = server.url.removesuffix("/v1")
        async with session.get(f"{server.url}/models") as reply:
            (row,) = (await reply.json())["data"]
            assert (row["id"], row["max_model_len"]) == ("scripted/iid", 4096)
        for url, status in ((f"{root}/health", 200), (f"{root}/nowhere", 404)):
            async with session.get(url) as reply:
                assert reply.status == status
        assert server.log.n_requests == 0
        assert server.n_connections == 1, "it was kept alive"

    served(use)


@pytest.mark.parametrize(
    "more",
    [
        {"n": 0}, {"n": "2"}, {"max_tokens": 0}, {"max_tokens": 5000}, {"logprobs": True, "top_logprobs": 21},
        {"messages": []}, {"messages": ["hi"]}, {"messages": None}, {"messages": [{"role": "system", "content": "x"}]},
    ],
)  # fmt: skip
def test_a_bad_body_is_refused_and_recorded(more: dict[str, Any]) -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        reply = await ask(server, session, **more)
        assert reply["error"]["type"] == "invalid_request_error"
        assert server.log.outcomes == Counter(bad=1)
        assert server.log.bodies == [CHAT | more]

    served(use)


def test_bodies_and_headers_are_recorded_as_they_came() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        parts = [{"type": "text", "text": "Schön 🦊"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
        messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None, "tool_calls": []}]
        body = {"model": "m", "messages": messages, "temperature": 0.3}
        async with session.post(f"{server.url}/chat/completions", json=body, headers={"X-Who": "me"}) as reply:
            assert reply.status == 200
        (seen,) = server.log.requests
        assert seen.body == body
        assert (seen.path, seen.headers["x-who"]) == ("/v1/chat/completions", "me")

    served(use)


# --- faults --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "retry_after"),
    [
        ("busy", 429, None), ("busy_until", 429, "0.25"), ("unavailable", 503, "0.25"), ("broken", 500, None),
        ("unauthorized", 401, None), ("unknown_model", 404, None), ("over_context", 400, None),
    ],
)  # fmt: skip
def test_errors_come_with_their_status(fault: str, status: int, retry_after: str | None) -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        for expected in (status, 200):
            headers = {"Authorization": "Bearer sk-secret"}
            async with session.post(f"{server.url}/chat/completions", json=CHAT, headers=headers) as reply:
                assert reply.status == expected
                if expected != 200:
                    assert reply.headers.get("Retry-After") == retry_after
                    assert ("sk-secret" in (await reply.json())["error"]["message"]) is (fault == "unauthorized")
        assert server.log.outcomes == Counter({fault: 1, "ok": 1})
        assert server.log.requests[0].tokens == 0

    served(use, Script(**{fault: (0,)}, retry_after_s=0.25))


async def raw(server: ScriptedServer, body: dict[str, Any]) -> tuple[bytes, bool]:
    """All bytes of a reply, and whether the connection ended with a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    data = json.dumps(body).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))
    got, is_reset = b"", False
    try:
        while part := await reader.read(65536):
            got += part
    except ConnectionResetError:
        is_reset = True
    writer.close()
    return got, is_reset


@pytest.mark.parametrize("stream", [False, True])
def test_resets_and_ends_on_the_wire(stream: bool) -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        body = {**CHAT, "stream": stream, "seed": 4}
        assert await raw(server, body) == (b"", True)
        got, is_reset = await raw(server, body)
        assert is_reset
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        got, is_reset = await raw(server, body)
        assert not is_reset
        head, _, rest = got.partition(b"\r\n\r\n")
        assert rest
        assert b"[DONE]" not in rest
        assert (b"Connection: close" in head) is stream, "the body of a stream ends in good order, and too soon"
        broken = server.log.requests[1].tokens
        assert broken == server.log.requests[2].tokens
        whole = (await ask(server, session, seed=4))["usage"]["completion_tokens"]
        assert broken == (whole // 2 if stream else whole)
        assert server.log.outcomes == Counter(reset_before=1, reset=1, truncated=1, ok=1)

    served(use, Script(reset_before=(0,), reset=(1,), truncated=(2,)))


def test_half_a_json() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        with pytest.raises(json.JSONDecodeError):
            await ask(server, session)
        parts = await events(server, session)
        broken, done = [part for part in parts if isinstance(part, str)]
        assert (broken[:5], done) == ('{"id"', "[DONE]")
        assert server.log.outcomes == Counter(half_json=2)

    served(use, Script(half_json=1.0))


def test_n_logprobs_and_usage_go_missing() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        reply = await ask(server, session, n=4, logprobs=True, top_logprobs=2)
        assert len(reply["choices"]) == 1
        assert reply["choices"][0]["logprobs"] is None
        assert "usage" not in reply
        parts = await events(server, session, "completions", n=4, logprobs=2, stream_options={"include_usage": True})
        choices = [c for part in parts[:-1] for c in part["choices"]]
        assert {(c["index"], c["logprobs"]) for c in choices} == {(0, None)}
        assert not any("usage" in part for part in parts[:-1])

    served(use, Script(ignore_n=1.0, drop_logprobs=1.0, no_usage=1.0))


def test_the_filter_cuts_one_choice() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        reply = await ask(server, session, n=5)
        ends = [c["finish_reason"] for c in reply["choices"]]
        assert ends == ["content_filter", *["stop"] * 4]
        assert server.log.outcomes == Counter(ok=1)

    served(use, Script(content_filter=1.0))


def test_wrong_usage_is_too_small_or_too_large() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        small, large = [(await ask(server, session))["usage"]["completion_tokens"] for _ in range(2)]
        true = [seen.tokens for seen in server.log.requests]
        assert small < true[0]
        assert large > true[1]

    served(use, Script(wrong_usage=1.0))


def test_equal_answers_and_a_changed_revision() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        replies = [await ask(server, session, n=2, seed=i) for i in range(4)]
        assert len({c["message"]["content"] for reply in replies for c in reply["choices"]}) == 1
        assert [reply["system_fingerprint"] for reply in replies] == ["fp_0", "fp_0", "fp_0", "fp_1"]

    served(use, Script(equal_answers=1.0, revision_after=3))


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_a_stalled_reply_ends_it(stream: bool) -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        with pytest.raises(TimeoutError):
            async with (
                asyncio.timeout(0.05),
                session.post(f"{server.url}/chat/completions", json={**CHAT, "stream": stream}) as r,
            ):
                await r.read()
        await gone(server)
        (seen,) = server.log.requests
        assert (seen.outcome, seen.tokens) == ("closed", int(stream)), "the first token of a stream had come"
        assert server.log.outcomes == Counter(closed=1)

    served(use, Script(stall=1.0, stall_s=30))


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds, ten seconds at most."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def is_idle(server: ScriptedServer) -> bool:
    return not any(seen.outcome == "open" for seen in server.log.requests)


async def gone(server: ScriptedServer) -> None:
    """Wait until nobody is connected and nothing is under way."""
    await until(lambda: is_idle(server) and not server.n_connections)


async def leave_after(n: int, server: ScriptedServer, session: aiohttp.ClientSession) -> int:
    """Read so many tokens of a stream, and close: how many had been generated by then."""
    body = {**CHAT, "stream": True, "seed": 1}
    async with session.post(f"{server.url}/chat/completions", json=body) as reply:
        n_read = 0
        async for line in reply.content:
            n_read += b'"delta":{"content"' in line
            if n_read == n:
                break
        n_tokens = server.log.requests[-1].tokens
        reply.close()
    return n_tokens


def test_generation_ends_one_token_after_the_close_at_most() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        before = await leave_after(5, server, session)
        await gone(server)
        (seen,) = server.log.requests
        assert seen.outcome == "closed"
        assert 5 <= before <= seen.tokens <= before + 1
        assert server.log.tokens == seen.tokens

    served(use, Script(drip=1.0, drip_s=0.01), law="length")


def test_or_it_goes_on_to_the_end() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        await leave_after(2, server, session)
        await gone(server)
        n_tokens = server.log.requests[0].tokens
        whole = await ask(server, session, seed=1)
        assert whole["usage"]["completion_tokens"] == n_tokens
        assert server.log.outcomes == Counter(closed=1, ok=1)

    served(use, Script(drip=(0,), drip_s=0.001, stops_on_close=False))


def test_it_ends_what_nobody_waits_for() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> ScriptedServer:
        await leave_after(1, server, session)
        return server

    server = served(use, Script(stall=1.0, stall_s=30.0, stops_on_close=False))
    assert server.log.outcomes == Counter(closed=1)


def test_a_body_in_slow_chunks_and_a_delay_are_still_right() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        slow, fast = await ask(server, session, seed=1), await ask(server, session, seed=1)
        assert slow["choices"] == fast["choices"]

    served(use, Script(chunked=(0,), drip_s=0.001), delay_s=0.001)


def test_faults_strike_as_often_as_they_should_and_the_same_ones_again() -> None:
    names = [f.name for f in fields(Script) if f.type == "When"]
    script = Script(**dict.fromkeys(names, 0.05), seed=3)
    struck = Counter(name for i in range(2000) for name in script.strikes(i))
    assert struck.keys() == set(names)
    assert all(abs(n - 100) < 4.5 * 9.75 for n in struck.values()), struck
    assert script.strikes(17) == Script(**dict.fromkeys(names, 0.05), seed=3).strikes(17)
    assert [i for i in range(10) if Script(stall={2, 5}).strikes(i)] == [2, 5]


def test_books_agree_under_every_fault_at_once() -> None:
    names = [f.name for f in fields(Script) if f.type == "When"]

    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        async def one(i: int) -> None:
            try:
                await (events if i % 2 else ask)(server, session, n=2)
            except (*BROKEN, ValueError, AssertionError):
                pass

        await asyncio.gather(*(one(i) for i in range(400)))
        log = server.log
        await until(lambda: is_idle(server))
        assert log.n_requests == len(log.requests) == log.outcomes.total()
        assert log.tokens == sum(seen.tokens for seen in log.requests)
        assert set(log.outcomes) <= {*names, "ok"}
        assert log.outcomes["ok"] > 150
        refused = ("busy", "busy_until", "unavailable", "broken", "unauthorized", "unknown_model", "over_context")
        assert all((seen.tokens > 0) == (seen.outcome not in (*refused, "reset_before")) for seen in log.requests)

    served(use, Script(**dict.fromkeys(names, 0.05), stall_s=0.01, drip_s=0.0001))


# --- the wire ------------------------------------------------------------------------------------------


def test_a_request_in_pieces_and_what_is_no_request() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for byte in b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n":
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200 OK")
        writer.write(b"what is this?\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 Bad Request")
        writer.close()

    served(use)


def test_who_asks_and_leaves_at_once_is_counted() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            data = json.dumps(CHAT).encode()
            sock.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))
        await until(lambda: server.log.outcomes.total() > 0)
        assert server.log.n_requests == 1

    served(use)


def test_a_fault_of_the_server_itself_is_raised() -> None:
    async def use(server: ScriptedServer, session: aiohttp.ClientSession) -> None:
        server._plain = None  # type: ignore[assignment]
        with pytest.raises(BROKEN):
            await ask(server, session)

    with pytest.raises(AttributeError, match="NoneType"):
        served(use)


# --- as a process --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["end of input", "SIGTERM"])
def test_its_own_process(way: str) -> None:
    command = [
        sys.executable,
        "-m",
        "vervet.testing.server",
        "--law",
        "iid?p=0.3",
        "--ignore-n",
        "1",
        "--delay",
        "0.001",
    ]
    paths = os.pathsep.join([str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        url = json.loads(process.stdout.readline())["url"]

        async def main() -> Any:
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{url}/chat/completions", json={**CHAT, "n": 4}) as r,
            ):
                return await r.json()

        assert len(asyncio.run(main())["choices"]) == 1
        if way == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            process.stdin.close()
        last = json.loads(process.stdout.readline())
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == ""
    assert (last["requests"], last["outcomes"]) == (1, {"ok": 1})
