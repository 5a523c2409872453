"""What ``vervet scale`` prints beneath the curves: laws, forecasts and what became of them, costs; many sets side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vervet.report.figures import Figures, FittedLaw, Told
from vervet.report.table import MISSING, short, text_table
from vervet.scaling.cost import Cost
from vervet.scaling.forecast import Reach
from vervet.scaling.intervals import Estimate
from vervet.scaling.resampling import Resampling

_MOST_COLUMNS = 6  # ks of the table of many sets


def law_lines(laws: Sequence[FittedLaw], verdict: str = "") -> list[str]:
    """A row per law: how far it is off, its likelihood, its parameters, with 95 % intervals where they are known."""
    if not laws:
        return []
    reasons = {one.law.undefined for one in laws}
    if len(reasons) == 1 and "" not in reasons:
        return [f"No law can be fitted: {laws[0].law.undefined}.", *([verdict] if verdict else [])]
    words = [one.law.undefined or parameters_text(_named(one), one.intervals) for one in laws]
    cells = [[one.law.name, _number(one.law.max_error), _number(one.law.nll)] for one in laws]
    lines = text_table(["law", "max error", "nll"], cells).splitlines()
    table = [f"{line}  {text}" for line, text in zip(lines, ["parameters", "-" * 10, *words], strict=True)]
    note = "max error: share of problems. [ ] 95 % interval over new problems: fitted again to resampled problems."
    return [*table, note, *([verdict] if verdict else [])]


def parameters_text(parameters: Mapping[str, float], intervals: Mapping[str, Estimate]) -> str:
    """Parameters by name, with their intervals where there are some.

    >>> parameters_text({"a": -8.2846, "b": -0.1992}, {"b": Estimate(-0.1992, -0.25, -0.15)})
    'a -8.2846, b -0.1992 [-0.2500, -0.1500]'
    """
    cells = []
    for name, value in parameters.items():
        found = intervals.get(name)
        cells.append(f"{name} {value:.4f}" + (f" [{found.low:.4f}, {found.high:.4f}]" if found else ""))
    return ", ".join(cells)


def forecast_lines(told: Sequence[Told]) -> list[str]:
    """A line per forecast, and whether later draws bore it out; then how many did."""
    if not told:
        return []
    one = told[0].forecast
    rows = [
        [f"{t.forecast.k:,}", t.forecast.target, _interval(t.forecast.value, t.forecast.low, t.forecast.high), _came(t)]
        for t in sorted(told, key=lambda t: (t.forecast.target != "same problems", t.forecast.k))
    ]
    head = f"Coverage as foretold from {one.n:,} draws a problem by {one.law}, with {100 * one.level:.0f} % intervals, in percent:"
    lines = [head, *text_table(["k", "of", "foretold", "came"], rows).splitlines()]
    known = [t.held for t in told if t.held is not None]
    return [*lines, f"{sum(known)} of {len(known)} that can be checked lie in their interval."] if known else lines


def _came(told: Told) -> str:
    if told.truth is None:
        return MISSING
    return f"{100 * told.truth:.1f} {'in' if told.held else 'OUT'}"


def cost_lines(costs: Mapping[str, Cost], ks: Sequence[int]) -> list[str]:
    """What the ks of a curve cost per problem, a row per axis that is known."""
    rows = [[unit, *(short(cost.at(k)) for k in ks)] for unit, cost in _units(costs)]
    return text_table(["cost of k draws a problem", *(f"{k:,}" for k in ks)], rows).splitlines() if rows else []


def _units(costs: Mapping[str, Cost]) -> list[tuple[str, Cost]]:
    """Every axis but the draws themselves, with what it counts; the three prices are told apart."""
    said = {
        "usd-cached": "usd (prompts cached)",
        "usd-batch": "usd (in batch files)",
        "tokens": "tokens (prompt and completion)",
    }
    return [(said.get(name, cost.unit), cost) for name, cost in costs.items() if name != "samples"]


def resampling_lines(found: Mapping[str, Resampling]) -> list[str]:
    """Drawing until a verifier accepts: which number of draws at most is worth most, and what more draws lead to."""
    text = []
    for name, one in found.items():
        if one.best_k:
            i = one.best_k - 1
            best = (
                f"worth most with at most {one.best_k:,} draws: {_estimate(one.best_value)}, "
                f"{100 * one.accuracy[i]:.1f} % right, {100 * one.abstained[i]:.1f} % without an answer"
            )
        else:
            best = "worth most with no draw at all: abstain"
        last = f"with at most {one.ks[-1]:,} {one.value[-1]:.3f}"
        ceiling = ""
        if one.ceiling:
            c = one.ceiling
            ceiling = (
                f"; where it accepts anything, {_interval(c.value, c.low, c.high)} % right whatever the number of draws"
            )
        text.append(f"drawing until {name} accepts: {best}; {last}{ceiling}")
    return text


def _estimate(one: Estimate) -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def reach_line(reached: Reach, costs: Mapping[str, Cost]) -> str:
    """How many draws a coverage takes, and what they cost a problem on every axis that is known."""
    if reached.k is None:
        return reached.sentence
    k = reached.k
    cells = [f"{short(cost.at(k))} {unit}" for unit, cost in _units(costs)]
    return reached.sentence + (f"; at {k:,} draws: {', '.join(cells)} a problem" if cells else "")


def side_by_side(figures: Sequence[Figures]) -> list[str]:
    """Coverage of many sets of draws, a row each, in shares of problems, and their laws."""
    curves = [one.coverage for one in figures]
    ks = sorted(set.intersection(*(set(curve.k) for curve in curves)))
    shown = _some(ks)
    rows = []
    for one, curve in zip(figures, curves, strict=True):
        at = [curve.k.index(k) for k in shown]
        rows.append([one.title, *(_percent(curve.value[i], curve.low[i], curve.high[i]) for i in at)])
    head = "Coverage at k draws, in percent, with 95 % intervals over new problems (bootstrap, never under the exact floor):"
    lines = [head, *text_table(["", *(f"k = {k:,}" for k in shown)], rows).splitlines()]
    for name in dict.fromkeys(law.law.name for one in figures for law in one.laws):
        fitted = [(one.title, law) for one in figures for law in one.laws if law.law.name == name]
        if not all(law.law.undefined for _, law in fitted):
            lines += ["", f"law {name}", *_side(fitted)]
    return lines


def _percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.3f} [{100 * low:.3f}, {100 * high:.3f}]"


def _side(fitted: Sequence[tuple[str, FittedLaw]]) -> list[str]:
    names = list(next(_named(one) for _, one in fitted if not one.law.undefined))
    rows = [
        [title, *(_cell(one, name) for name in names), _number(one.law.max_error), _number(one.law.nll)]
        for title, one in fitted
    ]
    return text_table(["", *names, "max error", "nll"], rows).splitlines()


def _named(one: FittedLaw) -> dict[str, float]:
    """The parameters of a law, and the exponent that it induces."""
    return {**one.law.parameters, **({"induced exponent": one.induced.exponent} if one.induced else {})}


def _cell(one: FittedLaw, name: str) -> str:
    value, found = _named(one).get(name), one.intervals.get(name)
    if value is None or value != value:
        return MISSING
    return f"{value:.4f}" + (f" [{found.low:.4f}, {found.high:.4f}]" if found else "")


def _some(ks: Sequence[int]) -> list[int]:
    """Powers of ten where there are many ks; where none is among them, every second or third.

    >>> _some([1, 2, 5, 10, 20, 50, 100, 200]), _some([2, 3, 5, 7, 11, 13, 17])
    ([1, 10, 100], [2, 5, 11, 17])
    """
    if len(ks) <= _MOST_COLUMNS:
        return list(ks)
    return [k for k in ks if str(k).strip("0") == "1"] or list(ks[:: -(-len(ks) // _MOST_COLUMNS)])


def _number(value: float | None) -> str:
    return MISSING if value is None or value != value else f"{value:.4f}"


def _interval(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
