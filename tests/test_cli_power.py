"""``vervet power``: problems and draws that an effect needs, the budget's split, and bad input."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from tests.riddles import start
from vervet.cli import main, power
from vervet.errors import Mistake


def said(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    power.add(parser)
    return power.main(parser.parse_args(arguments))


def test_what_an_effect_needs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, pool = start(tmp_path), str(tmp_path / "pool.sqlite")
    assert said(pool, "--effect", "0.01", "--budget", "tokens=2M") == 0
    out = capsys.readouterr().out
    assert "within 1 point:" in out
    assert "The budget buys" in out
    assert said(pool, "--effect", "0.02", "--run", run.run[:8], "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["effect"] == 0.02
    assert data["bought"] is None
    assert data["half_width_problems"] < data["detect_problems"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--effect", "0"], "effect"),
        (["--effect", "0.1", "--budget", "usd=3"], "tokens=NUMBER"),
        (["--effect", "0.1", "--budget", ""], "tokens=NUMBER"),
        (["--effect", "0.1", "--run", "zz"], "expected a run of"),
    ],
)
def test_bad_input_is_a_mistake(tmp_path: Path, arguments: list[str], expected: str) -> None:
    start(tmp_path)
    with pytest.raises(Mistake, match=expected):
        said(str(tmp_path / "pool.sqlite"), *arguments)


def test_without_tokens_samples_are_what_is_reckoned_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, pool = tmp_path / "answers.jsonl", str(tmp_path / "pool.sqlite")
    rows = [{"problem": f"p{i}", "answer": str(j % (i % 3 + 1)), "gold": "0"} for i in range(7) for j in range(4)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["import", str(file), "--pool", pool, "--grader", "exact"]) == 0
    assert main(["run", f"pool:{pool}", "--replay", "--with", "generate(n=4)", "--pool", pool, "--json"]) == 0
    capsys.readouterr()
    assert said(pool, "--effect", "0.1") == 0
    out = capsys.readouterr().out
    assert "tokens are not known, so this reckons in samples" in out
    assert "completion token" not in out
    assert said(pool, "--effect", "0.1", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["prompt_tokens_per_problem"] is data["completion_tokens_per_draw"] is None
    with pytest.raises(Mistake, match=r"--budget: expected draws whose tokens are known, .* leave --budget out"):
        said(pool, "--effect", "0.1", "--budget", "tokens=2M")


def test_a_table_of_counts_is_no_pool(tmp_path: Path) -> None:
    table = tmp_path / "counts.csv"
    table.write_text("problem,n,c\na,4,2\n")
    with pytest.raises(Mistake, match="vervet scale"):
        said(str(table), "--effect", "0.1")


def test_no_pool_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="no file"):
        said("nowhere.sqlite", "--effect", "0.1")
