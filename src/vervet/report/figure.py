"""The figure: accuracy against the number of draws, as SVG that follows the page's colours. The only door to plotting.

Colours are drawn as stand-ins and replaced by CSS variables, so that one picture serves light and dark pages.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vervet.errors import MissingExtra, Mistake
from vervet.scaling.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = ("#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04")
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"} | {
    color: f"var(--series-{i})" for i, color in enumerate(SERIES, 1)
}
SIZE_INCHES = (9.0, 4.7)
LABEL_GAP = 0.058  # least distance between two labels, as a share of the axis


def svg(curves: Sequence[Curve]) -> str:
    """The curves that are shares of problems, against k on a log axis, with bands over new problems.

    Under each k stands the mean number of tokens spent on it, where a curve of tokens is among the curves.
    Returns an ``<svg>`` element without size, to be put into a page that sets --ink, --muted, --grid, --series-1 ...
    Raises Mistake where there is no such curve or more than four; MissingExtra without matplotlib.
    """
    shown = [curve for curve in curves if curve.unit == "share of problems"]
    if not 1 <= len(shown) <= len(SERIES):
        raise Mistake(f"a figure shows 1 to {len(SERIES)} curves of shares, got {len(shown)}")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "report") from None
    with matplotlib.rc_context(_style()):
        picture = Figure(figsize=SIZE_INCHES)
        axes = picture.add_axes((0.07, 0.15, 0.64, 0.80))
        for curve, color in zip(shown, SERIES, strict=False):
            _line(axes, curve, color)
        bottom, top = _limits(shown)
        _scales(axes, shown[0], next((c for c in curves if c.name == "tokens"), None), bottom, top)
        _labels(axes, shown, bottom, top)
        text = io.StringIO()
        picture.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(text.getvalue())


def _style() -> Any:  # matplotlib types the keys one by one
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "vervet",
        "font.family": "DejaVu Sans",
        "font.size": 10.5,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": GRID,
        "axes.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "text.parse_math": False,
    }


def _line(axes: Axes, curve: Curve, color: str) -> None:
    axes.fill_between(curve.k, _percent(curve.low), _percent(curve.high), color=color, alpha=0.16, linewidth=0)
    axes.plot(curve.k, _percent(curve.value), color=color, linewidth=2.2, marker="o", markersize=4.5, clip_on=False)


def _scales(axes: Axes, curve: Curve, tokens: Curve | None, bottom: float, top: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(curve.k[0] / 1.06, curve.k[-1] * 1.06 if len(curve.k) > 1 else curve.k[0] * 2)
    spent = dict(zip(tokens.k, tokens.value, strict=True)) if tokens else {}
    marks = _apart(curve.k)
    axes.set_xticks(marks, [f"{k:,}" + (f"\n{_short(spent[k])} tok" if k in spent else "") for k in marks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("draws per problem, k" + (", and mean completion tokens they take" if spent else ""), labelpad=7)
    axes.set_ylim(bottom, top)
    step = 20 if top - bottom > 60 else 10 if top - bottom > 25 else 5
    ticks = [y for y in range(0, 101, step) if bottom <= y <= top]
    axes.set_yticks(ticks, [f"{y} %" if y == ticks[-1] else f"{y}" for y in ticks])
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=6)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def _labels(axes: Axes, curves: Sequence[Curve], bottom: float, top: float) -> None:
    """Names at the line ends, moved apart where they would overlap."""
    ends = [(100 * curve.value[-1] - bottom) / (top - bottom) for curve in curves]
    for curve, color, place in zip(curves, SERIES, _spread(ends), strict=False):
        text = f"{curve.name} {100 * curve.value[-1]:.1f} %"
        axes.text(1.02, place, text, color=color, transform=axes.transAxes, va="center", fontweight="bold", size=10)


def _spread(ends: Sequence[float]) -> list[float]:
    """Places on [0, 1] at least LABEL_GAP apart, in the order of the ends: pushed up first, then down from the top.

    >>> _spread([1.0, 1.0])
    [0.942, 1.0]
    """
    places = list(ends)
    order = sorted(range(len(ends)), key=lambda i: ends[i])
    for below, above in itertools.pairwise(order):
        places[above] = max(places[above], places[below] + LABEL_GAP)
    ceiling = 1.0
    for i in reversed(order):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - LABEL_GAP
    return places


def _limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """The axis in percent: whole tens around everything that is drawn, at least 20 points."""
    lowest = 100 * min(min(curve.low) for curve in curves)
    highest = 100 * max(max(curve.high) for curve in curves)
    bottom, top = 10 * (lowest // 10), min(100.0, 10 * -(-highest // 10))
    return max(0.0, min(bottom, top - 20)), max(top, 20.0)


def _apart(ks: Sequence[int]) -> list[int]:
    """The ks whose marks do not run into each other; the last one always has its mark."""
    kept: list[int] = []
    width = (ks[-1] / ks[0]) ** 0.085
    for k in reversed(ks):
        if not kept or kept[-1] / k >= width:
            kept.append(k)
    return kept[::-1]


def _short(tokens: float) -> str:
    """Three significant places with k or M.

    >>> _short(107.1), _short(1071), _short(2_500_000)
    ('107', '1.1k', '2.5M')
    """
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if tokens >= size:
            return f"{tokens / size:.1f}{unit}" if tokens < 10 * size else f"{tokens / size:.0f}{unit}"
    return f"{tokens:.0f}"


def _percent(values: Sequence[float]) -> list[float]:
    return [100 * value for value in values]


def _for_page(text: str) -> str:
    """The bare svg element in the colours and the font of the page."""
    _, rest = text[text.index("<svg") :].split("</metadata>", 1)
    for color, variable in VARIABLES.items():
        rest = rest.replace(color, variable)
    width, height = (round(72 * inches, 1) for inches in SIZE_INCHES)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    rest = rest.replace("'DejaVu Sans'", "var(--font)")
    return f'<svg {names} viewBox="0 0 {width} {height}" role="img">{rest}'
