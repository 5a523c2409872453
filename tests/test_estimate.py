"""What a run will cost, told before anything is spent, against what it then cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vervet.cli import main
from vervet.estimate import estimate
from vervet.models.fake import FakeModel
from vervet.models.laws import Iid
from vervet.operators import parse
from vervet.run import Run
from vervet.testing import problem_for
from vervet.types import Bill, Prices, Spent
from vervet.verify import FORMS


def test_the_worst_case_counts_prompts_by_calls_and_draws_to_their_end() -> None:
    prices = Prices(prompt=1.0, completion=4.0)
    model = FakeModel(Iid(), n=4, prices=prices)
    problem = problem_for(1)
    prompt = model.count(parse_question(problem))
    found = estimate(parse("generate(n=10, max_tokens=50) | vote()"), [problem], {"": model}, {})
    assert found.worst == Bill(3 * prompt, 500, usd=prices.worst(3 * prompt, 500))
    assert found.draws == 10
    assert found.likely is None
    spent = Spent(Bill(40, 200), 5, 20)
    found = estimate(parse("generate(n=10, max_tokens=50) | vote()"), [problem], {"": model}, {"": spent})
    assert found.likely == Bill(20, 100, usd=prices.usd(Bill(20, 100)))


def parse_question(problem):
    from vervet.llm import build_request

    return build_request((*problem.messages, {"role": "user", "content": FORMS[problem.reader]}), {}).question


@pytest.mark.parametrize("architecture", ["generate(n=5) | vote()", "generate(n=3) | repair(rounds=4)"])
def test_a_run_costs_at_most_its_estimate(tmp_path: Path, architecture: str) -> None:
    run = Run("countdown", architecture, model="fake/iid?p=0.2", problems=5, pool=str(tmp_path / "p"))
    worst = run.estimate().worst
    assert not (tmp_path / "p").exists(), "an estimate makes no pool"
    spent = run.start().spent
    assert 0 < spent["prompt_tokens"] <= worst.prompt_tokens
    assert 0 < spent["completion_tokens"] <= worst.completion_tokens
    likely = run.estimate().likely
    assert likely is not None
    assert likely.completion_tokens <= worst.completion_tokens


def test_dry_run_prints_and_spends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["run", "words", "--model", "fake/iid", "--problems", "3", "--pool", str(tmp_path / "p"), "--dry-run"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "at most 48 draws for 3 problems" in out
    assert "price unknown" in out
    assert "run a few problems first" in out
    assert main([*argv, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["draws"] == 48
    assert data["worst"]["usd"] is None
    assert not (tmp_path / "p").exists()
