"""Forecasts of runs: made once, kept with the run, and held against what later draws of the same question show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.riddles import MODEL, riddles, start
from vervet.budget import Wallet
from vervet.cli import main
from vervet.pool import SqlitePool, open_pool
from vervet.pool.rows import RunRow
from vervet.run import Result
from vervet.run.declared import FIRST, counts_of
from vervet.run.foretold import ahead_of, foretell, kept, truth
from vervet.scaling.forecast import Forecast, forecasts

SAME = Forecast("loglog", "same problems", 3, 5, 0.5, 0.4, 0.6)
NEW = Forecast("loglog", "new problems", 3, 5, 0.5, 0.4, 0.6)


def opened(folder: Path) -> SqlitePool:
    return open_pool(str(folder / "pool.sqlite"))


def row_of(pool: SqlitePool, result: Result) -> RunRow:
    return next(row for row in pool.runs() if row.id == result.run)


def covered(pool: SqlitePool, result: Result, k: int) -> dict[str, bool]:
    """By problem, whether one of the first k draws was right."""
    found: dict[str, list[bool]] = {}
    for use in pool.answer_uses(result.run):
        if use.operator in FIRST:
            found.setdefault(use.problem, []).append(use.outcome == "correct")
    return {problem: any(right[:k]) for problem, right in found.items()}


# --- what is foretold, and kept -------------------------------------------------------------------------------


def test_a_run_foretells_ten_and_a_hundred_times_its_draws(tmp_path: Path) -> None:
    result = start(tmp_path, "generate(n=10) | vote()", riddles(tmp_path, 23))
    with opened(tmp_path) as pool:
        row = row_of(pool, result)
        counts = counts_of(pool, row)
        made = forecasts(counts, ahead_of(counts), seed=row.identity["seed"])
        assert {(one.target, one.k) for one in made} >= {
            (target, k) for target in ("same problems", "new problems") for k in (100, 1000)
        }
        assert sorted(kept(pool, row), key=str) == sorted(made, key=str)
    assert sorted(result.forecasts, key=str) == sorted(made, key=str)
    assert [one["k"] for one in result.data["forecasts"]] == [one.k for one in result.forecasts]


def test_the_first_forecast_stays(tmp_path: Path) -> None:
    file = riddles(tmp_path, 13)
    first = start(tmp_path, "generate(n=10)", file)
    with opened(tmp_path) as pool:
        stored = pool.forecasts(first.run)
    longer = start(tmp_path, "generate(n=100)", file)
    again = start(tmp_path, "generate(n=10)", file)
    assert again.forecasts == first.forecasts
    assert {one.n for one in longer.forecasts} == {100}
    with opened(tmp_path) as pool:
        foretell(pool, row_of(pool, first))
        assert pool.forecasts(first.run) == stored  # down to when each was made
        assert len(stored) >= 4


def test_other_verdicts_are_foretold_anew(tmp_path: Path) -> None:
    """What was foretold of other verdicts is no forecast of these: here nothing is right any more."""
    result = start(tmp_path, "generate(n=10)", riddles(tmp_path, 13))
    with opened(tmp_path) as pool:
        row, before = row_of(pool, result), counts_of(pool, row_of(pool, result))
    assert main(["regrade", str(tmp_path / "pool.sqlite"), "--grader", "exact"]) == 0
    with opened(tmp_path) as pool:
        assert counts_of(pool, row).correct.tolist() != before.correct.tolist()
        assert result.forecasts
        assert kept(pool, row) == foretell(pool, row) == []


@pytest.mark.parametrize(
    ("architecture", "problems"),
    [
        ("generate(n=9)", 13),
        ("generate(n=10)", 9),
        ("generate(n=10, until=agree(0.9))", 13),
        ("generate(n=10, cut=tokens(9))", 13),
    ],
)
def test_from_too_little_nothing_is_foretold(tmp_path: Path, architecture: str, problems: int) -> None:
    result = start(tmp_path, architecture, riddles(tmp_path, problems))
    assert result.forecasts == ()
    with opened(tmp_path) as pool:
        assert foretell(pool, row_of(pool, result)) == []
        assert pool.forecasts() == []


def test_a_run_that_is_not_finished_foretells_nothing_until_it_is(tmp_path: Path) -> None:
    file = riddles(tmp_path, 31)
    part = start(tmp_path, "generate(n=10)", file, wallet=Wallet(tokens=2500), concurrency=1)
    assert part.ended == "wallet"
    assert part.forecasts == ()
    with opened(tmp_path) as pool:
        row = row_of(pool, part)
        assert 10 <= len(pool.answers(row.id)) < 31
        assert foretell(pool, row) == []
    whole = start(tmp_path, "generate(n=10)", file)
    assert whole.run == part.run
    assert len(whole.forecasts) >= 4


def test_nothing_is_foretold_where_nothing_was_right(tmp_path: Path) -> None:
    result = start(tmp_path, "generate(n=10)", riddles(tmp_path, 13), model="fake/iid?p=0")
    assert result.forecasts == ()


def test_json_of_a_run_holds_its_forecasts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, pool = riddles(tmp_path, 13), str(tmp_path / "pool.sqlite")
    options = ["--prompt-field", "prompt", "--target-field", "target", "--grader", "number", "--hints-field", "hints"]
    assert main(["run", file, *options, "--model", MODEL, "--with", "generate(n=10)", "--pool", pool, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {(one["target"], one["n"], one["k"]) for one in data["forecasts"]} >= {
        (target, 10, k) for target in ("same problems", "new problems") for k in (100, 1000)
    }
    assert all(0 <= one["low"] <= one["value"] <= one["high"] <= 1 for one in data["forecasts"])


# --- what became of it ----------------------------------------------------------------------------------------


def test_truth_is_coverage_by_the_first_k_draws_of_a_longer_run(tmp_path: Path) -> None:
    file = riddles(tmp_path, 29)
    hard = {"model": "fake/iid?p=-1&a=1&b=6"}
    short = start(tmp_path, "generate(n=3)", file, **hard)
    with opened(tmp_path) as pool:
        assert truth(pool, row_of(pool, short), SAME) is None
    long = start(tmp_path, "generate(n=11) | vote()", file, **hard)
    with opened(tmp_path) as pool:
        by_k = {k: sum(covered(pool, long, k).values()) / 29 for k in (3, 5, 11)}
        assert truth(pool, row_of(pool, short), SAME) == by_k[5]
    assert by_k[3] < by_k[5] < by_k[11]


def test_truth_of_more_problems_is_that_of_the_ones_spoken_of(tmp_path: Path) -> None:
    file = riddles(tmp_path, 29)
    short = start(tmp_path, "generate(n=3)", file, problems=11)
    long = start(tmp_path, "generate(n=11)", file)
    with opened(tmp_path) as pool:
        mine = {answer.problem for answer in pool.answers(short.run)}
        found = covered(pool, long, 5)
        assert truth(pool, row_of(pool, short), SAME) == sum(found[name] for name in mine) / 11
        assert truth(pool, row_of(pool, short), SAME) != sum(found.values()) / 29


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("generate(n=4)", {}),
        ("generate(n=11, temperature=0.5)", {}),
        ("generate(n=11, until=agree(0.9))", {}),
        ("generate(n=11)", {"model": "fake/iid?p=0.5"}),
        ("generate(n=11)", {"problems": 12}),
        ("generate(n=11)", {"replicate": 1}),  # other draws: those at hand are not the first of them
    ],
)
def test_other_draws_are_no_truth(tmp_path: Path, architecture: str, changes: dict[str, Any]) -> None:
    file = riddles(tmp_path, 13)
    short = start(tmp_path, "generate(n=3)", file)
    start(tmp_path, architecture, file, **changes)
    with opened(tmp_path) as pool:
        assert truth(pool, row_of(pool, short), SAME) is None
        assert truth(pool, row_of(pool, short), NEW) is None  # the problems are the same, or too many of them


def test_another_file_is_no_truth(tmp_path: Path) -> None:
    short = start(tmp_path, "generate(n=3)", riddles(tmp_path, 13))
    start(tmp_path, "generate(n=11)", riddles(tmp_path, 13, begin=13))
    with opened(tmp_path) as pool:
        assert [truth(pool, row_of(pool, short), one) for one in (SAME, NEW)] == [None, None]


@pytest.mark.parametrize("replicate", [0, 1])
def test_new_problems_are_told_by_a_set_that_shares_none(tmp_path: Path, replicate: int) -> None:
    file = riddles(tmp_path, 60)
    short = start(tmp_path, "generate(n=3)", file, split="development")
    other = start(tmp_path, "generate(n=11)", file, split="test", replicate=replicate)
    with opened(tmp_path) as pool:
        row, found = row_of(pool, short), covered(pool, other, 5)
        assert len(found) >= 10
        assert not found.keys() & {answer.problem for answer in pool.answers(short.run)}
        assert truth(pool, row, NEW) == sum(found.values()) / len(found)
        assert truth(pool, row, SAME) is None


def test_a_few_new_problems_are_no_truth(tmp_path: Path) -> None:
    file = riddles(tmp_path, 60)
    short = start(tmp_path, "generate(n=3)", file, split="development")
    start(tmp_path, "generate(n=11)", file, split="test", problems=9)
    with opened(tmp_path) as pool:
        assert truth(pool, row_of(pool, short), NEW) is None
