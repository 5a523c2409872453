"""Tables line up, the page stands alone, and what is shown is what the curves hold."""

from __future__ import annotations

import doctest
import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from vervet.errors import MissingExtra, Mistake
from vervet.report import figure, html, table
from vervet.scaling.curves import Curve

K = (1, 2, 5, 13)
FACTS = {
    "task": "words <hard>",
    "model": "embedded@1",
    "architecture": "generate(n=13) | vote()",
    "problems": 1009,
    "accuracy": 0.6123,
    "interval": [0.58, 0.64],
    "not_judged": 0,
    "bounds": None,
    "spent": {"fresh_samples": 13117, "completion_tokens": 1_404_000, "seconds": 61.25},
}


def curve(name: str, values: tuple[float, ...], unit: str = "share of problems", n_not_judged: int = 0) -> Curve:
    low, high = tuple(0.9 * v for v in values), tuple(min(1.0, 1.05 * v) if v <= 1 else 1.1 * v for v in values)
    known = (values[0] - 0.01, None, None, None), (values[0] + 0.02, None, None, None)
    return Curve(name, K, values, low, high, *known, values, values, 1009, 13, n_not_judged, unit)


CURVES = [
    curve("coverage", (0.3, 0.45, 0.7, 0.88)),
    curve("vote", (0.3, 0.3, 0.42, 0.5)),
    curve("best by mean logprob", (0.3, 0.36, 0.41, 0.5)),
    curve("tokens", (107.0, 214.0, 535.0, 1391.0), unit="tokens per problem"),
]


class Reader(HTMLParser):
    """Collects cells and whatever would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.fetched += [f"{tag} {value}" for name, value in attrs if name in ("src", "href") and value]
        self.fetched += [tag] if tag in ("script", "link", "iframe", "img") else []

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


@pytest.mark.parametrize("module", [table, figure, html])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_the_table_is_aligned_and_says_what_it_shows() -> None:
    text = table.curve_table(CURVES)
    grid = text.split("\n\n")[0].splitlines()
    assert len(grid) == 2 + len(K)
    for column in (line.index("]") for line in grid[2:]):
        assert column == grid[2].index("]")
    assert "30.0 [27.0, 31.5]   ±2.0" in grid[2]
    assert "1,009 problems x 13 draws" in text
    assert "new problems" in text
    assert "same problems" in text
    assert table.curve_table([]) == ""


def test_draws_that_were_not_judged_are_told() -> None:
    assert "7 draws were not judged" in table.curve_table([curve("vote", (0.1, 0.2, 0.3, 0.4), n_not_judged=7)])
    assert "not judged" not in table.curve_table(CURVES)


def test_facts_in_words() -> None:
    text = table.facts_table(FACTS)
    assert "accuracy      61.2 %" in text
    assert "13,117 fresh samples, 1,404,000 completion tokens, 61.2 seconds" in text
    assert "bounds" not in text


def test_the_page_stands_alone_and_shows_the_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = html.write_page(tmp_path / "report.html", html.Figures(FACTS, CURVES))
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.fetched == []
    assert not re.search(r"url\((?!#)|@import", text)
    assert "words &lt;hard&gt;" in text
    assert "<hard>" not in text
    assert "1,391 [1,252, 1,530]      -" in reader.cells
    assert "61.2 %" in text
    assert "58.0 to 64.0 %" in text
    assert "prefers-color-scheme: dark" in text
    assert html.page(html.Figures(FACTS, CURVES)) == text  # nothing in it depends on the time


def test_the_figure_names_its_lines_and_leaves_no_stand_in_colour() -> None:
    pytest.importorskip("matplotlib")
    text = figure.svg(CURVES)
    for label in ("coverage 88.0 %", "vote 50.0 %", "best by mean logprob 50.0 %", "1.4k tok"):
        assert label in text
    assert not any(color in text for color in figure.VARIABLES)
    assert "--series-3" in text
    assert "--series-4" not in text
    assert text.count("<svg") == 1


@pytest.mark.parametrize("values", [(0.0,) * 4, (1.0,) * 4])
def test_flat_curves_are_drawn_too(values: tuple[float, ...]) -> None:
    pytest.importorskip("matplotlib")
    assert "coverage" in figure.svg([curve("coverage", values)])


def test_labels_keep_their_distance_and_stay_inside() -> None:
    places = figure._spread([0.99, 1.0, 0.98, 0.2])
    assert max(places) <= 1.0
    ordered = sorted(places)
    assert all(b - a >= figure.LABEL_GAP - 1e-9 for a, b in itertools.pairwise(ordered))
    assert figure._spread([0.1, 0.9]) == [0.1, 0.9]


def test_nothing_to_draw_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="1 to 4"):
        figure.svg([CURVES[-1]])
    with pytest.raises(Mistake):
        html.page(html.Figures(FACTS, []))


def test_without_matplotlib_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"vervet\[report\]"):
        figure.svg(CURVES)


def test_the_report_is_light_to_import() -> None:
    code = "import sys, vervet.report.html; sys.exit('matplotlib' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
