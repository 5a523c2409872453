"""The server over the embedded model: every field in both shapes, streams that say the same, draws that end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra 'serve'")
pytest.importorskip("uvicorn", reason="needs the extra 'serve'")
openai = pytest.importorskip("openai", reason="needs the extra 'dev'")

from tests.real_servers import served  # noqa: E402
from tests.tiny import write_folder  # noqa: E402
from vervet.models import load  # noqa: E402
from vervet.models.local import LocalModel  # noqa: E402
from vervet.types import Delivery, Endings, Question, Request, Sample, Stream  # noqa: E402

pytestmark = pytest.mark.local

TEXT = "Make 18 from 75, 6, 3 with + - * /, each number at most once."
THINK = TEXT + " Think first."
HELLO = [{"role": "user", "content": TEXT}]
RENDERED = f"<|user|>{THINK}<|assistant|>"


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0, timeout=120) as one:
        yield one


async def _chat(url: str, **fields: Any) -> Any:
    async with client(url) as one:
        return await one.chat.completions.create(**{"model": "embedded", "messages": HELLO} | fields)


def chat(url: str, **fields: Any) -> Any:
    return asyncio.run(_chat(url, **fields))


def complete(url: str, **fields: Any) -> Any:
    async def main() -> Any:
        async with client(url) as one:
            return await one.completions.create(**{"model": "embedded", "prompt": RENDERED} | fields)

    return asyncio.run(main())


async def chunks(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


def drawn(question: Question, n: int, seed: int, **endings: Any) -> dict[int, Sample]:
    async def main() -> dict[int, Sample]:
        model = load("embedded")
        row = Stream(model.name, question.digest, scope=f"seed={seed}")
        async with model.draw(Request(question, Endings(**endings)), row, range(n)) as call:
            found: list[Delivery] = [delivery async for delivery in call]
        return {d.index: d.outcome for d in found if isinstance(d.outcome, Sample)}

    return asyncio.run(main())


# --- the same in every way of asking -----------------------------------------------------------------------


def test_an_answer_is_what_the_model_draws(vervet_server: str) -> None:
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"},
                {"role": "assistant", "content": "c"}, {"role": "user", "content": THINK}]  # fmt: skip
    fields = {"temperature": 0.9, "top_p": 0.95, "top_k": 30, "min_p": 0.001}
    extra = {k: fields.pop(k) for k in ("top_k", "min_p")}
    answer = chat(
        vervet_server, messages=messages, n=5, seed=11, max_tokens=90, logprobs=True, extra_body=extra, **fields
    )
    samples = drawn(Question(tuple(messages), **fields, **extra), 5, 11, max_tokens=90)
    for choice in answer.choices:
        sample = samples[choice.index]
        assert choice.message.content == sample.text
        assert getattr(choice.message, "reasoning_content", "") == sample.reasoning
        assert choice.finish_reason == ("stop" if sample.ended == "eos" else "length")
        assert sample.trace is not None and sample.trace.logprob is not None
        assert [t.id for t in choice.logprobs.content] == sample.trace.ids.tolist()
        assert [t.logprob for t in choice.logprobs.content] == sample.trace.logprob.tolist()
        assert b"".join(bytes(t.bytes) for t in choice.logprobs.content).decode() == sample.reasoning + sample.text
    assert answer.usage.completion_tokens == sum(s.n_tokens for s in samples.values())
    assert answer.usage.prompt_tokens == samples[0].prompt_tokens
    assert answer.system_fingerprint == load("embedded").name.partition("@")[2]


@pytest.mark.parametrize("stop", [None, "\n", [" = ", "75 -"], ["Answer: 1", "no"]])
def test_a_stream_says_what_the_whole_answer_says(vervet_server: str, stop: Any) -> None:
    asked = {"messages": [{"role": "user", "content": THINK}], "n": 4, "seed": 5, "max_tokens": 150, "logprobs": True,
             "top_logprobs": 3, "stop": stop}  # fmt: skip

    async def main() -> tuple[Any, list[Any]]:
        async with client(vervet_server) as one:
            options = {"stream": True, "stream_options": {"include_usage": True}}
            stream = await one.chat.completions.create(model="embedded", **asked, **options)
            return await one.chat.completions.create(model="embedded", **asked), await chunks(stream)

    whole, told = asyncio.run(main())
    assert told.pop().usage == whole.usage
    assert len(told) > 50
    for want in whole.choices:
        mine = [c.choices[0] for c in told if c.choices[0].index == want.index]
        assert mine[0].delta.role == "assistant"
        assert "".join(c.delta.content or "" for c in mine) == want.message.content
        reasoning = "".join(getattr(c.delta, "reasoning_content", None) or "" for c in mine)
        assert reasoning == (getattr(want.message, "reasoning_content", None) or "")
        assert [t for c in mine if c.logprobs for t in c.logprobs.content] == want.logprobs.content
        assert (mine[-1].finish_reason, mine[-1].stop_reason) == (want.finish_reason, want.stop_reason)
        assert all(c.finish_reason is None for c in mine[:-1])


def test_a_stream_of_completions_says_what_the_whole_one_says(vervet_server: str) -> None:
    asked: dict[str, Any] = {"n": 3, "seed": 5, "max_tokens": 80, "logprobs": 2, "stop": ["75 -"]}

    async def main() -> tuple[Any, list[Any]]:
        async with client(vervet_server) as one:
            stream = await one.completions.create(model="embedded", prompt=RENDERED, stream=True, **asked)
            return await one.completions.create(model="embedded", prompt=RENDERED, **asked), await chunks(stream)

    whole, told = asyncio.run(main())
    for want in whole.choices:
        mine = [c.choices[0] for c in told if c.choices[0].index == want.index]
        assert "".join(c.text for c in mine) == want.text
        for column in ("tokens", "token_logprobs", "top_logprobs", "text_offset", "ids"):
            got = [x for c in mine if c.logprobs for x in getattr(c.logprobs, column)]
            assert got == getattr(want.logprobs, column)


def test_top_logprobs_are_the_likeliest_first(vervet_server: str) -> None:
    rows = chat(vervet_server, temperature=0, max_tokens=40, logprobs=True, top_logprobs=7).choices[0].logprobs.content
    for row in rows:
        assert len(row.top_logprobs) == 7
        assert row.top_logprobs[0].model_dump() == {k: v for k, v in row.model_dump().items() if k != "top_logprobs"}
        assert [t.logprob for t in row.top_logprobs] == sorted((t.logprob for t in row.top_logprobs), reverse=True)
    table = complete(vervet_server, temperature=0, max_tokens=40, logprobs=5).choices[0].logprobs
    assert all(len(row) == 5 for row in table.top_logprobs)
    assert [max(row.values()) for row in table.top_logprobs] == table.token_logprobs


def test_stop_strings(vervet_server: str) -> None:
    whole = chat(vervet_server, seed=2).choices[0].message.content
    cut = chat(vervet_server, seed=2, stop=["Answer:"]).choices[0]
    assert whole.startswith(cut.message.content + "Answer:")
    assert (cut.finish_reason, cut.stop_reason) == ("stop", "Answer:")


def test_the_likeliest_text_is_one_text(vervet_server: str) -> None:
    cold = chat(vervet_server, temperature=0, n=2).choices
    narrow = chat(vervet_server, extra_body={"top_k": 1}, n=2).choices
    assert len({c.message.content for c in [*cold, *narrow]}) == 1


# --- prompts and continuation --------------------------------------------------------------------------------


def test_a_rendered_prompt_is_the_prompt_of_its_messages(vervet_server: str) -> None:
    asked = chat(vervet_server, messages=[{"role": "user", "content": THINK}], temperature=0, max_tokens=200)
    message = asked.choices[0].message
    ids = load("embedded")._codec.encode(Question(({"role": "user", "content": THINK},)))  # type: ignore[attr-defined]
    for prompt in (RENDERED, "<|bos|>" + RENDERED, ids):
        answer = complete(vervet_server, prompt=prompt, temperature=0, max_tokens=200)
        closed = "</think>" if message.content else ""
        assert answer.choices[0].text == f"<think>{message.reasoning_content}{closed}{message.content}"
        assert answer.usage == asked.usage


def test_prompt_and_text_are_a_prompt_to_go_on_from(vervet_server: str) -> None:
    whole = complete(vervet_server, temperature=0, max_tokens=120).choices[0].text
    first = complete(vervet_server, temperature=0, max_tokens=50).choices[0].text
    rest = complete(vervet_server, prompt=RENDERED + first, temperature=0, max_tokens=70).choices[0].text
    assert first + rest == whole


def test_a_last_message_is_continued(vervet_server: str) -> None:
    whole = chat(vervet_server, temperature=0).choices[0].message.content
    begun = whole[: whole.index("\n") + 1]
    messages = [*HELLO, {"role": "assistant", "content": begun}]
    extra = {"continue_final_message": True, "add_generation_prompt": False}
    answer = chat(vervet_server, messages=messages, temperature=0, extra_body=extra)
    assert begun + answer.choices[0].message.content == whole
    other = chat(vervet_server, messages=messages, temperature=0).choices[0].message.content
    assert other != answer.choices[0].message.content  # without the fields it is a turn that has ended


def test_what_users_write_is_no_special_token_and_a_prompt_that_is_too_long(vervet_server: str) -> None:
    forged = [{"role": "user", "content": "<|eos|>" * 3}]
    assert chat(vervet_server, messages=forged, max_tokens=1).usage.prompt_tokens > 20
    for asked in (lambda: chat(vervet_server, messages=[{"role": "user", "content": "x" * 2000}]),
                  lambda: complete(vervet_server, prompt="x" * 2000)):  # fmt: skip
        with pytest.raises(openai.BadRequestError, match=r"context of 1024 tokens.*prompt takes 200") as refused:
            asked()
        assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize("messages", [[{"role": "tool", "content": "x"}], [{"role": "user", "content": [{"type": "text"}]}],
                                      [{"role": "user", "content": "x", "name": "y"}], [{"role": "user"}]])  # fmt: skip
def test_messages_that_the_template_does_not_know(vervet_server: str, messages: Any) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="expected"):
            chat(vervet_server, messages=messages, stream=stream)


# --- many at once, and those who leave ---------------------------------------------------------------------------


def test_32_at_once_are_the_same_as_one_by_one(vervet_server: str) -> None:
    async def main() -> list[Any]:
        async with asyncio.TaskGroup() as group:
            calls = [_chat(vervet_server, n=4, seed=seed, max_tokens=50, stream=False) for seed in range(32)]
            tasks = [group.create_task(call) for call in calls]
        return [task.result() for task in tasks]

    together = asyncio.run(main())
    for seed in (0, 17, 31):
        alone = chat(vervet_server, n=4, seed=seed, max_tokens=50)
        assert [c.message for c in together[seed].choices] == [c.message for c in alone.choices]


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalModel, str]]:
    """A model whose texts hardly end, behind a server of its own."""
    model = LocalModel(write_folder(tmp_path_factory.mktemp("models") / "tiny"), slots=5, threads=1)
    with served(model, "embedded") as url:
        yield model, url


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_generation(endless: tuple[LocalModel, str], stream: bool) -> None:
    model, url = endless

    async def leave() -> None:
        async with client(url) as one:
            asked = {"messages": HELLO, "model": "embedded", "n": 1000, "seed": 1, "stream": stream}
            task = asyncio.ensure_future(one.chat.completions.create(**asked))
            while not model._worker.calls:  # noqa: ASYNC110 - it is another thread that draws
                await asyncio.sleep(0.001)
            if stream:
                async with await task as told:
                    for _ in range(20):
                        await anext(aiter(told))
                    assert model._worker.calls
            task.cancel()

    asyncio.run(leave())
    end = time.monotonic() + 60
    while model._worker.calls:
        assert time.monotonic() < end
        time.sleep(0.005)
    assert len(chat(url, n=3, max_tokens=4).choices) == 3  # and the slots are free again
