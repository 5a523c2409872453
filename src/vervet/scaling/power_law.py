"""Laws fitted to the curve of coverage itself: exponentiated power laws, with and without a share that is never solved.

c(k) = exp(a k^b), a < 0, b < 0: minus the logarithm of coverage falls as a power of k. Two ways to fit it differ, and each
has its name: ``loglog`` weighs every k by its logarithm's error, ``nls`` by the error in coverage. Both see the unbiased
coverage over ``grid(n)``, and neither knows how it arose; the distributional laws do. Counts of unequal n must be declared
fixed; the grid then ends at the smallest n. An adaptively drawn set is refused (Mistake).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from scipy.optimize import leastsq

from vervet.scaling.counted import pass_at_k_of
from vervet.scaling.counts import Counts
from vervet.scaling.draws import Floats, Ints
from vervet.scaling.law import Law, Refit, grid

Shape = Callable[[Floats, Floats], Floats]
"""Coverage from a fit's own parameters and log k."""

START_B = -0.3  # of Brown et al. 2024's curve_fit
_MAX_LOG = 700.0  # exp of more overflows


def undefined(name: str, parameters: Sequence[str], reason: str) -> Law:
    """The law that could not be fitted: every parameter and value is NaN, and ``reason`` says why."""
    return Law(name, dict.fromkeys(parameters, float("nan")), lambda ks: np.full(len(ks), np.nan), undefined=reason)


def loglog(counts: Counts) -> Refit:
    """Ordinary least squares of log(-log c) on log k; points with c of 0 or 1 are dropped, two must be left.

    Parameters: ``a``, ``b`` of c = exp(a k^b).

    Reference: Schaeffer et al. 2025, arXiv 2502.17578, estimator "least squares": their prefactor is our -a, their
    exponent our -b; Brown et al. 2024, arXiv 2407.21787, section 3.1 (the law).

    >>> law = loglog(Counts([100] * 4, [0, 1, 9, 60]))(None)
    >>> {name: round(value, 3) for name, value in law.parameters.items()}
    {'a': -1.835, 'b': -0.359}
    """
    return _refit("loglog", ("a", "b"), loglog_points, counts)


def nls(counts: Counts) -> Refit:
    """Least squares on coverage itself, from the start a = log c(1), b = -.3.

    Parameters: ``a``, ``b`` of c = exp(a k^b).

    Reference: Brown et al. 2024, arXiv 2407.21787, section 3.1.

    >>> law = nls(Counts([100] * 4, [0, 1, 9, 60]))(None)
    >>> {name: round(value, 3) for name, value in law.parameters.items()}
    {'a': -1.81, 'b': -0.351}
    """
    return _refit("nls", ("a", "b"), nls_points, counts)


def saturating(counts: Counts) -> Refit:
    """Least squares of (1 - u) exp(a k^b) on coverage: a share ``u`` of the problems, 0 <= u < 1, is never solved.

    Parameters: ``a``, ``b``, ``u``; u = 0 is ``nls``. Needs three ks.

    Reference: none (the power law of Brown et al. 2024, arXiv 2407.21787, with a ceiling).

    >>> law = saturating(Counts([1000] * 4, [0, 0, 90, 600]))(None)
    >>> round(law.parameters["u"], 2)
    0.48
    """
    return _refit("saturating", ("a", "b", "u"), saturating_points, counts)


def loglog_points(ks: Ints, coverage: Floats) -> Floats | str:
    """``a``, ``b`` of the line through log(-log coverage) over log k, or why there is none.

    >>> ks = grid(10_000)
    >>> loglog_points(ks, np.exp(-2 * ks**-0.35)).round(3).tolist()
    [-2.0, -0.35]
    """
    inside = (coverage > 0) & (coverage < 1)
    if inside.sum() < 2:
        return f"coverage lies strictly between 0 and 1 at {inside.sum()} of the {len(ks)} ks, and a line takes 2"
    x, y = np.log(ks[inside]), np.log(-np.log(coverage[inside]))
    x_off = x - x.mean()
    b = float(x_off @ (y - y.mean()) / (x_off @ x_off))
    return np.array([-np.exp(min(y.mean() - b * x.mean(), _MAX_LOG)), min(b, 0.0)])


def nls_points(ks: Ints, coverage: Floats) -> Floats | str:
    """``a``, ``b`` of the least squares on coverage, or why there are none."""
    if reason := _unfit(ks, coverage, 2):
        return reason
    return _unlogged(_descend(_plain, np.array([np.log(-np.log(coverage[0])), START_B]), ks, coverage))


def saturating_points(ks: Ints, coverage: Floats) -> Floats | str:
    """``a``, ``b``, ``u`` of the least squares on coverage, or why there are none."""
    if reason := _unfit(ks, coverage, 3):
        return reason
    plain = _descend(_plain, np.array([np.log(-np.log(coverage[0])), START_B]), ks, coverage)
    low = np.log(-np.log(coverage[0] / (1 + coverage[-1]) * 2))  # as if coverage rose half of what is left
    starts = np.append(plain, 1.0), np.array([low, 2 * START_B, (1 + coverage[-1]) / 2])
    found = [_descend(_capped, start, ks, coverage) for start in starts]
    allowed = [np.append(plain, 1.0)] + [each for each in found if 0 < each[2] <= 1]  # beyond 1 the bound is the answer
    best = min(allowed, key=lambda each: float(((_capped(each, np.log(ks)) - coverage) ** 2).sum()))
    return np.append(_unlogged(best[:2]), 1 - best[2])


Points = Callable[[Ints, Floats], "Floats | str"]
POINTS: Mapping[str, Points] = {"loglog": loglog_points, "nls": nls_points, "saturating": saturating_points}
"""Each law from the points of a curve, for fits to a part of it."""


def curve(parameters: Floats, ks: Sequence[int] | Ints) -> Floats:
    """(1 - u) exp(a k^b) at ``ks`` from ``a``, ``b`` and, where there is one, ``u``.

    >>> curve(np.array([-2.0, -0.5, 0.5]), [1, 4]).round(4).tolist()
    [0.0677, 0.1839]
    """
    a, b, *u = (float(value) for value in parameters)
    return np.asarray((1 - sum(u)) * np.exp(a * np.asarray(ks, dtype=float) ** b))


def _refit(name: str, parameters: tuple[str, ...], points: Points, counts: Counts) -> Refit:
    counts.expect_fixed()
    ks = grid(counts.least_n)
    table = pass_at_k_of(counts, ks.tolist())

    def refit(weights: Floats | None) -> Law:
        coverage = table.mean(axis=0) if weights is None else weights @ table / weights.sum()
        found = points(ks, coverage)
        if isinstance(found, str):
            return undefined(name, parameters, found)
        error = float(np.abs(curve(found, ks) - coverage).max())
        return Law(name, dict(zip(parameters, map(float, found), strict=True)), partial(curve, found), error)

    return refit


def _unfit(ks: Ints, coverage: Floats, n_parameters: int) -> str:
    if len(ks) < n_parameters:
        return f"{n_parameters} parameters take as many ks, and there are {len(ks)}"
    if not 0 < coverage[0] < 1:
        return f"coverage is {coverage[0]:.0f} at every k"
    return ""


def _descend(shape: Shape, start: Floats, ks: Ints, coverage: Floats) -> Floats:
    """Parameters of the least squares of ``shape`` on coverage, by Levenberg and Marquardt."""
    logs = np.log(ks)
    found = leastsq(  # type: ignore[call-overload]  # its types ask for a function of any number of arguments
        lambda at: shape(at, logs) - coverage, start, xtol=1e-10, ftol=1e-12, full_output=True
    )
    return np.asarray(found[0])


def _plain(at: Floats, log_k: Floats) -> Floats:
    """exp(a k^b) from log(-a) and b: a stays negative, and nothing overflows."""
    return np.asarray(np.exp(-np.exp(np.clip(at[0] + at[1] * log_k, -_MAX_LOG, _MAX_LOG))))


def _capped(at: Floats, log_k: Floats) -> Floats:
    return np.asarray(at[2] * _plain(at, log_k))


def _unlogged(at: Floats) -> Floats:
    return np.array(
        [-np.exp(np.clip(at[0], -_MAX_LOG, _MAX_LOG)), min(at[1], 0.0)]
    )  # coverage never falls: b > 0 is rounding
