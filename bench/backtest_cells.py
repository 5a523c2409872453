"""The cells of the back-test: one estimator, one source of problems, one n; measured on all cores, kept as JSON lines.

The draws of a half are thinned to n hypergeometrically: a random n of its 10,000. Every estimator sees the same halves and
the same draws. Cells that are measured lie in the cache directory, so that a run that was broken off goes on.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.standard import QUICK, ROOT, Size, pool_path
from vervet.scaling.counted import pass_at_k_of
from vervet.scaling.counts import Counts
from vervet.scaling.forecast import DEFAULT_LAW, Outlook, fitters
from vervet.scaling.law import Fitter, Law, Refit
from vervet.scaling.laws import LAWS

FILE = "pythia_math_n10000_counts.csv"
CODE = (
    *(f"src/vervet/scaling/{name}.py" for name in (
        "counts", "law", "laws", "power_law", "distributional", "mixture", "passk", "intervals", "forecast",
    )),
    "bench/backtest_cells.py",
)  # fmt: skip
K = 10_000
N_PROBLEMS = 128

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


# --- estimators and problems ---------------------------------------------------------------------------------


def last_slope(counts: Counts) -> Refit:
    """The naive estimator: log(-log c) goes on over log k as it did from n/10 to n."""
    return _straight("last slope", counts, lambda c: np.log(-np.log(c)), lambda y: np.exp(-np.exp(y)))


def last_slope_linear(counts: Counts) -> Refit:
    """The naivest estimator: coverage goes on over log k as it did from n/10 to n, up to 1."""
    return _straight("last slope, linear", counts, lambda c: c, lambda y: np.minimum(y, 1))


def _straight(name: str, counts: Counts, there: Callable[[Floats], Floats], back: Callable[[Floats], Floats]) -> Refit:
    ks = np.array([max(1, counts.common_n // 10), counts.common_n])
    table = pass_at_k_of(counts, list(ks))

    def refit(weights: Floats | None) -> Law:
        coverage = table.mean(axis=0) if weights is None else weights @ table / weights.sum()
        if not (coverage[0] > 0 and coverage[1] < 1 and ks[0] < ks[1]):
            return Law(name, {}, lambda k: np.full(len(k), np.nan), undefined="no slope")
        y = there(coverage)
        slope = (y[1] - y[0]) / np.log(ks[1] / ks[0])
        return Law(name, {"slope": float(slope)}, lambda k: back(y[1] + slope * np.log(np.asarray(k) / ks[1])))

    return refit


NAIVE: dict[str, Fitter] = {"last slope": last_slope, "last slope, linear": last_slope_linear}
SHIPPED = "as shipped"
"""What ``vervet scale`` says: the default law, its refits taking turns with those of a law that has a ceiling."""

ALONE: dict[str, Sequence[Fitter]] = {name: [fitter] for name, fitter in {**LAWS, **NAIVE}.items()}
ESTIMATORS = {SHIPPED: fitters(DEFAULT_LAW), **ALONE}


def scaled_beta(r: np.random.Generator) -> Floats:
    """p = .3 x, x ~ Beta(.3, 3.5): what the scaled beta says."""
    return 0.3 * r.beta(0.3, 3.5, N_PROBLEMS)


def unsolvable(r: np.random.Generator) -> Floats:
    """One problem in five is never solved, the others ~ Beta(.4, 3.5)."""
    return np.where(r.random(N_PROBLEMS) < 0.2, 0.0, r.beta(0.4, 3.5, N_PROBLEMS))


def two_humps(r: np.random.Generator) -> Floats:
    """Half ~ Beta(8, 40), half log-normal around .001: no family has it."""
    hard = np.minimum(np.exp(r.normal(np.log(0.001), 1.5, N_PROBLEMS)), 1.0)
    return np.where(r.random(N_PROBLEMS) < 0.5, r.beta(8, 40, N_PROBLEMS), hard)


def no_power_law(r: np.random.Generator) -> Floats:
    """log p uniform between the logs of .002 and .3: nothing near 0, so failures end exponentially."""
    return np.exp(r.uniform(np.log(0.002), np.log(0.3), N_PROBLEMS))


MADE_UP = {
    "scaled beta": scaled_beta,
    "20 % unsolvable": unsolvable,
    "two humps": two_humps,
    "no power law": no_power_law,
}


def data_file() -> Path | None:
    """Where the counts lie."""
    folder = Path(os.environ.get("VERVET_DATA") or "/nonexistent")
    return next((path for path in (folder / FILE, folder / "monkeys" / FILE) if path.is_file()), None)


@cache
def pythia(path: Path) -> Mapping[str, Ints]:
    """Right draws of 10,000 by model, problems in the same order for all."""
    found: dict[str, dict[int, int]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["model"], {})[int(row["problem_idx"])] = int(row["c"])
    return {model: np.array([rows[i] for i in sorted(rows)]) for model, rows in found.items()}


# --- one cell ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """How much is measured: halves, and on how many of the first of them intervals, by the speed of an estimator."""

    models: int
    ns: tuple[int, ...]
    fast: tuple[int, int]
    shipped: tuple[int, int]
    slow: tuple[int, int]
    refits: int

    def of(self, law: str) -> tuple[int, int]:
        """Halves, and those with intervals."""
        return self.fast if law in FAST else self.shipped if law == SHIPPED else self.slow


FULL_PLAN = Plan(7, (100, 1000), (200, 200), (60, 60), (100, 10), 60)
QUICK_PLAN = Plan(2, (100,), (3, 3), (2, 2), (2, 1), 10)
FAST = frozenset({"loglog", "nls", *NAIVE})  # under a millisecond a refit, the others 1 to 7


@dataclass(frozen=True)
class Said:
    """One forecast and its truth, shares of problems; ``low`` and ``high`` None where no interval was made."""

    value: float
    truth: float
    low: float | None
    high: float | None
    undefined: bool = False

    @property
    def error(self) -> float:
        """Forecast less truth."""
        return self.value - self.truth

    @property
    def held(self) -> bool | None:
        """Whether the interval holds the truth."""
        return None if self.low is None or self.high is None else self.low - 1e-9 <= self.truth <= self.high + 1e-9


@dataclass(frozen=True)
class Cell:
    """One estimator on one source from n draws: by half forecasts for the same and for new problems, or None: nothing right."""

    source: str
    n: int
    law: str
    said: tuple[tuple[Said, Said] | None, ...]


def _half(source: str, n: int, half: int) -> tuple[Ints, float, float]:
    """Right draws of n of one half's problems, and the two truths at K; the same for every estimator."""
    cut, thin = np.random.default_rng([half, 0]), np.random.default_rng([half, n])
    path = data_file()
    if source in MADE_UP:
        correct = cut.binomial(K, MADE_UP[source](cut))
    else:
        assert path is not None
        correct = pythia(path)[source]
    order = cut.permutation(len(correct))
    mine, others = np.split(correct[order], [len(order) // 2])
    drawn = thin.hypergeometric(mine, K - mine, n)
    return drawn, float((mine > 0).mean()), float((others > 0).mean())


def measure(source: str, n: int, law: str, halves: int, intervals: int, refits: int) -> Cell:
    """One cell; halves are numbered from 0, and the first ``intervals`` of them get intervals."""
    said: list[tuple[Said, Said] | None] = []
    for half in range(halves):
        drawn, *truths = _half(source, n, half)
        if not drawn.any():
            said.append(None)
            continue
        n_resamples = refits if half < intervals else 0
        outlook = Outlook.of(Counts([n] * len(drawn), drawn), ESTIMATORS[law], seed=half, n_resamples=n_resamples)
        found = outlook.at([K])
        measured = float((drawn > 0).mean())
        if not found:  # what a reader then has
            same, new = (Said(measured, truth, None, None, undefined=True) for truth in truths)
        else:
            ends = [(f.low, f.high) if n_resamples else (None, None) for f in found]
            same, new = (Said(f.value, t, *end) for f, t, end in zip(found, truths, ends, strict=True))
        said.append((same, new))
    return Cell(source, n, law, tuple(said))


# --- all cells -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Every cell of a plan."""

    plan: Plan
    models: tuple[str, ...]
    cells: Mapping[tuple[str, int, str], Cell]

    def said(self, sources: Sequence[str], n: int, law: str, target: int) -> list[Said]:
        """Every forecast of an estimator from n draws for the same problems (target 0) or new ones (1)."""
        return [pair[target] for source in sources for pair in self.cells[source, n, law].said if pair]

    def by_half(self, sources: Sequence[str], law: str) -> Floats:
        """Mean absolute error over the sources, every n and both truths, of each half, (halves,)."""
        pairs = [self.cells[source, n, law].said for source in sources for n in self.plan.ns]
        missing = Said(np.nan, np.nan, None, None)
        errors = [[[abs(one.error) for one in two or [missing]] for two in said] for said in pairs]
        return np.asarray(np.nanmean([[np.mean(two) for two in said] for said in errors], axis=0))

    def compared(self) -> list[str]:
        """The estimators that have a law for at least half of the halves."""

        def undefined(law: str) -> float:
            return float(np.mean([one.undefined for n in self.plan.ns for one in self.said(self.models, n, law, 0)]))

        return [law for law in ALONE if undefined(law) <= 0.5]


def jobs(plan: Plan, models: Sequence[str]) -> Iterator[tuple[str, int, str, int, int, int]]:
    """The arguments of ``measure`` for every cell, the slow ones first."""
    for law in sorted(ESTIMATORS, key=lambda name: name in FAST):
        for source in (*models, *MADE_UP):
            for n in plan.ns:
                yield source, n, law, *plan.of(law), plan.refits


def store(size: Size, path: Path) -> Path:
    """Where the cells of this code and these data lie."""
    state = blake2b(path.read_bytes(), digest_size=6)
    for name in CODE:
        state.update((ROOT / name).read_bytes())
    return Path(pool_path(size)).with_name(f"backtest-{size.name}-{state.hexdigest()}.jsonl")


def read_cells(path: Path) -> dict[tuple[str, int, str], Cell]:
    """The cells of a file; a line that a kill tore is left out."""
    cells = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        said = tuple(pair and (Said(**pair[0]), Said(**pair[1])) for pair in row["said"])
        cells[row["source"], row["n"], row["law"]] = Cell(row["source"], row["n"], row["law"], said)
    return cells


def _finished(todo: Sequence[tuple[str, int, str, int, int, int]]) -> Iterator[Cell]:
    """Each cell as it is finished, one process on each core; linear algebra with threads of its own is slower there."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        workers = min(len(os.sched_getaffinity(0)), len(todo))
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for done in as_completed([pool.submit(measure, *job) for job in todo]):
                yield done.result()
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        os.environ.update({} if before is None else {"OMP_NUM_THREADS": before})


@cache
def table(size: Size, path: Path) -> Table:
    """Every cell, measured now if it is not there."""
    plan = QUICK_PLAN if size.name == QUICK.name else FULL_PLAN
    models = tuple(pythia(path))[: plan.models]
    kept = store(size, path)
    cells = read_cells(kept)
    todo = [job for job in jobs(plan, models) if job[:3] not in cells]
    with kept.open("a", encoding="utf-8") as file:
        file.write("\n" if kept.stat().st_size else "")  # a torn line stays alone
        for done, cell in enumerate(_finished(todo) if todo else (), 1):
            cells[cell.source, cell.n, cell.law] = cell
            file.write(json.dumps(asdict(cell)) + "\n")
            file.flush()
            print(f"  back-test {done} of {len(todo)}: {cell.law}, {cell.source}, n = {cell.n}", file=sys.stderr)
    return Table(plan, models, cells)
