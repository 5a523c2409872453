"""Any Python callable as a model: what it takes is passed, what it does not take is refused, tokens are not guessed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vervet.budget import Wallet
from vervet.errors import Mistake, NothingDrawn, Unsupported
from vervet.models import load
from vervet.models.function import FunctionModel, Reply
from vervet.run import Run
from vervet.testing import llm_for, problem_for
from vervet.types import Bill, Failure


async def echo(messages, max_tokens, temperature=None, seed=0):
    await asyncio.sleep(0)
    return Reply(f"{messages[-1]['content']}|{temperature}|{seed}", "eos", 7, 3)


def draw(model, n=3, **options):
    llm = llm_for(model)
    drawn = asyncio.run(llm.draw(llm.ask("answer", llm.problem, max_tokens=10, **options).request, n))
    return drawn, llm.world.pool.spent(llm.world.run)


def test_options_go_by_their_names_and_each_index_has_its_seed() -> None:
    drawn, spent = draw(FunctionModel(echo, "echo"), temperature=0.5)
    assert all(s.text.startswith("Which number is hidden behind door 0?|0.5|") for s in drawn)
    assert len({s.text for s in drawn}) == 3
    assert spent.bill == Bill(21, 9)
    assert spent.calls == 3


def test_what_it_has_no_parameter_for_is_refused() -> None:
    with pytest.raises(Unsupported, match="python/echo takes no top_p"):
        draw(FunctionModel(echo, "echo"), top_p=0.5)


def test_unknown_tokens_are_settled_at_their_bound() -> None:
    def plain(messages, max_tokens):
        return "Answer: 7"

    model = FunctionModel(plain, "plain")
    drawn, spent = draw(model, 2)
    assert [s.text for s in drawn] == ["Answer: 7"] * 2
    assert spent.bill.completion_tokens == 0
    assert spent.bill.unsettled_tokens == 2 * (10 + model.count(llm_question()))


def llm_question():
    llm = llm_for("iid")
    return llm.ask("answer", llm.problem, max_tokens=10).request.question


def test_what_raises_is_a_failure_of_its_index_and_a_lost_connection_is_asked_again() -> None:
    calls: list[int] = []

    async def shaky(messages, max_tokens):
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("gone")
        if len(calls) == 2:
            raise ValueError("no")
        return Reply("fine", "eos", 1, 1)

    drawn, _ = draw(FunctionModel(shaky, "shaky"), 2)
    assert [s.text for s in drawn] == ["fine"]
    assert list(drawn.failures.values()) == [Failure("failed", "python/shaky: ValueError: no")]
    assert len(calls) == 3

    async def wrong(messages, max_tokens):
        return 3

    with pytest.raises(NothingDrawn, match="expected python/wrong to return a text or a Reply, but got int"):
        draw(FunctionModel(wrong, "wrong"), 1)


def test_leaving_cancels_and_no_task_is_left() -> None:
    running: list[int] = []

    async def slow(messages, max_tokens):
        running.append(1)
        try:
            await asyncio.sleep(60)
        finally:
            running.pop()
        return "never"

    async def main() -> None:
        llm = llm_for(FunctionModel(slow, "slow"), wallet=Wallet(seconds=0.05))
        llm.world.deadline = asyncio.get_running_loop().time() + 0.05
        request = llm.ask("answer", llm.problem, max_tokens=10).request
        async with llm.stream(request, 3) as samples:
            assert [s async for s in samples] == []
        assert samples.ended == "wallet"
        assert running == []
        assert len(asyncio.all_tasks()) == 1
        spent = llm.world.pool.spent(llm.world.run)
        assert spent.bill.unsettled_tokens >= 30

    asyncio.run(main())


def test_a_file_or_a_module_names_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("async def answer(messages, max_tokens):\n    return 'Answer: 12'\nNOT = 3\n")
    result = Run("words", "generate(n=2, max_tokens=20) | vote()", model=f"python/{path}:answer", problems=2,
                 pool=str(tmp_path / "pool")).start()  # fmt: skip
    assert result.spent["fresh_samples"] == 4
    assert result.model == f"python/{path}:answer"
    model = FunctionModel(echo, "echo")
    run = Run("words", "generate(n=2, max_tokens=20)", model, problems=2, pool=str(tmp_path / "p"))
    assert run.start().fresh_now == 4
    for name, message in (
        (f"python/{path}", "expected python/FILE.py:NAME"),
        (f"python/{path}:nobody", "AttributeError"),
        (f"python/{path}:NOT", "expected a callable, but got int"),
        ("python/no.such.module:f", "ModuleNotFoundError"),
        (f"python/{tmp_path}/none.py:f", "FileNotFoundError"),
    ):
        with pytest.raises(Mistake, match=message):
            load(name)
    assert problem_for(1).id == "fake-1"
