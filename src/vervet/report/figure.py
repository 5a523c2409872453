"""The pictures as text and bytes: SVG that follows the colours of its page, PNG for everywhere else.

With the files ``figure_*.py`` beside it this is the only door to plotting.
"""

from __future__ import annotations

from collections.abc import Sequence

from vervet.report.figure_headline import headline
from vervet.report.figure_panels import overview
from vervet.report.figures import Figures


def svg(figures: Figures, narrow: bool = False) -> str:
    """The headline as an ``<svg>`` element without size, for a page that sets --paper, --ink, --muted, --grid, --series-1 ...

    Raises Mistake where no curve is a share of problems; MissingExtra without matplotlib.
    """
    return headline(figures, narrow=narrow).svg()


def png(figures: Sequence[Figures]) -> bytes:
    """The headline of one set of draws, or the coverage of several, in light colours. Raises as ``svg`` does."""
    if len(figures) == 1:
        return headline(figures[0], key=True).png()
    return overview(figures, names(figures), key=True).png()


def names(every: Sequence[Figures]) -> list[str]:
    """What tells sets of draws apart: those of task, model and architecture in which they differ, else the run's id.

    >>> names([Figures({"task": "words", "model": m}, []) for m in ("small", "large")])
    ['small', 'large']
    """
    keys = [key for key in ("task", "model", "architecture") if len({str(one.facts.get(key)) for one in every}) > 1]
    found = [" · ".join(str(one.facts[key]) for key in keys if key in one.facts) or one.title for one in every]
    twice = {name for name in found if found.count(name) > 1}
    return [
        f"{name} ({str(one.facts.get('run', i))[:8]})" if name in twice else name
        for i, (name, one) in enumerate(zip(found, every, strict=True), 1)
    ]
