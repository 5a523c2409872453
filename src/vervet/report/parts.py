"""The tables of the page: forecasts and what became of them, laws with their residuals, the frontier, other runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isfinite

from vervet.report.figure_canvas import cost_text
from vervet.report.figure_headline import Scale, letter
from vervet.report.figure_panels import lettered, offers
from vervet.report.figures import Figures, FittedLaw, Told
from vervet.report.table import MISSING
from vervet.scaling.intervals import Estimate


def table(header: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (), name: str = "") -> str:
    """A table in a box of its own, which scrolls where it is wide. ``words``: columns of running text, to the left."""
    heads = "".join(
        f'<th class="words">{escape(h)}</th>' if i in words else f"<th>{escape(h)}</th>" for i, h in enumerate(header)
    )
    body = "".join("<tr>" + "".join(_cell(i, text, words) for i, text in enumerate(row)) + "</tr>\n" for row in rows)
    label = f' aria-label="{escape(name)}"' if name else ""
    return f'<div class="scroll"><table{label}><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(i: int, text: str, words: Sequence[int]) -> str:
    return f'<td class="words">{escape(text)}</td>' if i in words else f"<td>{escape(text)}</td>"


def runs_key(figures: Figures) -> str:
    """What the letters in the figure stand for."""
    if not figures.points:
        return ""
    unit = Scale(figures).unit
    of = "" if unit == "usd" else f" {unit or 'draws'}"
    items = "".join(
        f"<li><b>{letter(i)}</b>{escape(one.name)}: {escape(_percent(one.accuracy))} % at {escape(_cost(unit, one.cost) + of)}</li>"
        for i, one in enumerate(figures.points)
    )
    return f'<ul class="key">{items}</ul>'


def sets_key(names: Sequence[str]) -> str:
    """What the letters in the picture of all sets stand for; "" where their names are short enough to stand there."""
    if not lettered(names):
        return ""
    items = "".join(f"<li><b>{letter(i)}</b>{escape(name)}</li>" for i, name in enumerate(names))
    return f'<ul class="key">{items}</ul>'


def forecast_rows(figures: Figures) -> str:
    """Every stored forecast with its interval, and what later draws of the same problems found."""
    if not figures.forecasts:
        return ""
    order = sorted(
        figures.forecasts, key=lambda told: (told.forecast.target != "same problems", told.forecast.n, told.forecast.k)
    )
    rows = [_told(told) for told in order]
    header = ("law", "of", "from n", "at k", "coverage, %", "came, %", "")
    return table(header, rows, name="forecasts")


def _told(told: Told) -> tuple[str, ...]:
    one = told.forecast
    interval = f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]  {100 * one.level:.0f} %"
    found = MISSING if told.truth is None else f"{100 * told.truth:.1f}"
    word = "not drawn yet" if told.held is None else "○ in the interval" if told.held else "✗ outside"
    return one.law, one.target, f"{one.n:,}", f"{one.k:,}", interval, found, word


def law_rows(figures: Figures) -> str:
    """The fitted laws: parameters with their intervals, and how far each is off."""
    if not figures.laws:
        return ""
    rows = [_law(one) for one in figures.laws]
    header = ("law", "parameters", "largest error, points", "mean −log likelihood")
    note = '<p class="muted">[ ] 95 % interval over new problems, by fitting again to resampled problems.</p>'
    return table(header, rows, words=(1,), name="laws") + (note if any(one.intervals for one in figures.laws) else "")


def _law(one: FittedLaw) -> tuple[str, ...]:
    law = one.law
    if law.undefined:
        return law.name, f"not defined: {law.undefined}", MISSING, MISSING
    parameters = ", ".join(
        f"{name} = {_parameter(value, one.intervals.get(name))}" for name, value in law.parameters.items()
    )
    error = f"{100 * law.max_error:.2f}" if isfinite(law.max_error) else MISSING
    return law.name, parameters, error, MISSING if law.nll is None else f"{law.nll:.4f}"


def _parameter(value: float, interval: Estimate | None) -> str:
    text = f"{value:.4g}"
    return text if interval is None else f"{text} [{interval.low:.3g}, {interval.high:.3g}]"


def frontier_rows(figures: Figures) -> str:
    """What nothing cheaper beats, from the cheapest up."""
    best = [one for one in offers(figures) if one.best]
    if not best:
        return ""
    unit = Scale(figures).unit
    rows = [
        (one.name, MISSING if one.k is None else f"{one.k:,}", _cost(unit, one.cost), _percent(one.accuracy))
        for one in best
    ]
    cost = "cost" if unit == "usd" else unit or "draws"
    header = ("nothing cheaper beats", "k", cost, "accuracy, %")
    note = (
        '<p class="muted">By the values: two choices whose intervals overlap may change places with other problems, and the '
        "best of many looks better than it is.</p>"
    )
    return table(header, rows, name="frontier") + note


def _cost(unit: str, cost: float) -> str:
    return cost_text(unit, cost) if unit else f"{cost:,.4g}"


def _percent(one: Estimate) -> str:
    return f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"
