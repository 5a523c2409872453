"""Problems and samples in the page: what is shown, how it is kept small, and that no text can break out of it."""

from __future__ import annotations

import doctest
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from vervet.report import browser, html
from vervet.report.browser import vote_outcome
from vervet.report.figures import Figures, ShownProblem, ShownSample
from vervet.scaling.curves import Curve

HOSTILE = "</script><script>alert(1)</script> \"quoted\" 'single' <!-- & \u05e9\u05dc\u05d5\u05dd \u202e\u2028 \x00 \ud800 `\\"


def sample(index: int, outcome: str, answer: str | None = "4", text: str = "so it is 4") -> ShownSample:
    return ShownSample(index, text, answer, outcome, 11 + index)


PROBLEMS = [
    ShownProblem("easy", "2 + 2?", "4", 7, 7, "4", [sample(0, "correct")], True),
    ShownProblem("missed", "3 + 3?", "6", 7, 2, "5", [sample(0, "correct", "6"), sample(1, "incorrect", "5")], False),
    ShownProblem(
        "never", "P = NP?", "?", 7, 0, "yes", [sample(3, "incorrect", "yes"), sample(5, "not_judged", None)], False
    ),
    ShownProblem(HOSTILE, HOSTILE, HOSTILE, 7, 3, HOSTILE, [sample(2, "correct", HOSTILE, HOSTILE)]),
    ShownProblem("silent", "", "", 7, 0),
]


class Rows(HTMLParser):
    """The rows of the table, the text of each, and what script tags hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "input":
            self.open.append(tag)
        if tag == "tr" and "data-i" in dict(attrs):
            self.rows.append(dict(attrs))
            self.texts.append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.texts and "tr" in self.open:
            self.texts[-1] += data + " "


def read(problems: list[ShownProblem], **options: Any) -> tuple[Rows, list[Any]]:
    rows = Rows(browser.browser(problems, **options))
    assert rows.open == []
    (data,) = rows.scripts
    return rows, json.loads(data)


def test_doctests() -> None:
    assert doctest.testmod(browser).failed == 0


def test_without_javascript_there_is_a_table_of_problems() -> None:
    rows, _ = read(PROBLEMS)
    assert [row["data-rate"] for row in rows.rows] == ["1", "0.285714", "0", "0.428571", "0"]
    assert "missed" in rows.texts[1]
    assert "2 of 7" in rows.texts[1]
    assert "✗ incorrect 5" in " ".join(rows.texts[1].split())
    assert "✓ correct" in rows.texts[0]
    assert "–" in rows.texts[4]


def test_every_row_opens_to_what_was_asked_and_drawn() -> None:
    _, data = read(PROBLEMS)
    assert data[1] == ["3 + 3?", "6", [[0, "so it is 4", "6", "correct", 11], [1, "so it is 4", "5", "incorrect", 12]]]
    assert data[2][2][1][2] is None
    assert data[4] == ["", "", []]


def test_rows_are_of_a_kind() -> None:
    rows, _ = read(PROBLEMS)
    assert [row["data-kind"] for row in rows.rows] == [
        "all solved", "all solved missed", "all never", "all solved", "all never"
    ]  # fmt: skip
    text = browser.browser(PROBLEMS)
    assert "vote wrong though covered (1)" in text
    assert "never solved (2)" in text


@pytest.mark.parametrize(
    ("voted", "right", "outcome"),
    [
        ("4", True, "correct"),
        ("4", False, "incorrect"),
        ("4", None, "not_judged"),
        (None, None, "none"),
        (None, True, "none"),
    ],
)
@pytest.mark.parametrize("correct", [0, 3, 7])
def test_what_a_vote_is_worth_is_said_and_not_inferred(
    voted: str | None, right: bool | None, outcome: str, correct: int
) -> None:
    samples = [sample(0, "correct", "4"), sample(1, "incorrect", "5")]
    assert vote_outcome(ShownProblem("a", "", "4", 7, correct, voted, samples, right)) == outcome


@pytest.mark.parametrize(("right", "word"), [(True, "✓ correct 4"), (False, "✗ incorrect 4"), (None, "? not judged 4")])
def test_the_vote_is_shown_with_its_verdict(right: bool | None, word: str) -> None:
    rows, _ = read([ShownProblem("a", "", "4", 7, 3, "4", [], right)])
    assert word in " ".join(rows.texts[0].split())
    assert ("missed" in str(rows.rows[0]["data-kind"])) == (right is False)


def test_hostile_text_stays_text() -> None:
    rows, data = read(PROBLEMS)
    assert HOSTILE in data[3]
    assert data[3][2][0][1] == HOSTILE
    assert len(rows.scripts) == 1  # nothing ended it
    text = browser.browser(PROBLEMS)
    assert "<script>alert" not in text
    assert text.count("</script>") == 1
    page = html.page(_figures(PROBLEMS)) if pytest.importorskip("matplotlib") else ""
    assert page.count("</script>") == 2
    assert page.encode(errors="replace")


def _figures(problems: list[ShownProblem]) -> Figures:
    none = (None,)
    curve = Curve("coverage", (1,), (0.5,), (0.1,), (0.9,), none, none, (0.5,), (0.5,), 2, 1)
    return Figures({}, [curve], problems=problems)


def test_no_problem_no_browser() -> None:
    assert browser.browser([]) == ""
    pytest.importorskip("matplotlib")
    assert "<script" not in html.page(_figures([]))


def many(n: int, length: int, n_samples: int = 5) -> list[ShownProblem]:
    samples = [ShownSample(i, "word " * (length // 5), "4", "correct", 100) for i in range(n_samples)]
    return [ShownProblem(f"p{i}", "prompt " * 40, "4", n_samples, n_samples, "4", samples) for i in range(n)]


@pytest.mark.parametrize("length", [500, 5000])
def test_a_thousand_problems_with_five_samples_fit(length: int) -> None:
    text = browser.browser(many(1000, length))
    assert len(text.encode()) < 4_000_000
    assert "1,000 problems, up to 5 samples each." in text
    assert ("are cut" in text) == (length > 500)


def test_what_was_cut_is_said() -> None:
    rows, data = read(many(23, 3000), most_bytes=60_000)
    samples = {len(one[2]) for one in data}
    assert len(rows.rows) == 23
    assert samples == {3}
    assert data[0][2][0][1].endswith("… (2,500 characters more)")
    text = browser.browser(many(23, 3000), most_bytes=60_000)
    assert "23 problems, up to 3 samples each. Texts over 500 characters are cut (69)." in text


@pytest.mark.parametrize("most_bytes", [300, 5000, 50_000])
def test_few_bytes_still_show_problems(most_bytes: int) -> None:
    rows, data = read(many(1009, 3000), most_bytes=most_bytes)
    assert len(rows.rows) == len(data) >= 1
    assert len(json.dumps(data, separators=(",", ":"))) <= most_bytes


def test_more_problems_than_fit_are_counted() -> None:
    problems = [ShownProblem(f"p{i}", "", "", 3, 1) for i in range(browser.MOST_PROBLEMS + 3)]
    assert "The first 2,000 of 2,003 problems." in browser.browser(problems)


def test_the_script_needs_nothing_from_elsewhere() -> None:
    assert not re.search(r"https?:|import|innerHTML|eval|</", browser.SCRIPT)
