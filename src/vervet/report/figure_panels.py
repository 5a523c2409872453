"""The panels under the headline: laws on log-log axes, how hard the problems are, what is cheapest, all models at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log, log2, log10
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from vervet.report.figure_canvas import (
    MARKERS,
    Palette,
    Picture,
    bare,
    cost_text,
    marked,
    one_line,
    percent,
    share_limits,
    shares_axis,
    short,
)
from vervet.report.figure_headline import COLORED, KEY_INCHES, Scale, axis_text, letter, shares
from vervet.report.figure_labels import Label, Labels
from vervet.report.figures import Figures, FittedLaw
from vervet.scaling.intervals import Estimate
from vervet.scaling.law import Law

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = (4.6, 3.3)
CLEAREST = 7  # lines in colour of their own
LONGEST_NAME = 17  # characters of a name in the picture of all sets


# --- laws ------------------------------------------------------------------------------------------------


def laws(figures: Figures, name: str = "laws") -> Picture:
    """Minus the log of coverage against k, both on log axes: a power law is a straight line there."""
    fitted = [one.law for one in figures.laws if not one.law.undefined]
    said = f"Measured coverage and {len(fitted)} fitted laws on log-log axes: {', '.join(law.name for law in fitted)}."
    return Picture(name, said, (PANEL[0], 4.1), lambda made, palette: _laws(made, palette, figures))


def by_importance(fitted: Sequence[FittedLaw]) -> list[Law]:
    """Those that are defined; first the ones whose parameters have intervals."""
    known = [one for one in fitted if not one.law.undefined]
    return [one.law for one in sorted(known, key=lambda one: not one.intervals)]


def _laws(made: Figure, palette: Palette, figures: Figures) -> None:
    axes = made.add_axes((0.17, 0.415, 0.505, 0.555))
    coverage = figures.coverage
    axes.set_xscale("log")
    axes.set_yscale("log")
    known = [i for i, value in enumerate(coverage.value) if 0 < value < 1]
    last = max([coverage.k[-1], *(told.forecast.k for told in figures.forecasts)])
    fine = np.unique(np.geomspace(1, last, 60).astype(np.int64)) if last > 1 else np.array([1])
    ends = []
    for law, style in zip(by_importance(figures.laws), _styles(palette), strict=False):
        values = np.clip(np.asarray(law.coverage_at([int(k) for k in fine]), dtype=float), 1e-12, 1 - 1e-12)
        (line,) = axes.plot(fine, -np.log(values), **style.line)
        line.set_gid(f"curve:{law.name}")
        lines = tuple(wrap(one_line(law.name, 40), 19, break_on_hyphens=False))
        size = 9 if style.clear else 7.5
        bold = len(lines) if style.clear else 0
        ends.append(Label(float(fine[-1]), float(-np.log(values[-1])), lines, style.color, size, bold))
    middle = [-log(coverage.value[i]) for i in known]
    if known:
        ks = [coverage.k[i] for i in known]
        low = [-log(min(coverage.high[i], 1 - 1e-6)) for i in known]
        high = [-log(max(coverage.low[i], 1e-6)) for i in known]
        axes.vlines(ks, low, high, color=palette.series[0], linewidth=1.2, alpha=0.6)
        (points,) = axes.plot(ks, middle, "o", color=palette.series[0], markersize=5, markerfacecolor=palette.paper,
                              markeredgewidth=1.6, zorder=5)  # fmt: skip
        points.set_gid("curve:measured")
    _log_axis(axes, palette, 1, last)
    axes.set_xticklabels([])
    axes.set_xlabel("")
    _fit_height(axes, [end.y for end in ends] + middle)
    Labels(axes).column(ends)
    _residuals(made.add_axes((0.17, 0.165, 0.505, 0.19)), palette, figures, last)


def _residuals(axes: Axes, palette: Palette, figures: Figures, last: int) -> None:
    """Measured coverage less that of each law in colour, in points."""
    coverage = figures.coverage
    axes.set_xscale("log")
    axes.axhline(0, color=palette.muted, linewidth=0.8)
    found = []
    for law, style in zip(by_importance(figures.laws), _styles(palette)[:COLORED], strict=False):
        fitted = np.asarray(law.coverage_at(list(coverage.k)), dtype=float)
        found.append(100 * (np.asarray(coverage.value) - fitted))
        axes.plot(coverage.k, found[-1], marker="o", markersize=2.5, clip_on=False, **style.line)
    reach = max(1.0, 1.15 * float(np.nanmax(np.abs(found))))
    axes.set_ylim(-reach, reach)
    _log_axis(axes, palette, 1, last)
    mark = float(f"{reach / 1.3:.1g}")
    axes.set_yticks([-mark, 0, mark], [f"−{mark:g}", "0", f"+{mark:g}"])
    axes.text(
        1.03, 0.5, "measured − law,\npoints", transform=axes.transAxes, color=palette.muted, size=8.5, va="center"
    )


@dataclass(frozen=True)
class _Style:
    """How a law is drawn: the first few in colours and dashes of their own, the others thin and grey."""

    color: str
    clear: bool
    dashes: Any

    @property
    def line(self) -> dict[str, Any]:
        """Options of a line."""
        width, order = (1.7, 4) if self.clear else (0.7, 3)
        return {"color": self.color, "linewidth": width, "linestyle": self.dashes, "zorder": order}


def _styles(palette: Palette) -> list[_Style]:
    dashes = ("-", (0, (4, 2)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
    clear = [_Style(palette.series[i + 1], True, one) for i, one in enumerate(dashes)]
    return [*clear, *[_Style(palette.muted, False, "-")] * 40]


def _fit_height(axes: Axes, ys: Sequence[float]) -> None:
    """The y axis around what is drawn, with marks that say coverage as well."""
    low, high = (min(ys) / 1.6, max(ys) * 1.6) if ys else (0.1, 1.0)
    axes.set_ylim(low, high)
    wanted = [0.1, 0.5, 0.9, 0.99, 0.01, 0.999, 0.25, 0.75, 0.95, 0.001]
    inside = [share for share in wanted if low <= -log(share) <= high]
    kept: list[float] = []
    for share in inside:
        if all(abs(log(log(share) / log(other))) > 0.09 * log(high / low) for other in kept):
            kept.append(share)
    axes.set_yticks([-log(share) for share in kept], [f"{100 * share:.3g} %" for share in kept])
    axes.set_yticks([], minor=True)
    axes.set_ylabel("coverage, on a log(−log) scale", labelpad=4)


def _log_axis(axes: Axes, palette: Palette, low: float, high: float) -> None:
    """An x axis of k with marks at the powers of ten."""
    low, high = (low / 1.15, high * 1.15) if high > low else (low / 2, high * 2)
    axes.set_xlim(low, high)
    powers = [10.0**p for p in range(13) if low <= 10.0**p <= high]
    powers = powers[:: ceil(len(powers) / 6) if len(powers) > 6 else 1]
    axes.set_xticks(powers, [short(power) if power >= 1e5 else f"{power:,.0f}" for power in powers])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("draws per problem, k", labelpad=5)
    bare(axes, palette)


# --- problems --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Histogram:
    """Problems by their share of right draws: ``never`` had none; ``counts[j]`` lie in (2^-(j+1), 2^-j]."""

    never: int
    counts: tuple[int, ...]

    @property
    def n_problems(self) -> int:
        """All of them."""
        return self.never + sum(self.counts)


def histogram_of(rates: Sequence[float]) -> Histogram:
    """Each bin is half as wide as the one above it, so that it holds what twice as many draws would solve.

    >>> histogram_of([0.0, 0.0, 0.25, 0.3, 1.0])
    Histogram(never=2, counts=(1, 1, 1))
    """
    bins = [int(-log2(rate) + 1e-12) for rate in rates if rate > 0]
    counts = [0] * (max(bins, default=0) + 1)
    for j in bins:
        counts[j] += 1
    return Histogram(sum(rate <= 0 for rate in rates), tuple(counts))


def rates(figures: Figures, name: str = "rates") -> Picture:
    """How many problems are how likely to be solved by one draw; those that never were stand apart."""
    found = histogram_of(figures.rates)
    said = f"Problems by their share of right draws: {found.never} of {found.n_problems} never solved."
    return Picture(name, said, (PANEL[0], 4.1), lambda made, palette: _rates(made, palette, found))


def _rates(made: Figure, palette: Palette, found: Histogram) -> None:
    axes = made.add_axes((0.09, 0.135, 0.855, 0.79))
    bins = len(found.counts)
    places = [bins - 1 - j for j in range(bins)]
    axes.bar(places, found.counts, width=0.9, color=palette.series[0], alpha=0.85, align="edge")
    apart = -1.4 - 0.13 * bins
    axes.bar([apart], [found.never], width=0.9, color=palette.series[1], alpha=0.85, align="edge")
    tallest = max(found.never, *found.counts, 1)
    axes.set_ylim(0, tallest * 1.12)
    axes.set_xlim(apart - 0.15, bins + 0.1)
    text = f"{found.never:,} of {found.n_problems:,} never solved"
    reach = apart + 5.9 * len(text) / (72 * PANEL[0] * 0.855) * (bins - apart + 0.25)  # where the text ends
    under = [count for place, count in zip(places, found.counts, strict=True) if place < reach]
    axes.text(apart - 0.05, max(found.never, *under, 0) + tallest * 0.03, text,
              color=palette.series[1], fontweight="bold", size=9.5, va="bottom", ha="left")  # fmt: skip
    shown = [j for j in range(bins + 1) if j % max(1, ceil(bins / 6)) == 0]
    texts = ["100 %" if j == 0 else f"{100 * 0.5**j:.2g}" for j in shown]
    axes.set_xticks([apart + 0.45, *(bins - j for j in shown)], ["never", *texts])
    axes.set_xlabel("share of right draws, each bin twice the one before", labelpad=5)
    step = max(1, ceil(tallest / 5))
    step = next(s for power in range(9) for s in (10**power, 2 * 10**power, 5 * 10**power) if s >= step)
    axes.set_yticks(range(0, tallest + 1, step), [f"{y:,}" for y in range(0, tallest + 1, step)])
    bare(axes, palette)
    axes.text(-0.005, 1.05, "problems", transform=axes.transAxes, color=palette.muted, ha="left", va="bottom")


# --- the frontier ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """What can be had: a selector at k draws (``k`` None: a run), what it costs per problem, and how accurate it is."""

    name: str
    k: int | None
    cost: float
    accuracy: Estimate
    best: bool = False  # nothing cheaper or as cheap is as accurate


def offers(figures: Figures) -> list[Offer]:
    """Every selector at every k, and every run, from the cheapest up; coverage is left out, since nobody can choose so well.

    ``best`` is decided by the values: two whose intervals overlap may change places with other problems.
    """
    scale = Scale(figures)
    every = [
        Offer("one draw" if k == 1 else c.name, k, scale.at(k), Estimate(c.value[i], c.low[i], c.high[i]))
        for c in shares(figures)
        if c.name != "coverage"
        for i, k in enumerate(c.k)
    ]
    every += [Offer(point.name, None, point.cost, point.accuracy) for point in figures.points]
    every.sort(key=lambda one: (one.cost, -one.accuracy.value))
    reached, found = -1.0, []
    for one in every:
        better = one.accuracy.value > reached
        reached = max(reached, one.accuracy.value)
        found.append(Offer(one.name, one.k, one.cost, one.accuracy, better))
    return found


def frontier(figures: Figures, name: str = "frontier") -> Picture:
    """Cost against accuracy of everything that can be had, and the line of what nothing cheaper beats."""
    every = offers(figures)
    best = [one for one in every if one.best]
    said = f"Cost against accuracy of {len(every)} choices; {len(best)} of them are not beaten by a cheaper one."
    return Picture(name, said, PANEL, lambda made, palette: _frontier(made, palette, figures, every))


def _frontier(made: Figure, palette: Palette, figures: Figures, every: Sequence[Offer]) -> None:
    axes = made.add_axes((0.115, 0.165, 0.845, 0.79))
    every = [one for one in every if one.cost > 0]
    best = [one for one in every if one.best]
    low, high = min(one.cost for one in every), max(one.cost for one in every)
    low, high = (low / 1.15, high * 1.15) if high > low else (low / 2, high * 2)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    values = [one.accuracy.value for one in every]
    bottom, top = share_limits(values, values, least=10)
    scale = Scale(figures)
    axes.step([*(one.cost for one in best), high], percent([*(one.accuracy.value for one in best), best[-1].accuracy.value]),
              where="post", color=palette.ink, linewidth=1.4, zorder=2)  # fmt: skip
    names = [curve.name for curve in shares(figures)]
    color = dict(zip(names, palette.series[:COLORED], strict=False))
    for one in every:
        of_one = palette.ink if one.k is None else color.get(one.name, palette.muted)
        axes.plot([one.cost], [100 * one.accuracy.value], marker="D" if one.k is None else "o", markersize=6.5,
                  color=of_one, markerfacecolor=of_one if one.best else palette.paper, linestyle="none", clip_on=False,
                  zorder=4 if one.best else 3)  # fmt: skip
    wanted = sorted({one.cost for one in every}, reverse=True)
    texts = [cost_text(scale.unit, cost) for cost in wanted]
    chosen = marked(wanted, texts, low, high, 72 * PANEL[0] * 0.87)
    axes.set_xticks([wanted[i] for i in chosen], [texts[i] for i in chosen])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(axis_text(scale.unit), labelpad=5)
    bare(axes, palette)
    shares_axis(axes, bottom, top)
    labels = Labels(axes)
    labels.keep_free([one.cost for one in every], [100 * one.accuracy.value for one in every], 4)
    told: set[str] = set()
    for one in best:
        if one.name not in told:
            told.add(one.name)
            of_one = palette.ink if one.k is None else color.get(one.name, palette.muted)
            labels.near(
                Label(one.cost, 100 * one.accuracy.value, (one_line(one.name, 28),), of_one, 8.8), palette.paper
            )


# --- many models -----------------------------------------------------------------------------------------


def lettered(names: Sequence[str]) -> bool:
    """Whether letters stand for these names in the picture of all sets, with a key below."""
    return any(len(name) > LONGEST_NAME for name in names)


def overview(
    every: Sequence[Figures], names: Sequence[str], name: str = "overview", narrow: bool = False, key: bool = False
) -> Picture:
    """The first curve (coverage) of each set of draws in one picture: against cost where all know it in one unit, else k.

    ``key``: with a line for each letter, where letters stand for the names.
    """
    ends = ", ".join(f"{n} {100 * shares(one)[0].value[-1]:.1f} %" for n, one in zip(names, every, strict=True))
    said = f"Coverage against {axis_text(_common_unit(every))}: {ends}."
    lines = [f"{letter(i)}   {one_line(n, 100)}" for i, n in enumerate(names)] if key and lettered(names) else []
    size = (4.2 if narrow else 9.0, 5.2 + KEY_INCHES * len(lines))

    def draw(made: Figure, palette: Palette) -> None:
        _overview(made, palette, every, names, narrow, 5.2 / size[1])
        for i, line in enumerate(reversed(lines)):
            made.text(0.02, KEY_INCHES * (i + 0.5) / size[1], line, color=palette.ink, size=9, va="center")

    return Picture(name, said, size, draw)


def _round(low: float, high: float) -> list[float]:
    """Round numbers within an axis, those to keep first: powers of ten, then their fives and twos."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    marks = [lead * 10.0**power for lead in (1, 5, 2) for power in powers]
    return [mark for mark in marks if low <= mark <= high]


def _common_unit(every: Sequence[Figures]) -> str:
    units = {Scale(one).unit for one in every}
    return units.pop() if len(units) == 1 else ""


def _overview(
    made: Figure, palette: Palette, every: Sequence[Figures], names: Sequence[str], narrow: bool, share: float
) -> None:
    box = (0.13, 0.14, 0.54, 0.83) if narrow else (0.062, 0.13, 0.68, 0.84)
    axes = made.add_axes((box[0], 1 - (1 - box[1]) * share, box[2], box[3] * share))
    unit = _common_unit(every)
    curves = [shares(one)[0] for one in every]
    x = [Scale(one).all(c.k) if unit else [float(k) for k in c.k] for one, c in zip(every, curves, strict=True)]
    low, high = min(min(xs) for xs in x), max(max(xs) for xs in x)
    low, high = (low / 1.06, high * 1.06) if high > low else (low / 2, high * 2)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    longest = max(x, key=len)
    wanted = _round(low, high) if unit else [longest[-1], longest[0], *reversed(longest)]
    texts = [cost_text(unit, at) if unit else f"{at:,.0f}" for at in wanted]
    chosen = marked(wanted, texts, low, high, 72 * made.get_size_inches()[0] * box[2])
    axes.set_xticks([wanted[i] for i in chosen], [texts[i] for i in chosen])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(axis_text(unit), labelpad=6)
    bare(axes, palette)
    shares_axis(axes, *share_limits([v for c in curves for v in c.low], [v for c in curves for v in c.high]))
    order = sorted(range(len(curves)), key=lambda i: -curves[i].value[-1])
    ends = []
    for rank, i in enumerate(order):
        color = palette.series[rank] if rank < CLEAREST else palette.muted
        values = percent(curves[i].value)
        axes.fill_between(x[i], percent(curves[i].low), percent(curves[i].high), color=color, alpha=0.08, linewidth=0)
        (line,) = axes.plot(x[i], values, color=color, linewidth=1.8 if rank < CLEAREST else 1, markersize=4.5, zorder=4,
                            marker=MARKERS[rank % len(MARKERS)], clip_on=False)  # fmt: skip
        line.set_gid(f"curve:{names[i]}")
        figure = f"{values[-1]:.1f} % [{100 * curves[i].low[-1]:.1f}, {100 * curves[i].high[-1]:.1f}]"
        lines: tuple[str, ...] = (one_line(names[i]), figure)
        if lettered(names):
            lines = (f"{letter(i)}  {figure.replace(' %', '') if narrow else figure}",)
        ends.append(Label(x[i][-1], values[-1], lines, color, 7.6 if narrow else 9, bold=len(lines) - 1))
    Labels(axes).margin(ends)
