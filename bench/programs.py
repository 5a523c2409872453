"""Figures of programs that are executed: HumanEval's own solutions, and the embedded model on ``programs``.

``python -m bench.programs --data FOLDER`` prints both; ``--quick`` takes 50 problems x 16. The draws lie in a pool of
their own in the cache directory (see ``bench/standard.py``) and are replayed by every architecture.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.standard import FULL, QUICK, Figure, Size, pool_path, standard_run, start
from vervet import select
from vervet.pool import open_pool
from vervet.run import Result
from vervet.run.declared import draws_of
from vervet.scaling.compare import paired_difference
from vervet.scaling.intervals import Estimate, new_problems
from vervet.scaling.passk import pass_at_k
from vervet.scaling.vote import tally, vote_at_k
from vervet.tasks import task_of
from vervet.types import Example, Problem
from vervet.verify import code

SEED = 0
FILE = "HumanEval.jsonl"
MISSING = f"not measured: VERVET_DATA names no folder with {FILE}"
WIDTHS = (1, 2, 4, 8, 16)  # n of generate(n) | repair(rounds)
ROUNDS = (1, 2, 4)
T = "temperature=1.0"
CONCURRENCY = 128
PROBLEM = Problem("p", (), "expression", hints={"function": "f", "parameters": ["x"]})

Floats = NDArray[np.float64]


# --- HumanEval -----------------------------------------------------------------------------------------


def humaneval(size: Size) -> Figure:
    """The published solutions and ``return None``, graded as answers are."""
    folder = Path(os.environ.get("VERVET_DATA") or "/nonexistent")
    path = next((p for p in (folder / FILE, folder / "tasks" / FILE) if p.is_file()), None)
    if path is None:
        return Figure(MISSING, False, "VERVET_DATA")
    rows = {row["prompt"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    examples = task_of(f"humaneval:{path}").examples("all", None, SEED)
    examples = examples if size.name == FULL.name else examples[::8]
    solved = [(e, rows[e.problem.hints["prompt"]]["canonical_solution"]) for e in examples]
    n_right = asyncio.run(_n_correct(solved))
    n_none = asyncio.run(_n_correct([(e, "    return None\n") for e in examples]))
    text = f"published solutions {n_right} of {len(examples)}, bodies 'return None' {n_none} of {len(examples)}"
    return Figure(text, n_right == len(examples) and not n_none, "a verdict is wrong")


async def _n_correct(pairs: list[tuple[Example, str]]) -> int:
    """How many completions are graded correct."""

    async def one(example: Example, text: str) -> bool:
        (verdict,) = await code.grade(example.problem, example.target, [code.read(example.problem, text)], None)
        return verdict.correct

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(*pair)) for pair in pairs]
    return sum(task.result() for task in tasks)


# --- the embedded model --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """A run of one architecture: per problem whether it was right and the tokens used, prompts once a question."""

    right: Floats
    tokens: Floats


@dataclass(frozen=True)
class Drawn:
    """Every declared draw in order, tables of (problems, n): class of behaviour, key of the source, accepted by the
    visible examples, right; and the tokens used after each draw, the prompt counted once."""

    classes: list[list[str | None]]
    sources: list[list[str | None]]
    accepted: list[list[bool]]
    right: NDArray[np.bool_]
    tokens: Floats

    def filtered(self, n: int) -> Floats:
        """Filter and vote over the first n draws of each problem, as the operators do it."""
        rows = zip(self.classes, self.accepted, self.right, strict=True)
        return np.array([_filtered(keys[:n], kept[:n], right) for keys, kept, right in rows])

    def first(self) -> Floats:
        """The first draw that the visible examples accept, else the first."""
        return np.array([float(r[select.first(kept)[0]]) for kept, r in zip(self.accepted, self.right, strict=True)])


def _filtered(keys: Sequence[str | None], accepted: Sequence[bool], right: NDArray[np.bool_]) -> float:
    kept = select.keep(accepted) or list(range(len(keys)))
    return float(right[kept[select.plurality([keys[i] for i in kept])[0]]])


def _pool(size: Size) -> str:
    return pool_path(Size(f"programs-{size.name}", size.problems, size.draws, size.n_few))


@cache
def _started(size: Size, architecture: str) -> Result:
    # A round of repair is one short sample: only many problems at once keep the engine busy.
    run = standard_run(size, "programs", architecture=architecture, pool=_pool(size), concurrency=CONCURRENCY)
    return start(run)


@cache
def _run(size: Size, architecture: str) -> Ran:
    """What an architecture does on the test problems; what the pool holds is replayed."""
    result = _started(size, architecture)
    used = _tokens(_pool(size), result.run)
    right = [float(outcome.verdict.correct) for outcome in result.outcomes]
    return Ran(np.array(right), np.array([used.get(outcome.problem, 0.0) for outcome in result.outcomes]))


def _tokens(pool: str, run: str) -> dict[str, float]:
    """Tokens that a run used by problem: each question's prompt once, and every completion."""
    rows = _rows(
        pool,
        "SELECT problem, sum(tokens) FROM (SELECT p.id AS problem, sum(u.n_tokens) + max(s.prompt_tokens) AS tokens "
        "FROM uses u JOIN problems p ON p.key = u.problem JOIN samples s ON s.address = u.address "
        "WHERE u.run = (SELECT key FROM runs WHERE id = ?) GROUP BY p.id, s.address >> 32) GROUP BY problem",
        run,
    )
    return {problem: float(tokens) for problem, tokens in rows}


def _rows(pool: str, sql: str, run: str) -> list[Any]:
    with closing(sqlite3.connect(pool)) as db:
        return db.execute(sql, (run,)).fetchall()


@cache
def _drawn(size: Size) -> Drawn:
    """The declared draws, drawn now if they are not there."""
    result = _started(size, f"generate(n={size.draws}, {T}) | filter() | vote()")
    with open_pool(_pool(size)) as pool:
        draws = draws_of(pool, next(row for row in pool.runs() if row.id == result.run))
        checked = [accepted for _, accepted, _ in pool.checked(result.run, "examples", ("0:generate",))]
    texts = _rows(
        _pool(size),
        "SELECT s.text, s.prompt_tokens FROM uses u JOIN samples s ON s.address = u.address "
        "WHERE u.run = (SELECT key FROM runs WHERE id = ?) ORDER BY u.problem, u.operator, u.ord",
        result.run,
    )
    read = [code.read_expression(PROBLEM, text) for text, _ in texts]
    n, shape = draws.n, (draws.n_problems, draws.n)
    sources = [None if answer is None else answer.key for answer in read]
    prompts = np.array([float(tokens) for _, tokens in texts]).reshape(shape)[:, :1]
    assert draws.tokens is not None
    return Drawn(
        [list(row) for row in draws.keys],
        [sources[i : i + n] for i in range(0, len(sources), n)],
        [list(map(bool, checked[i : i + n])) for i in range(0, len(checked), n)],
        draws.right,
        prompts + np.cumsum(np.array(draws.tokens, dtype=float), axis=1),
    )


def _estimate(values: Floats) -> Estimate:
    band = new_problems(values[:, None], SEED)
    return Estimate(float(values.mean()), float(band.low[0]), float(band.high[0]))


def _voted(keys: list[list[str | None]], right: NDArray[np.bool_]) -> Floats:
    """The vote over all draws, ties shared."""
    return vote_at_k([tally(k, r) for k, r in zip(keys, right, strict=True)], [right.shape[1]])[:, 0]


def selection(size: Size) -> Figure:
    """Coverage, vote by behaviour and by source, the visible examples as filter before the vote."""
    d, n = _drawn(size), size.draws
    first, last = pass_at_k(n, d.right.sum(axis=1), [1, n]).T
    vote, source = _voted(d.classes, d.right), _voted(d.sources, d.right)
    filtered = _run(size, f"generate(n={n}, {T}) | filter() | vote()").right
    gain = paired_difference(filtered, vote, SEED)
    lines = [
        f"programs, {len(first):,} problems x {n}: pass@1 {_estimate(first)}, coverage {_estimate(last)}",
        f"vote by behaviour {_estimate(vote)}, by source {_estimate(source)}, behaviour - source "
        f"{paired_difference(vote, source, SEED)}",
        f"visible examples: the first accepted {_estimate(d.first())}, filter and vote {_estimate(filtered)}, filter and "
        f"vote - vote {gain}, coverage - filter and vote {paired_difference(last, filtered, SEED)}",
    ]
    same = bool(np.array_equal(filtered, d.filtered(n)))
    return Figure("\n".join(lines), same and gain.low > 0, "the filter brings nothing" if same else "a replay differs")


def repair(size: Size) -> Figure:
    """n draws and some rounds of repair, beside filter and vote over as many draws as cost the same tokens."""
    widths = [n for n in WIDTHS if n < size.draws]
    lines, n_ahead, n_behind = (
        ["n x rounds: tokens, accuracy; as many draws by tokens, filter and vote; difference"],
        0,
        0,
    )
    for n in widths:
        for rounds in ROUNDS:
            repaired = _run(size, f"generate(n={n}, {T}) | repair(rounds={rounds}, {T})")
            m, plain = _at_tokens(_drawn(size), float(repaired.tokens.mean()))
            gap = paired_difference(repaired.right, plain, SEED)
            n_ahead, n_behind = n_ahead + (gap.low > 0), n_behind + (gap.high < 0)
            lines.append(
                f"{n:>2} x {rounds}: {repaired.tokens.mean():6.1f}, {_estimate(repaired.right)}; "
                f"{m:5.2f} draws, {_estimate(plain)}; {gap}"
            )
    n_all = len(widths) * len(ROUNDS)
    lines.append(f"by its interval repair is ahead in {n_ahead} of {n_all} and behind in {n_behind}")
    return Figure("\n".join(lines), True)


def _at_tokens(d: Drawn, tokens: float) -> tuple[float, Floats]:
    """The number of draws that use as many tokens on average, and filter and vote over it: between two whole numbers."""
    means = d.tokens.mean(axis=0)
    m = float(np.interp(tokens, means, np.arange(1, len(means) + 1)))
    low, share = int(m), m - int(m)
    after = d.filtered(min(low + 1, len(means)))
    return m, (1 - share) * d.filtered(low) + share * after


def programs(size: Size) -> Figure:
    """What selection and repair make of the same model on programs."""
    chosen, repaired = selection(size), repair(size)
    return Figure(f"{chosen.text}\n{repaired.text}", chosen.holds, chosen.why)


MEASURES: dict[str, Callable[[Size], Figure]] = {"humaneval": humaneval, "programs": programs}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help=f"the folder of {FILE}", default=os.environ.get("VERVET_DATA", ""))
    parser.add_argument("--quick", action="store_true", help="50 problems x 16 draws")
    options: Any = parser.parse_args()
    os.environ["VERVET_DATA"] = options.data
    for name, measure in MEASURES.items():
        print(f"{name}: {measure(QUICK if options.quick else FULL).text}\n")


if __name__ == "__main__":
    main()
