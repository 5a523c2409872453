"""The headline: accuracy against cost, with what was forecast, what came of it, and what choosing well would bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING

from vervet.errors import Mistake
from vervet.report.figure_canvas import (
    Palette,
    Picture,
    bare,
    cost_text,
    marked,
    one_line,
    percent,
    share_limits,
    shares_axis,
)
from vervet.report.figure_labels import Label, Labels
from vervet.report.figures import SHARE, Figures, Told
from vervet.scaling.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORED = 4  # curves in colour, the others are grey
KEY_INCHES = 0.2  # a line of the key
UNITS = {"usd": "cost per problem, US dollars", "": "draws per problem, k"}


def axis_text(unit: str) -> str:
    """What an axis of costs is called; "" are draws.

    >>> axis_text("usd"), axis_text("FLOPs")
    ('cost per problem, US dollars', 'FLOPs per problem')
    """
    return UNITS.get(unit, f"{unit} per problem")


@dataclass(frozen=True)
class Scale:
    """Where k draws lie on the x axis: their cost where it is known and above zero, else k itself."""

    figures: Figures

    @property
    def unit(self) -> str:
        """The unit of the axis, "" where it is draws."""
        axis = self.figures.axis
        return axis.unit if axis is not None and axis.unit != "samples" and axis.at(1) > 0 else ""

    def at(self, k: float) -> float:
        """The place of k."""
        return self.figures.axis.at(k) if self.figures.axis is not None and self.unit else k

    def all(self, ks: Sequence[float]) -> list[float]:
        """The places of many."""
        return [self.at(k) for k in ks]


def headline(figures: Figures, name: str = "headline", narrow: bool = False, key: bool = False) -> Picture:
    """The picture of one set of draws; ``narrow``: for a telephone; ``key``: with a line for each other run.

    Raises Mistake where no curve is a share of problems.
    """
    if not (shown := shares(figures)):
        raise Mistake("a figure shows curves that are shares of problems, and there is none")
    names = ", ".join(f"{one.name} {100 * one.value[-1]:.1f} %" for one in shown)
    said = f"Accuracy against {axis_text(Scale(figures).unit)}. With {shown[0].k[-1]:,} draws: {names}."
    below = KEY_INCHES * len(figures.points) if key else 0.0
    size = (4.2 if narrow else 9.0, 4.9 + below)

    def draw(made: Figure, palette: Palette) -> None:
        _Drawn(made, palette, figures, narrow, below).draw()
        for i, point in enumerate(figures.points if key else ()):
            y = (below - KEY_INCHES * (i + 0.3)) / size[1]
            made.text(0.02, y, f"{letter(i)}   {one_line(point.name, 100)}", color=palette.ink, size=9, va="center")

    return Picture(name, said, size, draw)


def shares(figures: Figures) -> list[Curve]:
    """The curves that are shares of problems: coverage, vote, then the others from the highest end down."""
    shown = [curve for curve in figures.curves if curve.unit == SHARE]
    first = {"coverage": 0, "vote": 1}
    return sorted(shown, key=lambda curve: (first.get(curve.name, 2), -curve.value[-1]))


def best_selector(curves: Sequence[Curve]) -> Curve | None:
    """The highest end among the curves that choose one answer."""
    return max((c for c in curves if c.name != "coverage"), key=lambda c: c.value[-1], default=None)


def lines_of_forecasts(figures: Figures) -> list[list[Told]]:
    """The stored forecasts that are drawn: of the first law named, one line per n they were made from.

    Those of the same problems, which go on where the measured curve ends; those of new problems where there are no others.
    """
    if not figures.forecasts:
        return []
    law = figures.forecasts[0].forecast.law
    same = [told for told in figures.forecasts if told.forecast.law == law]
    same = [told for told in same if told.forecast.target == "same problems"] or same
    same.sort(key=lambda told: (told.forecast.n, told.forecast.k))
    return [list(group) for _, group in groupby(same, key=lambda told: told.forecast.n)]


class _Drawn:
    """One headline on its way: what is shared by the steps."""

    def __init__(self, made: Figure, palette: Palette, figures: Figures, narrow: bool, below: float) -> None:
        self.figures, self.palette, self.narrow = figures, palette, narrow
        self.scale = Scale(figures)
        self.curves = shares(figures)
        self.told = lines_of_forecasts(figures)
        self.color = dict(zip((c.name for c in self.curves[:COLORED]), palette.series, strict=False))
        box = (0.13, 0.165, 0.56, 0.80) if narrow else (0.062, 0.15, 0.70, 0.81)
        height = float(made.get_size_inches()[1])
        share = (height - below) / height
        self.axes: Axes = made.add_axes((box[0], 1 - (1 - box[1]) * share, box[2], box[3] * share))
        self.width = 72 * made.get_size_inches()[0] * box[2]
        self.height = 72 * height * box[3] * share

    def draw(self) -> None:
        self._axes()
        self._gap()
        for curve in reversed(self.curves):
            self._line(curve)
        for told in self.told:
            self._forecast(told)
        self._runs()
        self._labels()

    def _axes(self) -> None:
        lows, highs = [v for c in self.curves for v in c.low], [v for c in self.curves for v in c.high]
        told = [one for line in self.told for one in line]
        lows += [t.forecast.low for t in told] + [p.accuracy.low for p in self.figures.points]
        highs += [t.forecast.high for t in told] + [p.accuracy.high for p in self.figures.points]
        truths = [t.truth for t in told if t.truth is not None]
        self.bottom, self.top = self._room(*share_limits(lows + truths, highs + truths))
        ks = self.curves[0].k
        reach = [self.scale.at(k) for k in (*ks, *(t.forecast.k for t in told))]
        reach += [p.cost for p in self.figures.points if p.cost > 0]
        low, high = min(reach), max(reach)
        low, high = (low / 1.06, high * 1.06) if high > low else (low / 2, high * 2)
        self.axes.set_xscale("log")
        self.axes.set_xlim(low, high)
        self._marks(ks, [t.forecast.k for t in told], low, high)
        bare(self.axes, self.palette)
        shares_axis(self.axes, self.bottom, self.top)

    def _room(self, bottom: float, top: float) -> tuple[float, float]:
        """The limits with room for the label of coverage, which lies above its line where a forecast goes on."""
        if not self.goes_on:
            return bottom, top
        end = self._end(self.curves[0])
        share = (end.height - 4) / self.height
        return bottom, max(top, (end.y - share * bottom) / (1 - share))

    @property
    def goes_on(self) -> bool:
        """Whether a forecast reaches beyond the curves."""
        return any(told.forecast.k > self.curves[0].k[-1] for line in self.told for told in line)

    def _marks(self, ks: Sequence[int], told: Sequence[int], low: float, high: float) -> None:
        """Under the axis: the cost, and the number of draws that it buys."""
        wanted = list(dict.fromkeys([ks[-1], *sorted(set(told), reverse=True), ks[0], *reversed(ks)]))
        tokens = next((c for c in self.figures.curves if c.name == "tokens"), None)
        spent = dict(zip(tokens.k, tokens.value, strict=True)) if tokens else {}
        unit = self.scale.unit
        if unit:
            texts = [f"{cost_text(unit, self.scale.at(k))}\n{'k = ' if k == ks[0] else ''}{k:,}" for k in wanted]
            label = f"{axis_text(unit)}\nand the number of draws k that it buys"
        else:
            texts = [f"{k:,}" + (f"\n{cost_text('tokens', spent[k])} tok" if k in spent else "") for k in wanted]
            label = "draws per problem, k" + (",\nand the mean tokens that they take" if spent else "")
        places = self.scale.all(wanted)
        chosen = marked(places, texts, low, high, self.width)
        self.axes.set_xticks([places[i] for i in chosen], [texts[i] for i in chosen])
        self.axes.set_xticks([], minor=True)
        self.axes.set_xlabel(label if self.narrow else label.replace("\n", " "), labelpad=6)

    def _gap(self) -> None:
        best = best_selector(self.curves)
        coverage = next((c for c in self.curves if c.name == "coverage"), None)
        if best is None or coverage is None:
            return
        x = self.scale.all(coverage.k)
        self.axes.fill_between(
            x, percent(best.value), percent(coverage.value), facecolor="none", edgecolor=self.palette.grid, hatch="////",
            linewidth=0, zorder=1,
        )  # fmt: skip

    def _line(self, curve: Curve) -> None:
        x, color = self.scale.all(curve.k), self.color.get(curve.name)
        if color is None:
            (line,) = self.axes.plot(x, percent(curve.value), color=self.palette.muted, linewidth=1.0, alpha=0.75)
        else:
            if curve in (self.curves[0], best_selector(self.curves)):
                self.axes.fill_between(x, percent(curve.low), percent(curve.high), color=color, alpha=0.13, linewidth=0)
            (line,) = self.axes.plot(
                x, percent(curve.value), color=color, linewidth=2.2, marker="o", markersize=4, clip_on=False, zorder=4
            )
        line.set_gid(f"curve:{curve.name}")

    def _forecast(self, line: list[Told]) -> None:
        """Dashed from the draws it was made from, with its band; what later draws found as open circles, or a cross."""
        color = self.palette.series[0]
        (ks, values), (_, lows), (_, highs) = (self._of_forecast(line, end) for end in ("value", "low", "high"))
        x = self.scale.all(ks)
        self.axes.fill_between(x, percent(lows), percent(highs), color=color, alpha=0.10, linewidth=0)
        (dashed,) = self.axes.plot(x, percent(values), color=color, linewidth=1.7, linestyle=(0, (4, 2.5)), zorder=3)
        dashed.set_gid("curve:forecast")
        for end in (lows, highs):
            self.axes.plot(x, percent(end), color=color, linewidth=0.7, linestyle=(0, (1, 2)), zorder=2)
        for told in line:
            if told.truth is not None:
                self._truth(told.forecast.k, told.truth, bool(told.held))

    def _of_forecast(self, line: list[Told], end: str) -> tuple[list[int], list[float]]:
        """The ks and the values of a forecast or of an end of its band, from the measured coverage on."""
        told = {one.forecast.k: float(getattr(one.forecast, end)) for one in line}
        start = _value_at(self.curves[0], line[0].forecast.n)
        if start is not None:
            told = {line[0].forecast.n: start} | told
        return list(told), list(told.values())

    def _truth(self, k: int, truth: float, held: bool) -> None:
        color = self.palette.series[0] if held else self.palette.series[1]
        (mark,) = self.axes.plot(
            [self.scale.at(k)], [100 * truth], marker="o" if held else "X", markersize=9 if held else 10, color=color,
            markerfacecolor=self.palette.paper if held else color, markeredgewidth=2 if held else 0.5, clip_on=False,
            linestyle="none", zorder=6,
        )  # fmt: skip
        mark.set_gid("curve:truth")

    def _runs(self) -> None:
        for point in self.figures.points:
            if point.cost <= 0:
                continue
            value, low, high = percent((point.accuracy.value, point.accuracy.low, point.accuracy.high))
            self.axes.plot([point.cost] * 2, [low, high], color=self.palette.ink, linewidth=1, zorder=5)
            (mark,) = self.axes.plot(
                [point.cost], [value], marker="D", markersize=6.5, color=self.palette.ink, linestyle="none", zorder=6,
                markeredgecolor=self.palette.paper, markeredgewidth=0.8, clip_on=False,
            )  # fmt: skip
            mark.set_gid("curve:run")

    def _labels(self) -> None:
        labels = Labels(self.axes)
        for curve in self.curves:
            labels.keep_free(self.scale.all(curve.k), percent(curve.value))
        told = [one for line in self.told for one in line]
        for line in self.told:
            for end in ("value", "low", "high"):
                ks, values = self._of_forecast(line, end)
                labels.keep_free(self.scale.all(ks), percent(values))
        ends = [self._end(curve) for curve in self.curves]
        gap, top = self._gap_label(labels), None
        if told:
            labels.column([self._told(max(told, key=lambda one: one.forecast.k))])
        if self.goes_on:
            labels.above_left(ends[0])
            top, ends = ends[0].y, ends[1:]
        labels.column([*ends, *gap], gap=13, paper=self.palette.paper if told else None, top=top)
        for one in told:
            if one.truth is not None:
                color = self.palette.series[0 if one.held else 1]
                word = "in" if one.held else "out"
                labels.near(Label(self.scale.at(one.forecast.k), 100 * one.truth, (word,), color), self.palette.paper)
        self._name_runs(labels)

    def _name_runs(self, labels: Labels) -> None:
        """A letter beside each mark; what it stands for is told below the figure."""
        points = [(i, point) for i, point in enumerate(self.figures.points) if point.cost > 0]
        for _, point in points:
            labels.keep_free([point.cost] * 2, percent((point.accuracy.low, point.accuracy.high)))
        for i, point in points:
            label = Label(point.cost, 100 * point.accuracy.value, (letter(i),), self.palette.ink)
            labels.near(label, self.palette.paper)

    def _end(self, curve: Curve) -> Label:
        x, y, last = (
            self.scale.at(curve.k[-1]),
            100 * curve.value[-1],
            [percent(v)[-1] for v in (curve.low, curve.high)],
        )
        if curve.name not in self.color:
            return Label(x, y, (one_line(curve.name, 20 if self.narrow else 30),), self.palette.muted, 8, bold=0)
        figure = [f"{y:.1f} %", f"[{last[0]:.1f}, {last[1]:.1f}]"]
        name = self._name(curve.name)
        return Label(
            x, y, (*name, *(figure if self.narrow else [" ".join(figure)])), self.color[curve.name], bold=len(name)
        )

    def _told(self, told: Told) -> Label:
        one = told.forecast
        low, value, high = percent((one.low, one.value, one.high))
        figure = [f"{value:.1f} %", f"[{low:.1f}, {high:.1f}]"]
        lines = (*self._name("forecast"), *(figure if self.narrow else [" ".join(figure)]), f"at k = {one.k:,}")
        return Label(self.scale.at(one.k), value, lines, self.palette.series[0])

    def _name(self, name: str) -> tuple[str, ...]:
        if not self.narrow:
            return (one_line(name, 28),)
        return tuple(wrap(one_line(name, 34), 12, break_on_hyphens=False)) or ("",)

    def _gap_label(self, labels: Labels) -> list[Label]:
        """How much choosing well would bring, in words beside a bracket, where that is high enough."""
        best = best_selector(self.curves)
        if best is None or self.curves[0].name != "coverage":
            return []
        x = self.scale.at(self.curves[0].k[-1])
        low, high = 100 * best.value[-1], 100 * self.curves[0].value[-1]
        label = Label(x, (low + high) / 2, ("selection gap", f"{high - low:.0f} points"), self.palette.ink, 9)
        if labels.point(x, high)[1] - labels.point(x, low)[1] < label.height + 4:
            return []
        labels.bracket(x, low, high, self.palette.ink)
        return [label]


def letter(i: int) -> str:
    """A, B ... Z, then A1, B1 ...

    >>> letter(0), letter(27)
    ('A', 'B1')
    """
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[i % 26] + (str(i // 26) if i >= 26 else "")


def _value_at(curve: Curve, k: int) -> float | None:
    """The measured value at k, where it is on the curve."""
    return dict(zip(curve.k, curve.value, strict=True)).get(k)
