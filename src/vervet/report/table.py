"""Plain-text tables for terminals. Returns strings; printing is the command line's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vervet.scaling.curves import Curve
from vervet.scaling.imperfect import Imperfect
from vervet.scaling.intervals import Estimate

MISSING = "-"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first column to the left, all others to the right.

    >>> print(text_table(["k", "coverage"], [["1", "50.0"], ["64", "9.5"]]))
    k   coverage
    --  --------
    1       50.0
    64       9.5
    """
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    table.insert(1, ["-" * width for width in widths])
    lines = [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def facts_table(facts: Mapping[str, object]) -> str:
    """One fact per line, nested facts indented under their name.

    >>> print(facts_table({"task": "words", "spent": {"calls": 1200}}))
    task   words
    spent  1,200 calls
    """
    cells = [(name.replace("_", " "), value_text(name, value)) for name, value in facts.items() if value is not None]
    width = max((len(name) for name, _ in cells), default=0)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in cells)


def value_text(name: str, value: object) -> str:
    """A fact in words: counts with thousands, shares in percent, mappings and sequences in one line.

    >>> value_text("accuracy", 0.6123), value_text("interval", [0.5, 0.75]), value_text("problems", 1000)
    ('61.2 %', '50.0 to 75.0 %', '1,000')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{value_text(k, v)} {str(k).replace('_', ' ')}" for k, v in value.items() if v is not None)
    if isinstance(value, list | tuple):
        if name in ("interval", "bounds") and len(value) == 2:
            return f"{100 * float(value[0]):.1f} to {100 * float(value[1]):.1f} %"
        return ", ".join(value_text(name, one) for one in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if name == "accuracy":
        return f"{100 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def curve_table(curves: Sequence[Curve], drawn: str = "") -> str:
    """The curves side by side, one row per k, followed by the words that say what the figures are.

    A cell is: value [95 % over new problems] ± half-width of the 95 % under new draws on the same problems (only
    where k is at most a quarter of the draws). Shares in percent. ``drawn``: how, where it was not one declared number
    (``notes``). No curve gives an empty string.
    """
    if not curves:
        return ""
    rows = [[f"{k:,}", *(cell(curve, i) for curve in curves)] for i, k in enumerate(curves[0].k)]
    return text_table(["k", *(heading(curve) for curve in curves)], rows) + "\n\n" + "\n".join(notes(curves, drawn))


def heading(curve: Curve) -> str:
    """Name and unit of a curve's column."""
    if curve.unit == "share of problems":
        return f"{curve.name}, %"
    return f"completion {curve.unit}" if curve.name == "tokens" else curve.unit


def cell(curve: Curve, i: int) -> str:
    """Value and intervals of a curve at its i-th k, in one line."""
    scale, digits = (100, 1) if curve.unit == "share of problems" else (1, 0)
    value, low, high = (f"{scale * ends[i]:,.{digits}f}" for ends in (curve.value, curve.low, curve.high))
    return f"{value} [{low}, {high}] {draws_text(curve, i, scale, digits).rjust(6)}"


def draws_text(curve: Curve, i: int, scale: float, digits: int) -> str:
    """Half-width of the interval under new draws on the same problems, or a dash where there is none."""
    low, high = curve.draws_low[i], curve.draws_high[i]
    if low is None or high is None:
        return MISSING
    half = scale * max(high - curve.value[i], curve.value[i] - low)
    return f"±{half:,.{digits if half >= 10 else 1}f}"


def notes(curves: Sequence[Curve], drawn: str = "") -> list[str]:
    """The unit of analysis and both intervals in words; a line more where draws were not judged.

    ``drawn``: how, where it was not one declared number: "drawn until 1 right".
    """
    one = curves[0]
    how = f", {drawn}" if drawn else f" x {counted(one.n_draws, 'draw')} each, at k over all subsets of k draws"
    lines = [
        f"Means over {counted(one.n_problems, 'problem')}{how}.",
        "[ ] 95 % interval over new problems (bootstrap over problems, shared by all columns; never narrower than the exact",
        "    binomial floor for so many problems).",
        "±   95 % under new draws on the same problems (jackknife within problems; needs n of at least 4 k).",
    ]
    if one.n_not_judged:
        lines.append(
            f"{one.n_not_judged:,} draws were not judged: incorrect in the value; the intervals cover both ways."
        )
    return lines


def counted(n: int, what: str) -> str:
    """A number of things in words.

    >>> counted(1, "draw"), counted(1200, "draw")
    ('1 draw', '1,200 draws')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def short(value: float) -> str:
    """Three significant digits.

    >>> short(0.00123), short(1234.5), short(3.2e12)
    ('0.00123', '1,234', '3.2e+12')
    """
    if value >= 1e7 or 0 < value < 1e-4:
        return f"{value:.3g}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def verifier_lines(verifiers: Mapping[str, Imperfect]) -> list[str]:
    """How far each verifier agrees with the grader, in one line each; rates with their 95 % intervals, in percent."""
    lines = []
    for name, found in verifiers.items():
        rates = {
            "precision": found.precision, "recall": found.recall, "false positives": found.false_positive_rate,
            "ceiling": found.ceiling,
        }  # fmt: skip
        cells = [f"{word} {_percent(rate)}" for word, rate in rates.items()]
        without = f"  ({found.n_not_judged:,} draws not judged)" if found.n_not_judged else ""
        lines.append(f"verifier {name}: {', '.join(cells)}{without}")
    return lines


def _percent(rate: Estimate | None) -> str:
    return "-" if rate is None else f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
