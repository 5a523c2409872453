"""A run: again = resume, limits, sharing, what is recorded, kill and restart."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vervet.budget import Budget, Wallet
from vervet.errors import Mistake, ModelError, Unsupported
from vervet.llm import Retry
from vervet.models.fake import FakeModel, Fault
from vervet.models.laws import Iid
from vervet.operators import parse
from vervet.pool import open_pool
from vervet.run import Result, Run, wait
from vervet.types import Verdict
from vervet.verify import GRADERS

FAKE = "fake/iid?p=0.4"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "pool.sqlite")


def start(path: str, architecture: str = "generate(n=5) | vote()", **changes: Any) -> Result:
    return Run("words", architecture, **{"model": FAKE, "problems": 7, "pool": path, **changes}).start()


def essence(result: Result) -> dict[str, Any]:
    return {k: v for k, v in result.data.items() if k not in ("spent", "pool", "fresh_now", "run")}


def test_a_run_counts_what_it_drew(path: str) -> None:
    result = start(path)
    assert result.fresh_now == 35
    assert result.spent["fresh_samples"] == 35
    assert result.spent["replayed_samples"] == 0
    assert result.spent["completion_tokens"] > 0
    assert result.problems == 7
    assert len(result.outcomes) == 7


def test_again_draws_nothing_and_gives_the_same(path: str) -> None:
    first, again = start(path), start(path)
    assert again.fresh_now == 0
    assert essence(first) == essence(again)
    assert again.outcomes == first.outcomes
    assert again.spent["completion_tokens"] == first.spent["completion_tokens"]


def test_replay_is_a_wallet_of_zero(path: str) -> None:
    first, replay = start(path), start(path, replay=True)
    assert replay.fresh_now == 0
    assert replay.ended is None
    assert replay.outcomes == first.outcomes


def test_replay_of_what_is_not_there_ends_at_the_limit(path: str) -> None:
    result = start(path, replay=True)
    assert result.ended == "wallet"
    assert result.not_judged == 7
    assert result.bounds == (0.0, 1.0)


def test_a_larger_n_pays_only_for_the_rest(path: str) -> None:
    start(path)
    more = start(path, "generate(n=16) | vote()")
    assert more.fresh_now == 7 * 11
    assert more.spent["replayed_samples"] == 7 * 5


def test_architectures_that_ask_the_same_share_draws(path: str) -> None:
    start(path)
    assert start(path, "generate(n=5) | best()").fresh_now == 0


def test_another_replicate_is_a_disjoint_block(path: str) -> None:
    start(path)
    other = start(path, replicate=1)
    assert other.fresh_now == 35
    assert other.spent["replayed_samples"] == 0


def test_a_wallet_ends_the_run_and_a_larger_one_goes_on(path: str) -> None:
    whole = start(path + ".whole")
    tokens = whole.spent["prompt_tokens"] + whole.spent["completion_tokens"]
    limited = start(path, wallet=Wallet(tokens=int(tokens // 2)), concurrency=1)
    assert limited.ended == "wallet"
    paid = limited.spent["prompt_tokens"] + limited.spent["completion_tokens"] + limited.spent["unsettled_tokens"]
    assert 0 < paid <= tokens // 2
    on = start(path, concurrency=1)
    assert on.ended is None
    assert on.run == limited.run
    assert on.outcomes == whole.outcomes


def test_a_budget_does_not_depend_on_what_the_pool_held(path: str) -> None:
    budget = Budget(tokens=90)
    live = start(path, "generate(n=16) | vote()", budget=budget)
    start(path + ".full", "generate(n=16) | vote()")
    replayed = start(path + ".full", "generate(n=16) | vote()", budget=budget)
    assert replayed.fresh_now == 0
    assert live.outcomes == replayed.outcomes


def test_concurrency_changes_nothing(path: str) -> None:
    one, many = start(path, concurrency=1), start(path + ".many", concurrency=7)
    assert one.outcomes == many.outcomes


def test_every_answer_sample_is_graded(path: str) -> None:
    result = start(path)
    with open_pool(path) as pool:
        rows = list(pool.answer_uses(result.run))
    assert len(rows) == 35
    assert {row.outcome for row in rows} <= {"correct", "incorrect"}


def test_a_grader_that_fails_is_no_verdict(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> list[Verdict]:
        raise RuntimeError("broken")

    monkeypatch.setitem(GRADERS, "number", fail)
    result = start(path)
    assert result.not_judged == 7
    assert result.bounds == (0.0, 1.0)
    assert "broken" in result.outcomes[0].verdict.reason


@pytest.mark.parametrize(
    ("architecture", "changes", "kind", "said"),
    [
        ("generate(n=5) | first()", {}, Mistake, "has no verifier"),
        ("generate(n=5) | best(by='taste')", {}, Mistake, "'taste'"),
        ("generate(n=5, model='judge')", {}, Mistake, "judge"),
        ("generate(n=5)", {"model": "gpt"}, Mistake, "'gpt'"),
        ("generate(n=5)", {"concurrency": 0}, Mistake, "concurrency"),
        ("generate(n=-5)", {}, Mistake, "n=-5"),
    ],
)
def test_mistakes_are_found_before_anything_is_spent(
    path: str, architecture: str, changes: Any, kind: Any, said: str
) -> None:
    with pytest.raises(kind, match=said):
        start(path, architecture, **changes)
    assert not os.path.exists(path)


def test_a_role_that_a_model_does_not_play_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from vervet.models.fake import load

    model = load("iid")
    model.supports = replace(model.supports, roles=frozenset({"answer"}))
    monkeypatch.setattr("vervet.run.plan.load", lambda name, base_url: model)
    with pytest.raises(Unsupported, match="repair"):
        Run("countdown", "generate() | repair()", model="fake/iid", problems=1, pool=path).start()


def test_two_runs_at_once_write_no_row_twice(path: str) -> None:
    async def both() -> list[Result]:
        runs = (Run("words", f"generate(n=9) | {last}", FAKE, problems=11, pool=path) for last in ("vote()", "best()"))
        return await asyncio.gather(*(run.go() for run in runs))

    one, two = wait(both())
    assert one.fresh_now + two.fresh_now == 99
    with open_pool(path) as pool:
        assert pool.info().counts["samples"] == 99


def test_the_plain_face_works_where_a_loop_runs(path: str) -> None:
    async def notebook() -> Result:
        return start(path)

    assert asyncio.run(notebook()).fresh_now == 35


def test_an_operator_object_is_as_good_as_its_expression(path: str) -> None:
    operator = parse("generate(n=5) | vote()")
    assert start(path, operator).run == start(path).run  # type: ignore[arg-type]


def test_killed_and_started_again_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    def command(pool: str) -> list[str]:
        arguments = ["words", "--model", "fake/length?delay_s=0.0004", "--with", "generate(n=12) | vote()"]
        return [sys.executable, "-m", "vervet", "run", *arguments, "--problems", "6", "--pool", pool, "--json"]

    whole = json.loads(subprocess.run(command(str(tmp_path / "whole")), check=True, capture_output=True).stdout)
    killed, rng, n_killed = str(tmp_path / "killed"), random.Random(5), 0
    while n_killed < 3:
        process = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.5, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        n_killed += 1
    last = json.loads(subprocess.run(command(killed), check=True, capture_output=True).stdout)
    for name in ("accuracy", "interval", "not_judged", "bounds", "run", "ended", "architecture", "problems"):
        assert last[name] == whole[name]
    with open_pool(str(tmp_path / "whole")) as one, open_pool(killed) as two:
        assert one.info().counts["samples"] == two.info().counts["samples"] == 72
        texts = [[s.text for p in pool.problems() for s in pool.samples_of(p)] for pool in (one, two)]
        assert texts[0] == texts[1]
        assert two.info().n_open_calls == 0


def test_a_server_that_is_not_there_ends_the_run_and_is_no_wrong_answer(path: str, monkeypatch) -> None:
    model = FakeModel(Iid(), faults={i: Fault("transient", reason="refused connection") for i in range(99)})
    monkeypatch.setattr("vervet.run.loop.Retry", lambda: Retry(first_s=0.0))
    with pytest.raises(ModelError, match=r"no sample came for the first 4 problems.*refused connection"):
        start(path, model=model)
    model.faults.clear()
    assert start(path, model=model).fresh_now == 35, "nothing was lost"


def test_a_problem_without_a_sample_is_not_judged_unless_each_was_refused(path: str, monkeypatch) -> None:
    monkeypatch.setattr("vervet.run.loop.Retry", lambda: Retry(first_s=0.0))
    for kind, outcome in (("failed", "not_judged"), ("refused", "incorrect")):
        model = Broken(Iid(), kind)
        result = start(path, model=model, replicate=("failed", "refused").index(kind))
        found = [o.verdict.outcome for o in result.outcomes]
        assert found.count(outcome) >= 2, found
        assert result.not_judged == (2 if kind == "failed" else 0)


class Broken(FakeModel):
    """Every third problem gets nothing but failures."""

    def __init__(self, law, kind) -> None:
        super().__init__(law)
        self.kind, self.seen = kind, []

    def draw(self, request, stream, indices, so_far=None):
        if stream.question not in self.seen:
            self.seen.append(stream.question)
        bad = self.seen.index(stream.question) % 3 == 1
        self.faults = {i: Fault(self.kind) for i in range(99)} if bad else {}
        return super().draw(request, stream, indices, so_far)


def test_a_seed_below_zero_is_refused_before_anything_is_spent() -> None:
    with pytest.raises(Mistake, match="seed >= 0"):
        Run("words", "generate()", seed=-1)
