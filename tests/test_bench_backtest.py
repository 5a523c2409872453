"""The back-test of forecasts: naive estimators on laws of their own, halves, what is kept, who is judged the best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import backtest, backtest_cells
from bench.backtest_cells import ALONE, ESTIMATORS, MADE_UP, QUICK_PLAN, SHIPPED, Cell, Said, Table
from bench.standard import FULL, QUICK
from vervet.scaling.counted import pass_at_k_of
from vervet.scaling.counts import Counts
from vervet.scaling.forecast import DEFAULT_LAW

MODELS = ("small", "large")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Counts of our own in the published format, in a folder of the data folder."""
    r = np.random.default_rng(0)
    rows = [
        f"{model},MATH,{i},10000,{r.binomial(10_000, scale * r.beta(0.4, 3.5))}"
        for scale, model in enumerate(MODELS, 1)
        for i in reversed(range(20))
    ]
    (tmp_path / "monkeys").mkdir()
    (tmp_path / "monkeys" / backtest_cells.FILE).write_text("\n".join(["model,benchmark,problem_idx,n,c", *rows]))
    monkeypatch.setenv("VERVET_DATA", str(tmp_path))
    monkeypatch.setenv("VERVET_CACHE", str(tmp_path / "cache"))
    backtest_cells.table.cache_clear()
    return tmp_path


def test_without_the_counts_it_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VERVET_DATA", str(tmp_path))
    figure = backtest.MEASURES["backtest"](FULL)
    assert (figure.holds, figure.why) == (False, "VERVET_DATA")
    assert figure.text.startswith("not measured")


def test_a_small_back_test_names_every_estimator_and_keeps_what_is_whole(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = backtest.backtest(QUICK).text
    for name in (*ESTIMATORS, *MADE_UP):
        assert name in text
    (kept,) = (data / "cache").glob("backtest-quick-*.jsonl")
    n_cells = len(ESTIMATORS) * (len(MODELS) + len(MADE_UP))
    assert len(backtest_cells.read_cells(kept)) == n_cells
    assert f"{n_cells} of {n_cells}" in capsys.readouterr().err
    kept.write_text(kept.read_text()[:-40])  # as a kill leaves it
    backtest_cells.table.cache_clear()
    assert backtest.backtest(QUICK).text == text
    assert capsys.readouterr().err.count("back-test 1 of 1:") == 1


def test_estimators_see_the_same_half_and_truths_are_of_either(data: Path) -> None:
    path = backtest_cells.data_file()
    assert path is not None
    whole = backtest_cells.pythia(path)["large"]
    for half in range(5):
        drawn, same, other = backtest_cells._half("large", 100, half)
        assert (same + other) / 2 == pytest.approx((whole > 0).mean())
        assert (drawn > 0).mean() <= same
        assert np.array_equal(drawn, backtest_cells._half("large", 100, half)[0])


def test_naive_estimators_go_on_as_they_did() -> None:
    counts = Counts([100] * 5, [0, 0, 1, 7, 60])
    at = pass_at_k_of(counts, [10, 100]).mean(axis=0)
    linear = ALONE["last slope, linear"][0](counts)(None)
    assert linear.coverage_at([10, 100, 1000]) == pytest.approx([at[0], at[1], min(1, 2 * at[1] - at[0])])
    straight = np.log(-np.log(ALONE["last slope"][0](counts)(None).coverage_at([10, 100, 1000])))
    assert straight[2] - straight[1] == pytest.approx(straight[1] - straight[0])
    assert ALONE["last slope"][0](Counts([100], [100]))(None).undefined


@pytest.mark.parametrize("name", MADE_UP)
def test_problems_that_are_made_up_are_chances(name: str) -> None:
    p = MADE_UP[name](np.random.default_rng(1))
    assert p.shape == (backtest_cells.N_PROBLEMS,)
    assert (p >= 0).all()
    assert (p <= 1).all()


def made(error: dict[str, float], held: float = 1.0) -> Table:
    """Every estimator off by its error, alternately above and below by .01 more or less; shipped intervals hold so often."""
    cells = {}
    for source in (*MODELS, *MADE_UP):
        for law in ESTIMATORS:
            off = [error.get(law, 0.1) + 0.01 * (-1) ** half for half in range(20)]
            ends = [(0.0, 1.0) if half < 20 * held else (0.9, 1.0) for half in range(20)]
            said = [(Said(0.5 + e, 0.5, *end), Said(0.5 - e, 0.5, *end)) for e, end in zip(off, ends, strict=True)]
            cells[source, 100, law] = Cell(source, 100, law, tuple(said))
    return Table(QUICK_PLAN, MODELS, cells)


@pytest.mark.parametrize(
    ("error", "held", "holds"),
    [
        ({DEFAULT_LAW: 0.05}, 0.9, True),
        ({"beta": 0.05}, 0.9, False),
        ({DEFAULT_LAW: 0.05}, 0.7, False),
        ({}, 0.9, True),
    ],
)
def test_it_holds_where_the_default_is_best_and_its_intervals_hold(
    data: Path, monkeypatch: pytest.MonkeyPatch, error: dict[str, float], held: float, holds: bool
) -> None:
    monkeypatch.setattr(backtest, "table", lambda size, path: made(error, held))
    figure = backtest.backtest(QUICK)
    assert figure.holds is holds
    assert holds or ("beta is better" if "beta" in error else "70.0%") in figure.why


def test_errors_are_paired_by_half() -> None:
    """Both are off by .01 more in the same halves: the difference has no spread."""
    found = backtest.beside(made({"nls": 0.13}), "nls", "beta")
    assert (found.more, found.error, found.halves) == pytest.approx((3.0, 0.0, 1), abs=1e-9)
    assert found.models == 2
    assert not found.within_noise


def test_what_is_mostly_undefined_is_not_compared() -> None:
    table = made({})
    none = Said(0.2, 0.5, None, None, undefined=True)
    beta = {key: Cell(*key, ((none, none),) * 20) for key in table.cells if key[2] == "beta"}
    compared = Table(QUICK_PLAN, MODELS, {**table.cells, **beta}).compared()
    assert "beta" not in compared
    assert SHIPPED not in compared
    assert DEFAULT_LAW in compared
