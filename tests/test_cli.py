"""The command line: what it prints, its exit status, and what bad input gets."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vervet.cli import main
from vervet.operators import OPERATORS
from vervet.rules import RULES
from vervet.tasks import TASKS

FAKE = ["--model", "fake/iid?p=0.4"]


@pytest.fixture
def pool(tmp_path: Path) -> str:
    return str(tmp_path / "pool.sqlite")


def run(pool: str, *more: str, task: str = "words") -> int:
    return main(["run", task, *FAKE, "--problems", "5", "--pool", pool, *more])


def test_json_is_one_object_with_the_promised_names(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pool, "--with", "generate(n=4) | vote()", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert {"task", "model", "architecture", "problems", "accuracy", "interval", "not_judged", "bounds", "spent", "pool",
            "run"} <= set(data)  # fmt: skip
    assert {"fresh_samples", "replayed_samples", "prompt_tokens", "completion_tokens", "calls", "seconds",
            "unsettled_tokens"} <= set(data["spent"])  # fmt: skip
    assert data["spent"]["fresh_samples"] == 20


def test_a_run_prints_accuracy_cost_and_curves(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pool, "--with", "generate(n=8) | vote()") == 0
    out = capsys.readouterr().out
    assert "accuracy" in out
    assert "coverage" in out
    assert "paid 40 samples" in out


def test_a_limit_ends_with_status_3_and_says_so(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pool, "--wallet", "tokens=500", "--with", "generate(n=8, max_tokens=64) | vote()") == 3
    assert "wallet ended the run" in capsys.readouterr().out
    assert run(pool, "--replay", "--with", "generate(n=8) | vote()", "--json") == 3


def test_a_wallet_that_not_one_call_fits_spends_nothing(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pool, "--wallet", "tokens=1", "--json") == 3
    data = json.loads(capsys.readouterr().out)
    assert data["spent"]["calls"] == 0
    assert data["not_judged"] == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--with", "generat(n=4)"], "generat(n=4)\n  ^"),
        (["--with", "generate(n=4) | vote"], "generate(n=4) | vote\n                  ^"),
        (["--with", "generate(size=4)"], "size"),
        (["--with", "generate(n=-1)"], "n=-1"),
        (["--with", "generate(n=4"], "^"),
        (["--with", "generate(n=4, until=low_confidence(4, 1.0))"], "until"),
        (["--with", "generate(n=4) | first()"], "no verifier"),
        (["--level", "99"], "expected a level from 2 to 12, but got 99"),
        (["--split", "exam"], "train, development, test"),
        (["--wallet", "euros=3"], "tokens=NUMBER"),
        (["--wallet", "tokens=x"], "tokens=x"),
        (["--budget", "tokens=-5"], "tokens=-5"),
        (["--replay", "--wallet", "tokens=5"], "not both"),
        (["--problems", "0"], "1 problem or more"),
    ],
)
def test_a_mistake_is_status_2_and_says_what_was_expected(
    pool: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pool, *arguments) == 2
    assert said in capsys.readouterr().err
    assert not Path(pool).exists()


@pytest.mark.parametrize(
    "arguments", [["run", "gsm"], ["run", "words", "--model", "gpt"], ["show", "nowhere"], ["scale", "nowhere"]]
)
def test_unknown_names_are_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "expected" in capsys.readouterr().err


def test_a_damaged_pool_is_refused_and_left_alone(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(pool).write_bytes(b"not a database at all" * 100)
    before = Path(pool).read_bytes()
    assert run(pool) == 1
    assert pool in capsys.readouterr().err
    assert Path(pool).read_bytes() == before


def test_a_foreign_database_is_refused(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    db = sqlite3.connect(pool)
    db.execute("CREATE TABLE songs (name)")
    db.commit()
    db.close()
    assert run(pool) == 1
    assert "songs" in capsys.readouterr().err


def test_scale_prints_every_run_and_writes_one_page(
    pool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    run(pool, "--with", "generate(n=8) | vote()", "--json")
    run(pool, "--with", "generate(n=8) | best()", "--json")  # the same draws: a point beside their curve
    run(pool, "--with", "generate(n=4)", "--json")
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert main(["scale", pool, "--html", str(page)]) == 0
    assert capsys.readouterr().out.count("coverage") >= 2
    text = page.read_text()
    assert text.count("<section") == text.count("</section>") >= 2
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert main(["scale", pool, "--k", "1,4", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [curve["k"] for curve in data["curves"]] == [[1, 4]] * 2
    assert {"name", "k", "coverage", "interval"} <= data["curves"][0].keys()


def test_k_over_n_is_a_mistake(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(pool, "--with", "generate(n=4)", "--json")
    assert main(["scale", pool, "--k", "1,5"]) == 2
    assert "5" in capsys.readouterr().err


def test_draws_that_were_ended_by_what_was_drawn_get_no_curves(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pool, "--with", "generate(n=8, until=agree(0.6)) | vote()") == 0
    assert "biased" in capsys.readouterr().out
    assert main(["scale", pool]) == 2


def test_show_and_pool_info(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(pool, "--json")
    capsys.readouterr()
    assert main(["show", pool]) == 0
    name = capsys.readouterr().out.splitlines()[0]
    assert main(["show", pool, name, "--samples", "2"]) == 0
    assert capsys.readouterr().out.count("#") == 2
    assert main(["show", pool, name, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["samples"]) == 5
    assert main(["pool", "info", pool, "--check"]) == 0
    assert "no damage" in capsys.readouterr().out
    assert main(["pool", "info", pool, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["samples"] == 80
    assert main(["show", pool, "words/unknown"]) == 2


@pytest.mark.parametrize(("verb", "names"), [("operators", [*OPERATORS, *RULES]), ("tasks", list(TASKS))])
def test_lists_name_everything_that_is_listed(verb: str, names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in names)
    assert main([verb, "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_models_lists_the_shipped_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "embedded" in capsys.readouterr().out


def test_interrupted_is_status_130(
    pool: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vervet.run.Run.start", interrupt)
    assert run(pool) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_ctrl_c_of_a_real_run_loses_nothing(pool: str) -> None:
    import signal
    import time

    arguments = ["words", "--model", "fake/length?delay_s=0.001", "--with", "generate(n=12)", "--problems", "9"]
    command = [sys.executable, "-m", "vervet", "run", *arguments, "--pool", pool, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        time.sleep(0.05)
        if Path(pool).exists() and _n_calls(pool):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    db = sqlite3.connect(pool)
    open_calls, unsettled = db.execute("SELECT sum(state = 0), sum(unsettled_tokens) FROM calls").fetchone()
    db.close()
    assert (open_calls, unsettled) == (0, 0)


def _n_calls(pool: str) -> int:
    try:
        db = sqlite3.connect(f"file:{pool}?mode=ro", uri=True)
        n = db.execute("SELECT count(*) FROM calls").fetchone()[0]
        db.close()
    except sqlite3.Error:
        return 0
    return int(n)


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in ("run", "scale", "show", "pool", "models", "tasks", "operators"))


def test_a_full_disk_stops_the_drawing_and_counts_what_was_lost(pool: str) -> None:
    import resource

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    command = [sys.executable, "-m", "vervet", "run", "words", *FAKE, "--with", "generate(n=64)", "--problems", "60"]
    done = subprocess.run([*command, "--pool", pool], preexec_fn=small_disk, capture_output=True, text=True)
    assert done.returncode == 1
    assert "could not be stored" in done.stderr
    assert "Traceback" not in done.stderr
    db = sqlite3.connect(pool)
    assert db.execute("PRAGMA quick_check").fetchone()[0] == "ok"
    db.close()
