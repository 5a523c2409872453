"""``vervet export`` from the command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from tests.riddles import start
from vervet.cli import export
from vervet.errors import Mistake


def called(*line: str) -> int:
    parser = argparse.ArgumentParser()
    export.add(parser)
    return export.main(parser.parse_args(list(line)))


@pytest.fixture
def pool(tmp_path: Path) -> str:
    start(tmp_path, "generate(n=5) | vote()")
    return str(tmp_path / "pool.sqlite")


def test_it_says_what_is_in_the_file_and_what_is_not(
    pool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "sft.jsonl")
    assert called(pool, "--as", "sft", "--out", out, "--limit", "2") == 0
    said = capsys.readouterr().out
    n = len(Path(out).read_text().splitlines())
    assert f"{out}: {n} rows (sft) of" in said and "from 200 draws" in said
    assert "not right" in said and "beyond the limit" in said


def test_one_of_a_thing_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(tmp_path, "generate(n=1)", problems=1)
    out = str(tmp_path / "all.jsonl")
    assert called(str(tmp_path / "pool.sqlite"), "--as", "samples", "--out", out) == 0
    assert capsys.readouterr().out == f"{out}: 1 row (samples) of 1 problem, from 1 draw\n"


def test_json_is_one_object(pool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "pairs.jsonl")
    assert called(pool, "--as", "pairs", "--out", out, "--seed", "3", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data) == {"path", "form", "rows", "problems", "draws", "left_out"}
    assert (data["path"], data["form"], data["draws"]) == (out, "pairs", 200)


def test_a_wrong_call_writes_nothing(pool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "x.jsonl")
    for line, said in (
        ((pool, "--as", "steps", "--out", out), "values steps"),
        ((pool, "--as", "sft", "--out", out, "--exclude-split", "tset"), "expected a split"),
        ((str(tmp_path / "nothing"), "--as", "sft", "--out", out), "no file"),
        ((pool, "--as", "sft", "--out", str(tmp_path / "x.csv")), r"\.parquet or \.jsonl"),
    ):
        with pytest.raises(Mistake, match=said):
            called(*line)
    with pytest.raises(SystemExit):
        called(pool, "--as", "nothing", "--out", out)
    assert not Path(out).exists()
