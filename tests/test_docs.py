"""What the pages say is run: their Python, their commands, their links, and the examples in docstrings.

The ``python`` and ``console`` blocks of a page run from top to bottom in one namespace and one empty directory.
In a ``console`` block the lines after ``$ `` are commands: ``vervet`` runs through its entry point, ``make`` must
name a target that exists, and installing or cloning is left alone. What must be said of a block stands in the
comment before it:

    <!-- not run: needs a key -->      the block is not run, for the reason given
    <!-- status: 2 -->                 its last command ends with this status instead of 0
    <!-- compare -->                   what is printed is compared with the block; ... stands for anything
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.exists()]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
MODULES = sorted(
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
    for path in (SRC / "vervet").rglob("*.py")
    if path.stem != "__main__"
)
EXTRAS = {"torch", "tokenizers", "safetensors", "jinja2", "matplotlib", "optuna", "transformers"}
LEFT_ALONE = {"git", "cd", "pip", "python", "source", "export"}

FENCE = re.compile(
    r"^(?P<indent>[ ]*)```(?P<language>\w+)[^\n]*\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL
)
COMMENT = re.compile(
    r"<!--\s*(?P<word>not run|status|compare)\s*(?::\s*(?P<value>(?:(?!-->).)*?))?\s*-->\s*\Z", re.DOTALL
)
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<a>[^)\s]+)[^)]*\)|\b(?:src|href)=\"(?P<b>[^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page, with what the comments before it say."""

    page: Path
    line: int
    language: str
    body: str
    notes: dict[str, str]

    @property
    def place(self) -> str:
        """Where a reader finds it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page that a reader would run, in order."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match["language"] not in ("python", "console"):
            continue
        before, notes = text[: match.start()], {}
        while comment := COMMENT.search(before):
            notes[comment["word"]] = comment["value"] or ""
            before = before[: comment.start()]
        line = text.count("\n", 0, match.start()) + 2
        yield Block(page, line, match["language"], textwrap.dedent(match["body"]), notes)


def commands(block: Block) -> list[str]:
    """The commands of a console block, continued lines joined."""
    joined = block.body.replace("\\\n", " ")
    return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]


def run_command(command: str, patch: pytest.MonkeyPatch) -> int:
    """Run one command as the shell would, without a shell; its exit status."""
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        unknown = [word for word in words[1:] if "=" not in word and word not in targets]
        assert not unknown, f"the Makefile has no target {unknown}"
        return 0
    if words[0] in LEFT_ALONE:
        return 0
    assert words[0] == "vervet", f"expected vervet, make or one of {sorted(LEFT_ALONE)}, not {words[0]!r}"
    assert not {"|", ">", "<", "&&", ";"} & set(words), "a console block has no shell: one plain command a line"
    main = importlib.import_module("vervet.cli").main
    patch.setattr(sys, "argv", words)
    try:
        return int(main() or 0)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def run_console(block: Block, patch: pytest.MonkeyPatch) -> None:
    """Run the commands of a block and look at their status, and at what they print where that is asked for."""
    wanted = commands(block)
    printed = io.StringIO()
    for n, command in enumerate(wanted, 1):
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            status = run_command(command, patch)
        printed.write(f"$ {command}\n{shown.getvalue()}")
        expected = int(block.notes.get("status", 0)) if n == len(wanted) else 0
        assert status == expected, f"{block.place}: {command}\nstatus {status}, expected {expected}\n{shown.getvalue()}"
    if "compare" in block.notes:
        check = doctest.OutputChecker().check_output
        came, said = printed.getvalue(), "\n".join(line for line in block.body.replace("\\\n", " ").splitlines()) + "\n"
        assert check(said, came, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE), f"{block.place} printed\n{came}"


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block as if it stood in the page's own module; tracebacks point into the page."""
    code = compile("\n" * (block.line - 1) + block.body, str(block.page), "exec", dont_inherit=True)
    exec(code, namespace)


@contextlib.contextmanager
def skipping_absent_extras() -> Iterator[None]:
    """Skip, with the reason, where an optional package is missing; any other failure to import fails."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").split(".")[0] not in EXTRAS:
            raise
        pytest.skip(f"needs {error.name}, which is not installed")
    except Exception as error:
        if type(error).__name__ != "MissingExtra":
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if "not run" in block.notes:
            assert block.notes["not run"], f"{block.place}: say why it is not run: <!-- not run: REASON -->"
            continue
        with skipping_absent_extras():
            if block.language == "python":
                run_python(block, namespace)
            else:
                run_console(block, monkeypatch)


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with skipping_absent_extras():
        found = importlib.import_module(module)
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        result = doctest.testmod(found, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0, report.getvalue()


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page make."""
    text = CODE.sub(lambda m: m[0].strip("`") if "\n" not in m[0] else "", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for match in LINK.finditer(CODE.sub("", page.read_text(encoding="utf-8"))):
        link = match["a"] or match["b"]
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists():
            wrong.append(f"{link}: no such file")
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            wrong.append(f"{link}: no such heading")
    assert not wrong, f"{page.relative_to(ROOT)}: " + "; ".join(wrong)
