"""A back-test of forecasts: coverage at 10,000 draws said from 100 and from 1,000, against what was drawn.

``python -m bench.backtest --data FOLDER`` prints it; ``--quick`` takes seconds. The counts of 7 Pythia models on 128
problems of MATH, 10,000 draws each, lie in FOLDER (``VERVET_DATA``). The problems are cut into two halves at random, 200
times; from n draws of one, every estimator says coverage at 10,000, for two truths that are kept apart: the same half and
the other half. Beside it problems that are made up, anew each time, under laws that are known.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.backtest_cells import (
    ESTIMATORS,
    FAST,
    FILE,
    MADE_UP,
    N_PROBLEMS,
    SHIPPED,
    Floats,
    K,
    Said,
    Table,
    data_file,
    table,
)
from bench.standard import FULL, QUICK, Figure, Size
from vervet.scaling.forecast import CEILING, DEFAULT_LAW, LEVEL
from vervet.scaling.laws import LAWS

MISSING = f"not measured: VERVET_DATA names no folder with {FILE}"
HELD = 0.85  # the least share of 90 % intervals that must hold the same problems' truth

# --- the table in words --------------------------------------------------------------------------------------


def _share_held(said: Sequence[Said]) -> float:
    held = [one.held for one in said if one.held is not None]
    return float(np.mean(held)) if held else float("nan")


HEAD = "   rms   mean    abs   held  width"


def _errors(said: Sequence[Said]) -> str:
    """rms, mean and mean absolute error, and the share and width of intervals that hold."""
    errors = 100 * np.array([one.error for one in said])
    widths = [100 * (one.high - one.low) for one in said if one.low is not None and one.high is not None]
    held = f"{_share_held(said):7.1%}{np.mean(widths):7.1f}" if widths else "      -      -"
    return f"{np.sqrt(np.mean(errors**2)):6.1f}{errors.mean():+7.1f}{np.abs(errors).mean():7.1f}{held}"


def recorded(t: Table) -> Iterator[str]:
    """The recorded counts: one block for each n."""
    for n in t.plan.ns:
        yield f"{f'from n = {n:,}':<20}{HEAD}   | the other half{HEAD}"
        for law in ESTIMATORS:
            same, new = (t.said(t.models, n, law, target) for target in (0, 1))
            n_undefined = sum(one.undefined for one in same)
            if n_undefined == len(same):
                yield f"  {law:<18}  undefined on all {len(same)}"
                continue
            note = f"  undefined on {n_undefined} of {len(same)}, taken as measured" if n_undefined else ""
            yield f"  {law:<18}{_errors(same)}   |               {_errors(new)}{note}"


def made_up(t: Table) -> Iterator[str]:
    """The problems that are made up: rms error and share of intervals that hold, same and new problems."""
    for n in t.plan.ns:
        yield f"{f'from n = {n:,}':<20}" + "".join(f"{name:>22}" for name in MADE_UP)
        for law in ESTIMATORS:
            yield f"  {law:<18}" + "".join(f"{_brief(t, source, n, law):>22}" for source in MADE_UP)


def _brief(t: Table, source: str, n: int, law: str) -> str:
    both = [t.said([source], n, law, target) for target in (0, 1)]
    if all(one.undefined for one in both[0]):
        return "undefined"
    rms = " ".join(f"{100 * np.sqrt(np.mean([one.error**2 for one in said])):.1f}" for said in both)
    return f"{rms}; " + " ".join(f"{100 * _share_held(said):.0f}" for said in both)


@dataclass(frozen=True)
class Beside:
    """Mean absolute error of ``law`` less that of another, in points, +-``error`` at 95 % over problems.

    ``halves``: the share of them in which it is larger; ``models``: how many in which it is.
    """

    law: str
    more: float
    error: float
    halves: float
    models: int

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds 0."""
        return abs(self.more) <= self.error

    def __str__(self) -> str:
        return f"{self.law} {self.more:+.2f} +-{self.error:.2f} ({self.halves:.0%}, {self.models})"


def beside(t: Table, law: str, other: str) -> Beside:
    """``law`` less ``other`` on the recorded counts, paired by half.

    The halves are of one set of problems, so a mean over them is no surer for their number: the variance of a figure of
    all problems is that of its values on random halves.

    Reference: Shao and Wu 1989, A General Theory for Jackknife Variance Estimation, Annals of Statistics 17 (delete-d
    jackknife, here d = half).
    """

    def more(sources: Sequence[str]) -> Floats:
        mine, theirs = t.by_half(sources, law), t.by_half(sources, other)
        n_halves = min(len(mine), len(theirs))
        return 100 * (mine[:n_halves] - theirs[:n_halves])

    halves, n_models = more(t.models), sum(np.nanmean(more([model])) > 0 for model in t.models)
    error = 1.96 * float(halves.std())
    return Beside(law, float(halves.mean()), error, float((halves > 0).mean()), int(n_models))


def best_of(t: Table) -> str:
    """The estimator with the least mean absolute error on the recorded counts, over both n and both truths."""
    n_halves = min(t.plan.fast[0], t.plan.slow[0])
    return min(t.compared(), key=lambda law: float(t.by_half(t.models, law)[:n_halves].mean()))


def compared(t: Table, best: str) -> Iterator[str]:
    """The best estimator, and by how much."""
    least = 100 * t.by_half(t.models, best).mean()
    rows = sorted((beside(t, law, best) for law in t.compared() if law != best), key=lambda b: b.more)
    yield f"least mean absolute error over models, n and both truths: {best}, {least:.2f} points. The others have more by"
    yield f"  {'; '.join(map(str, rows))}"
    of = f"share of halves, and models of {len(t.models)}"
    yield f"  (95 % over problems: delete-half jackknife; {of}, in which they have more)"


def backtest(size: Size) -> Figure:
    """All of it; holds where the default is the best, or not told from it, and its intervals hold."""
    path = data_file()
    if path is None:
        return Figure(MISSING, False, "VERVET_DATA")
    t = table(size, path)
    best, p = best_of(t), t.plan
    slow = ", ".join(law for law in LAWS if law not in FAST)
    text = [
        f"{len(t.models)} Pythia models x {p.fast[0]} halves of {N_PROBLEMS // 2} MATH problems; coverage at {K:,}, errors "
        f"in points; {100 * LEVEL:g} % intervals of {p.refits} refits",
        f"(as shipped: {DEFAULT_LAW}, every other refit {CEILING}, the first {p.shipped[0]} halves; {slow}: the first "
        f"{p.slow[0]}, intervals on {p.slow[1]})",
        *recorded(t),
        *compared(t, best),
        f"made up, {N_PROBLEMS // 2} problems, as often: rms error, same and new problems; intervals that hold, %",
        *made_up(t),
    ]
    held = min(_share_held(t.said(t.models, n, SHIPPED, 0)) for n in p.ns)
    ahead = best == DEFAULT_LAW or beside(t, DEFAULT_LAW, best).within_noise
    why = f"the intervals hold {held:.1%}" if ahead else f"{best} is better than {DEFAULT_LAW}"
    return Figure("\n".join(text), ahead and held >= HELD, why)


MEASURES: dict[str, Callable[[Size], Figure]] = {"backtest": backtest}


def main() -> None:
    """Print the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help=f"the folder of {FILE}", default=os.environ.get("VERVET_DATA", ""))
    parser.add_argument("--quick", action="store_true", help="two models, three halves")
    options: Any = parser.parse_args()
    os.environ["VERVET_DATA"] = options.data
    figure = backtest(QUICK if options.quick else FULL)
    print(f"backtest: {figure.text}\n{'holds' if figure.holds else figure.why}")


if __name__ == "__main__":
    main()
