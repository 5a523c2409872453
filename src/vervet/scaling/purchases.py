"""What the next budget could buy, from what n recorded draws can show, each as a gain in accuracy with its interval.

A gain is over the best selector of ``gaps``, counted where that was not chosen (against another model: chosen on all
problems, which favours ours); its interval is over new problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling.draws import Draws, Floats, Ints
from vervet.scaling.forecast import Forecast
from vervet.scaling.gaps import Found
from vervet.scaling.intervals import DIFFERENCE, UNIT, Estimate

COMPLETENESS = 0.9  # of the verifier that is named as a purchase
SOUNDNESS = 0.9
NEARLY_ALL = 0.9995  # a share of wrong ones that is printed as 100.0 %
_MAX_NODES = 256  # of the integral; exact up to 512 draws


@dataclass(frozen=True)
class Purchase:
    """Something to spend on: ``gain`` in share of problems (None: unknown), ``cost_factor`` times what is paid now
    (below 1: cheaper; None: unknown), and a ``sentence``."""

    what: str
    gain: Estimate | None
    cost_factor: float | None
    sentence: str


@dataclass(frozen=True, eq=False)
class OtherModel:
    """Another run on the same problems: its answers and draws, (problems,), NaN where it has not finished the problem.

    ``right``: its final answer, 0 or 1. ``found``: any of its draws right. ``cost``: what it used, in the unit of ours.
    """

    name: str
    right: Floats
    found: Floats
    cost: Floats


@dataclass(frozen=True)
class Soundness:
    """What a verifier that accepts ``completeness`` of the right draws must be: it gains ``gain`` (share of problems) when
    it rejects at least ``soundness`` of the wrong ones; None where not even a perfect one of that completeness does."""

    completeness: float
    gain: float
    soundness: float | None


@dataclass(frozen=True)
class Purchases:
    """The purchases, the best first, and what a verifier must be for a gain."""

    ranked: Sequence[Purchase]
    verifiers: Sequence[Soundness] = field(default_factory=tuple)


def purchases(
    draws: Draws, found: Found, *, models: Sequence[OtherModel] = (), forecasts: Sequence[Forecast] = ()
) -> Purchases:
    """What is to be bought next, ranked: what gains more than epsilon, the most first; then what saves; then the rest.

    ``models``: other models' runs on the same problems; ``forecasts`` of coverage are quoted with more samples.
    """
    verifier, needed = _verifier(draws, found)
    saving = _stop_earlier(found)
    others = [_model(one, draws, found) for one in models]
    bought = [_more_samples(draws, found, forecasts), verifier, *others]
    bought.sort(key=lambda one: np.inf if one.gain is None else -one.gain.value)
    epsilon = found.gaps.epsilon
    worth = [one for one in bought if one.gain is not None and one.gain.value > epsilon]
    rest = [one for one in bought if one not in worth]
    return Purchases((*worth, *([saving] if saving else []), *rest), needed)


def verified_accuracy(n: int, right: ArrayLike, completeness: float, soundness: float) -> Floats:
    """Chance to answer right by the first of n draws that a verifier accepts, per problem: (problems,).

    ``right``: right draws of n, (problems,). It accepts a right draw with ``completeness``, rejects a wrong one with
    ``soundness``, each draw by itself: errors that repeat on equal answers are worse than that. Where it accepts none, the
    first draw is the answer. Exact: E[A / (A + B)] for binomial A, B is the integral over x in [0, 1] of
    R c (1 - c + c x)^(R-1) (s + (1-s) x)^W.

    Reference: Stroebl et al. 2024, arXiv 2411.17501 (resampling with a verifier; for n without end c r / (c r + (1-r)(1-s))).

    >>> verified_accuracy(4, [0, 1, 4], 1.0, 1.0).round(6).tolist()
    [0.0, 1.0, 1.0]
    >>> verified_accuracy(4, [1], 0.0, 1.0).tolist()  # it accepts nothing: the first draw
    [0.25]
    """
    counts: Ints = np.asarray(right, dtype=np.int64)
    if not (0 <= completeness <= 1 and 0 <= soundness <= 1):
        raise Mistake(f"expected completeness and soundness from 0 to 1, got {completeness=}, {soundness=}")
    each, where = np.unique(counts, return_inverse=True)
    nodes, weights = np.polynomial.legendre.leggauss(min(n // 2 + 1, _MAX_NODES))
    x, weights = (nodes + 1) / 2, weights / 2
    of_right, of_wrong = 1 - completeness + completeness * x, soundness + (1 - soundness) * x
    values = [
        (weights * r * completeness * of_right ** max(r - 1, 0) * of_wrong ** (n - r)).sum()
        + (1 - completeness) ** r * soundness ** (n - r) * r / n
        for r in each.tolist()
    ]
    return np.asarray(np.clip(np.array(values)[where.reshape(counts.shape)], 0.0, 1.0))


def soundness_needed(n: int, right: ArrayLike, completeness: float, accuracy: float) -> float | None:
    """The least soundness at which a verifier reaches a mean accuracy over n draws; None where not even 1 does.

    >>> round(soundness_needed(8, [4, 1], 1.0, 0.9), 3), soundness_needed(8, [4, 0], 1.0, 0.9)
    (0.949, None)
    """
    if verified_accuracy(n, right, completeness, 1.0).mean() < accuracy:
        return None
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        enough = verified_accuracy(n, right, completeness, middle).mean() >= accuracy
        low, high = (low, middle) if enough else (middle, high)
    return high


def points(gain: Estimate, sign: bool = True) -> str:
    """A share as points with its interval; ``sign``: a plus before what is above 0.

    >>> points(Estimate(0.031, 0.008, 0.054))
    '+3.1 points [0.8, 5.4]'
    """
    value, low, high = (round(100 * end, 1) + 0.0 for end in (gain.value, gain.low, gain.high))  # + 0.0: never "-0.0"
    return f"{value:{'+' if sign else ''}.1f} points [{low:.1f}, {high:.1f}]"


def choosing(loss: Estimate) -> str:
    """What choosing the cheapest way loses, or gains, of accuracy where it was not chosen.

    >>> choosing(Estimate(0.004, -0.002, 0.011)), choosing(Estimate(-0.004, -0.011, 0.002))
    ('choosing so loses 0.4 points [-0.2, 1.1]', 'choosing so gains 0.4 points [-0.2, 1.1]')
    """
    if loss.value >= 0:
        return f"choosing so loses {points(loss, sign=False)}"
    return f"choosing so gains {points(Estimate(-loss.value, -loss.high, -loss.low), sign=False)}"


def amount(value: float) -> str:
    """A count of tokens or draws: whole from a hundred on, else with one digit.

    >>> amount(1234.5), amount(2.77)
    ('1,234', '2.8')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _more_samples(draws: Draws, found: Found, forecasts: Sequence[Forecast]) -> Purchase:
    n, half, halves = draws.n, draws.n // 2, found.halves
    if not half:
        said = "Draw more than once: from one draw a problem nothing can be said of what more would bring."
        return Purchase("more samples", None, None, said)
    from vervet.scaling.passk import pass_at_k

    before = pass_at_k(n, draws.right.sum(axis=1), [half])[:, 0]
    covered = halves.estimate(halves.mean(draws.right.any(axis=1) - before), UNIT)
    gain = halves.estimate(found.selected - found.halved, DIFFERENCE)
    said = (
        f"Draw {2 * n:,} instead of {n:,} times a problem: from {half:,} to {n:,} draws the best selector changed by "
        f"{points(gain)} and coverage by {points(covered)}; what the next doubling brings is not measured."
    )
    for one in forecasts:
        said += (
            f" Coverage at {one.k:,} draws is forecast at {100 * one.value:.1f} % [{100 * one.low:.1f}, {100 * one.high:.1f}]"
            f" ({one.law}, {100 * one.level:.0f} %, {one.target})."
        )
    return Purchase("more samples", gain, 2.0, said)


def _verifier(draws: Draws, found: Found) -> tuple[Purchase, list[Soundness]]:
    """One of stated completeness and soundness, what a perfect one is worth, and what one must be for half of that."""
    n, counts, halves = draws.n, draws.right.sum(axis=1), found.halves

    def gain_of(completeness: float, soundness: float) -> Estimate:
        accuracy = halves.mean(verified_accuracy(n, counts, completeness, soundness))
        return halves.estimate(accuracy - found.selected, DIFFERENCE)

    selected, gap = float(found.selected[0]), found.gaps.selection.value
    needed = [
        Soundness(c, share * gap, soundness_needed(n, counts, c, selected + share * gap))
        for c in (0.8, 0.9, 1.0)
        for share in (0.25, 0.5, 0.75)
        if gap > 0
    ]
    if gap <= found.gaps.epsilon:
        said = f"A verifier, or any other selector: a perfect one is worth {points(found.gaps.selection)}."
        return Purchase("a verifier", found.gaps.selection, None, said), needed
    gain, perfect = gain_of(COMPLETENESS, SOUNDNESS), found.gaps.selection  # a perfect one finds what is covered
    said = (
        f"A verifier: a perfect one is worth {points(perfect)}; one that accepts {100 * COMPLETENESS:.0f} % of the right and "
        f"rejects {100 * SOUNDNESS:.0f} % of the wrong answers, {points(gain)} (first accepted draw)."
    )
    middle = next((one for one in needed if one.completeness == COMPLETENESS and one.gain == 0.5 * gap), None)
    if middle is not None and middle.soundness is not None and middle.soundness < NEARLY_ALL:
        said += (
            f" To gain {100 * middle.gain:.1f} points it must reject {100 * middle.soundness:.1f} % of the wrong ones"
            f" (at {100 * middle.completeness:.0f} % of the right ones accepted)."
        )
    return Purchase("a verifier", gain, None, said), needed


def _model(other: OtherModel, draws: Draws, found: Found) -> Purchase:
    halves, known = found.halves, np.isfinite(other.right)
    weights = halves.weights * known
    total = np.maximum(weights.sum(axis=1), 1)

    def mean(values: Floats) -> Floats:
        return np.asarray(weights @ np.where(known, values, 0.0) / total)

    ours = draws.right.any(axis=1).astype(float)
    gain = halves.estimate(mean(other.right - found.right), DIFFERENCE)
    both = halves.estimate(mean(np.maximum(other.found, ours) - ours), UNIT)
    paid = float(mean(np.full(draws.n_problems, found.gaps.cost.paid))[0])
    used = float(mean(other.cost)[0])
    factor, n = used / paid if paid and used else None, int(known.sum())
    said = (
        f"Another model, {other.name}: on the {n:,} problem{'' if n == 1 else 's'} that both finished its answers are "
        f"{points(gain)} over the best selector here; its draws and these together cover {points(both)} more than these. "
        "Its tokens may have another price."
    )
    return Purchase(f"another model: {other.name}", gain, factor, said)


def _stop_earlier(found: Found) -> Purchase | None:
    cost = found.gaps.cost
    if cost.ratio.value <= 1.02 or cost.way_draws >= found.gaps.n or not found.gaps.coverage.value:
        return None
    gain = Estimate(0.0 - cost.loss.value, 0.0 - cost.loss.high, 0.0 - cost.loss.low)
    said = (
        f"Stop earlier: {cost.way} needs {amount(cost.needed.value)} instead of {amount(cost.paid)} {cost.unit} a problem, "
        f"{cost.ratio.value:.1f} times less [{cost.ratio.low:.1f}, {cost.ratio.high:.1f}]; {choosing(cost.loss)} on "
        "problems it was not chosen on"
    )
    if cost.fixed_draws is not None and cost.fixed_draws > 1.02 * cost.way_draws:
        said += (
            f"; on all problems it takes {cost.way_draws:.1f} draws where a fixed number needs {cost.fixed_draws:.1f} for the "
            "same accuracy"
        )
    if cost.loss.high > found.gaps.epsilon:
        said += f"; a loss of up to {100 * cost.loss.high:.1f} points is not excluded by these problems"
    return Purchase("stop earlier", gain, 1 / cost.ratio.value, said + ".")
