"""What every picture stands on: colours, sizes, the way to SVG and PNG, numbers, ticks on a log axis.

For a page, colours are drawn as stand-ins and replaced by CSS variables, so that one picture serves light and dark; for
a file they are the light ones. Everything is measured in points (1/72 inch).
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import IO, TYPE_CHECKING, Any

from vervet.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MARKERS = "os^Dvph"


@dataclass(frozen=True)
class Palette:
    """The colours of a picture. ``series``: after Okabe and Ito, made dark enough for text."""

    paper: str
    ink: str
    muted: str
    grid: str
    series: tuple[str, ...]


LIGHT = Palette(
    "#ffffff", "#1c2024", "#60676e", "#dfe3e6",
    ("#0072b2", "#c24e00", "#00805c", "#a3477f", "#8a6500", "#4a56c9", "#50575e"),
)  # fmt: skip
DARK = Palette(
    "#15181b", "#e9ecee", "#9aa3ab", "#31373c",
    ("#56b4e9", "#ff9a57", "#3fcf9f", "#e29ac6", "#e0b84c", "#a3aeff", "#b9c1c8"),
)  # fmt: skip
STAND_INS = Palette("#010101", "#020202", "#030303", "#040404", tuple(f"#0a0a{i:02x}" for i in range(1, 8)))


def variables(palette: Palette) -> str:
    """The colours as CSS declarations.

    >>> variables(LIGHT)[:33]
    '--paper: #ffffff; --ink: #1c2024;'
    """
    named = {"paper": palette.paper, "ink": palette.ink, "muted": palette.muted, "grid": palette.grid}
    named |= {f"series-{i}": color for i, color in enumerate(palette.series, 1)}
    return " ".join(f"--{name}: {color};" for name, color in named.items())


@dataclass(frozen=True)
class Picture:
    """A drawing that waits for its colours. ``name``: unlike any other on its page. ``said``: its words for a listener."""

    name: str
    said: str
    size: tuple[float, float]  # inches
    draw: Callable[[Figure, Palette], None]

    def svg(self) -> str:
        """A bare ``<svg>`` element without size, in the colours and the font of the page it is put into."""
        text = io.StringIO()
        _made(self, STAND_INS, text, "svg", metadata={"Date": None, "Creator": None})
        return _for_page(self, text.getvalue())

    def png(self) -> bytes:
        """The picture in light colours on white, 200 dots per inch."""
        data = io.BytesIO()
        _made(self, LIGHT, data, "png", dpi=200, facecolor=LIGHT.paper, metadata={"Software": None})
        return data.getvalue()


def _made(picture: Picture, palette: Palette, target: IO[Any], kind: str, **options: Any) -> None:
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "report") from None
    with matplotlib.rc_context(_style(picture.name, palette)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a page has the reader's fonts
        made = Figure(figsize=picture.size, dpi=72)
        FigureCanvasAgg(made)  # measures text
        picture.draw(made, palette)
        made.savefig(target, format=kind, **({"transparent": True} | options if kind == "svg" else options))


def _style(name: str, palette: Palette) -> Any:  # matplotlib types the keys one by one
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": f"vervet {name}",
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "text.color": palette.ink,
        "axes.labelcolor": palette.muted,
        "axes.edgecolor": palette.grid,
        "axes.linewidth": 0.8,
        "xtick.color": palette.muted,
        "ytick.color": palette.muted,
        "text.parse_math": False,
        "hatch.linewidth": 0.6,
    }


def _for_page(picture: Picture, text: str) -> str:
    """The bare svg element in the colours and the font of the page; of the ids only those that are referred to stay."""
    _, rest = text[text.index("<svg") :].split("</metadata>", 1)
    rest = re.sub(r'<g id="curve:([^"]*)">', r'<g data-curve="\1">', rest)
    needed = set(re.findall(r'(?:url\(|href=")#([^")]+)', rest))
    rest = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in needed else "", rest)
    for name in ("paper", "ink", "muted", "grid"):
        rest = rest.replace(getattr(STAND_INS, name), f"var(--{name})")
    for i, color in enumerate(STAND_INS.series, 1):
        rest = rest.replace(color, f"var(--series-{i})")
    rest = rest.replace("'DejaVu Sans'", "var(--font)")
    width, height = (round(72 * inches, 1) for inches in picture.size)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} viewBox="0 0 {width} {height}" role="img" aria-label="{escape(picture.said)}">{rest}'


# --- numbers ---------------------------------------------------------------------------------------------


def short(number: float) -> str:
    """Two to three significant places with k or M; powers of ten where it is very large or very small.

    >>> short(107.1), short(1071), short(2_500_000), short(0.0123), short(3.2e15), short(0.00002)
    ('107', '1.1k', '2.5M', '0.012', '3.2·10¹⁵', '2·10⁻⁵')
    """
    if number == 0:
        return "0"
    if abs(number) >= 1e9 or abs(number) < 1e-4:
        return _power(number)
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= size:
            return (
                f"{number / size:.1f}".removesuffix(".0") + unit if number < 10 * size else f"{number / size:.0f}{unit}"
            )
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def cost_text(unit: str, cost: float) -> str:
    """A cost as an axis shows it.

    >>> cost_text("usd", 0.0031), cost_text("tokens", 1510), cost_text("FLOPs", 8.85e8)
    ('$0.0031', '1.5k', '8.8·10⁸')
    """
    if unit.endswith("FLOPs"):
        return _power(cost)
    return f"${short(cost)}" if unit == "usd" else short(cost)


def _power(number: float) -> str:
    power = floor(log10(abs(number)))
    return f"{number / 10.0**power:.2g}·10{str(power).translate(SUPERSCRIPT)}"


def percent(values: Iterable[float]) -> list[float]:
    """Shares as points."""
    return [100 * value for value in values]


def one_line(text: str, most: int = 44) -> str:
    """A name fit for a label: white space is one space, what is too long ends in an ellipsis."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


# --- axes ------------------------------------------------------------------------------------------------


def bare(axes: Axes, palette: Palette) -> None:
    """Only what carries meaning: horizontal grid lines and the line below."""
    axes.grid(axis="y", color=palette.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=5)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def shares_axis(axes: Axes, bottom: float, top: float) -> None:
    """The y axis in percent, from ``bottom`` to ``top``."""
    axes.set_ylim(bottom, top)
    step = 20 if top - bottom > 60 else 10 if top - bottom > 25 else 5
    ticks = [y for y in range(0, 101, step) if bottom <= y <= top]
    axes.set_yticks(ticks, [f"{y} %" if y == ticks[-1] else f"{y}" for y in ticks])


def share_limits(lows: Iterable[float], highs: Iterable[float], least: float = 20) -> tuple[float, float]:
    """The axis in percent: whole tens around all shares that are drawn, at least ``least`` points.

    >>> share_limits([0.31], [0.44])
    (30.0, 50.0)
    """
    lowest, highest = 100 * min(lows), 100 * max(highs)
    bottom, top = 10 * (lowest // 10), min(100.0, 10 * -(-highest // 10))
    return max(0.0, min(bottom, top - least)), max(top, float(least))


def marked(wanted: Sequence[float], texts: Sequence[str], low: float, high: float, width: float) -> list[int]:
    """Which of the marks on a log axis from ``low`` to ``high``, ``width`` points wide, do not run into each other.

    ``wanted`` in order of importance: the first one always has its mark.

    >>> marked([64, 1, 50, 10], ["64", "1", "50", "10"], 1, 64, 200)
    [0, 1, 3]
    """
    kept: list[tuple[float, float]] = []
    chosen = []
    span = log10(high / low)
    for i, (at, text) in enumerate(zip(wanted, texts, strict=True)):
        half = 3.4 * max(map(len, text.split("\n"))) + 3
        x = width * log10(at / low) / span
        if all(abs(x - other) >= half + reach for other, reach in kept):
            kept.append((x, half))
            chosen.append(i)
    return chosen
