"""``vervet compare``: which runs, what is paired, who is better, what is left out, and what bad input gets."""

from __future__ import annotations

import argparse
import doctest
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.riddles import OPTIONS, riddles, start
from vervet.cli import compare, main
from vervet.errors import Mistake
from vervet.pool import open_pool
from vervet.report import comparison as comparison_module
from vervet.report.comparison import Comparison, comparison
from vervet.report.matching import EqualCost, equal_cost_lines
from vervet.run import regrade
from vervet.scaling.intervals import Estimate
from vervet.scaling.matched import Matched, Row
from vervet.types import Verdict, text_digest

SURE = "fake/iid?p=0.95"


def path(folder: Path) -> str:
    return str(folder / "pool.sqlite")


def said(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    compare.add(parser)
    return compare.main(parser.parse_args(arguments))


def compared(folder: Path, *runs: str) -> Comparison:
    return comparison(runs, [path(folder)])


def test_doctests() -> None:
    assert doctest.testmod(comparison_module).failed == 0


def test_the_better_run_is_named_with_points_p_and_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = start(tmp_path, "generate(n=2) | vote()"), start(tmp_path, model=SURE)
    assert said(one.run[:9], two.run, "--pool", path(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "B is better than A by" in out
    assert "B used 4." in out or "B used 3." in out
    assert "give A as many tokens (a larger n) before you call B better" in out
    assert "coverage A, %" in out
    assert "times the prompt and completion tokens of A" in out
    assert "prompt and completion tokens used per problem" in out
    assert "differences in points; a tied vote is shared, where a run takes the first):" in out
    (pair,) = compared(tmp_path, one.run, two.run).pairs
    r = pair.result
    assert r.difference.value == pytest.approx(one.accuracy - two.accuracy)
    assert (r.a_only - r.b_only) / 40 == pytest.approx(r.difference.value)
    assert pair.coverage is not None
    assert pair.coverage.k == (1, 2)
    assert pair.shared_draws == 0
    assert pair.p_corrected == r.p_value < 0.05


def test_runs_that_never_differ_say_what_is_not_excluded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = start(tmp_path, "generate(n=8) | vote()")
    two = start(tmp_path, "generate(n=8, until=agree(1.0, 8)) | vote()")
    assert said(one.run, two.run, "--pool", path(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "No difference between A and B could be seen (they never differed), p = 1" in out
    assert "up to 8.8 % of problems on which they do is not excluded (exact)" in out  # 1 - .025^(1/40)
    assert "They share 320 of their 320 and 320 draws" in out
    assert "coverage" not in out


def test_a_run_is_named_by_its_architecture_or_its_pool(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    one = start(tmp_path, "generate(n=2) | vote()")
    two = start(other, "generate(n=4) | vote()", file=riddles(tmp_path))
    found = comparison(["generate(n=2)|vote()", f"{path(other)}:{two.run[:8]}"], [path(tmp_path)])
    assert [side.run for side in found.sides] == [one.run, two.run]
    assert found.pairs[0].shared_draws == 80  # the same addresses, drawn in two pools
    again = comparison([one.run, two.run], [path(tmp_path), path(other)])
    assert again.pairs == found.pairs


def test_several_runs_are_corrected_for_their_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [start(tmp_path, f"generate(n={n}) | vote()").run for n in (1, 2, 8)]
    assert said(*runs, "--pool", path(tmp_path), "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert [(pair["a"], pair["b"]) for pair in data["pairs"]] == [("A", "B"), ("A", "C")]
    raw = [pair["result"]["p_value"] for pair in data["pairs"]]
    assert min(pair["p_corrected"] for pair in data["pairs"]) == pytest.approx(min(1, 2 * min(raw)))
    assert said(*runs, "--pool", path(tmp_path)) == 0
    assert "corrected for the number of runs (Holm)" in capsys.readouterr().out


def test_replicates_are_told_to_be_other_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = start(tmp_path), start(tmp_path, replicate=1)
    assert said(one.run, two.run, "--pool", path(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "A is replicate 0 and B replicate 1: one architecture drawn twice, so any difference is chance." in out
    assert "used by both" not in out


def test_problems_that_one_run_lacks_are_left_out_and_counted(tmp_path: Path) -> None:
    one, two = start(tmp_path), start(tmp_path, "generate(n=2) | vote()", problems=11)
    (pair,) = compared(tmp_path, one.run, two.run).pairs
    assert (pair.result.n_problems, pair.only_a, pair.only_b) == (11, 29, 0)
    assert any(
        "29 problems that only A" in line for line in comparison_module.lines(compared(tmp_path, one.run, two.run))
    )


def test_problems_without_a_verdict_are_left_out_and_bounded(tmp_path: Path) -> None:
    one, two = start(tmp_path), start(tmp_path, "generate(n=2) | vote()")
    with open_pool(path(tmp_path)) as pool:
        answer = pool.answers(one.run)[0]
        assert answer.text is not None
        pool.add_answer(one.run, answer.problem, answer.text, None, Verdict("not_judged", "the grader broke"))
        assert text_digest(answer.text)
    (pair,) = compared(tmp_path, one.run, two.run).pairs
    assert (pair.result.n_problems, pair.not_judged) == (39, 1)
    assert pair.bounds[1] - pair.bounds[0] == pytest.approx(1 / 40)
    text = "\n".join(comparison_module.lines(compared(tmp_path, one.run, two.run)))
    assert "Left out: 1 problem without a verdict" in text


def test_what_an_import_used_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, runs = tmp_path / "answers.jsonl", []
    rows = [{"problem": f"p{i}", "answer": str(j % 3), "gold": str(i % 2)} for i in range(7) for j in range(4)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["import", str(file), "--pool", path(tmp_path), "--grader", "exact"]) == 0
    for n in (2, 4):
        capsys.readouterr()
        architecture = f"generate(n={n}) | vote()"
        replayed = ["run", f"pool:{path(tmp_path)}", "--replay", "--with", architecture, "--pool", path(tmp_path)]
        assert main([*replayed, "--json"]) == 0
        runs.append(json.loads(capsys.readouterr().out)["run"])
    assert said(*runs, "--pool", path(tmp_path)) == 0
    assert capsys.readouterr().out.count("not known") == 3


def test_crossings_have_a_unit_and_costs_one_number_format() -> None:
    gap = Estimate(0.1, 0.0, 0.2)
    rows = tuple(Row(budget, budget / 12, budget / 24, 0.5, 0.4, gap) for budget in (596.4, 1224.0))
    said = equal_cost_lines(EqualCost("tokens", "tokens", Matched(rows, (1204.1,)), Matched(rows, ())), "A", "B")
    assert said[-1] == (
        "The curves of coverage cross at 1,204 prompt and completion tokens a problem "
        "(of the measured means; see the intervals above)."
    )
    assert [line.split()[:3] for line in said[3:5]] == [["596", "49.7", "24.8"], ["1,224", "102", "51"]]


def test_a_table_of_counts_is_no_pool(tmp_path: Path) -> None:
    one, table = start(tmp_path), tmp_path / "counts.csv"
    table.write_text("problem,n,c\na,4,2\n")
    for runs, pools in (
        ((one.run, "a"), ["--pool", str(table)]),
        ((one.run, f"{table}:a"), ["--pool", path(tmp_path)]),
    ):
        with pytest.raises(Mistake, match="vervet scale"):
            said(*runs, *pools)


def test_verdicts_of_different_graders_are_refused(tmp_path: Path) -> None:
    one, two = start(tmp_path), start(tmp_path, "generate(n=2) | vote()")
    copy = str(tmp_path / "copy.sqlite")
    shutil.copy(path(tmp_path), copy)
    regrade(copy, "exact")
    with pytest.raises(Mistake, match=r"verdicts of one grader, but A was graded by number and B by exact"):
        comparison([one.run, two.run], [path(tmp_path), copy])


def test_runs_without_a_common_problem_are_refused(tmp_path: Path) -> None:
    one, two = start(tmp_path), start(tmp_path, file=riddles(tmp_path, 7, begin=100))
    with pytest.raises(Mistake, match="problems in common"):
        compared(tmp_path, one.run, two.run)


@pytest.mark.parametrize(
    ("runs", "pools", "said"),
    [
        (["ONE"], 1, "two runs or more"),
        (["ONE", "zz"], 1, "'zz' is no run of it"),
        (["ONE", "generate(n=8) | vote()"], 1, "fits 2 of them"),
        (["ONE", "ONE"], 1, "named twice"),
        (["ONE", "TWO", "TWO"], 2, "one --pool for all runs"),
        (["ONE", "TWO"], 0, "no file 'nowhere.sqlite'"),
    ],
)
def test_what_cannot_be_compared_is_a_mistake(tmp_path: Path, runs: list[str], pools: int, said: str) -> None:
    names: dict[str, Any] = {
        "ONE": start(tmp_path, "generate(n=2) | vote()", options=OPTIONS).run,
        "TWO": start(tmp_path).run,
        "THREE": start(tmp_path, replicate=1).run,
    }
    files = [path(tmp_path)] * pools or ["nowhere.sqlite"]
    with pytest.raises(Mistake, match="expected") as refused:
        comparison([names.get(run, run) for run in runs], files)
    assert said in str(refused.value)


def test_a_pool_without_runs_says_so(tmp_path: Path) -> None:
    with open_pool(path(tmp_path)):
        pass
    with pytest.raises(Mistake, match="holds no run"):
        compared(tmp_path, "a", "b")
