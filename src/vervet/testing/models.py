"""What holds for every model: same address same sample, honest bills, an end on request, no silent ignoring.

A check takes a model; its samples must be a function of the address (``supports.seed``) where two draws are compared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from ..errors import Unsupported
from ..models.endings import truncated
from ..types import Delivery, Endings, Model, Question, Request, Sample, Stream
from .surroundings import problem_for

Check = Callable[[Model], Awaitable[None]]


def _request(max_tokens: int = 64) -> Request:
    return Request(Question(problem_for(1).messages), Endings(max_tokens=max_tokens))


def _row(model: Model, request: Request) -> Stream:
    return Stream(model.name, request.question.digest)


async def _draw(
    model: Model, request: Request, indices: Sequence[int], so_far: dict[int, Sample] | None = None
) -> dict[int, Delivery]:
    found: dict[int, Delivery] = {}
    for start in range(0, len(indices), model.supports.n):
        part = indices[start : start + model.supports.n]
        async with model.draw(request, _row(model, request), part, so_far or {}) as call:
            async for delivery in call:
                assert delivery.index not in found, f"index {delivery.index} was delivered twice"
                found[delivery.index] = delivery
    return found


def _samples(found: dict[int, Delivery]) -> dict[int, Sample]:
    samples = {i: d.outcome for i, d in found.items() if isinstance(d.outcome, Sample)}
    assert len(samples) == len(found), f"expected samples alone, but got {found}"
    return samples


async def same_address_same_sample(model: Model) -> None:
    """In any order, alone or together; other indices are other samples."""
    if not model.supports.seed:
        return
    together = _samples(await _draw(model, _request(), [0, 1, 2, 3, 4]))
    backwards = _samples(await _draw(model, _request(), [4, 2, 0]))
    assert all(together[i] == backwards[i] for i in backwards)
    assert len({s.text for s in together.values()}) > 1, "expected different samples at different indices"


async def bills_are_honest(model: Model) -> None:
    """Every index asked for comes once; the prompt is billed once a call, completions by their tokens."""
    request = _request()
    indices = list(range(min(3, model.supports.n)))
    found = await _draw(model, request, indices)
    assert sorted(found) == indices
    samples = _samples(found)
    for i, sample in samples.items():
        assert found[i].bill.completion_tokens == sample.n_tokens <= 64
        assert sample.address == _row(model, request).at(i)
        assert sample.trace is None or len(sample.trace) == sample.n_tokens
    prompt_tokens = sum(d.bill.prompt_tokens for d in found.values())
    assert prompt_tokens <= model.count(request.question), "expected count() to be an upper bound"


async def shorter_is_a_prefix(model: Model) -> None:
    """A sample drawn to fewer tokens is the longer one, truncated; followed further it is the longer one."""
    if not model.supports.continuation:
        return
    whole, short = [_samples(await _draw(model, _request(n), [0, 1, 2])) for n in (64, 5)]
    for i in whole:
        expected = truncated(whole[i], Endings(max_tokens=5))
        assert expected is not None
        assert replace(short[i], trace=None) == replace(expected, trace=None)
    still_open = {i: s for i, s in short.items() if s.is_open}
    followed = await _draw(model, _request(), list(still_open), still_open)
    for i, delivery in followed.items():
        outcome = delivery.outcome
        assert isinstance(outcome, Sample)
        assert (outcome.text, outcome.ended, outcome.n_tokens) == (whole[i].text, whole[i].ended, whole[i].n_tokens)
        assert delivery.bill.completion_tokens == whole[i].n_tokens - 5, "expected the new tokens alone on the bill"


async def stop_ends_it(model: Model) -> None:
    """After ``stop`` what was computed is delivered, as open samples, and the call ends."""
    request = _request()
    async with model.draw(request, _row(model, request), [0], {}) as call:
        call.stop()
        left = [delivery async for delivery in call]
    assert len(left) <= 1
    for delivery in left:
        assert isinstance(delivery.outcome, Sample)
        assert delivery.bill.completion_tokens == delivery.outcome.n_tokens


async def what_it_cannot_do_it_refuses(model: Model) -> None:
    """Tools are refused where they are not supported, and so is a role that nobody has."""
    question = replace(_request().question, tools=({"name": "calculator"},))
    try:
        await _draw(model, Request(question, Endings(max_tokens=5)), [0])
    except Unsupported:
        return
    raise AssertionError(f"{model.name} took tools without a word")


MODEL_CHECKS: list[Check] = [
    same_address_same_sample,
    bills_are_honest,
    shorter_is_a_prefix,
    stop_ends_it,
    what_it_cannot_do_it_refuses,
]
