"""The two intervals, named, and the floor below which neither may fall.

*New problems*: what other problems of the same kind would give. Bootstrap over problems (over clusters where problems
are variants), percentile 95 %, one set of resamples for everything that is compared.
*Same problems, new draws*: what other draws on these problems would give. Delete-one jackknife within each problem.
Samples are never resampled with replacement: a duplicate can neither add a new right answer nor a new wrong one, so
coverage at k, a statistic of *distinct* draws, comes out too low, and the vote too sure.
*Floor*: M independent cases without a single exception do not exclude a share of exceptions of 1 - .025^(1/M), so an
interval reaches at least that share of the way to both ends of the figure's range and is never [0, 0].
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling.draws import Floats

LEVEL = 0.95
Z = 1.959963984540054  # two-sided 95 % of the standard normal
N_RESAMPLES = 2000
UNIT = (0.0, 1.0)
DIFFERENCE = (-1.0, 1.0)
UNBOUNDED = None
Range = tuple[float, float] | None


@dataclass(frozen=True)
class Band:
    """Lower and upper ends of an interval for several figures, each of shape (figures,)."""

    low: Floats
    high: Floats


@dataclass(frozen=True)
class Estimate:
    """One figure with its 95 % interval; ``unit`` says what the interval speaks of."""

    value: float
    low: float
    high: float
    unit: str = "new problems"

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Accuracy:
    """Share of problems answered correctly, with its interval over new problems.

    ``value`` counts the not judged as incorrect and so equals ``least``; ``most`` counts them as correct. The
    interval reaches from the lower end for ``least`` to the upper end for ``most``.
    """

    value: float
    low: float
    high: float
    least: float
    most: float
    n_problems: int
    n_not_judged: int


def exact_floor(n_cases: float) -> float:
    """Largest share of exceptions that ``n_cases`` independent cases without one do not exclude at 97.5 %.

    Reference: Clopper and Pearson 1934, the exact binomial interval at 0 successes.

    >>> round(exact_floor(500), 4), round(exact_floor(200), 4)
    (0.0074, 0.0183)
    """
    return float(1 - 0.025 ** (1 / n_cases))


def resamples(n_units: int, seed: int, n_resamples: int = N_RESAMPLES) -> Floats:
    """How often each unit is drawn in each bootstrap resample, shape (resamples, units); rows sum to ``n_units``.

    >>> resamples(3, seed=0, n_resamples=2).sum(axis=1).tolist()
    [3.0, 3.0]
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_resamples).astype(float)


def new_problems(
    values: ArrayLike,
    seed: int,
    *,
    within: Range = UNIT,
    clusters: Sequence[Hashable] | None = None,
    n_resamples: int = N_RESAMPLES,
) -> Band:
    """95 % percentile intervals of the means over problems, for all columns of ``values`` (problems, figures) at once.

    All columns share the resamples: for a paired comparison, hand in the column of differences with
    ``within=DIFFERENCE``. ``within``: the range of one value; None where it has none, and then there is no floor.

    Reference: Efron 1979, Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 7; by cluster:
    Davison and Hinkley 1997, section 3.8 (clusters drawn whole).

    >>> band = new_problems([[0.0], [0.0]], seed=0)
    >>> float(band.low[0]), round(float(band.high[0]), 3)
    (0.0, 0.842)
    """
    table = np.asarray(values, dtype=float)
    labels = np.arange(len(table)) if clusters is None else _labels(clusters, len(table))
    n_units = int(labels.max()) + 1
    sums = np.zeros((n_units, table.shape[1]))
    np.add.at(sums, labels, table)
    sizes = np.bincount(labels).astype(float)
    drawn = resamples(n_units, seed, n_resamples)
    means = (drawn @ sums) / (drawn @ sizes)[:, None]  # (resamples, figures)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return _reach(Band(low, high), table.mean(axis=0), np.full(table.shape[1], float(n_units)), within)


def new_draws(values: ArrayLike, variances: ArrayLike, n_cases: ArrayLike, *, within: Range = UNIT) -> Band:
    """95 % intervals of the means over the *same* problems under new draws, for all columns at once.

    ``values``, ``variances``: (problems, figures), the estimate of each problem and the variance of that estimate
    within the problem (from ``jackknife`` or exact). Draws are independent between problems, so variances add up;
    the mean over problems is taken as normal. ``n_cases``: (figures,), independent cases behind a column, for the
    floor: problems x (draws // k). A column whose variance is not known (NaN) has no interval (NaN).

    Reference: Efron and Stein 1981, The Jackknife Estimate of Variance, Annals of Statistics 9 (it errs on the wide
    side).
    """
    table = np.asarray(values, dtype=float)
    error = Z * np.sqrt(np.asarray(variances, dtype=float).sum(axis=0)) / len(table)
    mean = table.mean(axis=0)
    return _reach(Band(mean - error, mean + error), mean, np.asarray(n_cases, dtype=float), within)


def jackknife(left_out: Floats, multiplicity: Floats) -> Floats:
    """Variance of an estimate from its values with one draw left out.

    ``left_out``: (ways, figures), one row per distinct way to leave out a draw; ``multiplicity``: (ways,), how many
    draws each row stands for, n in all. Returns (figures,): (n-1)/n x sum of squared deviations from their mean.

    Reference: Efron and Stein 1981, equation 1.2.

    >>> jackknife(np.array([[1.0], [0.0]]), np.array([2.0, 2.0])).tolist()
    [0.75]
    """
    n = multiplicity.sum()
    centre = multiplicity @ left_out / n
    return np.asarray((n - 1) / n * (multiplicity @ (left_out - centre) ** 2))


def accuracy(outcomes: Sequence[bool | None], seed: int, clusters: Sequence[Hashable] | None = None) -> Accuracy:
    """Share of correct outcomes, one per problem (None: not judged), with both bounds. Raises Mistake for none.

    >>> accuracy([True, False, None, True], seed=0).most
    0.75
    """
    if not outcomes:
        raise Mistake("an accuracy needs at least one problem, got none")
    both = np.array([[outcome is True, outcome is not False] for outcome in outcomes], dtype=float)
    band = new_problems(both, seed, clusters=clusters)
    least, most = (float(v) for v in both.mean(axis=0))
    missing = sum(outcome is None for outcome in outcomes)
    return Accuracy(least, float(band.low[0]), float(band.high[1]), least, most, len(outcomes), missing)


def _reach(band: Band, mean: Floats, n_cases: Floats, within: Range) -> Band:
    if within is None:
        return band
    bottom, top = within
    share = np.array([exact_floor(n) if n >= 1 else 1.0 for n in n_cases])
    low = np.minimum(band.low, mean - share * (mean - bottom))
    high = np.maximum(band.high, mean + share * (top - mean))
    return Band(np.clip(low, bottom, top), np.clip(high, bottom, top))


def _labels(clusters: Sequence[Hashable], n_problems: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if len(clusters) != n_problems:
        raise Mistake(f"expected one cluster per problem ({n_problems}), got {len(clusters)}")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)
