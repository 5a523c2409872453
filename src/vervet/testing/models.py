"""What holds for every model: same address same sample, honest bills, an end on request, no silent ignoring.

A check takes a model and closes its connections. Where two draws are compared, samples must be a function of the
address (``supports.seed``); a model without that passes those checks unseen.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from ..errors import Unsupported
from ..models.endings import truncated
from ..types import Delivery, Endings, Model, Question, Request, Sample, Stream
from .surroundings import problem_for

Check = Callable[[Model], Awaitable[None]]


def _closing(check: Check) -> Check:
    """The check, with the model's connections closed at its end."""

    @functools.wraps(check)
    async def closing(model: Model) -> None:
        try:
            await check(model)
        finally:
            await model.close()

    return closing


def _request(max_tokens: int = 64) -> Request:
    return Request(Question(problem_for(1).messages), Endings(max_tokens=max_tokens))


def _row(model: Model, request: Request) -> Stream:
    return Stream(model.name, request.question.digest)


async def _call(
    model: Model, request: Request, indices: Sequence[int], so_far: dict[int, Sample] | None = None
) -> dict[int, Delivery]:
    """What one call brings."""
    found: dict[int, Delivery] = {}
    async with model.draw(request, _row(model, request), indices, so_far or {}) as call:
        async for delivery in call:
            assert delivery.index in indices, f"expected the indices {indices}, but got {delivery.index}"
            assert delivery.index not in found, f"index {delivery.index} was delivered twice"
            found[delivery.index] = delivery
    return found


async def _draw(
    model: Model, request: Request, indices: Sequence[int], so_far: dict[int, Sample] | None = None
) -> dict[int, Delivery]:
    """Every index that is asked for; what one call leaves undelivered is asked for in another."""
    found: dict[int, Delivery] = {}
    missing = list(indices)
    while missing:
        part = missing[: model.supports.n]
        came = await _call(model, request, part, so_far)
        assert came or model.supports.n < len(part), f"expected something of the indices {part}, but nothing came"
        found |= came
        missing = [i for i in missing if i not in found]
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
    """Every index asked for comes once; the prompt is billed once a call, completions by their tokens or their bound.

    A trace may lack the end token, where a server counts it but does not show it.
    """
    request = _request()
    indices = list(range(min(3, model.supports.n)))
    found: dict[int, Delivery] = {}
    while len(found) < len(indices):
        came = await _call(model, request, [i for i in indices if i not in found])
        prompt_tokens = sum(d.bill.prompt_tokens for d in came.values())
        assert 0 < prompt_tokens <= model.count(request.question), "expected count() to be an upper bound"
        found |= came
    for i, sample in _samples(found).items():
        bill = found[i].bill
        if bill.unsettled_tokens and not model.supports.seed:  # the server does not tell: then no less than it was
            assert bill.completion_tokens <= sample.n_tokens <= bill.completion_tokens + bill.unsettled_tokens
        else:
            assert bill.completion_tokens == sample.n_tokens
        assert sample.n_tokens <= 64
        assert sample.address == _row(model, request).at(i)
        n_unseen = 0 if sample.trace is None else sample.n_tokens - len(sample.trace)
        assert n_unseen in (0, 1 if sample.ended in ("eos", "stop:?") and not model.supports.seed else 0)


async def shorter_is_a_prefix(model: Model) -> None:
    """A sample drawn to fewer tokens is the longer one, truncated; followed further it is the longer one."""
    if not (model.supports.continuation and model.supports.seed):
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


async def what_is_open_is_followed(model: Model) -> None:
    """An open sample goes on: what was known stays, and the new tokens alone are on the bill."""
    if not model.supports.continuation:
        return
    short = _samples(await _draw(model, _request(5), [0, 1, 2]))
    still_open = {i: s for i, s in short.items() if s.is_open}
    for i, delivery in (await _draw(model, _request(), list(still_open), still_open)).items():
        outcome, known = delivery.outcome, still_open[i]
        assert isinstance(outcome, Sample)
        assert outcome.text.startswith(known.text)
        assert outcome.n_tokens <= 64
        assert delivery.bill.completion_tokens == outcome.n_tokens - known.n_tokens


async def stop_ends_it(model: Model) -> None:
    """After ``stop`` what was computed is delivered, as open samples, and the call ends; its bill is kept to the bound."""
    request = _request()
    async with model.draw(request, _row(model, request), [0], {}) as call:
        call.stop()
        left = [delivery async for delivery in call]
    assert len(left) <= 1
    for delivery in left:
        assert isinstance(delivery.outcome, Sample)
        assert delivery.bill.completion_tokens == delivery.outcome.n_tokens
        assert delivery.bill.tokens <= model.count(request.question) + 64


async def leaving_ends_it(model: Model) -> None:
    """Leaving the block ends the call at once, and the model serves the next one."""
    request = _request()
    async with model.draw(request, _row(model, request), [0], {}):
        pass
    assert len(_samples(await _draw(model, request, [1]))) == 1


async def what_it_cannot_do_it_refuses(model: Model) -> None:
    """Tools are refused where they are not supported; more logprobs or samples than supported are refused everywhere."""
    supports, row = model.supports, _request(5)
    tools = replace(row, question=replace(row.question, tools=({"name": "calculator"},)))
    most = -1 if supports.logprobs is None else supports.logprobs
    logprobs = replace(row, endings=Endings(max_tokens=5, logprobs=most + 1))
    too_much = [await _refuses(model, logprobs, [0])]
    if supports.n < 1_000:
        too_much.append(await _refuses(model, row, list(range(supports.n + 1))))
    assert any(too_much), f"{model.name} took more than it supports without a word"
    if supports.seed:
        assert await _refuses(model, tools, [0]), f"{model.name} took tools without a word"


async def _refuses(model: Model, request: Request, indices: Sequence[int]) -> bool:
    try:
        await _call(model, request, indices)
    except Unsupported:
        return True
    return False


MODEL_CHECKS: list[Check] = [
    _closing(check)
    for check in (
        same_address_same_sample,
        bills_are_honest,
        shorter_is_a_prefix,
        what_is_open_is_followed,
        stop_ends_it,
        leaving_ends_it,
        what_it_cannot_do_it_refuses,
    )
]
