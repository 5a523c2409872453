"""Tables line up, the page stands alone, and what is shown is what the curves hold."""

from __future__ import annotations

import csv
import doctest
import itertools
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vervet.errors import MissingExtra, Mistake
from vervet.report import (
    figure,
    figure_canvas,
    figure_headline,
    figure_labels,
    figure_panels,
    files,
    html,
    parts,
    table,
)
from vervet.report.figures import Figures, FittedLaw, Point, Told
from vervet.scaling.cost import Cost
from vervet.scaling.curves import Curve
from vervet.scaling.forecast import Forecast
from vervet.scaling.intervals import Estimate
from vervet.scaling.law import Law

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


LAWS = [
    FittedLaw(
        Law("loglog", {"a": 1.2, "b": -0.31}, lambda ks: np.exp(-1.2 * np.asarray(ks, dtype=float) ** -0.31), 0.021),
        {"b": Estimate(-0.31, -0.4, -0.2)},
    ),
    FittedLaw(Law("beta", {"alpha": 0.41, "beta": 1.7}, lambda ks: 1 - 0.7 / np.sqrt(ks), 0.004, 1.625)),
    FittedLaw(Law("nls", {}, lambda ks: np.full(len(ks), np.nan), undefined="all <solved>")),
]
TOLD = [
    Told(Forecast("loglog", "same problems", 13, 130, 0.94, 0.91, 0.97), 0.95),
    Told(Forecast("loglog", "same problems", 13, 1300, 0.97, 0.95, 0.99), 0.90),
    Told(Forecast("loglog", "new problems", 13, 130, 0.93, 0.85, 0.98)),
]
POINTS = [Point("generate(n=3) | <best>", 0.007, Estimate(0.52, 0.47, 0.57))]
FULL = Figures(
    FACTS, CURVES, laws=LAWS, verdict="No law <fits>.", forecasts=TOLD, axis=Cost("usd", 0.0011, 0.0017), points=POINTS,
    rates=[0.0, 0.0, 0.5, 1.0, 0.08], notes=["One run was refused & left out."],
)  # fmt: skip
PLAIN = Figures(FACTS, CURVES)


class Reader(HTMLParser):
    """Collects cells and whatever would be fetched; says whether every element was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [f"{tag} {value}" for name, value in attrs if name in ("src", "href") and value]
        self.fetched += [tag] if tag in ("link", "iframe", "img") else []
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def curves_in(svg: str) -> list[str]:
    """The names of the curves that a picture holds."""
    return re.findall(r'data-curve="([^"]*)"', svg)


def ids_twice(page: str) -> set[str]:
    """Ids that a page gives to two elements."""
    found = re.findall(r' id="([^"]*)"', page)
    return {one for one in found if found.count(one) > 1}


@pytest.mark.parametrize(
    "module", [table, figure, figure_canvas, figure_headline, figure_labels, figure_panels, files, html, parts]
)
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


@pytest.mark.parametrize("figures", [PLAIN, FULL], ids=["plain", "full"])
def test_the_page_stands_alone_and_shows_the_figures(figures: Figures, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = html.write_page(tmp_path / "report.html", figures)
    text = path.read_text(encoding="utf-8")
    reader = Reader(text)
    assert reader.open == []
    assert reader.fetched == []
    assert not re.search(r"url\((?!#)|@import", text)
    assert "words &lt;hard&gt;" in text
    for raw in ("<hard>", "<best>", "<fits>", "<solved>"):
        assert raw not in text
    assert "1,391 [1,252, 1,530]      -" in reader.cells
    assert "61.2 %" in text
    assert "58.0 to 64.0 %" in text
    assert "prefers-color-scheme: dark" in text
    assert html.page(figures) == text  # nothing in it depends on the time
    assert not ids_twice(text)


def test_everything_that_is_known_is_told_with_its_interval() -> None:
    pytest.importorskip("matplotlib")
    cells = Reader(html.page(FULL)).cells
    for told in (
        "94.0 [91.0, 97.0]  90 %", "95.0", "○ in the interval", "97.0 [95.0, 99.0]  90 %", "90.0", "✗ outside",
        "93.0 [85.0, 98.0]  90 %", "not drawn yet",
        "a = 1.2, b = -0.31 [-0.4, -0.2]", "2.10", "1.6250", "not defined: all <solved>",
        "$0.007", "52.0 [47.0, 57.0]",
    ):  # fmt: skip
        assert told in cells
    text = html.page(FULL)
    assert "No law &lt;fits&gt;." in text
    assert "2 of 5 never solved" in text
    assert "One run was refused &amp; left out." in text


def test_the_figure_names_its_lines_and_leaves_no_stand_in_colour() -> None:
    pytest.importorskip("matplotlib")
    text = figure.svg(PLAIN)
    for label in ("coverage", "88.0 % [79.2, 92.4]", "vote", "50.0 % [45.0, 52.5]", "best by mean logprob", "1.4k tok"):
        assert f">{label}<" in text
    assert ">selection gap<" in text
    assert ">38 points<" in text
    stand_ins = figure_canvas.STAND_INS
    assert not any(color in text for color in (stand_ins.ink, stand_ins.muted, stand_ins.grid, *stand_ins.series))
    assert "--series-3" in text
    assert "--series-4" not in text
    assert text.count("<svg") == 1
    assert set(curves_in(text)) == {"coverage", "vote", "best by mean logprob"}


@pytest.mark.parametrize("narrow", [False, True])
def test_the_headline_shows_cost_forecast_truth_and_other_runs(narrow: bool) -> None:
    pytest.importorskip("matplotlib")
    text = figure.svg(FULL, narrow)
    assert {"coverage", "vote", "forecast", "truth", "run"} <= set(curves_in(text))
    assert ">in<" in text
    assert ">out<" in text
    assert ">at k = 1,300<" in text
    assert ">A<" in text
    assert ">$2.2<" in text  # of 1,300 draws
    assert ">1,300<" in text


def test_the_forecast_of_one_law_and_target_is_drawn() -> None:
    lines = figure_headline.lines_of_forecasts(FULL)
    assert [[told.forecast.k for told in line] for line in lines] == [[130, 1300]]
    assert figure_headline.lines_of_forecasts(PLAIN) == []


def test_many_curves_are_drawn_and_the_less_important_are_grey() -> None:
    pytest.importorskip("matplotlib")
    many = [*CURVES[:2], *(curve(f"rule {i}", (0.3, 0.31, 0.32, 0.33 + i / 100)) for i in range(7))]
    text = figure.svg(Figures({}, many))
    assert set(curves_in(text)) == {"coverage", "vote", *(f"rule {i}" for i in range(7))}
    assert all(f">rule {i}<" in text for i in range(7))
    assert text.count(" %[") + text.count(" % [") == figure_headline.COLORED


FLAT = [(0.0,) * 4, (1.0,) * 4]


@pytest.mark.parametrize("values", FLAT)
def test_flat_curves_are_drawn_too(values: tuple[float, ...]) -> None:
    pytest.importorskip("matplotlib")
    flat = Figures({}, [curve("coverage", values), curve("vote", values)], laws=LAWS, rates=values)
    text = html.page(flat)
    assert "coverage" in text
    assert ">selection gap<" not in text


@pytest.mark.parametrize("axis", [None, Cost("samples", 0, 1), Cost("usd", 0, 0), Cost("eFLOPs", 1e15, 3e14)])
def test_one_k_and_one_problem(axis: Cost | None) -> None:
    pytest.importorskip("matplotlib")
    none = (None,)
    one = Curve("coverage", (1,), (1.0,), (0.0,), (1.0,), none, none, (1.0,), (1.0,), 1, 1)
    told = [Told(Forecast("loglog", "same problems", 1, 10, 1.0, 0.5, 1.0))]
    for forecasts in ([], told):
        figures = Figures({}, [one], axis=axis, laws=LAWS, forecasts=forecasts, rates=[1.0])
        text = html.page(figures)
        assert "100.0 % [0.0, 100.0]" in text
        assert Reader(text).open == []
    assert ("·10¹⁵" in text) == (axis is not None and axis.unit == "eFLOPs")


def test_several_sets_of_draws_come_in_one_picture_first(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    every = [
        Figures({"task": "words", "model": f"model <{i}>"}, [curve("coverage", (0.1, 0.2, 0.3, 0.1 * i))])
        for i in range(1, 8)
    ]
    text = html.page(*every)
    assert "<h1>words · 7 models</h1>" in text
    assert text.count("<details>") == 7
    assert "<details>" not in html.page(*every[:3])
    assert "coverage 50.0 [45.0, 52.5] % at k = 13" in text
    assert Reader(text).open == []
    assert not ids_twice(text)
    first = text[: text.index("<details>")]
    assert curves_in(first) == [f"model &lt;{i}&gt;" for i in (7, 6, 5, 4, 3, 2, 1)] * 2
    assert figure.names([every[0], every[0]]) == ["words · model <1> (1)", "words · model <1> (2)"]


def test_long_names_of_many_sets_are_letters_with_a_key(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    every = [Figures({"model": f"a model with a long name, {i}"}, CURVES) for i in range(2)]
    text = html.page(*every)
    assert ">B  88.0 % [79.2, 92.4]<" in text
    assert "<li><b>B</b>a model with a long name, 1</li>" in text
    height = struct.unpack(">I", files.write_png(tmp_path / "sets.png", every).read_bytes()[20:24])[0]
    assert height == round(200 * (5.2 + 2 * figure_headline.KEY_INCHES))


def test_coverage_near_the_top_keeps_its_label_inside() -> None:
    pytest.importorskip("matplotlib")
    told = [Told(Forecast("loglog", "same problems", 13, 130, 0.999, 0.99, 1.0))]
    high = [curve("coverage", (0.9, 0.95, 0.97, 0.985)), curve("vote", (0.9, 0.93, 0.95, 0.96))]
    for narrow in (False, True):
        text = figure.svg(Figures({}, high, forecasts=told), narrow)
        tops = [float(y) for y in re.findall(r'translate\([\d.]+ ([\d.]+)\)" *>coverage<', text)]
        tops += [float(y) for y in re.findall(r' y="([\d.]+)"[^>]*>coverage<', text)]
        assert len(tops) == 1
        assert tops[0] > 8


def test_the_frontier_holds_what_nothing_cheaper_beats() -> None:
    found = {(one.name, one.k) for one in figure_panels.offers(FULL) if one.best}
    assert ("one draw", 1) in found
    assert ("generate(n=3) | <best>", None) in found
    assert not any(one.name == "coverage" for one in figure_panels.offers(FULL))
    assert ("vote", 13) not in found  # 50 % at $0.023, and the run has 52 % for less
    best = [one.accuracy.value for one in figure_panels.offers(FULL) if one.best]
    assert best == sorted(set(best))


@pytest.mark.parametrize(
    ("rates", "never", "counts"),
    [([0.0], 1, (0,)), ([1.0], 0, (1,)), ([0.5, 0.25, 0.26, 0.51, 1e-4], 0, (1, 2, 1, *[0] * 10, 1))],
)
def test_problems_lie_in_bins_by_halves(rates: list[float], never: int, counts: tuple[int, ...]) -> None:
    found = figure_panels.histogram_of(rates)
    assert (found.never, found.counts) == (never, counts)
    assert found.n_problems == len(rates)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(1, 9)), min_size=1, max_size=10),
)
def test_labels_keep_their_distance_and_stay_inside(labels: list[tuple[float, float]]) -> None:
    ends, heights = [end for end, _ in labels], [height for _, height in labels]
    places = figure_labels.spread(ends, heights, 0, 100)
    order = sorted(range(len(labels)), key=lambda i: places[i])
    for below, above in itertools.pairwise(order):
        assert places[above] - places[below] >= (heights[below] + heights[above]) / 2 - 1e-6
        assert ends[below] <= ends[above]
    assert places[order[0]] - heights[order[0]] / 2 >= -1e-6
    assert places[order[-1]] + heights[order[-1]] / 2 <= 100 + 1e-6


def test_labels_that_have_room_stay_where_they_are() -> None:
    assert figure_labels.spread([10, 90], [5, 5], 0, 100) == [10, 90]


def test_hostile_names_are_drawn_as_text() -> None:
    pytest.importorskip("matplotlib")
    name = "a$b_{</text><script>alert(1)</script>}\n漢字 \u202eevil"
    figures = Figures({"task": name}, [curve("coverage", (0.1, 0.2, 0.3, 0.4)), curve(name, (0.1, 0.2, 0.2, 0.2))], points=[
        Point(name, 3.0, Estimate(0.2, 0.1, 0.3))])  # fmt: skip
    text = html.page(figures)
    assert "<script>" not in text
    assert Reader(text).open == []


def test_nothing_to_draw_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="shares of problems"):
        figure.svg(Figures({}, [CURVES[-1]]))
    with pytest.raises(Mistake):
        html.page(Figures(FACTS, []))


def test_csv_is_tidy(tmp_path: Path) -> None:
    path = files.write_csv(tmp_path / "curves.csv", [FULL, PLAIN])
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 2 * len(CURVES) * len(K)
    assert tuple(found[0]) == files.COLUMNS
    first, bare = found[0], found[len(found) // 2]
    assert (first["name"], first["k"], float(first["value"]), float(first["low"])) == ("coverage", "1", 0.3, 0.27)
    assert (float(first["cost"]), first["cost_unit"]) == (pytest.approx(0.0028), "usd")
    assert (bare["cost"], bare["cost_unit"], bare["source"]) == ("", "", first["source"])
    assert found[1]["draws_low"] == ""
    assert {row["unit"] for row in found if row["name"] == "tokens"} == {"tokens per problem"}


def test_parquet_holds_what_csv_holds(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    found = parquet.read_table(files.write_parquet(tmp_path / "curves.parquet", [FULL])).to_pylist()
    assert found == list(files.rows([FULL]))


def test_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for figures in ([FULL], [FULL, PLAIN]):
        data = files.write_png(tmp_path / "curves.png", figures).read_bytes()
        assert data.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", data[16:24])
        assert width == 1800
        assert height >= 900


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("matplotlib", lambda path: figure.svg(PLAIN)),
        ("matplotlib", lambda path: files.write_png(path, [PLAIN])),
        ("pyarrow", lambda path: files.write_parquet(path, [PLAIN])),
    ],
)
def test_without_an_extra_the_command_that_installs_it_is_named(
    package: str, call: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{package} is not installed.*vervet\["):
        call(tmp_path / "file")


def test_the_report_is_light_to_import() -> None:
    code = "import sys, vervet.report.html; sys.exit('matplotlib' in sys.modules or 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
