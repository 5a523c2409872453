"""The server over fake models, asked by OpenAI's own client: fields, errors, streams, clients that leave."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra 'serve'")
pytest.importorskip("uvicorn", reason="needs the extra 'serve'")
httpx = pytest.importorskip("httpx", reason="needs the extra 'dev'")
openai = pytest.importorskip("openai", reason="needs the extra 'dev'")

from tests.real_servers import served  # noqa: E402
from vervet.errors import MissingExtra  # noqa: E402
from vervet.models.fake import FakeModel, Fault  # noqa: E402
from vervet.models.laws import Iid  # noqa: E402
from vervet.server import serve  # noqa: E402
from vervet.server.reply import _settled  # noqa: E402

HELLO = [{"role": "user", "content": "Which number is hidden behind door 1?"}]
ASKED: dict[str, Any] = {"model": "fake", "messages": HELLO}


@contextmanager
def at(model: FakeModel, key: str | None = None) -> Iterator[str]:
    with served(model, "fake", key) as url:
        yield url


@asynccontextmanager
async def client(url: str, key: str = "any") -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=30) as one:
        yield one


def ask(url: str, **fields: Any) -> Any:
    async def main() -> Any:
        async with client(url) as one:
            return await one.chat.completions.create(**ASKED | fields)

    return asyncio.run(main())


def post(url: str, body: Any, path: str = "/chat/completions", **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(url + path, content=data, headers=headers, timeout=30)


def wait_until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


# --- answers ---------------------------------------------------------------------------------------------


def test_an_answer_has_every_choice_and_what_it_cost() -> None:
    model = FakeModel(Iid(p=0.5))
    with at(model) as url:
        answer = ask(url, n=20, seed=3)
    assert [c.index for c in answer.choices] == list(range(20))  # in two calls: the model brings 16 at once
    assert answer.usage.completion_tokens == model.log.tokens.total()
    assert answer.usage.prompt_tokens == model.log.prompt_tokens
    assert answer.usage.total_tokens == model.log.total_tokens
    assert answer.model == "fake"
    assert answer.system_fingerprint == model.name
    assert all(c.finish_reason == "stop" and c.stop_reason is None and c.message.content for c in answer.choices)


def test_sample_i_of_a_seed_is_the_same_whatever_n_is_and_no_seed_draws_anew() -> None:
    with at(FakeModel(Iid(p=0.5))) as url:
        five, twelve, other = ask(url, n=5, seed=3), ask(url, n=12, seed=3), ask(url, n=5, seed=4)
        unseeded = [ask(url, n=5) for _ in range(2)]
    said = [[c.message.content for c in a.choices] for a in (five, twelve, other, *unseeded)]
    assert said[0] == said[1][:5]
    assert len({tuple(s[:5]) for s in said}) == 4


def test_stop_says_which_and_length_says_length() -> None:
    with at(FakeModel(Iid(p=0.5))) as url:
        whole = ask(url, seed=1).choices[0].message.content
        first, second = whole.split()[1:3]
        stopped = ask(url, seed=1, stop=["nowhere", first]).choices[0]
        short = ask(url, seed=1, max_completion_tokens=2).choices[0]
        one = ask(url, seed=1, stop=second).choices[0]
    assert (stopped.finish_reason, stopped.stop_reason) == ("stop", first)
    assert stopped.message.content == whole[: whole.index(first)]
    assert one.message.content == whole[: whole.index(second)]
    assert (short.finish_reason, short.stop_reason) == ("length", None)
    assert whole.startswith(short.message.content)


def test_logprobs_in_both_shapes() -> None:
    model = FakeModel(Iid(p=0.5))
    with at(model) as url:
        chosen = ask(url, seed=1, logprobs=True).choices[0]
        body = post(url, {"model": "fake", "prompt": "door 1", "seed": 1, "logprobs": 0}, "/completions").json()
    rows = chosen.logprobs.content
    assert "".join(r.token for r in rows) == chosen.message.content
    assert b"".join(bytes(r.bytes) for r in rows).decode() == chosen.message.content
    assert all(r.logprob < 0 and r.top_logprobs == [] and r.id >= 0 for r in rows)
    choice = body["choices"][0]
    told = choice["logprobs"]
    assert "".join(told["tokens"]) == choice["text"]
    assert told["text_offset"] == [len("".join(told["tokens"][:i])) for i in range(len(told["tokens"]))]
    assert len(told["token_logprobs"]) == len(told["ids"]) == body["usage"]["completion_tokens"]
    assert told["top_logprobs"] is None
    assert body["object"] == "text_completion"


def test_without_logprobs_there_are_none() -> None:
    with at(FakeModel(Iid(p=0.5))) as url:
        assert ask(url).choices[0].logprobs is None


@pytest.mark.parametrize("chat", [True, False])
def test_a_model_that_tells_no_tokens_streams_a_sample_in_one_piece(chat: bool) -> None:
    asked: dict[str, Any] = {"model": "fake", "n": 3, "seed": 5, "logprobs": True if chat else 0}
    asked |= {"messages": HELLO} if chat else {"prompt": "door 1"}
    path = "/chat/completions" if chat else "/completions"
    with at(FakeModel(Iid(p=0.5))) as url:
        whole = post(url, asked, path).json()
        streamed = post(url, asked | {"stream": True, "stream_options": {"include_usage": True}}, path)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in streamed.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert {c["id"] for c in chunks} == {chunks[0]["id"]}
    assert chunks[0]["object"] == ("chat.completion.chunk" if chat else "text_completion")
    assert chunks.pop()["usage"] == whole["usage"]
    assert all(c["usage"] is None for c in chunks)
    for want in whole["choices"]:
        mine = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == want["index"]]
        if chat:
            assert mine[0]["delta"] == {"role": "assistant", "content": ""}
            assert "".join(c["delta"].get("content", "") for c in mine) == want["message"]["content"]
        else:
            assert "".join(c["text"] for c in mine) == want["text"]
        assert [c["finish_reason"] for c in mine] == [None] * (len(mine) - 1) + ["stop"]
        assert [c["logprobs"] for c in mine if c["logprobs"]] == [want["logprobs"]]


def test_what_may_begin_a_stop_string_is_held_back() -> None:
    assert _settled("abc", (), 0) == 3
    assert _settled("so: ab", ("abc", "b!"), 0) == 4
    assert _settled("so: ab", ("b!",), 0) == 5
    assert _settled("so: abc and", ("abc",), 0) == 4
    assert _settled("aaa", ("aaaa",), 2) == 2
    assert _settled("xyab", ("abab",), 4) == 4


def test_models_and_health() -> None:
    with at(FakeModel(Iid())) as url:
        assert httpx.get(url.removesuffix("/v1") + "/health").json() == {"status": "ok"}

        async def main() -> list[Any]:
            async with client(url) as one:
                return [[m async for m in await one.models.list()], await one.models.retrieve("fake")]

        listed, retrieved = asyncio.run(main())
        assert [m.id for m in listed] == ["fake"]
        assert retrieved.root == FakeModel(Iid()).name
        assert retrieved.max_model_len == 4096
        assert httpx.get(url + "/models/gpt").json()["error"]["code"] == "model_not_found"


# --- what is refused -------------------------------------------------------------------------------------

REFUSED = [
    ({"n": 0}, "n"), ({"n": 2.0}, "n"), ({"n": True}, "n"), ({"n": 10**9}, "n"), ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"), ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"), ({"temperature": -1}, "temperature"),
    ({"temperature": "hot"}, "temperature"), ({"temperature": True}, "temperature"), ({"top_p": 1.5}, "top_p"),
    ({"top_k": -2}, "top_k"), ({"min_p": 2}, "min_p"), ({"seed": "x"}, "seed"), ({"seed": 2**64}, "seed"),
    ({"stop": ""}, "stop"), ({"stop": ["a", 3]}, "stop"), ({"stop": {"a": 1}}, "stop"), ({"stop": "\ud800"}, "stop"),
    ({"stream": "yes"}, "stream"), ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"chunk": 1}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "include_usage"),
    ({"logprobs": 3}, "logprobs"), ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 1}, "top_logprobs"), ({"presence_penalty": 0.5}, "presence_penalty"),
    ({"frequency_penalty": False}, "frequency_penalty"), ({"logit_bias": {"50": 1}}, "logit_bias"),
    ({"tools": [{"type": "function"}]}, "tools"), ({"tool_choice": "auto"}, "tool_choice"),
    ({"response_format": {"type": "json_object"}}, "response_format"), ({"reasoning_effort": "low"}, "reasoning_effort"),
    ({"best_of": 2}, "best_of"), ({"prompt": "a"}, "prompt"), ({"temprature": 1}, "temprature"), ({"user": 3}, "user"),
    ({"messages": []}, "messages"), ({"messages": "hello"}, "messages"), ({"messages": [3]}, "messages[0]"),
    ({"messages": [{"content": "a"}]}, "messages[0]"), ({"messages": [{"role": "prompt", "content": "a"}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages"),
    ({"add_generation_prompt": False}, "add_generation_prompt"),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"continue_final_message": True, "add_generation_prompt": False}, "messages"),
]  # fmt: skip


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with at(FakeModel(Iid(p=0.5))) as one:
        yield one


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=str)
def test_what_cannot_be_obeyed_is_refused_by_name(url: str, fields: dict[str, Any], param: str) -> None:
    answer = post(url, ASKED | fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert param.partition("[")[0].rstrip("s") in error["message"]


@pytest.mark.parametrize("fields", [{"suffix": "b"}, {"echo": True}, {"best_of": 3}, {"prompt": ["a"]}, {"prompt": []},
                                    {"prompt": None}, {"messages": HELLO}, {"logprobs": 1}])  # fmt: skip
def test_completions_refuse_theirs(url: str, fields: dict[str, Any]) -> None:
    answer = post(url, {"model": "fake", "prompt": "a"} | fields, "/completions")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(fields))


def test_what_asks_for_nothing_is_taken(url: str) -> None:
    nothing = {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "tools": None, "tool_choice": "none",
               "response_format": {"type": "text"}, "best_of": 2, "n": 2, "top_k": -1, "stop": None, "seed": None,
               "temperature": None, "user": "me", "stream": False, "logprobs": None, "stream_options": None}  # fmt: skip
    assert post(url, ASKED | nothing).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b'"a"', b"\xff", b'{"n": NaN}', b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}"],
    ids=lambda b: repr(b[:12]),
)  # fmt: skip
def test_bodies_that_are_no_request(url: str, body: bytes) -> None:
    answer = post(url, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_the_model_must_be_named(url: str) -> None:
    assert post(url, {"messages": HELLO}).json()["error"]["param"] == "model"
    answer = post(url, ASKED | {"model": "gpt"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")

    async def main() -> None:
        async with client(url) as one:
            await one.chat.completions.create(**ASKED | {"model": "gpt"})

    with pytest.raises(openai.NotFoundError, match="'fake'"):
        asyncio.run(main())


def test_other_places_and_methods(url: str) -> None:
    for answer, status in ((httpx.get(url + "/nowhere"), 404), (httpx.get(url + "/chat/completions"), 405)):
        assert answer.status_code == status
        assert answer.json()["error"]["message"]


def test_what_the_model_refuses_is_a_400(url: str) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "It is"}]
    fields = {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    for stream in (False, True):
        answer = post(url, ASKED | fields | {"stream": stream})
        assert answer.status_code == 400
        assert "prefill" in answer.json()["error"]["message"]


def test_a_model_without_figures_refuses_logprobs() -> None:
    with at(FakeModel(Iid(), figures=False)) as url:
        assert post(url, ASKED | {"logprobs": True}).json()["error"]["param"] == "logprobs"


def test_the_key(url: str) -> None:
    with at(FakeModel(Iid()), key="s3cret") as locked:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer é".encode()}):
            answer = post(locked, ASKED, **headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
            assert "s3cret" not in answer.text
        assert post(locked, b"{", authorization="Bearer wrong").status_code == 401
        assert httpx.get(locked + "/models").status_code == 401
        assert httpx.get(locked.removesuffix("/v1") + "/health").status_code == 200
        assert post(locked, ASKED, authorization="Bearer s3cret").status_code == 200


def test_without_the_packages_the_error_is_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"starlette is not installed; run: pip install 'vervet\[serve\]'"):
        serve(FakeModel(Iid()), "fake", "127.0.0.1", 0)


# --- failures and those who leave --------------------------------------------------------------------------


def test_a_sample_that_failed_is_left_out_and_the_others_come() -> None:
    model = FakeModel(Iid(p=0.5), faults={1: Fault("failed", reason="reset")})
    with at(model) as url:
        assert [c.index for c in ask(url, n=3).choices] == [0, 2]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "status"), [("transient", 503), ("failed", 502), ("refused", 400), ("fatal", 502)])
def test_where_nothing_came_the_failure_is_the_answer(kind: Any, status: int, stream: bool) -> None:
    model = FakeModel(Iid(), faults=dict.fromkeys(range(3), Fault(kind, reason="scripted", retry_after_s=1.2)))
    with at(model) as url:
        answer = post(url, ASKED | {"n": 3, "stream": stream})
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == "scripted"
    assert answer.headers["retry-after"] == "2"


def test_an_error_in_the_server_is_a_500_without_its_secrets(capfd: pytest.CaptureFixture[str]) -> None:
    async def broken(address: Any) -> None:
        raise ZeroDivisionError("inside")

    with at(FakeModel(Iid(), hook=broken)) as url:
        answer = post(url, ASKED)
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "inside" not in answer.text
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_draw(stream: bool) -> None:
    model = FakeModel(Iid(p=0.5), delay_s=0.02)
    with at(model) as url:

        async def leave() -> None:
            async with client(url) as one:
                call = one.chat.completions.create(**ASKED | {"n": 40, "stream": stream})
                task = asyncio.ensure_future(call)
                while not model.log.tokens:  # noqa: ASYNC110 - it is another thread that draws
                    await asyncio.sleep(0.001)
                task.cancel()

        asyncio.run(leave())
        wait_until(lambda: model.log.n_open == 0)
        n_tokens = model.log.tokens.total()
        time.sleep(0.1)
        assert model.log.tokens.total() == n_tokens


def test_32_at_once_are_the_same_as_one_by_one() -> None:
    with at(FakeModel(Iid(p=0.5), delay_s=0.0)) as url:

        async def main() -> list[Any]:
            async with client(url) as one:
                calls = (one.chat.completions.create(**ASKED | {"seed": s, "n": 3}) for s in range(32))
                return await asyncio.gather(*calls)

        together = asyncio.run(main())
        for seed in (0, 13, 31):
            assert [c.message for c in together[seed].choices] == [c.message for c in ask(url, seed=seed, n=3).choices]
