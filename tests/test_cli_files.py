"""Files that verbs read and write: nothing is lost, what cannot be done is said before it is begun; and interruptions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.riddles import riddles, start
from vervet import __main__, __version__, cli
from vervet.cli import common, main, scale
from vervet.errors import Mistake
from vervet.report import files
from vervet.report.html import write_page

INTERRUPTED = "vervet: interrupted; nothing was changed\n"


@pytest.fixture
def pool(tmp_path: Path) -> str:
    """A pool of two runs."""
    for n in (3, 4):
        start(tmp_path, f"generate(n={n})", riddles(tmp_path, 5))
    return str(tmp_path / "pool.sqlite")


@pytest.fixture
def counts(tmp_path: Path) -> str:
    path = tmp_path / "u.csv"
    path.write_text("problem,n,c\na,4,1\nb,4,0\nc,4,4\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def reckons_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def reckoned(*_: Any, **more: Any) -> None:
        raise AssertionError("it was reckoned before the files were looked at")

    monkeypatch.setattr(scale, "_figures", reckoned)
    monkeypatch.setattr("vervet.cli.export.export", reckoned)
    monkeypatch.setattr("vervet.run.Run.start", reckoned)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    out = capsys.readouterr()
    assert out.out == ""
    return out.err


# --- what is written ------------------------------------------------------------------------------------------


def test_a_pool_and_an_input_are_never_written_over(
    pool: str, counts: str, tmp_path: Path, reckons_nothing: None, capsys: pytest.CaptureFixture[str]
) -> None:
    other, link = str(tmp_path / "other.jsonl"), str(tmp_path / "link.csv")
    os.rename(pool, other)
    os.link(counts, link)
    before = {path: Path(path).read_bytes() for path in (other, counts)}
    is_pool = f"{other!r} is a pool, which is never written over"
    assert is_pool in refused(capsys, "scale", other, "--html", other)
    assert is_pool in refused(capsys, "scale", counts, "--csv", other)
    assert is_pool in refused(capsys, "run", "words", "--model", "fake/iid", "--pool", other, "--html", other)
    for out in (other, os.path.relpath(other)):
        assert "is a pool" in refused(capsys, "export", other, "--as", "samples", "--out", out, "--force")
    for out in (counts, link, os.path.relpath(counts)):
        assert "is what this command reads" in refused(capsys, "scale", counts, "--csv", out)
    new = str(tmp_path / "new.html")
    assert "is what this command reads" in refused(capsys, "run", "words", "--pool", new, "--html", new)
    assert {path: Path(path).read_bytes() for path in before} == before


def test_two_outputs_are_two_files(
    counts: str, tmp_path: Path, reckons_nothing: None, capsys: pytest.CaptureFixture[str]
) -> None:
    both = str(tmp_path / "x.html")
    assert "name one file" in refused(capsys, "scale", counts, "--html", both, "--csv", f"{tmp_path}/./x.html")


@pytest.mark.parametrize(
    ("option", "path", "said"),
    [
        ("--html", "nodir/x.html", "existing folder"),
        ("--html", "folder.html", "is a folder"),
        ("--html", "/proc/x.html", "cannot write '/proc/x.html'"),
        ("--html", "x.csv", "ends in .html or .htm"),
        ("--csv", "x.html", "ends in .csv"),
        ("--parquet", "x.csv", "ends in .parquet"),
        ("--png", "x.txt", "ends in .png"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_reckoned(
    counts: str,
    tmp_path: Path,
    option: str,
    path: str,
    said: str,
    reckons_nothing: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "folder.html").mkdir()
    error = refused(capsys, "scale", counts, option, str(tmp_path / path))
    assert said in error
    assert option in error
    if option == "--html":
        assert said in refused(capsys, "run", "words", "--model", "fake/iid", "--html", str(tmp_path / path))


def test_what_fails_while_it_is_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writers: dict[str, Callable[[Path], object]] = {
        "x.csv": lambda path: files.write_csv(path, []),
        "x.html": lambda path: write_page(path),
    }
    monkeypatch.setattr("vervet.report.html.page", lambda *_: "page")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    for name, write in writers.items():
        (tmp_path / name).write_text("old")
        with pytest.raises(Mistake, match=rf"cannot write .*{name}': No space left"):
            write(tmp_path / name)
        with pytest.raises(Mistake, match=r"cannot write .*No such file"):
            write(tmp_path / "nodir" / name)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == dict.fromkeys(writers, "old")


def test_what_is_replaced_keeps_its_rights_and_a_link_its_place(tmp_path: Path) -> None:
    target, link = tmp_path / "x.csv", tmp_path / "link.csv"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    files.write_csv(link, [])
    assert link.is_symlink()
    assert target.read_text().startswith("name,")
    assert target.stat().st_mode & 0o777 == 0o640


# --- what is read ---------------------------------------------------------------------------------------------


def test_what_is_no_pool_is_refused_and_stays_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {
        "empty.pool": ("", "is empty: not a pool"),
        "x.pool": ("some text that is none", "begins with b'some text"),
        "t.csv": ("problem,n,c\na,4,1\n", "it is a table of success counts: vervet scale"),
        "s.jsonl": ('{"problem": "a", "text": "b"}\n', "vervet import brings samples into a pool"),
    }
    for name, (text, said) in texts.items():
        path, new = str(tmp_path / name), str(tmp_path / "new")
        Path(path).write_text(text)
        calls = [
            ["power", path, "--effect", "0.1"], ["advise", path], ["compare", "a", "b", "--pool", path],
            ["compare", f"{path}:a", "b", "--pool", path], ["pool", "info", path], ["pool", "merge", new, path],
            ["pool", "prune", path, "--into", new], ["pool", "release", path, "1"], ["show", path],
            ["export", path, "--as", "samples", "--out", str(tmp_path / "o.jsonl")],
            ["scale", "abc", "--pool", path],
        ]  # fmt: skip
        for words in calls if "." in name else ():
            assert said in refused(capsys, *words), words
        if name.endswith(".pool"):
            assert said in refused(capsys, "scale", path)
            assert said in refused(capsys, "run", f"pool:{path}", "--replay", "--pool", str(tmp_path / "other"))
        assert Path(path).read_text() == text
    assert {file.name for file in tmp_path.iterdir()} == set(texts)


def test_a_beginning_of_several_ids_asks_for_more_of_it(
    tmp_path: Path, pool: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = str(tmp_path / "new")
    calls = [
        ["scale", pool], ["power", pool, "--effect", "0.1"], ["advise", pool], ["pool", "prune", pool, "--into", new],
        ["export", pool, "--as", "samples", "--out", new + ".jsonl"],
    ]  # fmt: skip
    for words in calls:
        error = refused(capsys, *words, "--run", "")
        assert f"begins several runs of {pool} (" in error, words
        assert "give more of the id" in error
        assert f"expected a run of {pool} (" in refused(capsys, *words, "--run", "xyz"), words


@pytest.mark.parametrize("words", [["--run", "abc"], ["--pool", "nothere"]])
def test_a_table_of_counts_has_no_runs(counts: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--run and --pool are for runs of a pool" in refused(capsys, "scale", counts, *words)


def test_a_pool_is_named_once(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the id of a run and its --pool" in refused(capsys, "scale", pool, "--pool", pool)


def test_a_seed_is_no_negative_number(counts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--seed: expected a whole number from 0 on, but got -1" in refused(capsys, "scale", counts, "--seed", "-1")


# --- interruptions --------------------------------------------------------------------------------------------


def interrupt(*_: Any, **more: Any) -> None:
    raise KeyboardInterrupt


def test_interrupted_a_verb_says_what_became_of_it(
    counts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scale, "_figures", interrupt)
    assert main(["scale", counts]) == 130
    assert capsys.readouterr().err == INTERRUPTED
    monkeypatch.setattr("vervet.run.Run.start", interrupt)
    assert main(["run", "words", "--model", "fake/iid", "--pool", str(tmp_path / "p")]) == 130
    assert "what was drawn is in the pool" in capsys.readouterr().err


def test_interrupted_while_it_loads_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "main", interrupt)
    assert __main__.main() == 130
    assert capsys.readouterr().err == INTERRUPTED


def test_interrupted_in_an_import_there_is_no_traceback() -> None:
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'numpy': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from vervet.__main__ import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code, "models"], capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (130, INTERRUPTED, "")
    assert signal.getsignal(signal.SIGINT) is not None


def test_the_version_is_told_without_loading_anything() -> None:
    code = "import sys; from vervet.__main__ import main; main(); sys.exit(any(n in sys.modules for n in ('numpy', 'scipy')))"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"vervet {__version__}\n")


def test_paths_that_are_not_given_are_not_looked_at() -> None:
    common.outputs(["nothing"], html=None, csv="")
