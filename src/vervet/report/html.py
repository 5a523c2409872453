"""One self-contained page, readable without a network: what was run, the figures, the tables, problems and samples.

Every picture follows the colours of the page, light or dark; the headline is drawn twice, for a screen and for a telephone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from vervet.pool.parts import replacing
from vervet.report import browser, parts
from vervet.report.figure import names
from vervet.report.figure_canvas import DARK, LIGHT, Picture, variables
from vervet.report.figure_headline import best_selector, headline, lines_of_forecasts, shares
from vervet.report.figure_panels import by_importance, frontier, laws, offers, overview, rates
from vervet.report.figures import Figures
from vervet.report.lines import resampling_lines
from vervet.report.table import cell, counted, heading, notes, value_text, verifier_lines
from vervet.scaling.curves import Curve

OPEN_SECTIONS = 3  # sets of draws; the sections of more are folded
FONT = 'system-ui, -apple-system, "Segoe UI", "Helvetica Neue", sans-serif'
STYLE = (
    f"""
:root {{ {variables(LIGHT)}
  --font: {FONT}; }}
@media (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} }} }}
"""
    + """body { background: var(--paper); color: var(--ink); font: 16px/1.5 var(--font); margin: 0 auto; max-width: 60rem;
  padding: 2.5rem 1.25rem 4rem; overflow-wrap: anywhere; -webkit-text-size-adjust: 100%; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .35rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; margin: 2.6rem 0 .2rem; } h3 { font-size: 1.1rem; margin: 2.2rem 0 .2rem; }
p { margin: .2rem 0; } .muted, footer, figcaption { color: var(--muted); }
code { font: .92em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.headline { font-size: 1.15rem; margin-top: .9rem; }
.headline b { font-size: 1.6rem; font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; }
figure { margin: .9rem 0 0; } figcaption { font-size: .88rem; margin-top: .5rem; max-width: 46rem; }
.narrow { display: none; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1.2rem 2rem; }
.key { list-style: none; padding: 0; margin: .5rem 0 0; font-size: .88rem; }
.key b { display: inline-block; min-width: 1.4rem; }
.panels > * { min-width: 0; } .verdict { margin-top: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums;
  margin-top: .8rem; width: 100%; }
th, td { padding: .32rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
.panels td:first-child { white-space: normal; } .panels th, .panels td { padding: .32rem .35rem; }
.panels th:first-child, .panels td:first-child { padding-left: 0; }
.facts td, .words { white-space: normal; text-align: left; } .words { min-width: 14rem; }
.facts td:first-child { color: var(--muted); white-space: nowrap; width: 1%; overflow-wrap: normal; }
details > summary { cursor: pointer; font-size: 1.05rem; font-weight: 600; padding: .6rem 0; border-top: 1px solid var(--grid); }
summary .muted { font-weight: 400; font-size: .9rem; margin-left: .5rem; } figure + details, .key + details { margin-top: 2rem; }
.in { color: var(--series-1); } .out { color: var(--series-2); }
footer { margin-top: 2.5rem; font-size: .85rem; }
@media (max-width: 640px) { body { padding: 1.4rem 1rem 3rem; } .wide { display: none; } .narrow { display: block; } }
"""
    + browser.STYLE
)


def write_page(path: str | os.PathLike[str], *figures: Figures) -> Path:
    """Write the page to ``path`` (UTF-8), whole or not at all, and return the path. See ``page``.

    Raises Mistake where the file cannot be written.
    """
    text = page(*figures)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", errors="replace")
    return Path(path)


def page(*figures: Figures) -> str:
    """One page with a section for each set of draws, as HTML; that of more than three are folded.

    Raises MissingExtra without matplotlib, Mistake where there is nothing to draw.
    """
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    several = len(figures) > 1
    name = title(figures)
    body = _several(figures) if several else _section(figures[0], "", len(figures))
    script = f"<script>{browser.SCRIPT}</script>" if any(one.problems for one in figures) else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}<meta name="color-scheme" content="light dark">'
        f"<title>{escape(name)}</title><style>{STYLE}</style></head>\n<body>\n<h1>{escape(name)}</h1>\n{body}\n"
        f"<footer>Written by Vervet.</footer>\n{script}</body>\n</html>\n"
    )


def title(figures: Sequence[Figures]) -> str:
    """What the page is called: its one set of draws, or what they share and how many there are.

    >>> title([Figures({"task": "words", "model": m}, []) for m in ("small", "large")])
    'words · 2 models'
    """
    if len(figures) == 1:
        return figures[0].title
    of = {key: {str(one.facts.get(key)) for one in figures} for key in ("task", "model")}
    shared = [str(figures[0].facts[key]) for key, found in of.items() if len(found) == 1 and key in figures[0].facts]
    noun = "models" if len(of["model"]) == len(figures) else "tasks" if len(of["task"]) == len(figures) else "runs"
    return " · ".join([*shared, f"{len(figures)} {noun}"])


def _several(figures: Sequence[Figures]) -> str:
    """All of them in one picture, then one section each."""
    every = names(figures)
    caption = "Coverage: at least one of k draws is right. Bands and brackets: 95 % interval over new problems."
    wide, narrow = overview(figures, every), overview(figures, every, "overview narrow", narrow=True)
    parts_ = [_twice(wide, narrow, caption), parts.sets_key(every)]
    for i, (one, name) in enumerate(zip(figures, every, strict=True), 1):
        section = _section(one, f" {i}", len(figures))
        if len(figures) <= OPEN_SECTIONS:
            parts_.append(f"<section><h2>{escape(name)}</h2>\n{section}</section>")
        else:
            end = shares(one)[0]
            figure = f"{end.name} {cell(end, len(end.k) - 1).split(']')[0]}] % at k = {end.k[-1]:,}"
            line = f'{escape(name)} <span class="muted">{escape(figure)}</span>'
            parts_.append(f"<details><summary>{line}</summary>\n{section}</details>")
    return "\n".join(parts_)


def _section(figures: Figures, mark: str, n_sections: int) -> str:
    """What is said of one set of draws. ``mark``: tells its pictures from those of other sections."""
    facts, curves = figures.facts, figures.curves
    wide, narrow = headline(figures, f"headline{mark}"), headline(figures, f"headline{mark} narrow", narrow=True)
    found = [
        _what(facts),
        _headline(facts),
        "<h3>What more draws bring</h3>",
        _twice(wide, narrow, subtitle(figures)),
        parts.runs_key(figures),
        parts.forecast_rows(figures),
        *_panels(figures, mark),
        "<h3>Problems and samples</h3>" if figures.problems else "",
        browser.browser(figures.problems, browser.MOST_BYTES // n_sections),
        "<h3>The figures</h3>",
        curve_rows(curves),
        *(f'<p class="muted">{escape(line)}</p>' for line in notes(curves, str(facts.get("drawn", "")))),
        "<h3>Verifiers against the grader</h3>" if figures.verifiers else "",
        *(f"<p>{escape(line)}</p>" for line in verifier_lines(figures.verifiers)),
        *(f"<p>{escape(line)}</p>" for line in resampling_lines(figures.resampling)),
        "<h3>Notes</h3>" if figures.notes else "",
        *(f"<p>{escape(line)}</p>" for line in figures.notes),
        "<h3>The run</h3>" if facts else "",
        _fact_rows(facts),
    ]
    return "\n".join(part for part in found if part)


def _panels(figures: Figures, mark: str) -> Iterator[str]:
    """How hard the problems are, what law they follow, what is cheapest: the pictures, then their tables."""
    pictures = []
    if figures.rates:
        text = "Problems by their share of right draws. One that never was solved may still be, with more draws."
        pictures.append(_picture(rates(figures, f"rates{mark}"), text))
    if by_importance(figures.laws):
        text = "Circles: measured, with 95 % intervals over new problems. A power law is a straight line in the upper part."
        pictures.append(_picture(laws(figures, f"laws{mark}"), text))
    if pictures:
        yield "<h3>How hard the problems are, and which law they follow</h3>"
        yield f'<div class="panels">{"".join(pictures)}</div>'
    if figures.verdict:
        yield f'<p class="verdict">{escape(figures.verdict)}</p>'
    yield parts.law_rows(figures)
    if offers(figures):
        text = "Filled: nothing as cheap is as accurate. Circles: a selector at some k; diamonds: other runs."
        picture = _picture(frontier(figures, f"frontier{mark}"), text)
        yield "<h3>What is worth its price</h3>"
        yield f'<div class="panels">{picture}<div>{parts.frontier_rows(figures)}</div></div>'


def subtitle(figures: Figures) -> str:
    """What the headline shows, in words."""
    one = figures.curves[0]
    how = str(figures.facts.get("drawn", "")).rstrip(".") or f"from {counted(one.n_draws, 'draw')} each"
    sentences = [
        f"Share of {counted(one.n_problems, 'problem')} answered correctly, {how}.",
        "Coverage: at least one of k draws is right. Bands and brackets: 95 % interval over new problems.",
    ]
    if best := best_selector(shares(figures)):
        gap = 100 * (shares(figures)[0].value[-1] - best.value[-1])
        sentences.insert(1, "The other lines: the one answer that is chosen among k.")
        sentences.append(
            f"Hatched: what choosing better would bring at most, {gap:.1f} points with {best.k[-1]:,} draws."
        )
    if drawn := [told for line in lines_of_forecasts(figures) for told in line]:
        one_told = drawn[0].forecast
        sentences.append(f"Dashed: forecast of {one_told.target}, with its {100 * one_told.level:.0f} % interval.")
        if any(told.truth is not None for told in drawn):
            sentences.append("Circle: what later draws found lies in it; cross: outside.")
    if figures.points:
        sentences.append("Diamonds: other runs on the same problems.")
    return " ".join(sentences)


def _twice(wide: Picture, narrow: Picture, caption: str) -> str:
    return (
        f'<figure><div class="wide">{wide.svg()}</div><div class="narrow">{narrow.svg()}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _picture(picture: Picture, caption: str) -> str:
    return f"<figure>{picture.svg()}<figcaption>{escape(caption)}</figcaption></figure>"


def _what(facts: Mapping[str, object]) -> str:
    return f"<p><code>{escape(str(facts['architecture']))}</code></p>" if "architecture" in facts else ""


def _headline(facts: Mapping[str, object]) -> str:
    if facts.get("accuracy") is None:
        return ""
    text = f"<b>{value_text('accuracy', facts['accuracy'])}</b> of problems answered correctly"
    if facts.get("interval") is not None:
        interval = value_text("interval", facts["interval"])
        text += f' <span class="muted">(95 % interval over new problems: {interval})</span>'
    return f'<p class="headline">{text}</p>'


def curve_rows(curves: Sequence[Curve]) -> str:
    """The curves side by side, one row per k, as HTML."""
    rows = [(f"{k:,}", *(cell(curve, i) for curve in curves)) for i, k in enumerate(curves[0].k)]
    return parts.table(("k", *(heading(curve) for curve in curves)), rows)


def _fact_rows(facts: Mapping[str, object]) -> str:
    rows = [(key.replace("_", " "), value_text(key, value)) for key, value in facts.items() if value is not None]
    body = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>\n" for name, text in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>' if rows else ""
