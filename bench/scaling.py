"""How fast the estimators of ``vervet.scaling`` are on a million draws, on one core, in a process of their own.

1,000 problems x 1,000 draws, 50 values of k: coverage with 1,000 bootstrap draws; vote and weighted vote over 100 random
subsets a problem. Problems are made up: answers by a power law whose first is right, weights that are uniform and a little
higher where right. Beside it stands the plain way in numpy, a fresh choice and count per subset, on a few problems, and the
same few by ours.

    python -m bench.scaling [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.standard import FULL, QUICK, ROOT, Figure, Size
from vervet.scaling import passk, subsets
from vervet.scaling.draws import Bools, Floats
from vervet.scaling.intervals import new_problems

N_KS = 50
N_RESAMPLES = 1000
N_SUBSETS = 100
MOST_S = 10.0
MOST_MB = 2000.0
N_PLAIN = 5  # problems of the plain way
SEED = 0
ALONE = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}  # linear algebra on one core


@dataclass(frozen=True)
class Table:
    """Answers, whether right and weights, each problems x draws."""

    keys: list[list[str | None]]
    right: Bools
    weights: Floats

    def ballots(self, weighted: bool, problems: int | None = None) -> list[subsets.Ballot]:
        """What the votes are counted from."""
        rows = range(problems or len(self.keys))
        return [subsets.ballot(self.keys[i], self.right[i], self.weights[i] if weighted else None) for i in rows]


@dataclass(frozen=True)
class Times:
    """Seconds of each part, peak memory of the process, and the distance from ours to the plain way where both ran.

    ``cpu_s``: processor time of the first three, what they take where nobody else wants the core; by it the figure is
    judged. ``ours_few_s``, ``plain_s``: both votes of the same few problems; ``off``: largest distance of the mean over
    them, in standard errors.
    """

    n_cells: int
    coverage_s: float
    vote_s: float
    weighted_s: float
    cpu_s: float
    peak_mb: float
    ours_few_s: float
    plain_s: float
    off: float

    @property
    def total_s(self) -> float:
        """All that is claimed: coverage with its intervals, vote and weighted vote, from answers to values."""
        return self.coverage_s + self.vote_s + self.weighted_s


def make(problems: int, draws: int, seed: int = SEED) -> Table:
    """Problems of different difficulty: about 40 answers each, one draw in twenty without any."""
    generator = np.random.default_rng(seed)
    codes = generator.zipf(1.3 + generator.random((problems, 1)), (problems, draws))
    codes = np.minimum(codes - 1, 60)
    silent = generator.random(codes.shape) < 0.05
    right = (codes == generator.integers(0, 3, (problems, 1))) & ~silent
    names = [str(code) for code in range(61)]
    keys = [[None if s else names[c] for c, s in zip(*row, strict=True)] for row in zip(codes, silent, strict=True)]
    return Table(keys, right, np.clip(generator.random(codes.shape) + 0.2 * right, 0, 1))


def choose_ks(draws: int) -> list[int]:
    """50 values of k from 1 to all draws, evenly on a log axis where whole numbers allow it; fewer for fewer draws."""
    for points in range(N_KS, 40 * N_KS):
        ks = np.unique(np.logspace(0, np.log10(draws), points).astype(int))
        if len(ks) >= min(N_KS, draws):
            return [int(k) for k in ks[-N_KS:]]
    return list(range(1, draws + 1))


def plain_votes(table: Table, ks: Sequence[int], problems: int) -> Floats:
    """Both votes the plain way, means over the subsets: (2, problems, ks)."""
    generator = np.random.default_rng(SEED)
    found = np.zeros((2, problems, len(ks)))
    for row in range(problems):
        names = sorted({key for key in table.keys[row] if key is not None})
        place = {name: i for i, name in enumerate(names)}
        labels = np.array([len(names) if key is None else place[key] for key in table.keys[row]])
        worth = np.bincount(labels, table.right[row], len(names) + 1) / np.bincount(labels, minlength=len(names) + 1)
        for j, k in enumerate(ks):
            for _ in range(N_SUBSETS):
                chosen = generator.choice(len(labels), k, replace=False)
                for kind, weights in enumerate((None, table.weights[row, chosen])):
                    sums = np.bincount(labels[chosen], weights, len(names) + 1)[:-1]
                    top = (sums == sums.max()) & (sums > 0)
                    found[kind, row, j] += worth[:-1][top].mean() / N_SUBSETS if top.any() else 0.0
    return found


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(problems: int, draws: int) -> Times:
    """Everything, in this process."""
    table, ks = make(problems, draws), choose_ks(draws)

    def coverage() -> None:
        values = passk.pass_at_k(draws, table.right.sum(axis=1), ks)
        new_problems(values, SEED, n_resamples=N_RESAMPLES)

    def votes(weighted: bool, few: int | None = None) -> subsets.Averages:
        return subsets.vote_sampled(table.ballots(weighted, few), ks, SEED, N_SUBSETS)

    begun = time.process_time()
    parts = [timed(work) for work in (coverage, lambda: votes(False), lambda: votes(True))]
    cpu_s = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ours = [votes(False, N_PLAIN), votes(True, N_PLAIN)]
    ours_few = timed(lambda: (votes(False, N_PLAIN), votes(True, N_PLAIN)))
    begun = time.perf_counter()
    plain = plain_votes(table, ks, N_PLAIN)
    plain_s = time.perf_counter() - begun
    gap = np.array([one.values.mean(axis=0) for one in ours]) - plain.mean(axis=1)
    error = np.array([np.sqrt(2 * (one.errors**2).sum(axis=0)) / N_PLAIN for one in ours])  # both are sampled
    off = float(np.max(np.abs(gap) / np.maximum(error, 1e-9)))
    return Times(problems * draws, *parts, cpu_s=cpu_s, peak_mb=peak, ours_few_s=ours_few, plain_s=plain_s, off=off)


def alone(problems: int, draws: int) -> Times:
    """The same in a fresh process on one core."""
    command = [sys.executable, "-m", "bench.scaling", "--child", str(problems), str(draws)]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **ALONE, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return Times(**json.loads(done.stdout))


def speed(size: Size) -> Figure:
    """Coverage, vote and weighted vote of a million draws at 50 values of k."""
    full = size.problems >= FULL.problems
    found = alone(1000, 1000) if full else alone(50, 200)
    text = (
        f"{found.n_cells:,} draws, one core: {found.cpu_s:.1f} s of it in {found.total_s:.1f} s, {found.peak_mb:,.0f} MB "
        f"(coverage and intervals {found.coverage_s:.2f}, vote {found.vote_s:.2f}, weighted vote {found.weighted_s:.2f} s)\n"
        f"{N_PLAIN} problems, both votes: {found.ours_few_s:.3f} s; a fresh choice and count per subset {found.plain_s:.2f} s, "
        f"{found.plain_s / found.ours_few_s:.0f} times as long; means at most {found.off:.1f} standard errors apart"
    )
    why = [
        reason
        for broken, reason in (
            (found.cpu_s >= MOST_S, f"{found.cpu_s:.1f} s"),
            (found.peak_mb >= MOST_MB, f"{found.peak_mb:,.0f} MB"),
            (found.off > 5, f"{found.off:.1f} standard errors from the plain way"),
        )
        if broken
    ]
    return Figure(text, not why, ", ".join(why))


MEASURES: dict[str, Callable[[Size], Figure]] = {"scaling-speed": speed}


def main() -> None:
    """Print the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50 problems x 200 draws")
    parser.add_argument("--child", nargs=2, type=int, metavar=("PROBLEMS", "DRAWS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # this process is ours alone: nothing to restore
        print(json.dumps(asdict(measure(*options.child))))
        return
    for name, figure in MEASURES.items():
        print(f"{name}: {figure(QUICK if options.quick else FULL).text}")


if __name__ == "__main__":
    main()
