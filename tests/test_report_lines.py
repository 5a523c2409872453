"""The lines beneath the curves and the JSON say what the figures hold: the same words, the same numbers."""

from __future__ import annotations

import doctest
import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from vervet.report import costs, data, lab, lines, pages
from vervet.report.data import name_of
from vervet.report.figures import Figures, FittedLaw, Told
from vervet.scaling.cost import Cost
from vervet.scaling.counted import coverage_curve
from vervet.scaling.counts import FIXED, Counts, Stopped
from vervet.scaling.curves import Curve
from vervet.scaling.distributional import Induced
from vervet.scaling.forecast import Forecast, Reach
from vervet.scaling.imperfect import imperfect
from vervet.scaling.intervals import Estimate
from vervet.scaling.law import Law

K = (1, 2, 5, 13)


def curve(name: str, values: tuple[float, ...], k: tuple[int, ...] = K) -> Curve:
    low, high = tuple(v - 0.02 for v in values), tuple(v + 0.03 for v in values)
    known = (values[0] - 0.01, *[None] * (len(k) - 1)), (values[0] + 0.01, *[None] * (len(k) - 1))
    return Curve(name, k, values, low, high, *known, values, values, 17, 13)


def flat(ks: object) -> np.ndarray:
    return np.full(np.size(ks), 0.5)  # type: ignore[arg-type]


LAWS = [
    FittedLaw(Law("loglog", {"a": -1.23456, "b": -0.31}, flat, 0.02134), {"b": Estimate(-0.31, -0.4, -0.2)}),
    FittedLaw(
        Law("beta", {"alpha": 0.41, "asymptotic exponent": 0.41}, flat, 0.004, 1.625),
        {"alpha": Estimate(0.41, 0.3, 0.5)},
        Induced(0.37, 1.1),
    ),
    FittedLaw(Law("nls", {}, flat, undefined="every problem was solved")),
]
TOLD = [
    Told(Forecast("loglog", "same problems", 13, 130, 0.94, 0.91, 0.97), 0.95),
    Told(Forecast("loglog", "same problems", 13, 1300, 0.97, 0.95, 0.99), 0.90),
    Told(Forecast("loglog", "new problems", 13, 1300, 0.96, 0.93, 0.99)),
]
COSTS = {"usd": Cost("usd", 0.001, 0.0025), "tokens": Cost("tokens", 20.0, 107.0), "samples": Cost("samples", 0.0, 1.0)}
FACTS = {"task": "words", "model": "embedded@1", "architecture": "generate(n=13)", "run": "0123456789abcdef"}
FULL = Figures(
    FACTS, [curve("coverage", (0.3, 0.45, 0.7, 0.88)), curve("vote", (0.3, 0.3, 0.42, 0.5))],
    verifiers={"exact": imperfect([[True, False]], [[True, True]], 0)}, laws=LAWS, verdict="A law fits.", forecasts=TOLD,
    axis=COSTS["usd"], costs=COSTS, notes=["Mind this."],
)  # fmt: skip


@pytest.mark.parametrize("module", [lines, data, costs, lab, pages])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


# --- lines ----------------------------------------------------------------------------------------------------


def test_laws_show_their_parameters_intervals_and_why_there_is_none() -> None:
    text = lines.law_lines(LAWS, "A law fits.")
    assert text[2].split() == ["loglog", "0.0213", "-", "a", "-1.2346,", "b", "-0.3100", "[-0.4000,", "-0.2000]"]
    assert (
        "0.0040  1.6250  alpha 0.4100 [0.3000, 0.5000], asymptotic exponent 0.4100, induced exponent 0.3700" in text[3]
    )
    assert text[4].endswith("-       -  every problem was solved")
    assert text[-1] == "A law fits."
    assert text[:-1] == lines.law_lines(LAWS)
    assert lines.law_lines([]) == []


def test_where_no_law_can_be_fitted_the_reason_stands_once() -> None:
    text = lines.law_lines([LAWS[2], LAWS[2]], "Nothing to tell.")
    assert text == ["No law can be fitted: every problem was solved.", "Nothing to tell."]


def test_forecasts_show_what_came_and_how_many_held() -> None:
    text = lines.forecast_lines(TOLD)
    assert text[0] == "Coverage as foretold from 13 draws a problem by loglog, with 90 % intervals, in percent:"
    assert [line.split() for line in text[3:6]] == [
        ["130", "same", "problems", "94.0", "[91.0,", "97.0]", "95.0", "in"],
        ["1,300", "same", "problems", "97.0", "[95.0,", "99.0]", "90.0", "OUT"],
        ["1,300", "new", "problems", "96.0", "[93.0,", "99.0]", "-"],
    ]
    assert text[-1] == "1 of 2 that can be checked lie in their interval."
    assert not any("can be checked" in line for line in lines.forecast_lines(TOLD[2:]))
    assert lines.forecast_lines([]) == []


def test_costs_have_a_row_for_each_axis_but_the_samples() -> None:
    head, _, *rows = lines.cost_lines(COSTS, [1, 1000])
    assert head.split()[-2:] == ["1", "1,000"]
    assert [(row.split()[0], row.split()[-2:]) for row in rows] == [
        ("usd", ["0.0035", "2.5"]), ("tokens", ["127", "107,020"])
    ]  # fmt: skip
    prices = {name: Cost("usd", 0.0, 0.5) for name in ("usd", "usd-cached", "usd-batch")}
    assert len({row[: row.index("0.5")] for row in lines.cost_lines(prices, [1])[2:]}) == 3  # told apart
    assert lines.cost_lines({"samples": COSTS["samples"]}, [1]) == []


def test_reaching_is_told_with_what_it_costs() -> None:
    found = Reach(1000, 500, None, "it takes 1,000")
    assert (
        lines.reach_line(found, COSTS)
        == "it takes 1,000; at 1,000 draws: 2.5 usd, 107,020 tokens (prompt and completion) a problem"
    )
    assert lines.reach_line(found, {"samples": COSTS["samples"]}) == "it takes 1,000"
    assert lines.reach_line(Reach(None, None, None, "never"), COSTS) == "never"


def one_of(
    model: str, values: tuple[float, ...], k: tuple[int, ...] = K, laws: list[FittedLaw] | None = None
) -> Figures:
    return Figures({"model": model}, [curve("coverage", values, k)], laws=laws or [])


def test_many_sets_stand_side_by_side() -> None:
    text = lines.side_by_side(
        [one_of("small", (0.1, 0.2, 0.3, 0.4), laws=LAWS), one_of("large", (0.3, 0.5, 0.7), (1, 2, 13), LAWS[:1])]
    )
    assert text[1].split() == ["k", "=", "1", "k", "=", "2", "k", "=", "13"]
    assert text[3].split() == ["small", "10.000", "[8.000,", "13.000]", "20.000", "[18.000,", "23.000]",
                               "40.000", "[38.000,", "43.000]"]  # fmt: skip
    at = text.index("law loglog")
    assert text[at + 3].split() == ["small", "-1.2346", "-0.3100", "[-0.4000,", "-0.2000]", "0.0213", "-"]
    assert text[at + 4].split()[0] == "large"
    assert [line for line in text if line.startswith("law ")] == ["law loglog", "law beta"]
    assert text[text.index("law beta") + 3 :][0].split()[-2:] == ["0.0040", "1.6250"]


def test_a_law_of_the_second_set_alone_is_shown_too() -> None:
    text = lines.side_by_side([one_of("few", (0.1,), (1,)), one_of("many", (0.3,), (1,), LAWS)])
    assert "law loglog" in text
    assert not any("few" in line for line in text[text.index("law loglog") :])


@pytest.mark.parametrize("k", [(2, 3, 5, 7, 11, 13, 17), tuple(range(2, 10))])
def test_ks_without_a_power_of_ten_are_shown_all_the_same(k: tuple[int, ...]) -> None:
    head = lines.side_by_side([one_of("a", (0.5,) * len(k), k), one_of("b", (0.5,) * len(k), k)])[1]
    assert 2 <= head.count("k = ") <= 6
    assert "k = 2" in head


# --- how the draws came ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (Counts([13] * 3, [1, 2, 3]), "3 problems x 13 draws each, at k over all subsets of k draws."),
        (Counts([13] * 3, [1, 2, 3], stopped=FIXED), "3 problems x 13 draws each"),
        (Counts([13, 40], [1, 2], stopped=FIXED), "2 problems, 13 to 40 draws each, a number fixed before drawing."),
        (Counts([1, 60], [1, 0], stopped=Stopped(1, 60)), "2 problems, drawn until 1 right, at most 60 draws each."),
        (Counts([2, 9], [2, 2], stopped=Stopped(2)), "2 problems, drawn until 2 right."),
    ],
)
def test_the_table_says_how_the_draws_came(counts: Counts, said: str) -> None:
    figures = Figures({"drawn": pages.how_drawn(counts)}, [coverage_curve(counts, [1], seed=0)])
    assert said in pages.curves_table(figures)


# --- data -----------------------------------------------------------------------------------------------------


def test_json_holds_the_numbers_of_the_figures() -> None:
    found = data.data([FULL])
    name = "words embedded@1 generate(n=13) 0123456789ab"
    assert name_of(FULL) == name
    (shown,) = found["curves"]
    assert (shown["name"], shown["k"], shown["coverage"]) == (name, K, FULL.coverage.value)
    assert shown["interval"] == list(zip(FULL.coverage.low, FULL.coverage.high, strict=True))
    assert shown["same_problems"] == [(0.29, 0.31), None, None, None]
    assert shown["cost"]["usd"] == {"unit": "usd", "at": [COSTS["usd"].at(k) for k in K]}
    assert [(one["name"], one["value"]) for one in shown["others"]] == [("vote", FULL.curves[1].value)]
    assert [(one["curve"], one["law"], one["undefined"]) for one in found["fits"]] == [
        (name, "loglog", None), (name, "beta", None), (name, "nls", "every problem was solved")
    ]  # fmt: skip
    assert found["fits"][0]["intervals"] == {"b": (-0.4, -0.2)}
    assert found["fits"][1]["induced"] == asdict(Induced(0.37, 1.1))
    assert [(one["k"], one["truth"], one["held"]) for one in found["forecasts"]] == [
        (130, 0.95, True), (1300, 0.9, False), (1300, None, None)
    ]  # fmt: skip
    assert found["runs"][0]["verdict"] == "A law fits."
    assert found["runs"][0]["notes"] == ["Mind this."]
    assert found["runs"][0]["run"] == "0123456789abcdef"
    assert set(found["runs"][0]["verifiers"]) == {"exact"}
    json.dumps(found)


def test_every_fit_and_forecast_names_its_curve() -> None:
    other = replace(FULL, facts={**FACTS, "model": "other"})
    found = data.data([FULL, other])
    names = [one["name"] for one in found["curves"]]
    assert len(set(names)) == 2
    for kind, n in (("fits", 3), ("forecasts", 3)):
        assert [one["curve"] for one in found[kind]] == [names[0]] * n + [names[1]] * n
    assert data.data([]) == {"curves": [], "fits": [], "forecasts": [], "runs": []}
