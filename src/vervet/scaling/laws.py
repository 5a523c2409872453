"""Every law of coverage by name, and what other problems of the same kind would make of its parameters.

A law's uncertainty comes from refitting it to resampled problems, never from the covariance of one fit: the errors of
coverage at different k are almost the same error, so a fit believes itself far too much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vervet.errors import Mistake
from vervet.scaling.counts import Counts
from vervet.scaling.distributional import (
    beta,
    discretised,
    floored_beta,
    kumaraswamy,
    saturating_beta,
    scaled_beta,
    scaled_kumaraswamy,
)
from vervet.scaling.draws import Floats
from vervet.scaling.intervals import LEVEL, UNIT, Estimate, Range, exact_floor, resamples
from vervet.scaling.law import Fitter, Law
from vervet.scaling.power_law import loglog, nls, saturating

LAWS: dict[str, Fitter] = {
    "loglog": loglog,
    "nls": nls,
    "saturating": saturating,
    "beta": beta,
    "scaled beta": scaled_beta,
    "kumaraswamy": kumaraswamy,
    "scaled kumaraswamy": scaled_kumaraswamy,
    "discretised": discretised,
    "saturating beta": saturating_beta,
    "floored beta": floored_beta,
}
"""Fitters by the name of their law."""


def fitter(name: str) -> Fitter:
    """The fitter of a law. Raises Mistake for a name that is none."""
    if name not in LAWS:
        raise Mistake(f"no law {name!r}; the laws are {', '.join(LAWS)}")
    return LAWS[name]


def fit(name: str, counts: Counts) -> Law:
    """The law ``name`` fitted to ``counts``. Raises Mistake for an unknown name and for adaptively drawn counts.

    >>> fit("nls", Counts([100] * 4, [0, 1, 9, 60])).coverage_at([1, 1000]).round(3).tolist()
    [0.164, 0.852]
    >>> fit("loglog", Counts([10, 10], [0, 0])).undefined
    'coverage lies strictly between 0 and 1 at 0 of the 9 ks, and a line takes 2'
    """
    return fitter(name)(counts)(None)


N_REFITS = 200


@dataclass(frozen=True)
class Refitted(Estimate):
    """An estimate from a law, with its 95 % interval over refits to resampled problems.

    In ``n_undefined`` of the ``n_resamples`` the law or the figure was undefined: the interval is that of the others. It is
    NaN where none is left, and where there is one problem only.
    """

    n_resamples: int = N_REFITS
    n_undefined: int = 0


def refitted(
    name: str, counts: Counts, quantity: Callable[[Law], float], seed: int, n_resamples: int = N_REFITS
) -> Refitted:
    """``quantity`` of the law ``name``, with the interval that other problems of the kind would give it.

    >>> counts = Counts([100] * 12, [0, 0, 0, 1, 1, 2, 3, 5, 8, 13, 21, 34])
    >>> print(refitted("nls", counts, lambda law: float(law.coverage_at([1000])[0]), seed=0))
    0.896 [0.723, 0.973]
    """
    law, laws = _refits(name, counts, seed, n_resamples)
    return _spread(quantity(law), np.array([quantity(each) for each in laws]), counts)


def parameter_intervals(name: str, counts: Counts, seed: int, n_resamples: int = N_REFITS) -> Mapping[str, Refitted]:
    """Every parameter of the law ``name`` with its interval over new problems, all from the same resamples.

    A share (``u``) keeps the exact floor of M problems: that no refit finds one does not make it impossible.

    >>> print(parameter_intervals("nls", Counts([100] * 6, [0, 1, 2, 5, 13, 34]), seed=0)["b"])
    -0.529 [-0.959, -0.266]
    """
    law, laws = _refits(name, counts, seed, n_resamples)
    return {
        key: _spread(value, np.array([each.parameters[key] for each in laws]), counts, _WITHIN.get(key))
        for key, value in law.parameters.items()
    }


def _refits(name: str, counts: Counts, seed: int, n_resamples: int) -> tuple[Law, list[Law]]:
    refit = fitter(name)(counts)
    return refit(None), [refit(weights) for weights in resamples(counts.n_problems, seed, n_resamples)]


_WITHIN: Mapping[str, Range] = {"u": UNIT}


def _spread(value: float, values: Floats, counts: Counts, within: Range = None) -> Refitted:
    known = values[np.isfinite(values)]
    low = high = float("nan")
    if len(known) and counts.n_problems > 1 and np.isfinite(value):
        low, high = (float(end) for end in np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        if within:
            share = exact_floor(counts.n_problems)
            low, high = min(low, value - share * (value - within[0])), max(high, value + share * (within[1] - value))
    return Refitted(value, low, high, n_resamples=len(values), n_undefined=len(values) - len(known))
