"""``vervet power``: problems and draws that an effect needs, the budget's split, and bad input."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from tests.riddles import start
from vervet.cli import power
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
        (["--effect", "0.1", "--run", "zz"], "one run"),
    ],
)
def test_bad_input_is_a_mistake(tmp_path: Path, arguments: list[str], expected: str) -> None:
    start(tmp_path)
    with pytest.raises(Mistake, match=expected):
        said(str(tmp_path / "pool.sqlite"), *arguments)


def test_no_pool_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="no file"):
        said("nowhere.sqlite", "--effect", "0.1")
