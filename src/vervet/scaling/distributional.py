"""Laws that follow from how the chance of success is spread over problems, fitted by maximum likelihood to counts.

One law per family of spread; every one maximises the mean log-likelihood of a problem's count over alpha and beta in
[.01, 100]. Their tail near p = 0 is what coverage does beyond the draws: ``asymptotic exponent`` and ``prefactor`` are of
F(k) = prefactor k^-alpha. A likelihood needs the n of each problem, equal or declared fixed; an adaptively drawn set is
refused (Mistake). Undefined where no draw or every draw was right, with one problem, and with one draw a problem: the mean
alone says nothing of the spread.

Reference: Schaeffer et al. 2025, arXiv 2502.17578, section 5 and its code; their scale is our ``scale``, and it is fixed by
the largest success rate, not fitted. They start from scipy's beta fit or (.35, 3.5); we from the latter and from moments, and
take the better end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import minimize
from scipy.special import betainc

from vervet.scaling.counted import pass_at_k_of
from vervet.scaling.counts import Counts
from vervet.scaling.draws import Floats, Ints
from vervet.scaling.law import Fitter, Law, Refit, grid
from vervet.scaling.mixture import Shape, Spread, marginal
from vervet.scaling.power_law import loglog_points, undefined

BOUNDS = (0.01, 100.0)
START = (0.35, 3.5)
MAX_UNSOLVABLE = 0.999
_LEAST = 1e-16  # added to the probability of a bin, as the authors do
_TINY = 1e-300
ALONE = "one problem says nothing of how problems differ"


@dataclass(frozen=True)
class Tally:
    """Distinct counts and how many problems show each: ``weight`` sums to the problems, 0 where a resample has none."""

    n: Floats
    correct: Floats
    weight: Floats

    @property
    def top_rate(self) -> float:
        """Largest share of right draws."""
        return float((self.correct / self.n).max())

    @property
    def bottom_rate(self) -> float:
        """Smallest share of right draws."""
        return float((self.correct / self.n).min())

    @property
    def n_problems(self) -> float:
        """The sum of the weights."""
        return float(self.weight.sum())

    @property
    def rates(self) -> Floats:
        """Shares of right draws."""
        return np.asarray(self.correct / self.n)


@dataclass(frozen=True)
class Found:
    """A fitted spread, its mean negative log-likelihood, and the optimiser's own coordinates, to start a refit from."""

    spread: Spread
    nll: float
    at: Floats


Search = Callable[[Tally, "Floats | None"], "Found | str"]
"""Fits one family of spreads, from a start or from its own; or says why it cannot."""


@dataclass(frozen=True)
class Induced:
    """The power law that a law looks like over a range of k: -log(1 - F(k)) is about prefactor k^-exponent."""

    exponent: float
    prefactor: float


def induced(law: Law, ks: Sequence[int] | Ints | None = None) -> Induced:
    """What ``loglog`` makes of a law's own coverage at ``ks`` (default ``grid(10_000)``); NaN where there is no line.

    Reference: Schaeffer et al. 2025, arXiv 2502.17578 (the exponent that their distributional estimators report).

    >>> law = beta(Counts([100] * 12, [0, 0, 0, 1, 1, 2, 3, 5, 8, 13, 21, 34]))(None)
    >>> round(law.parameters["alpha"], 3), round(induced(law).exponent, 3)
    (0.432, 0.468)
    """
    over = np.asarray(grid(10_000) if ks is None else ks, dtype=np.int64)
    found = loglog_points(over, law.coverage_at([int(k) for k in over]))
    return (
        Induced(float("nan"), float("nan")) if isinstance(found, str) else Induced(float(-found[1]), float(-found[0]))
    )


def spread_of(name: str, counts: Counts) -> Spread | str:
    """The spread that the law ``name`` fits to ``counts``, or why there is none. Raises Mistake for adaptive counts."""
    found = _search(SEARCHES[name], _tallies(counts)(None), None)
    return found if isinstance(found, str) else found.spread


def _tallies(counts: Counts) -> Callable[[Floats | None], Tally]:
    """What makes a tally of weights, one per problem; None: all 1."""
    counts.expect_fixed()
    pairs, which = np.unique(np.stack((counts.n, counts.correct)), axis=1, return_inverse=True)
    n, correct, place = pairs[0].astype(float), pairs[1].astype(float), which.ravel()
    return lambda weights: Tally(n, correct, np.bincount(place, weights, minlength=len(n)).astype(float))


def _search(search: Search, tally: Tally, start: Floats | None) -> Found | str:
    seen = tally.weight > 0
    seen_only = Tally(tally.n[seen], tally.correct[seen], tally.weight[seen])
    if not seen_only.correct.any():
        return "no draw of any problem was right"
    if (seen_only.correct == seen_only.n).all():
        return "every draw of every problem was right"
    if seen_only.n.max() == 1:
        return "one draw a problem gives the mean of the success rates and nothing of their spread"
    return search(seen_only, start)


def _fitter(name: str) -> Fitter:
    names = ("alpha", "beta", "scale", *_EXTRA.get(name, ()), "asymptotic exponent", "prefactor")

    def fitter(counts: Counts) -> Refit:
        tally = _tallies(counts)
        full = _search(SEARCHES[name], tally(None), None) if counts.n_problems > 1 else ALONE
        ks = grid(counts.least_n)
        table = pass_at_k_of(counts, ks.tolist())

        def refit(weights: Floats | None) -> Law:
            found = full
            if weights is not None and not isinstance(full, str):
                several = np.count_nonzero(weights) > 1
                found = _search(SEARCHES[name], tally(weights), full.at) if several else ALONE
            if isinstance(found, str):
                return undefined(name, names, found)
            coverage = table.mean(axis=0) if weights is None else weights @ table / weights.sum()
            error = float(np.abs(found.spread.coverage(ks) - coverage).max())
            values = dict(zip(names, _values(found.spread, name), strict=True))
            return Law(name, values, partial(_coverage_at, found.spread), error, found.nll)

        return refit

    return fitter


def _coverage_at(spread: Spread, ks: Sequence[int]) -> Floats:
    return spread.coverage(ks)


def _values(spread: Spread, name: str) -> list[float]:
    extra = [{"u": spread.unsolvable, "floor": spread.floor}[each] for each in _EXTRA.get(name, ())]
    exponent = float("nan") if spread.floor else spread.alpha
    return [spread.alpha, spread.beta, spread.scale, *extra, exponent, spread.prefactor]


# --- the families --------------------------------------------------------------------------------------------


def _on_unit(shape: Shape, tally: Tally, start: Floats | None) -> Found | str:
    """alpha and beta on [0, 1]."""
    return _two(shape, 1.0, tally, start)


def _scaled(shape: Shape, tally: Tally, start: Floats | None) -> Found | str:
    """alpha and beta on [0, scale], where scale = min(1, (M+1)/M x the largest success rate)."""
    scale = min(1.0, (tally.n_problems + 1) / tally.n_problems * tally.top_rate)
    return _two(shape, scale, tally, start)


def _two(shape: Shape, scale: float, tally: Tally, start: Floats | None) -> Found:
    at = marginal(shape, tally.n, tally.correct, scale)

    def loss(logs: Floats) -> tuple[float, Floats]:
        alpha, beta = np.exp(logs)
        log, by_alpha, by_beta = at(alpha, beta)
        slope = np.array([tally.weight @ by_alpha * alpha, tally.weight @ by_beta * beta])
        return -float(tally.weight @ log) / tally.n_problems, -slope / tally.n_problems

    best = _descend(loss, _starts(tally, scale) if start is None else [start], 2)
    return Found(Spread(shape, *_exp(best[0]), scale), best[1], best[0])


def _saturating(tally: Tally, start: Floats | None) -> Found | str:
    """alpha and beta on [0, 1], and a share u of the problems at p = 0."""
    if tally.n.max() < 3:
        return f"three parameters take three draws a problem, and there are {tally.n.max():.0f}"
    at = marginal("beta", tally.n, tally.correct, 1.0)
    never = tally.correct == 0

    def loss(point: Floats) -> tuple[float, Floats]:
        (alpha, beta), u = np.exp(point[:2]), point[2]
        log, by_alpha, by_beta = at(alpha, beta)
        chance = np.exp(log)
        either = np.maximum((1 - u) * chance + u, _TINY)  # of a problem that was never solved
        solvable = np.where(never, (1 - u) * chance / either, 1.0)  # the chance that a problem can be solved
        total = np.where(never, np.log(either), np.log1p(-u) + log)
        by_u = np.where(never, (1 - chance) / either, -1 / (1 - u))
        slopes = np.stack((solvable * by_alpha * alpha, solvable * by_beta * beta, by_u))
        return -float(tally.weight @ total) / tally.n_problems, -(slopes @ tally.weight) / tally.n_problems

    share = float(tally.weight[never].sum()) / tally.n_problems
    logs = _starts(tally, 1.0) if start is None else [start[:2]]
    starts = [np.append(each, u) for each in logs for u in (0.0, 0.9 * share)]
    best = _descend(loss, starts, 3)
    return Found(Spread("beta", *_exp(best[0]), unsolvable=float(best[0][2])), best[1], best[0])


def _floored(tally: Tally, start: Floats | None) -> Found | str:
    """alpha and beta on [floor, 1], where floor = M/(M+1) x the smallest success rate: the scale's rule, mirrored."""
    floor = tally.n_problems / (tally.n_problems + 1) * tally.bottom_rate
    if not floor:
        return "a problem was never solved, so nothing says that success rates have a floor"

    def loss(logs: Floats) -> float:
        values = Spread("beta", *_exp(logs), floor=floor).log_likelihood(tally.n, tally.correct)
        return -float(tally.weight @ values) / tally.n_problems

    best = _descend(_with_slope(loss), _starts(tally, 1.0) if start is None else [start], 2)
    return Found(Spread("beta", *_exp(best[0]), floor=floor), best[1], best[0])


def _discretised(tally: Tally, start: Floats | None) -> Found | str:
    """A scaled beta to the histogram of success rates; scale is the largest of them, the bins start at 1 / n.

    Its likelihood is that of a problem's bin: not comparable with the other laws'. (Theirs is per bin, not per problem.)
    """
    resolution = 1 / float(tally.n.min())
    n_edges = int(1 / (10 * resolution) + 1e-9)
    if n_edges < 2:
        return f"bins of success rates take 20 draws a problem, and there are {tally.n.min():.0f}"
    scale = tally.top_rate
    edges = np.concatenate(([0.0], np.logspace(np.log10(resolution), 0, n_edges)))
    bins = np.clip(np.searchsorted(edges * (1 - 1e-12), tally.rates, side="right") - 1, 0, n_edges - 1)
    used = np.unique(bins)
    if scale <= edges[used[-1]] * (1 + 1e-12):
        return "the largest success rate is the lower edge of its bin, which a density that ends there leaves empty"
    weight = np.bincount(bins, tally.weight)[used]
    low, high = np.minimum(edges[used] / scale, 1.0), np.minimum(edges[used + 1] / scale, 1.0)

    def loss(logs: Floats) -> float:
        alpha, beta = _exp(logs)
        mass = betainc(alpha, beta, high) - betainc(alpha, beta, low)
        return -float(weight @ np.log(np.maximum(mass, 0.0) + _LEAST)) / tally.n_problems

    best = _descend(_with_slope(loss), _starts(tally, scale) if start is None else [start], 2)
    return Found(Spread("beta", *_exp(best[0]), scale), best[1], best[0])


# Schaeffer et al. 2025 call them "two-parameter beta-binomial", "scaled beta-binomial", the same of Kumaraswamy, "discretised".
SEARCHES: dict[str, Search] = {
    "beta": partial(_on_unit, "beta"),
    "scaled beta": partial(_scaled, "beta"),
    "kumaraswamy": partial(_on_unit, "kumaraswamy"),
    "scaled kumaraswamy": partial(_scaled, "kumaraswamy"),
    "discretised": _discretised,
    "saturating beta": _saturating,
    "floored beta": _floored,
}
"""Each family's way to its best spread."""

_EXTRA = {"saturating beta": ("u",), "floored beta": ("floor",)}

beta = _fitter("beta")
scaled_beta = _fitter("scaled beta")
kumaraswamy = _fitter("kumaraswamy")
scaled_kumaraswamy = _fitter("scaled kumaraswamy")
discretised = _fitter("discretised")
saturating_beta = _fitter("saturating beta")
floored_beta = _fitter("floored beta")


# --- the search ----------------------------------------------------------------------------------------------


def _starts(tally: Tally, scale: float) -> list[Floats]:
    """The authors' own start, and the beta with the mean and variance of the success rates."""
    x = np.minimum(tally.rates / scale, 1.0)
    mean = float(tally.weight @ x) / tally.n_problems
    variance = float(tally.weight @ (x - mean) ** 2) / tally.n_problems
    strength = mean * (1 - mean) / variance - 1 if variance > 0 else BOUNDS[1]
    moments = np.clip([mean * strength, (1 - mean) * strength], *BOUNDS)
    return [np.log(START), np.log(moments)]


def _descend(
    loss: Callable[[Floats], tuple[float, Floats]], starts: Sequence[Floats], n_parameters: int
) -> tuple[Floats, float]:
    """The best end of the starts: coordinates (log alpha, log beta, and u where there is one) and loss.

    By sequential quadratic programming: it ends where L-BFGS-B ends (losses agree to 1e-11), and wakes no idle threads.
    """
    box = [tuple(np.log(BOUNDS))] * 2 + [(0.0, MAX_UNSOLVABLE)] * (n_parameters - 2)
    ends = [
        minimize(loss, s, jac=True, method="SLSQP", bounds=box, options={"ftol": 1e-12, "maxiter": 300}) for s in starts
    ]
    best = min(ends, key=lambda end: float(end.fun))
    return np.asarray(best.x), float(best.fun)


def _with_slope(loss: Callable[[Floats], float]) -> Callable[[Floats], tuple[float, Floats]]:
    """A loss of two coordinates with its slope by central differences."""
    steps = 1e-6 * np.eye(2)
    return lambda at: (loss(at), np.array([(loss(at + h) - loss(at - h)) / 2e-6 for h in steps]))


def _exp(logs: Floats) -> tuple[float, float]:
    return float(np.exp(logs[0])), float(np.exp(logs[1]))
