"""Adding an operator is one file and one name: a copy of the package gets one, and everything else follows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE = '''"""The longest candidate."""

from __future__ import annotations

from dataclasses import dataclass

from .. import select
from ..llm import LLM
from ..types import Candidates, Problem
from .base import Operator


@dataclass(frozen=True, repr=False)
class Longest(Operator):
    """Order candidates by the length of their text, longest first. Cost: none.

    Reference: none.
    """

    async def __call__(self, problem: Problem, candidates: Candidates, llm: LLM) -> Candidates:
        """The same candidates, the longest first."""
        return candidates.reorder(select.best([len(c.text) for c in candidates]))
'''
CONFORMANCE = """
import asyncio
from vervet.operators import OPERATORS
from vervet.testing import OPERATOR_CHECKS
for check in OPERATOR_CHECKS:
    outcome = check(OPERATORS["longest"]())
    if asyncio.iscoroutine(outcome):
        asyncio.run(outcome)
print(len(OPERATOR_CHECKS), "checks")
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of package and docs with one more file and one more name."""
    copy = tmp_path_factory.mktemp("copy")
    heavy = shutil.ignore_patterns("*.safetensors", "__pycache__")
    shutil.copytree(ROOT / "src", copy / "src", ignore=heavy)
    shutil.copytree(ROOT / "docs", copy / "docs")
    (copy / "src/vervet/operators/longest.py").write_text(FILE)
    listed = copy / "src/vervet/operators/__init__.py"
    before = listed.read_text()
    after = before.replace("Best, Repair)", "Best, Repair, Longest)").replace(
        "from .repair import Repair\n", "from .repair import Repair\nfrom .longest import Longest\n"
    )
    assert after.count("Longest") == 2
    listed.write_text(after)
    return copy


def python(copy: Path, *arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(copy / "src")}
    done = subprocess.run([sys.executable, *arguments], env=env, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed(copy: Path) -> None:
    assert "longest()" in python(copy, "-m", "vervet", "operators")


def test_it_runs_on_the_command_line(copy: Path) -> None:
    expression = "generate(n=3) | longest()"
    run = ["run", "words", "--model", "fake/iid", "--with", expression, "--problems", "2", "--pool", "p.sqlite"]
    assert expression in python(copy, "-m", "vervet", *run)


def test_it_is_in_the_docs(copy: Path) -> None:
    python(copy, "docs/make.py")
    assert "### longest" in (copy / "docs/reference.md").read_text()


def test_it_passes_the_conformance_suite(copy: Path) -> None:
    assert "checks" in python(copy, "-c", CONFORMANCE)
