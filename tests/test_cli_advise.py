"""``vervet advise``: a pool or a task, the terminal and JSON, and what is told where there is nothing to look at."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from tests.riddles import start
from vervet.cli import advise
from vervet.errors import Mistake


def said(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    advise.add(parser)
    return advise.main(parser.parse_args(arguments))


def test_a_pool_is_advised_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(tmp_path)
    assert said(str(tmp_path / "pool.sqlite")) == 0
    out = capsys.readouterr().out
    assert "Selection gap" in out
    assert "What to buy next" in out


def test_a_task_is_looked_up_in_its_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(tmp_path)
    pool = str(tmp_path / "pool.sqlite")
    assert said("file:number", "--pool", pool, "--epsilon", "0.05", "--run", run.run[:8], "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["gaps"]["epsilon"] == 0.05
    assert data["gaps"]["selected"]["low"] <= data["gaps"]["selected"]["value"]
    assert [one["what"] for one in data["ranked"]]


def test_where_nothing_is_drawn_the_pilot_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Mistake, match=r"vervet run words --with .* --problems 200 --pool vervet.sqlite"):
        said("words")
    start(tmp_path)
    with pytest.raises(Mistake, match=r"draws of words .*its tasks: file:number.* --pool pool.sqlite"):
        said("words", "--pool", "pool.sqlite")


def test_a_table_of_counts_is_no_pool(tmp_path: Path) -> None:
    table = tmp_path / "counts.csv"
    table.write_text("problem,n,c\na,4,2\n")
    for arguments in ([str(table)], ["words", "--pool", str(table)]):
        with pytest.raises(Mistake, match="vervet scale"):
            said(*arguments)


@pytest.mark.parametrize("epsilon", ["-0.1", "1"])
def test_an_epsilon_outside_its_range_is_a_mistake(tmp_path: Path, epsilon: str) -> None:
    start(tmp_path)
    with pytest.raises(Mistake, match="epsilon"):
        said(str(tmp_path / "pool.sqlite"), "--epsilon", epsilon)
