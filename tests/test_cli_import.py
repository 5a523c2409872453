"""The verb import: one command from a file to a pool, what it prints, and that its next command works."""

from __future__ import annotations

import argparse
import json
import shlex
import sqlite3
from pathlib import Path

import pytest

from tests.published import needs, published
from vervet.cli import import_, main, regrade, run, show
from vervet.errors import Mistake

ANSWERS = "gpt35_last_letters_T0.7_answers.jsonl"
ROWS = [
    {"id": 1, "gold": "7", "answers": ["7", "8", "7"], "correct": [True, True, True], "rewards": [1, 3, 2]},
    {"id": 2, "gold": "5", "answers": ["5", "5", "4", "4"], "correct": [True, True, False, False], "rewards": [4, 3, 2, 1]},
]  # fmt: skip


def called(verb: object, *words: str) -> int:
    """One verb with these words, as its own small command."""
    parser = argparse.ArgumentParser()
    verb.add(parser)  # type: ignore[attr-defined]
    return int(verb.main(parser.parse_args(words)))  # type: ignore[attr-defined]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return str(path)


def test_it_says_what_came_and_what_to_do_next(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called(import_, rows, "--pool", "a.pool", "--grader", "number") == 0
    said = capsys.readouterr().out
    assert "2 problems, 7 samples, 7 of them new in a.pool" in said
    assert "import/mine: 2 problems x 3 draws, 66.67 % right as number grades them" in said
    assert "1 sample beyond the 3 draws that every problem has: kept, not graded" in said
    assert "graded otherwise than the file says: 1 draw, first at mine.jsonl, line 1" in said
    (line,) = [line for line in said.splitlines() if line.startswith("next: vervet run ")]
    assert called(run, *shlex.split(line)[3:], "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["accuracy"], found["model"], found["spent"]["replayed_samples"]) == (1.0, "import/mine", 6)


def test_json(rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = str(tmp_path / "a.pool")
    assert called(import_, rows, "--pool", pool, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["grader"], found["samples"], found["models"][0]["n"]) == ("recorded", 7, 3)
    assert called(import_, rows, "--pool", pool, "--json") == 0
    assert json.loads(capsys.readouterr().out)["new"] == 0


def test_stored_samples_are_shown_regraded_and_chosen_by_their_rewards(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = str(tmp_path / "a.pool")
    called(import_, rows, "--pool", pool, "--grader", "number", "--model", "someone")
    assert called(regrade, pool, "--grader", "exact") == 0
    assert "no verdict changed" in capsys.readouterr().out
    assert called(show, pool, "mine/1") == 0
    said = capsys.readouterr().out
    assert "What was asked in problem 1 of mine is not known" in said and "import/someone/" in said
    best = ("--with", "generate(n=3) | best(by='reward')", "--replay", "--json")
    assert called(run, f"pool:{pool}", "--pool", pool, *best) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 0.5  # 8, which is wrong, and 5


def test_fields_may_have_other_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("nr,said,truth,who,kind\n1,a,a,x,k\n1,b,a,y,k\n1,a,a,x,l\n", encoding="utf-8")
    words = ["--problem-field", "nr", "--answer-field", "said", "--target-field", "truth", "--model-field", "who"]
    where = ["--where", "kind=k", "--grader", "exact", "--json"]
    assert called(import_, str(path), "--pool", str(tmp_path / "a.pool"), *words, *where) == 0
    assert [m["model"] for m in json.loads(capsys.readouterr().out)["models"]] == ["import/x", "import/y"]


def test_a_mistake_writes_nothing(rows: str, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="has no field 'nr'"):
        called(import_, rows, "--pool", str(tmp_path / "a.pool"), "--problem-field", "nr")
    assert not (tmp_path / "a.pool").exists()


def test_an_interruption_is_told(
    rows: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    line = (rows, "--grader", "number", "--pool", str(Path(rows).with_suffix(".pool")))
    for where, said in (
        ("vervet.exchange.imports.plan", "nothing was imported yet"),
        ("vervet.pool.SqlitePool.find", "nothing was imported yet"),
        ("vervet.pool.SqlitePool.claim", "what was imported stays, the same command goes on from there"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(where, interrupted)
            assert called(import_, *line) == 130
        assert capsys.readouterr().err == f"vervet: interrupted; {said}\n"
    assert called(import_, *line) == 0


def test_one_of_a_thing_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps({"id": 1, "gold": 1, "answer": 1}) + "\n", encoding="utf-8")
    assert called(import_, str(path), "--pool", str(tmp_path / "a.pool"), "--grader", "number") == 0
    said = capsys.readouterr().out
    assert "1 problem, 1 sample, 1 of them new" in said and "1 problem x 1 draw, 100.00 % right" in said


def test_a_replay_of_more_than_was_imported_is_refused(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = str(tmp_path / "a.pool")
    assert main(["import", rows, "--pool", pool, "--grader", "number"]) == 0
    capsys.readouterr()
    for more in ([], ["--replay"], ["--replay", "--json"]):
        assert main(["run", f"pool:{pool}", "--with", "generate(n=99) | vote()", *more]) == 2
        found = capsys.readouterr()
        assert "sample 3 of a problem is not in this pool" in found.err and "accuracy" not in found.out


@needs(ANSWERS)
def test_the_recorded_answers_are_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = str(tmp_path / "a.pool")
    assert called(import_, str(published(ANSWERS)), "--pool", pool, "--grader", "exact") == 0
    assert "500 problems x 40 draws, 78.72 % right" in capsys.readouterr().out
    vote = ("--replay", "--with", "generate(n=40) | vote()", "--json")
    assert called(run, f"pool:{pool}", "--pool", pool, *vote) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(0.816)
    with sqlite3.connect(pool) as db:
        assert db.execute("SELECT count(*) FROM calls WHERE state != 1").fetchone() == (0,)
    db.close()
