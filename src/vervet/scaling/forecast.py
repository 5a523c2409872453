"""Coverage at more draws than were made, with an interval, and how many draws an accuracy takes.

*Same problems*: these problems, each drawn further until k, the draws at hand being the first of them. What was solved
stays solved; of the unsolved, which were missed n times, the law says that a share (1 - C(k)) / (1 - C(n)) is missed up
to k as well. So a forecast begins at the measured coverage and cannot fall below it, whatever the law says of n.
*New problems*: as many other problems of the same kind, each drawn k times; the law says C(k).

Both intervals hold two kinds of doubt. Which law it is: refitted over resampled problems, every other time as one that has
a ceiling. And which problems it will be: a binomial count of the unsolved, or of all, under each refit. A bootstrap of the
law leaves the second out, as if a truth were a mean over endlessly many problems; whoever looks has as many as were asked.
That a law fails beyond n in another way is not in them: ``bench/backtest.py`` measures what that costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Literal

import numpy as np
from scipy.special import bdtr

from vervet.errors import Mistake
from vervet.scaling import laws
from vervet.scaling.counted import pass_at_k_of, pass_variance_of
from vervet.scaling.counts import Counts
from vervet.scaling.curves import DRAWS_PER_K
from vervet.scaling.draws import Bools, Floats, Ints
from vervet.scaling.intervals import Band, exact_floor, new_draws, resamples
from vervet.scaling.law import Fitter, Law

Target = Literal["same problems", "new problems"]

DEFAULT_LAW = "loglog"
"""The law with the least error in ``bench/backtest.py``."""

CEILING = "saturating"
"""The law whose refits take turns with those of the law asked for: n draws cannot tell a problem that takes more than n
from one that is never solved, and a law without a ceiling has decided for the former."""

N_REFITS = 200
LEVEL = 0.9
FARTHEST = 10**9
"""Where ``reach`` gives up: no model is asked a billion times."""

_ROUNDING = 1e-9
_AT_ONCE = 33  # ks that are looked at together on the way to one


@dataclass(frozen=True)
class Forecast:
    """What a law says of coverage at ``k`` from ``n`` draws a problem; ``low`` and ``high`` at ``level`` (.9 = 90 %).

    ``target``: whom it speaks of, the problems that were drawn ("same problems") or as many others like them ("new
    problems"). Where problems have different numbers of draws, ``n`` is the largest.
    """

    law: str
    target: Target
    n: int
    k: int
    value: float
    low: float
    high: float
    level: float = 0.9


@dataclass(frozen=True)
class Reach:
    """The draws per problem at which these problems reach an accuracy, 1 to 10^9; None: not within 10^9, or not known.

    ``low`` and ``high``: where the ends of the interval of coverage reach it. ``sentence`` says all of it in words.
    """

    k: int | None
    low: int | None
    high: int | None
    sentence: str


@dataclass(frozen=True, eq=False)
class Outlook:
    """A law fitted to counts, and laws fitted again to resampled problems: what ``at`` forecasts from.

    ``fits``: the fit to the problems as they are, then the refits, each as likely; without one the law is taken as known.
    """

    counts: Counts
    fits: Sequence[Law]

    @classmethod
    def of(cls, counts: Counts, fits: Sequence[Fitter], *, seed: int, n_resamples: int = N_REFITS) -> Outlook:
        """Fit the first law, then refit them in turn. Raises Mistake where the drawing was adaptive."""
        counts.expect_fixed()
        refits = [fitter(counts) for fitter in fits]
        weights = resamples(counts.n_problems, seed, n_resamples)
        solved = (counts.correct > 0) / counts.n_problems
        turns = zip(cycle(refits), weights, strict=False)
        return cls(counts, [refits[0](None), *(_flat(fit(row), float(row @ solved)) for fit, row in turns)])

    @property
    def n(self) -> int:
        """The most draws of a problem: a forecast speaks of more."""
        return int(self.counts.n.max())

    @property
    def law(self) -> Law:
        """The fit to the problems as they are."""
        return self.fits[0]

    def at(self, ks: Sequence[int], level: float = LEVEL) -> list[Forecast]:
        """Forecasts at every k > n, for the same problems, then for new ones; none where the law is not defined."""
        if bad := [k for k in ks if k <= self.n]:
            raise Mistake(
                f"expected k beyond the {self.n} draws at hand, got k={bad[0]}; up to there coverage is measured"
            )
        if self.law.undefined:
            return []
        return [*self.same(ks, level), *self.new(ks, level)]

    def same(self, ks: Sequence[int], level: float = LEVEL) -> list[Forecast]:
        """Forecasts for the same problems, where the law is defined."""
        unsolved = self.counts.n[self.counts.correct == 0]
        n_problems, n_solved = self.counts.n_problems, self.counts.n_problems - len(unsolved)
        solved = n_solved / n_problems
        found = np.stack([_found(fit, unsolved, ks) for fit in self.fits])  # (fits, ks)
        low, high = ((n_solved + end) / n_problems for end in _counts(len(unsolved), found, level))
        return self._told("same problems", ks, (solved + (1 - solved) * found[0], low, high), solved, level)

    def new(self, ks: Sequence[int], level: float = LEVEL) -> list[Forecast]:
        """Forecasts for as many new problems, where the law is defined."""
        n_problems = self.counts.n_problems
        covered = np.stack([np.clip(fit.coverage_at(ks), 0, 1) for fit in self.fits])
        low, high = (end / n_problems for end in _counts(n_problems, covered, level))
        return self._told("new problems", ks, (covered[0], low, high), 0.0, level)

    def _told(
        self, target: Target, ks: Sequence[int], found: tuple[Floats, Floats, Floats], bottom: float, level: float
    ) -> list[Forecast]:
        value, low, high = found
        share = exact_floor(self.counts.n_problems)
        low = np.clip(np.minimum(low, value - share * (value - bottom)), bottom, 1)
        high = np.clip(np.maximum(high, value + share * (1 - value)), bottom, 1)
        rows = zip(ks, *(column.tolist() for column in (value, low, high)), strict=True)
        return [Forecast(self.law.name, target, self.n, int(k), v, a, b, level) for k, v, a, b in rows]


def fitters(law: str) -> list[Fitter]:
    """The law asked for, and CEILING. Raises Mistake for an unknown name."""
    return [laws.fitter(law), laws.fitter(CEILING)]


def forecasts(
    counts: Counts,
    ks: Sequence[int] | None = None,
    *,
    seed: int,
    law: str = DEFAULT_LAW,
    n_resamples: int = N_REFITS,
    level: float = LEVEL,
) -> list[Forecast]:
    """Coverage at 10 and 100 times the draws at hand (or at ``ks``), for the same problems, then for new ones.

    ``law``: a name of ``laws.LAWS``; every other of the ``n_resamples`` refits is of ``CEILING``. No forecast where the law is
    not defined (nothing was right, or everything). Raises Mistake where the drawing was adaptive, k is not beyond the
    draws at hand, or the law is unknown.

    >>> same, new = forecasts(Counts([10] * 6, [0, 0, 1, 2, 5, 9]), [100], seed=0)
    >>> same.low >= 4 / 6, same.low <= same.value <= same.high <= 1, new.target
    (True, True, 'new problems')
    """
    outlook = Outlook.of(counts, fitters(law), seed=seed, n_resamples=n_resamples)
    return outlook.at([10 * outlook.n, 100 * outlook.n] if ks is None else ks, level)


def reach(counts: Counts, accuracy: float, *, seed: int, law: str = DEFAULT_LAW) -> Reach:
    """The draws per problem at which coverage of these problems reaches ``accuracy``: measured, or else forecast.

    Raises Mistake where ``accuracy`` is not in (0, 1], the drawing was adaptive, or the law is unknown.
    """
    if not 0 < accuracy <= 1:
        raise Mistake(f"expected an accuracy above 0 and at most 1, got {accuracy}")
    both = fitters(law)
    counts.expect_fixed()
    measured = _measured(counts, accuracy)
    return measured or _forecast(Outlook.of(counts, both, seed=seed), accuracy)


# --- what a law says ------------------------------------------------------------------------------------------


def _flat(fit: Law, solved: float) -> Law:
    """The fit; where a resample has none (nothing right, or everything), what was measured of it, and no more."""
    return replace(fit, coverage_at=lambda ks: np.full(len(ks), solved), undefined="") if fit.undefined else fit


def _found(fit: Law, unsolved: Ints, ks: Sequence[int]) -> Floats:
    """The chance that an unsolved problem is solved by draw k, mean over the problems, shape (ks,)."""
    if not len(unsolved):
        return np.zeros(len(ks))
    ns, n_problems = np.unique(unsolved, return_counts=True)
    missed = 1 - np.clip(fit.coverage_at([*ns.tolist(), *ks]), 0, 1)
    before, after = missed[: len(ns), None], missed[None, len(ns) :]
    share = np.divide(after, before, out=np.zeros((len(ns), len(ks))), where=before > 0)
    return np.asarray(1 - n_problems @ np.clip(share, 0, 1) / len(unsolved))


def _counts(total: int, chances: Floats, level: float) -> tuple[Floats, Floats]:
    """Ends of the central ``level`` of a count of ``total``, binomial with each row of chances as likely, (ks,) each.

    Where the chances within a row's count differ (unequal numbers of draws), it varies less than the binomial has it.
    """
    rows = chances[1:] if len(chances) > 1 else chances
    tail = (1 - level) / 2
    return _quantile(total, rows, tail), _quantile(total, rows, 1 - tail)


def _quantile(total: int, chances: Floats, share: float) -> Floats:
    """The least count whose chance of not being passed is at least ``share``, shape (ks,)."""
    low = np.zeros(chances.shape[1])
    high = np.full(chances.shape[1], float(total))
    while (low < high).any():
        middle = np.floor((low + high) / 2)
        enough = bdtr(middle, total, chances).mean(axis=0) >= share
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return np.asarray(high)


# --- how many draws -------------------------------------------------------------------------------------------


def _first(good: Callable[[list[int]], Bools], low: int, high: int) -> int | None:
    """The least k of low .. high that is good, where what follows a good one is good; None where ``high`` is not."""
    while low <= high:
        ks = np.unique(np.geomspace(low, high, _AT_ONCE).round().astype(np.int64)).tolist()
        found = good(ks)
        if not found[-1]:
            return None
        i = int(np.argmax(found))
        if i == 0 or ks[i] == ks[i - 1] + 1:
            return int(ks[i])
        low, high = ks[i - 1] + 1, ks[i]
    return None


def _measured(counts: Counts, accuracy: float) -> Reach | None:
    """Where the measured coverage reaches the accuracy; None where it does not."""
    n = counts.least_n

    def band(ks: list[int]) -> Band:
        cases = [int((counts.n // k).sum()) for k in ks]
        return new_draws(pass_at_k_of(counts, ks), pass_variance_of(counts, ks), cases)

    k = _first(lambda ks: pass_at_k_of(counts, ks).mean(axis=0) >= accuracy - _ROUNDING, 1, n)
    if k is None:
        return None
    told = f"coverage {accuracy:g} is reached at {k:,} {'draw' if k == 1 else 'draws'} per problem, measured"
    last = n // DRAWS_PER_K
    if k > last:
        return Reach(k, None, None, told)
    low = _first(lambda ks: band(ks).high >= accuracy, 1, last)
    high = _first(lambda ks: band(ks).low >= accuracy, 1, last)
    return Reach(k, low, high, f"{told} (95 %, same problems, new draws: {low:,} to {_said(high, last)})")


def _forecast(outlook: Outlook, accuracy: float) -> Reach:
    """Where the forecast for the same problems reaches the accuracy, and where the ends of its interval do."""
    n, law = outlook.n, outlook.law
    if law.undefined:
        return Reach(None, None, None, f"coverage {accuracy:g} cannot be forecast: {law.undefined}")

    def first(end: Callable[[Forecast], float]) -> int | None:
        return _first(lambda ks: np.array([end(f) >= accuracy for f in outlook.same(ks)]), n + 1, FARTHEST)

    low, k, high = first(lambda f: f.high), first(lambda f: f.value), first(lambda f: f.low)
    by = f"forecast from {n:,} draws by {law.name}"
    if k is not None:
        ends = f"{_said(low, FARTHEST)} to {_said(high, FARTHEST)}"
        at = f"at about {_said(k, FARTHEST)} draws per problem"
        words = f"coverage {accuracy:g} is reached {at}, {by} ({100 * LEVEL:g} %, same problems: {ends})"
    else:
        end = outlook.same([FARTHEST])[0]
        within = "" if low is None else f"; the upper end of its interval does from {_said(low, FARTHEST)} on"
        words = f"the fit does not reach coverage {accuracy:g}: {end.value:.3f} at 10^9 draws per problem, {by}{within}"
    return Reach(k, low, high, words)


def _said(k: int | None, last: int) -> str:
    """Three digits of it."""
    return f"more than {last:,}" if k is None else f"{int(float(f'{k:.3g}')):,}"
