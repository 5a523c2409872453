"""The standard pool: the embedded tasks, drawn once into the cache directory and replayed by every figure.

``words``, ``countdown`` and ``countdown-thinking`` at T = 1: 1,000 test problems x 64 draws each, about 14 million
tokens; keyed by the checkpoint. Drawing it can be interrupted and goes on. ``VERVET_CACHE`` names another directory.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from vervet.pool import open_pool
from vervet.run import Result, Run
from vervet.run.declared import draws_of
from vervet.scaling.draws import Draws

ROOT = Path(__file__).resolve().parent.parent
TASKS = ("words", "countdown", "countdown-thinking")


@dataclass(frozen=True)
class Size:
    """How many test problems, how many draws each; ``n_few`` problems where a figure needs fewer; ``name`` of the file."""

    name: str
    problems: int
    draws: int
    n_few: int


FULL = Size("standard", 1000, 64, 200)
QUICK = Size("quick", 50, 16, 20)


@dataclass(frozen=True)
class Figure:
    """A measured figure in words, whether its goal holds, and what stands in the way where it does not."""

    text: str
    holds: bool
    why: str = ""


@cache
def checkpoint_digest() -> str:
    """The identity of the shipped weights of the main model."""
    weights = ROOT / "src/vervet/models/embedded/model.safetensors"
    return blake2b(weights.read_bytes(), digest_size=6).hexdigest()


def pool_path(size: Size) -> str:
    """Where the standard pool of this checkpoint lies."""
    cache_dir = Path(os.environ.get("VERVET_CACHE") or Path.home() / ".cache" / "vervet")
    cache_dir.mkdir(parents=True, exist_ok=True)
    return str(cache_dir / f"{size.name}-{checkpoint_digest()}.sqlite")


def standard_run(size: Size, task: str, draws: int | None = None, **changes: Any) -> Run:
    """The run that draws, or replays, the standard draws of a task."""
    temperature = changes.pop("temperature", 1.0)
    architecture = changes.pop("architecture", f"generate(n={draws or size.draws}, temperature={temperature}) | vote()")
    settings = {"model": "embedded", "problems": size.problems, "split": "test", "pool": pool_path(size), **changes}
    return Run(task, architecture, **settings)


class Told:
    """A listener that says on standard error how far a long drawing is."""

    def __init__(self, what: str) -> None:
        self.what, self.n, self.n_tokens, self.begun, self.last = what, 0, 0, time.monotonic(), 0.0

    def __call__(self, kind: str, facts: Mapping[str, Any]) -> None:
        self.n += kind == "problem"
        self.n_tokens += facts.get("tokens", 0) if kind == "sample" else 0
        if time.monotonic() - self.last > 15:
            self.last = time.monotonic()
            rate = self.n_tokens / (self.last - self.begun + 1e-9)
            print(f"  {self.what}: {self.n} problems, {self.n_tokens:,} tokens, {rate:,.0f}/s", file=sys.stderr)


def start(run: Run) -> Result:
    """Start a run, with word on standard error."""
    return run.start(Told(f"{run.task} {run.architecture}"))


@cache
def draws(size: Size, task: str, temperature: float = 1.0, problems: int | None = None) -> Draws:
    """The standard draws of a task, drawn now if they are not there."""
    run = standard_run(size, task, temperature=temperature, problems=problems or size.problems)
    result = start(run)
    with open_pool(run.pool) as pool:
        return draws_of(pool, next(row for row in pool.runs() if row.id == result.run))
