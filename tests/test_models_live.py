"""Tokens told as they come: the same as the sample says when it ends, and once for each step of the engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.tiny import write_folder
from vervet.models.fake import FakeModel
from vervet.models.laws import Iid
from vervet.models.live import Live, Token
from vervet.models.local import LocalModel
from vervet.models.text import RAW
from vervet.types import Delivery, Endings, Question, Request, Sample, Stream

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel(write_folder(tmp_path_factory.mktemp("models") / "tiny"), slots=37, threads=1)


def asked(text: str = "Hm?", **settings: Any) -> Question:
    return Question(messages=({"role": "user", "content": text},), **settings)


async def heard(
    model: LocalModel, question: Question, n: int, top: int = 0, **endings: Any
) -> tuple[list[list[Token]], dict[int, Sample]]:
    """What was told, and the samples; all tokens of a sample come before it."""
    told: list[list[Token]] = []
    samples: dict[int, Sample] = {}
    row = Stream(model.name, question.digest)
    async with model.draw_live(Request(question, Endings(**endings)), row, range(n), top) as items:
        async for item in items:
            if isinstance(item, Delivery):
                assert isinstance(item.outcome, Sample)
                samples[item.index] = item.outcome
            else:
                assert not samples.keys() & {token.index for token in item}
                told.append(item)
    return told, samples


@pytest.mark.parametrize("question", [asked(), Question(({"role": RAW, "content": "<|user|>a<think>"},))])
def test_what_is_told_is_what_the_sample_says(model: LocalModel, question: Question) -> None:
    told, samples = asyncio.run(heard(model, question, 50, max_tokens=60))
    assert len(samples) == 50  # more than there are slots
    assert max(len(step) for step in told) == 37  # one list for a step
    for index, sample in samples.items():
        tokens = [token for step in told for token in step if token.index == index]
        assert sample.trace is not None and sample.trace.logprob is not None
        assert [t.id for t in tokens] == sample.trace.ids.tolist()
        assert [t.logprob for t in tokens] == sample.trace.logprob.tolist()
        assert "".join(t.text for t in tokens if t.thinking) == sample.reasoning
        assert "".join(t.text for t in tokens if not t.thinking) == sample.text


def test_listening_changes_no_sample(model: LocalModel) -> None:
    async def plain() -> dict[int, Sample]:
        row, request = Stream(model.name, asked().digest), Request(asked(), Endings(max_tokens=30))
        async with model.draw(request, row, range(9)) as call:
            return {d.index: d.outcome async for d in call if isinstance(d.outcome, Sample)}

    assert asyncio.run(plain()) == asyncio.run(heard(model, asked(), 9, max_tokens=30))[1]


def test_the_tokens_of_a_stop_string_are_told_and_its_text_is_not_in_the_sample(model: LocalModel) -> None:
    told, samples = asyncio.run(heard(model, asked(), 30, max_tokens=120, stop=("e",)))
    stopped = [i for i, s in samples.items() if s.ended == "stop:e"]
    assert stopped
    for index in stopped:
        tokens = [token for step in told for token in step if token.index == index]
        assert len(tokens) == samples[index].n_tokens
        assert "".join(t.text for t in tokens if not t.thinking).startswith(samples[index].text + "e")


def test_the_likeliest_tokens_are_those_of_the_logits(model: LocalModel) -> None:
    told, samples = asyncio.run(heard(model, asked(temperature=0), 1, top=5, max_tokens=20))
    tokens = [token for step in told for token in step]
    assert all(t.likeliest[0] == (t.id, t.logprob) for t in tokens)  # at temperature 0 the likeliest is chosen
    assert all(len(t.likeliest) == 5 and sorted({p for _, p in t.likeliest})[-1] == t.logprob for t in tokens)
    trace = samples[0].trace
    assert trace is not None and trace.topk is not None
    wider = asyncio.run(heard(model, asked(temperature=0), 1, top=20, max_tokens=20))[0]
    means = [sum(p for _, p in t.likeliest) / 20 for step in wider for t in step]
    assert means == pytest.approx(trace.topk.tolist(), rel=1e-5)  # the engine's own k is 20


def test_leaving_ends_the_work(model: LocalModel) -> None:
    async def main() -> None:
        request = Request(asked("left"), Endings(min_tokens=400))
        async with model.draw_live(request, Stream(model.name, "q"), range(100)) as items:
            async for _ in items:
                break
        while model._worker.calls:  # noqa: ASYNC110 - the engine sets no event
            await asyncio.sleep(0.001)

    asyncio.run(main())


def test_who_is_live(model: LocalModel) -> None:
    assert isinstance(model, Live)
    assert not isinstance(FakeModel(Iid()), Live)
    assert model.bytes_of(2) is None


def test_a_raw_prompt_gives_the_ids_of_its_messages(model: LocalModel) -> None:
    ids = model._codec.encode(asked("a<b"))
    raw = [
        Question(({"role": RAW, "content": c},))
        for c in ("<|bos|><|user|>a<b<|assistant|>", "<|user|>a<b<|assistant|>", ids)
    ]
    assert [model._codec.encode(q) for q in raw] == [ids, ids, ids]


@pytest.mark.parametrize("content", [[], [264], [-1], [True], ["a"], None, {"a": 1}])
def test_raw_prompts_that_are_refused(model: LocalModel, content: Any) -> None:
    with pytest.raises(ValueError, match="prompt"):
        model.count(Question(({"role": RAW, "content": content},)))
    with pytest.raises(ValueError, match="prefill"):
        model.count(Question(({"role": RAW, "content": "a"},), prefill="b"))


def test_after_a_raw_prompt_the_thinking_marks_show(model: LocalModel) -> None:
    from tests.tiny import SPECIALS
    from vervet.models.text import Reading

    think, unthink, eos = (SPECIALS.index(t) for t in ("<think>", "</think>", "<|eos|>"))
    byte = {model._codec.bytes_of(i): i for i in range(len(SPECIALS), 264)}
    r = Reading(model._codec, thinking=False, raw=True)
    for token in [think, byte[b"a"], unthink, byte[b"b"], eos]:
        r.feed(token)
    assert (r.reasoning, r.text) == ("", "<think>a</think>b")
    assert r.ends.tolist() == [7, 8, 16, 17, 17]
