"""``vervet grade``, and ``vervet run`` on a file from outside the project: verdicts, totals, lines that are wrong."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vervet.cli import grade as verb
from vervet.cli import main
from vervet.models.function import FunctionModel
from vervet.run import wait
from vervet.sandbox import NoIsolation, Program, execute

PAIRS = [
    {"id": "a", "gold": "1200", "answer": "Answer: 1,200"},
    {"id": "b", "gold": "7", "answer": "8"},
    {"id": "c", "gold": "7", "answer": "I do not know.\nSorry."},
    {"id": "d", "gold": "many", "answer": "Answer: 7"},
    {"id": "e", "gold": 7, "answer": None},
]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write rows or lines to a file; its path."""

    def wrote(rows: list[Any], name: str = "pairs.jsonl") -> str:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
        return str(tmp_path / name)

    return wrote


def needs_a_sandbox() -> None:
    """Skip where this machine cannot isolate."""
    try:
        wait(execute(Program(python="x = 1")))
    except NoIsolation as error:
        pytest.skip(str(error))


def data_of(out: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    *rows, last = map(json.loads, out.splitlines())
    return rows, last["totals"]


def test_pairs_written_anywhere_get_a_verdict_each(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grade", write(PAIRS), "--grader", "number"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in out[:5]] == [
        "line 1 a correct 1,200 for 1200",
        "line 2 b incorrect 8 for 7",
        "line 3 c incorrect no answer",
        "line 4 d not judged the target is no number: 'many'",
        "line 5 e incorrect no answer",
    ]
    assert out[6] == "correct 1, incorrect 3, not judged 1 of 5"
    assert out[7].startswith("accuracy 0.200  [")
    assert out[8] == "not judged 1: accuracy is between 0.200 and 0.400"


def test_json_is_one_object_a_line_and_the_totals(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grade", write(PAIRS), "--grader", "number", "--json", "--concurrency", "3"]) == 0
    rows, totals = data_of(capsys.readouterr().out)
    assert [row["id"] for row in rows] == list("abcde"), "the order of the file"
    assert rows[0] == {
        "place": "pairs.jsonl, line 1", "id": "a", "outcome": "correct", "answer": "1,200", "key": "1200", "evidence": "",
    }  # fmt: skip
    assert {k: totals[k] for k in ("correct", "incorrect", "not_judged", "rows", "skipped", "bounds")} == {
        "correct": 1, "incorrect": 3, "not_judged": 1, "rows": 5, "skipped": [], "bounds": [0.2, 0.4],
    }  # fmt: skip
    assert totals["interval"][0] <= totals["accuracy"] <= totals["interval"][1]


def test_a_malformed_line_is_named_and_the_user_chooses(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write([PAIRS[0], '{"gold": "7", "answer": ', {"answer": "no gold"}, PAIRS[1]])
    assert main(["grade", path, "--grader", "number"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "pairs.jsonl, line 2 is no row" in told.err
    assert "--malformed skip" in told.err
    assert main(["grade", path, "--grader", "number", "--malformed", "skip"]) == 0
    told = capsys.readouterr()
    assert "skipped: pairs.jsonl, line 2 is no row" in told.err
    assert "skipped: pairs.jsonl, line 3 has no field 'gold'" in told.err
    assert "correct 1, incorrect 1, not judged 0 of 2; 2 lines skipped" in told.out


def test_a_users_file_with_a_malformed_line_runs_or_refuses_as_chosen(
    write: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[Any] = [{"ask": f"What is {i} + 1?", "want": i + 1} for i in range(6)]
    rows[2] = rows[2] | {"want": None}
    path = write([*rows[:4], "not JSON at all", *rows[4:]])
    pool = tmp_path / "pool.sqlite"
    command = ["run", path, "--prompt-field", "ask", "--target-field", "want", "--grader", "number", "--model", "fake/iid",
               "--with", "generate(n=2) | vote()", "--pool", str(pool), "--json"]  # fmt: skip
    assert main(command) == 2
    assert "pairs.jsonl, line 5 is no row: Expecting value" in capsys.readouterr().err
    assert not pool.exists(), "nothing is spent before the file is read"
    assert main([*command, "--malformed", "skip"]) == 0
    told = capsys.readouterr()
    data = json.loads(told.out)
    assert data["problems"] == 5
    assert len(data["skipped"]) == 2
    assert "line 5" in told.err
    assert "line 3 has no target" in told.err
    assert main([*command, "--malformed", "skip", "--problems", "6"]) == 2
    assert "6 problems were asked for, but the split all holds 5" in capsys.readouterr().err


def test_what_is_wrong_with_a_command_line_is_said(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(PAIRS)
    for more, said in [
        (["--grader", "nothing"], "expected --grader, one of"),
        ([], "expected --grader, one of"),
        (["--grader", "number", "--where", "id"], "--where: expected FIELD=VALUE, but got 'id'"),
        (["--grader", "number", "--where", "id=z"], "values found: a, b, c, d, e"),
        (["--grader", "number", "--target-field", "golf"], "did you mean 'gold'?"),
        (["--grader", "number", "--answer-field", "reply"], "has no field 'reply'"),
        (["--grader", "judge"], "say which one with --judge MODEL"),
        (["--grader", "regex"], "regular expression"),
        (["--grader", "command"], "needs --command"),
        (["--grader", "judge", "--rubric", "@/nowhere.txt"], "expected a text file behind @"),
        (["--grader", "number", "--concurrency", "0"], "expected a concurrency of 1 or more, but got 0"),
        (["--grader", "command", "--command", "cat {file} | wc"], "a command is not run by a shell"),
        (["--grader", "command", "--command", "cat {file}", "--file", "../x"], "relative name without '..'"),
        (["--grader", "countdown"], "needs the hint numbers"),
    ]:
        assert main(["grade", path, *more]) == 2, more
        assert said in capsys.readouterr().err


def test_fields_and_rows_can_be_chosen(write: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    path = write([{"right": {"value": 3}, "said": "three or so: 3", "n": n} for n in range(9)])
    command = ["grade", path, "--grader", "regex", "--pattern", "(\\d)", "--target-field", "right.value", "--answer-field",
               "said", "--where", "n=2..4", "--json"]  # fmt: skip
    assert main(command) == 0
    _, totals = data_of(capsys.readouterr().out)
    assert totals["correct"] == totals["rows"] == 3


def test_choices_are_graded_by_letter_index_or_text(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    colours = ["red", "green", "blue"]
    path = write([{"gold": gold, "choices": colours, "answer": "So it is (B)."} for gold in (1, "B", "green", 2)])
    assert main(["grade", path, "--grader", "choice", "--json"]) == 0
    assert [row["outcome"] for row in data_of(capsys.readouterr().out)[0]] == ["correct"] * 3 + ["incorrect"]


PROMPT = 'def double(x):\n    """Twice x."""\n'
TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-3) == -6\n"


def test_programs_are_run_against_their_tests(write: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    needs_a_sandbox()
    row = {"task_id": "d", "prompt": PROMPT, "test": TEST, "entry_point": "double"}
    completions = [
        "    return 2 * x\n",
        "    return x + 2\n",
        f"```python\n{PROMPT}    return x + x\n```",
        "",
        "    import os; os._exit(0)\n",
    ]
    assert main(["grade", write([{**row, "completion": c} for c in completions]), "--grader", "code", "--json"]) == 0
    rows, totals = data_of(capsys.readouterr().out)
    assert [row["outcome"] for row in rows] == ["correct", "incorrect", "correct", "incorrect", "incorrect"]
    assert "double(-3)" in rows[1]["evidence"]
    assert totals["correct"] == 2


def test_any_command_judges_a_file(write: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    needs_a_sandbox()
    path = write([{"answer": "```python\nx = 1\n```"}, {"answer": "x = (1"}])
    assert (
        main(
            [
                "grade",
                path,
                "--grader",
                "command",
                "--command",
                "python3 -m py_compile {file}",
                "--file",
                "a.py",
                "--json",
            ]
        )
        == 0
    )
    rows, _ = data_of(capsys.readouterr().out)
    assert [row["outcome"] for row in rows] == ["correct", "incorrect"]
    assert "SyntaxError" in rows[1]["evidence"]


def test_a_judge_is_asked_once_and_its_tokens_are_told(
    write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def judge(messages: list[dict[str, str]], max_tokens: int, temperature: float = 1.0) -> str:
        return f"Verdict: {'correct' if 'Paris' in messages[-1]['content'].partition('London')[0] else 'incorrect'}"

    monkeypatch.setattr(verb, "load", lambda name: FunctionModel(judge, "strict"))
    path = write(
        [{"problem": "The capital?", "gold": "the city of P.", "answer": text} for text in ("Paris", "London")]
    )
    command = ["grade", path, "--grader", "judge", "--judge", "strict", "--pool", str(tmp_path / "j.sqlite")]
    assert main([*command, "--json"]) == 0
    rows, totals = data_of(capsys.readouterr().out)
    assert [row["outcome"] for row in rows] == ["correct", "incorrect"]
    assert totals["judge"]["calls"] == 2
    assert sum(totals["judge"].values()) > 2
    assert main(command) == 0
    assert "the judge took 0 calls\n" in capsys.readouterr().out, "its replies are kept"


def test_a_grader_that_fails_leaves_its_pair_not_judged(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(problem: Any, target: Any, answers: Any, llm: Any) -> Any:
        raise RuntimeError(f"cannot read {target}")

    from vervet.verify import GRADERS

    monkeypatch.setitem(GRADERS, "number", broken)
    assert main(["grade", write(PAIRS[:2]), "--grader", "number", "--json"]) == 0
    rows, totals = data_of(capsys.readouterr().out)
    assert rows[0]["evidence"] == "the grader failed: RuntimeError: cannot read 1200"
    assert totals["not_judged"] == 2


def test_a_target_of_another_kind_is_a_wrong_row(write: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    path = write([PAIRS[0], {"gold": {"value": 7}, "answer": "Answer: 7"}])
    assert main(["grade", path, "--grader", "number"]) == 2
    assert "pairs.jsonl, line 2 field 'gold': expected a text or a number" in capsys.readouterr().err
    assert main(["grade", path, "--grader", "number", "--malformed", "skip"]) == 0


def test_lines_stand_in_columns_and_name_the_file_where_there_are_several(
    write: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**PAIRS[0], "id": "a long name"}, *PAIRS[1:]] * 3
    assert main(["grade", write(rows), "--grader", "number"]) == 0
    lines = capsys.readouterr().out.splitlines()[:15]
    assert lines[0].startswith("line 1  a long name   correct")
    assert {len(line) - len(line.partition("correct")[2]) for line in lines if " correct" in line} == {29}
    assert lines[11].startswith("line 12  b            incorrect")
    (tmp_path / "set").mkdir()
    for name in ("set/x.jsonl", "set/y.jsonl"):
        write(PAIRS[:1], name)
    assert main(["grade", str(tmp_path / "set"), "--grader", "number"]) == 0
    assert [line.partition("  ")[0] for line in capsys.readouterr().out.splitlines()[:2]] == [
        "x.jsonl, line 1", "y.jsonl, line 1"
    ]  # fmt: skip


@pytest.mark.parametrize("n_rows", [3, 30_000])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_has_gone_ends_it_quietly(write: Callable[..., str], n_rows: int, more: list[str]) -> None:
    path = write([{"gold": "7", "answer": "Answer: 7"}] * n_rows)
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "vervet", "grade", path, "--grader", "number", *more]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("more", "said"),
    [([], "nothing is kept: start again"), (["--judge", "x"], "what the judge said is in vervet.sqlite")],
)
def test_an_interrupt_says_what_is_kept(
    write: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    said: str,
) -> None:
    async def interrupted(pairs: Any, args: argparse.Namespace, tell: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "_grade", interrupted)
    assert main(["grade", write(PAIRS), "--grader", "number", *more]) == 130
    told = capsys.readouterr().err
    assert said in told
    assert "goes on from there" not in told


def test_visible_tests_and_every_grader_have_an_option(
    write: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"ask": "Write twice(x).", "seen": ["assert twice(1) == 2"], "want": ["assert twice(5) == 10"]}
    command = ["run", write([row]), "--prompt-field", "ask", "--target-field", "want", "--grader", "code", "--verifier",
               "code", "--model", "fake/iid", "--dry-run", "--pool", str(tmp_path / "pool.sqlite")]  # fmt: skip
    assert main([*command, "--visible-field", "seen"]) == 0
    assert main([*command, "--visible-field", "want"]) == 2
    assert "visible_field: 'want' holds the target" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    from vervet.verify import GRADERS

    told = capsys.readouterr().out.partition("  --grader NAME")[2].partition("  --where")[0]
    named = {word.strip(",") for word in told.split()}
    assert set(GRADERS) - {"ifeval_loose", "recorded"} <= named
