"""Which law the counts speak for, by the likelihood of problems that were held out, and a plain statement of it.

Three kinds of law compete. A *power law*: success rates have a tail near 0, of exponent alpha. *Saturating*: a share u of the
problems is never solved, whatever is drawn. *Floored*: no success rate lies below some floor, so that failures die out
exponentially and there is no power law. Within n draws a rate far below 1 / n and a rate of 0 are the same thing, and so
are a floor and a tail steep enough: a statement is only made where the held-out problems tell them apart (``CLAIM``), and
everything is said as far as n draws can show. In 24 tries each on 128 problems x 100 draws: beta(.3, 2) was called a power law
23 times, half beta(2, 3) and half impossible a bend 24 times, uniform on [.2, .9] no power law 10 times and undecided 14,
beta(3, 2) undecided 24 times; half beta(.5, 5) and half impossible, which bends, was called a power law 16 times, so the
sentence on a power law always says what share may never be solved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vervet.scaling.counted import pass_at_k_of
from vervet.scaling.counts import Counts
from vervet.scaling.distributional import induced, spread_of
from vervet.scaling.draws import Floats, Ints
from vervet.scaling.law import grid
from vervet.scaling.laws import Refitted, parameter_intervals, refitted
from vervet.scaling.power_law import POINTS, curve

POWER_LAWS = ("beta", "scaled beta", "kumaraswamy", "scaled kumaraswamy")
SATURATING = "saturating beta"
FLOORED = "floored beta"
CONTENDERS = (*POWER_LAWS, SATURATING, FLOORED)

N_FOLDS = 10
CLAIM = 2.0
"""How many standard errors of held-out likelihood a law must be ahead before another kind is denied."""
MIN_PROBLEMS = 30
MIN_N = 10
MAX_EXPONENT = 1.0
"""At a larger alpha the density vanishes at 0 and the mean number of draws to a solution is finite: no heavy tail."""
MIN_UNSOLVABLE = 0.01
MIN_RIGHT = 5
"""Right draws of every problem before a floor is spoken of: below, it is no more than the resolution 1 / n."""


@dataclass(frozen=True)
class Held:
    """A law's mean log-likelihood of a held-out problem, in nats.

    ``behind``: how much less than the best's, paired problem by problem, with its standard ``error``; both 0 for the best.
    ``undefined``: why a fold could not be fitted; then the figures are NaN.
    """

    name: str
    log_likelihood: float
    behind: float
    error: float
    undefined: str = ""

    @property
    def close(self) -> bool:
        """True within one standard error of the best."""
        return self.behind <= self.error


@dataclass(frozen=True)
class Ahead:
    """A curve fit made from k <= ``up_to`` alone, and its largest distance from measured coverage beyond, up to n."""

    name: str
    up_to: int
    max_error: float


@dataclass(frozen=True)
class Choice:
    """What ``verdict`` found. ``power_law``: True, False, or None where the counts do not tell.

    ``best``: the law of the highest held-out likelihood, "" where none could be fitted. ``table``: every contender, best
    first. ``curves``: how far the curve fits went astray when they were asked about k they had not seen.
    """

    best: str
    table: tuple[Held, ...]
    curves: tuple[Ahead, ...]
    sentence: str
    power_law: bool | None

    @property
    def close(self) -> tuple[str, ...]:
        """The laws within one standard error of the best, the best first."""
        return tuple(row.name for row in self.table if row.close)


def verdict(counts: Counts, seed: int) -> Choice:
    """Choose among the laws by ten-fold held-out likelihood over problems, and say whether there is a power law.

    *A power law* is claimed where no other kind is more than one standard error ahead of the best one, its exponent's 95 %
    interval ends below 1, and u's interval reaches down to .01 or saturating is one standard error behind. *A bend* (False)
    where u's interval lies above .01 and saturating is ``CLAIM`` standard errors ahead. *No power law* (False) where every
    problem was solved at least 5 times, the exponent's interval starts above 1 and a floor is ``CLAIM`` standard errors ahead.
    Else the counts do not tell (None); under 30 problems or 10 draws they are not asked. Raises Mistake for adaptively drawn
    counts. Costs some 60 fits and 600 refits.

    Reference: none (cross-validated likelihood; the laws are those of Schaeffer et al. 2025, arXiv 2502.17578).

    >>> verdict(Counts([100] * 8, [0, 0, 1, 2, 3, 5, 8, 13]), seed=0).sentence
    'Too few problems to tell whether there is a power law: 8 problems, and it takes 30.'
    """
    counts.expect_fixed()
    curves = _curves(counts)
    if reason := _too_little(counts):
        return Choice("", (), curves, _told(reason, ()), None)
    scores = _all_scores(counts, seed, CONTENDERS)
    table = _ranked(scores)
    if table[0].undefined:
        reason = f"no law could be fitted in every fold: {table[0].undefined}"
        return Choice("", table, curves, _told(reason, ()), None)
    known = {name: values for name, values in scores.items() if not isinstance(values, str)}
    sentence, power_law = _say(counts, table, known, seed)
    return Choice(table[0].name, table, curves, _told(sentence, curves), power_law)


def held_out(counts: Counts, seed: int, names: Sequence[str] = CONTENDERS) -> tuple[Held, ...]:
    """Each law's held-out log-likelihood, best first, those that a fold left undefined last.

    Reference: Stone 1974, Cross-Validatory Choice and Assessment of Statistical Predictions, JRSS B 36.
    """
    return _ranked(_all_scores(counts, seed, names))


def _all_scores(counts: Counts, seed: int, names: Sequence[str]) -> dict[str, Floats | str]:
    folds = np.array_split(np.random.default_rng(seed).permutation(counts.n_problems), min(N_FOLDS, counts.n_problems))
    return {name: _scores(name, counts, folds) for name in names}


def _ranked(scores: Mapping[str, Floats | str]) -> tuple[Held, ...]:
    known = {name: values for name, values in scores.items() if not isinstance(values, str)}
    names = sorted(known, key=lambda name: -float(known[name].mean()))
    rows = [Held(name, float(known[name].mean()), *_paired(known[names[0]], known[name])) for name in names]
    nan = float("nan")
    return (*rows, *(Held(name, nan, nan, nan, reason) for name, reason in scores.items() if isinstance(reason, str)))


def _scores(name: str, counts: Counts, folds: Sequence[Ints]) -> Floats | str:
    """Log-likelihood of every problem under the law fitted without its fold, (problems,)."""
    values = np.empty(counts.n_problems)
    for fold in folds:
        kept = np.setdiff1d(np.arange(counts.n_problems), fold)
        if not len(kept):
            return "one problem leaves none to fit"
        spread = spread_of(name, Counts(counts.n[kept], counts.correct[kept], stopped=counts.stopped))
        if isinstance(spread, str):
            return spread
        values[fold] = spread.log_likelihood(counts.n[fold], counts.correct[fold])
    return values


def _paired(ahead: Floats, behind: Floats) -> tuple[float, float]:
    """Mean difference over problems and its standard error."""
    difference = ahead - behind
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def _too_little(counts: Counts) -> str:
    if not counts.correct.any():
        return f"no draw of any problem was right in up to {counts.n.max()} draws: nothing to tell a law from"
    if (counts.correct == counts.n).all():
        return "every draw of every problem was right: nothing to tell a law from"
    if counts.n_problems < MIN_PROBLEMS:
        return f"too few problems to tell whether there is a power law: {counts.n_problems} problems, and it takes {MIN_PROBLEMS}"
    if counts.least_n < MIN_N:
        return f"too few draws to tell whether there is a power law: {counts.least_n} a problem, and it takes {MIN_N}"
    return ""


def _say(counts: Counts, table: Sequence[Held], scores: Mapping[str, Floats], seed: int) -> tuple[str, bool | None]:
    """The sentence, and True, False or None, by the thresholds of ``verdict``."""
    power = next((row.name for row in table if row.name in POWER_LAWS and not row.undefined), "")
    if not power:
        return f"no power law could be fitted in every fold: {table[-1].undefined}", None
    tail = refitted(power, counts, lambda law: law.parameters["asymptotic exponent"], seed)
    ahead = {name: _errors_ahead(scores[name], scores[power]) for name in (SATURATING, FLOORED) if name in scores}
    if counts.correct.min() >= MIN_RIGHT and tail.low > MAX_EXPONENT:
        return _solved(counts, tail, ahead.get(FLOORED, -np.inf))
    unsolvable = parameter_intervals(SATURATING, counts, seed)["u"]
    bend = ahead.get(SATURATING, -np.inf)
    if unsolvable.low > MIN_UNSOLVABLE and bend > CLAIM:
        return (
            f"the curve bends: a share u = {unsolvable} of the problems is never solved, as far as {counts.least_n:,} draws "
            f"can tell; that predicts held-out problems {bend:.1f} standard errors better than a power law ({power})",
            False,
        )
    doubts = [f"exponent {tail} is not below 1"] if tail.high >= MAX_EXPONENT else []
    if bend > 1 or (unsolvable.low > MIN_UNSOLVABLE and bend > -1):
        doubts.append(f"a share u = {unsolvable} that is never solved is {_beside(bend)}")
    if ahead.get(FLOORED, 0.0) > 1:
        doubts.append(f"a floor of success rates is {_beside(ahead[FLOORED])}")
    if doubts:
        return f"the counts do not tell whether there is a power law ({power}): {'; '.join(doubts)}", None
    over = refitted(power, counts, lambda law: induced(law, grid(counts.least_n)).exponent, seed)
    return (
        f"a power law ({power}): -log coverage falls with exponent {over} up to k = {counts.least_n:,}, and with {tail} far "
        f"beyond, unless some are never solved: a saturating beta puts their share at {unsolvable}",
        True,
    )


def _beside(errors_ahead: float) -> str:
    side = "ahead of it" if errors_ahead > 0 else "behind it"
    return f"{abs(errors_ahead):.1f} standard errors {side} on held-out problems"


def _solved(counts: Counts, tail: Refitted, ahead: float) -> tuple[str, bool | None]:
    """Where every problem was solved and no tail is heavy: no power law, or one too steep to matter."""
    solved = f"every problem was solved at least {counts.correct.min()} times in {counts.least_n:,} draws"
    if ahead > CLAIM:
        return (
            f"no power law: {solved}; success rates above a floor, where failures die out exponentially, predict held-out "
            f"problems {ahead:.1f} standard errors better than a tail",
            False,
        )
    return (
        f"no heavy tail: {solved}; whether there is no power law or one of exponent {tail}, the counts do not tell",
        None,
    )


def _errors_ahead(scores: Floats, power: Floats) -> float:
    """By how many standard errors a law is ahead of the best power law on held-out problems; below 0: behind."""
    difference, error = _paired(scores, power)
    return difference / error if error > 0 else 0.0


def _told(sentence: str, curves: Sequence[Ahead]) -> str:
    """As a sentence, with a second one on the curve fits where there are any."""
    first = f"{sentence[0].upper()}{sentence[1:]}."
    if not curves:
        return first
    best = min(curves, key=lambda each: each.max_error)
    return f"{first} Of the curves fitted to k <= {best.up_to:,} alone, {best.name} stays closest beyond: within {best.max_error:.3f}."


def _curves(counts: Counts) -> tuple[Ahead, ...]:
    """The curve fits from the lower half of the grid on its log axis, judged on the rest."""
    ks = grid(counts.least_n)
    up_to = int(np.sqrt(counts.least_n))
    seen = ks <= up_to
    coverage = pass_at_k_of(counts, ks.tolist()).mean(axis=0)
    fits = {name: points(ks[seen], coverage[seen]) for name, points in POINTS.items()}
    return tuple(
        Ahead(name, up_to, float(np.abs(curve(found, ks[~seen]) - coverage[~seen]).max()))
        for name, found in fits.items()
        if not isinstance(found, str) and not seen.all()
    )
