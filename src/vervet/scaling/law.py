"""What every fitted law of coverage is: a name, its parameters, how far it is off, and its value at any k."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vervet.scaling.counts import Counts
from vervet.scaling.draws import Floats, Ints


@dataclass(frozen=True)
class Law:
    """Coverage as a function of k, fitted to success counts.

    ``parameters`` by name. ``coverage_at``: its values at any k >= 1, in [0, 1]. ``max_error``: the largest distance from
    the measured coverage over the ks ``grid(n)``, a share of problems. ``nll``: mean negative log-likelihood of a problem's
    count, for laws that have one. ``undefined``: why there is no fit; then the parameters and values are NaN.
    """

    name: str
    parameters: Mapping[str, float]
    coverage_at: Callable[[Sequence[int]], Floats] = field(repr=False, compare=False)
    max_error: float = float("nan")
    nll: float | None = None
    undefined: str = ""


Refit = Callable[[Floats | None], Law]
"""Fits again with a weight per problem, (problems,), summing to their number (a bootstrap resample); None: all equal."""

Fitter = Callable[[Counts], Refit]
"""Prepares what does not depend on the weights (tables per problem and k), so that refitting is cheap."""


def grid(n: int, points: int = 20) -> Ints:
    """The ks of a fit: ``points`` of them spread evenly on a log axis from 1 to n, cut to whole numbers, each once.

    Reference: Schaeffer et al. 2025, arXiv 2502.17578 (20 points; Brown et al. 2024, arXiv 2407.21787, take 40).

    >>> grid(100, 5).tolist()
    [1, 3, 10, 31, 100]
    """
    ks = np.logspace(0, np.log10(n), points).astype(np.int64)
    ks[-1] = n  # whose logarithm may be rounded down
    return np.unique(ks)
