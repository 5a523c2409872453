"""``vervet pool``: merge and prune from the command line, and what a wrong call gets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vervet.cli import main


@pytest.fixture
def pools(tmp_path: Path) -> list[str]:
    paths = [str(tmp_path / name) for name in ("a.pool", "b.pool")]
    for path, n in zip(paths, (3, 5), strict=True):
        line = ["run", "words", "--model", "fake/iid", "--problems", "7", "--pool", path, "--with", f"generate(n={n})"]
        assert main([*line, "--quiet"]) == 0
    return paths


def test_merge_and_prune(pools: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, small = str(tmp_path / "out.pool"), str(tmp_path / "small.pool")
    capsys.readouterr()
    assert main(["pool", "merge", out, *pools]) == 0
    said = capsys.readouterr().out
    assert "35 samples, 7 problems, 2 runs of 2 pools" in said
    assert "21 draws were in more than one of them" in said
    assert main(["pool", "info", out, "--check", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["damage"], data["counts"]["samples"], data["counts"]["runs"]) == ([], 35, 2)
    run = next(row["id"] for row in data["runs"] if "n=3" in row["identity"]["architecture"])
    assert main(["pool", "prune", out, "--into", small, "--run", run[:8], "--no-figures"]) == 0
    said = capsys.readouterr().out
    assert "21 samples, 7 problems, 1 runs" in said
    assert f"left out 14 samples; {out} still holds them" in said


def test_json_is_one_object(pools: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out.pool")
    capsys.readouterr()
    assert main(["pool", "merge", out, *pools, "--json"]) == 0
    merged = json.loads(capsys.readouterr().out)
    assert (merged["path"], merged["samples"], merged["shared"]) == (out, 35, 21)
    assert main(["pool", "prune", out, "--into", out + "2", "--json"]) == 0
    pruned = json.loads(capsys.readouterr().out)
    assert (pruned["samples"], pruned["left_out"], pruned["n_bytes"]) == (35, 0, Path(out + "2").stat().st_size)


def test_a_wrong_call_says_how_it_is_called(
    pools: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out.pool")
    for line, said in (
        (["merge", pools[0], pools[1]], "expected the path of a new pool"),
        (["merge", out, pools[0], "nothing.pool"], "no file 'nothing.pool'"),
        (["prune", pools[0], "--into", pools[1]], "expected the path of a new pool"),
        (["prune", pools[0], "--into", out, "--run", "zz"], "expected a run of"),
        (["release", pools[0], "7"], "none has draws that wait"),
    ):
        assert main(["pool", *line]) == 2, line
        assert said in capsys.readouterr().err
    for line, said in (
        (["merge", out], "required: POOL"),
        (["merge", out, *pools, "--into", "x"], "unrecognized arguments: --into"),
        (["prune", pools[0]], "required: --into"),
        (["info", pools[0], pools[1]], "unrecognized arguments"),
        (["release", pools[0]], "required: BATCH"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["pool", *line])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err
    assert not Path(out).exists()


def test_each_action_has_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    options = {
        "info": {"--check"},
        "merge": set(),
        "prune": {"--into", "--run", "--no-figures"},
        "release": {"--unsent"},
    }
    for action, own in options.items():
        with pytest.raises(SystemExit) as ended:
            main(["pool", action, "--help"])
        assert ended.value.code == 0
        assert set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.M)) == {"--json", *own}
