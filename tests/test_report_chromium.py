"""The page in a real Chromium, at the width of a screen and of a telephone, light and dark: nothing fails, all is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.chromium import Chromium, chromium, found
from vervet.report.figures import Figures, FittedLaw, Point, ShownProblem, ShownSample, Told
from vervet.report.html import write_page
from vervet.scaling.cost import Cost
from vervet.scaling.curves import Curve
from vervet.scaling.forecast import Forecast
from vervet.scaling.intervals import Estimate
from vervet.scaling.law import Law

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.skipif(found() is None, reason="needs a Chromium: apt install chromium")

K = (1, 2, 5, 13)
LONG = "generate(n=13, temperature=0.7) | filter(by='a_verifier_with_a_rather_long_name') | vote()"
HOSTILE = "</script><script>throw new Error('broken out')</script><img src=x onerror=fail()> \u05e9\u05dc\u05d5\u05dd"


def curve(name: str, values: tuple[float, ...]) -> Curve:
    low, high = tuple(0.9 * v for v in values), tuple(min(1.0, 1.05 * v) for v in values)
    none = (None,) * len(K)
    return Curve(name, K, values, low, high, none, none, values, values, 1009, 13)


def problems() -> list[ShownProblem]:
    made = []
    for i in range(29):
        right = ShownSample(0, f"Right: {HOSTILE}", "6", "correct", 17)
        wrong = ShownSample(1, "word" * 200, "5", "incorrect", 1900)
        voted = "5" if i == 7 else "6"
        made.append(
            ShownProblem(
                f"words-{i:02d}", f"What is {i} + 3? {HOSTILE}", "6", 13, i % 14, voted, [right, wrong], voted == "6"
            )
        )
    return made


def law(ks: object) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.exp(-1.2 * np.asarray(ks, dtype=float) ** -0.31)


FIGURES = Figures(
    {"task": "words", "model": "a-model/with-a-long-name-7B-instruct", "architecture": LONG, "accuracy": 0.55,
     "interval": (0.5, 0.6), "run": "0123456789abcdef" * 4},
    [curve("coverage", (0.3, 0.45, 0.7, 0.88)), curve("vote", (0.3, 0.3, 0.42, 0.5)),
     *(curve(f"best by score {i}", (0.3, 0.31, 0.35, 0.4 + i / 100)) for i in range(5))],
    laws=[FittedLaw(Law("loglog", {"a": 1.2, "b": -0.31}, law, 0.02), {"b": Estimate(-0.31, -0.4, -0.2)})],
    verdict="A power law fits.",
    forecasts=[Told(Forecast("loglog", "same problems", 13, 130, 0.94, 0.91, 0.97), 0.95),
               Told(Forecast("loglog", "same problems", 13, 1300, 0.97, 0.95, 0.99), 0.90)],
    axis=Cost("usd", 0.0011, 0.0017),
    points=[Point(LONG, 0.007, Estimate(0.52, 0.47, 0.57))],
    rates=[i % 14 / 13 for i in range(29)],
    problems=problems(),
)  # fmt: skip
WIDTHS = (1280, 390, 320)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    models = [
        Figures({"model": f"Model {i}B"}, [curve("coverage", (0.1, 0.2, 0.3, i / 10))], axis=Cost("samples", 0, 1))
        for i in range(1, 8)
    ]
    return {
        "run": write_page(folder / "run.html", FIGURES),
        "models": write_page(folder / "models.html", *models),
        "two": write_page(folder / "two.html", FIGURES, FIGURES),
    }


def clean(tab: Chromium) -> bool:
    """No error, exception or warning so far, and nothing loaded but files."""
    assert tab.problems == []
    assert all(address.startswith("file:") for address in tab.asked_for)
    return True


@pytest.mark.parametrize("name", ["run", "models", "two"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_window_and_nothing_fails(
    tab: Chromium, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    tab.open(pages[name], width, dark=dark)
    tab.value("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    tab.value("document.querySelectorAll('.list tbody tr:first-child button').forEach(one => one.click())")
    assert tab.value("document.scrollingElement.scrollWidth") <= width
    assert tab.value("innerWidth") == width  # a telephone shows more than its width where a page is wider
    paper = tab.value("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(21, 24, 27)" if dark else "rgb(255, 255, 255)")
    assert clean(tab)


@pytest.mark.parametrize("width", WIDTHS)
def test_one_headline_is_in_sight_with_its_curves_and_their_names(
    tab: Chromium, pages: dict[str, Path], width: int
) -> None:
    tab.open(pages["run"], width)
    seen = "[...document.querySelectorAll('figure:first-of-type svg')].filter(one => one.checkVisibility())[0]"
    assert (
        tab.value("[...document.querySelectorAll('.wide, .narrow')].filter(one => one.checkVisibility()).length") == 1
    )
    drawn = tab.value(f"[...{seen}.querySelectorAll('[data-curve]')].filter(one => one.querySelector('path'))"
                      ".map(one => one.dataset.curve)")  # fmt: skip
    assert {"coverage", "vote", "best by score 4", "best by score 0", "forecast", "truth", "run"} <= set(drawn)
    words = tab.value(f"[...{seen}.querySelectorAll('text')].map(one => one.textContent)")
    assert {"coverage", "vote", "forecast", "selection gap", "in", "out", "A"} <= set(words)


@pytest.mark.parametrize("name", ["run", "models", "two"])
@pytest.mark.parametrize("width", WIDTHS[:2])
def test_the_words_in_the_figures_are_large_enough_and_inside(
    tab: Chromium, pages: dict[str, Path], width: int, name: str
) -> None:
    tab.open(pages[name], width)
    boxes = tab.value("[...document.querySelectorAll('figure text')].filter(one => one.checkVisibility())"
                      ".map(one => [one.getBoundingClientRect(), one.closest('svg').getBoundingClientRect(), one.textContent])"
                      ".map(([a, b, text]) => [a.height, a.left - b.left, b.right - a.right, a.top - b.top, text])")  # fmt: skip
    assert len(boxes) > 20
    assert min(boxes)[0] >= 9
    assert min(min(box[1:4]) for box in boxes) >= -2, [box for box in boxes if min(box[1:4]) < -2]


def visible(tab: Chromium) -> list[str]:
    """The problems in the list, from the top."""
    return list(tab.value("[...document.querySelectorAll('.list tbody tr:not(.opened)')].filter(one => !one.hidden)"
                          ".map(one => one.querySelector('button').textContent)"))  # fmt: skip


def test_problems_are_found_filtered_and_sorted(tab: Chromium, pages: dict[str, Path]) -> None:
    tab.open(pages["run"], 1280)
    assert len(visible(tab)) == 29
    choose = "(kind => { const one = document.querySelector('select'); one.value = kind; one.dispatchEvent(new Event('change')); })"
    tab.value(f"{choose}('missed')")
    assert visible(tab) == ["words-07"]
    tab.value(f"{choose}('never')")
    assert visible(tab) == ["words-00", "words-14", "words-28"]
    tab.value(f"{choose}('all')")
    tab.value("document.querySelector('input').focus()")
    tab.call("Input.insertText", text="is 21 +")
    assert visible(tab) == ["words-21"]
    assert tab.value("document.querySelector('[role=status]').textContent") == "1 of 29 problems"
    tab.open(pages["run"], 1280)
    tab.value("document.querySelectorAll('thead th button')[1].click()")
    assert visible(tab)[:4] == ["words-00", "words-14", "words-28", "words-01"]
    tab.value("document.querySelector('.list th[aria-sort=ascending] button').click()")
    assert visible(tab)[0] == "words-13"
    assert clean(tab)


def test_a_problem_opens_with_a_click_and_with_keys(tab: Chromium, pages: dict[str, Path]) -> None:
    tab.open(pages["run"], 390)
    tab.value("document.querySelectorAll('.list tbody td')[5].click()")
    text = tab.value("document.querySelector('.opened').textContent")
    for part in (HOSTILE, "✓ correct", "✗ incorrect", "1,900 tokens", "2 of 13 draws"):
        assert part in text
    assert tab.value("document.querySelectorAll('.opened script, .opened img').length") == 0
    tab.value("document.querySelector('.list tbody button').focus()")
    tab.press("ArrowDown")
    assert tab.value("document.activeElement.textContent") == "words-01"
    assert tab.value("document.activeElement.getAttribute('aria-expanded')") == "true"
    tab.press("Escape")
    assert tab.value("document.querySelector('.opened')") is None
    tab.press("Enter")
    assert tab.value("document.querySelectorAll('.opened').length") == 1
    assert clean(tab)


def test_without_javascript_the_problems_are_a_table(tab: Chromium, pages: dict[str, Path]) -> None:
    tab.open(pages["run"], 390, scripts=False)
    document = tab.call("DOM.getDocument")["root"]["nodeId"]
    rows = tab.call("DOM.querySelectorAll", nodeId=document, selector=".list tbody tr")["nodeIds"]
    assert len(rows) == 29
    assert tab.call("DOM.querySelectorAll", nodeId=document, selector=".list button")["nodeIds"] == []
