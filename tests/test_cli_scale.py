"""The verb scale: tables of counts and runs of pools, its options, what it writes, and what bad input gets."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.published import needs, published
from tests.riddles import riddles, start
from vervet.cli import main
from vervet.exchange.counts import read_counts
from vervet.models.laws import Exact
from vervet.scaling.cost import Shape
from vervet.scaling.counted import coverage_curve
from vervet.scaling.counts import Counts
from vervet.verify import SCORERS

PYTHIA = "pythia_math_n10000_counts.csv"
RIGHT = {"small": [0, 0, 0, 1, 1, 2, 3, 5, 8, 13, 19], "large": [0, 1, 2, 3, 5, 8, 11, 13, 16, 19, 20]}


def table(path: Path, rows: list[tuple[Any, ...]], header: str = "problem,n,c") -> str:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def one(tmp_path: Path) -> str:
    return table(tmp_path / "one.csv", [(i, 20, c) for i, c in enumerate(RIGHT["small"])])


@pytest.fixture
def two(tmp_path: Path) -> str:
    rows = [(i, 20, c, model) for model, right in RIGHT.items() for i, c in enumerate(right)]
    return table(tmp_path / "two.csv", rows, "problem,n,c,model")


@pytest.fixture
def light(tmp_path: Path) -> list[str]:
    """Two models that were stopped at the second right draw, so that nothing is fitted: quick to show."""
    rows = [(i, 2 + i + c, 2, model) for model, right in RIGHT.items() for i, c in enumerate(right)]
    return [table(tmp_path / "light.csv", rows, "problem,n,c,model"), "--stopped", "successes=2,cap=60"]


@pytest.fixture
def stopped(tmp_path: Path) -> str:
    return table(tmp_path / "stopped.csv", [("a", 1, 1), ("b", 4, 1), ("c", 60, 0), ("d", 9, 1)])


@pytest.fixture
def pool(tmp_path: Path) -> str:
    """A pool of one run."""
    start(tmp_path, "generate(n=5) | vote()", riddles(tmp_path, 7))
    return str(tmp_path / "pool.sqlite")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["scale", *words]) == 0
    return capsys.readouterr().out


def found(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    data = json.loads(said(capsys, *words, "--json"))
    assert isinstance(data, dict)
    return data


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["scale", *words]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert "Traceback" not in out.err
    return out.err


# --- tables of counts -----------------------------------------------------------------------------------------


def test_json_of_counts_has_curves_fits_and_forecasts(one: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = found(capsys, one)
    curve = coverage_curve(Counts([20] * 11, RIGHT["small"]), seed=0)
    (shown,) = data["curves"]
    assert (shown["name"], shown["k"]) == ("one", list(curve.k))
    assert shown["coverage"] == pytest.approx(curve.value)
    assert shown["interval"] == [pytest.approx(ends) for ends in zip(curve.low, curve.high, strict=True)]
    assert {row["law"] for row in data["fits"]} >= {"loglog", "nls", "scaled beta"}
    assert {row["curve"] for row in [*data["fits"], *data["forecasts"]]} == {"one"}
    assert {200, 2000} <= {row["k"] for row in data["forecasts"]}


def test_text_of_counts_has_the_curve_the_laws_and_the_forecast(one: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, one)
    assert "11 problems x 20 draws each" in text
    assert "\nscaled beta " in text
    assert "Coverage as foretold from 20 draws a problem by loglog, with 90 % intervals" in text
    assert "\n2,000 " in text


def test_several_models_stand_side_by_side(two: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, two, "--k", "1,20")
    assert [line.split()[0] for line in text.splitlines()[3:5]] == ["small", "large"]
    for name, right in RIGHT.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")][:1]
        assert f" {100 * sum(right) / 220:.3f} " in line
        assert f" {100 * sum(c > 0 for c in right) / 11:.3f} " in line
    assert "law scaled beta" in text
    assert text.count("Coverage as foretold") == 2


def test_the_seed_is_that_of_the_intervals(light: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (found(capsys, *light, "--seed", seed)["curves"][0] for seed in ("1", "2"))
    assert first["coverage"] == second["coverage"]
    assert first["interval"] != second["interval"]


def test_a_set_that_stopped_is_counted_by_paths(stopped: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = found(capsys, stopped, "--stopped", "successes=1,cap=60", "--k", "1,4,9,60")
    assert data["curves"][0]["coverage"] == pytest.approx([0.25, 0.5, 0.75, 0.75])
    assert (data["fits"], data["forecasts"]) == ([], [])
    text = said(capsys, stopped, "--stopped", "successes=1,cap=60")
    assert "4 problems, drawn until 1 right, at most 60 draws each." in text
    assert "subsets" not in text
    assert "counted by paths" in text
    assert "loglog" not in text


def test_numbers_that_were_fixed_before_may_differ(stopped: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = found(capsys, stopped, "--stopped", "fixed")
    assert data["curves"][0]["coverage"] == pytest.approx([(1 + 1 / 4 + 0 + 1 / 9) / 4])
    assert "1 to 60 draws each, a number fixed before drawing" in said(capsys, stopped, "--stopped", "fixed")


def test_numbers_that_differ_are_refused_with_both_ways(stopped: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, stopped)
    assert all(part in error for part in ("1 to 60 draws", "fixed", "name the rule", "biased"))


def test_many_stopped_sets_each_say_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path / "s.csv", [("a", 1, 1, "m"), ("b", 3, 1, "m"), ("a", 2, 1, "o")], "problem,n,c,model")
    text = said(capsys, path, "--stopped", "successes=1")
    assert text.count("Drawn until 1 right: counted by paths") == 2


def test_reaching_a_coverage(one: str, stopped: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = found(capsys, one, "--reach", "0.5", "--reach", "0.95")["curves"][0]["reach"]
    assert [row["coverage"] for row in rows] == [0.5, 0.95]
    counts = read_counts(one)[0]
    at = coverage_curve(counts, range(1, 21), seed=0).value
    assert rows[0]["k"] == next(k for k, value in enumerate(at, 1) if value >= 0.5)
    assert rows[1]["k"] is None or rows[1]["k"] > 20
    assert f"coverage 0.5 is reached at {rows[0]['k']} draws per problem, measured" in rows[0]["sentence"]
    row = found(capsys, stopped, "--stopped", "successes=1,cap=60", "--reach", "0.9")["curves"][0]["reach"][0]
    assert row["k"] is None
    assert row["sentence"] == "coverage 0.9 cannot be forecast: drawn until 1 right, at most 60 draws each"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stopped", "until"], "expected fixed, or successes=1,cap=60"),
        (["--stopped", "successes=1,cap=7"], "cannot come of drawing until 1 right or 7 draws"),
        (["--k", "1,x"], "expected whole numbers such as 1,4,16"),
        (["--k", "4,1"], "ks must increase"),
        (["--k", "0"], "k must lie between 1 and the 20 draws"),
        (["--k", "21"], "got k=21"),
        (["--reach", "1"], "--reach: expected a share of problems between 0 and 1"),
        (["--reach", "-0.5"], "such as .95"),
        (["--axis", "usd"], "draws whose tokens are known"),
        (["--axis", "dollars"], "expected an axis (usd"),
        (["--prices", "prompt=1"], "expected prompt=USD,completion=USD"),
        (["--prices", "prompt=1,completion=x"], "expected prompt=USD,completion=USD"),
        (["--prices", "prompt=1,completion=-1"], "expected prompt=USD,completion=USD"),
        (["--prices", "prompt=1,completion=nan"], "expected prompt=USD,completion=USD"),
        (["--prices", "prompt=1,completion=2,tea=3"], "expected prompt=USD,completion=USD"),
        (["--prices", "prompt=1,completion=2"], "a table of counts knows no tokens"),
        (["--shape", "parameters=8e9"], "but got no layers"),
        (["--shape", "parameters=0,layers=2,width=4,heads=1"], "a number above 0 for parameters"),
        (["--shape", "parameters=1,layers=2.5,width=4,heads=1"], "a whole number above 0 for layers"),
        (["--shape", "depth=3"], "but got 'depth=3'"),
        (["--shape", "parameters=1,layers=2,width=4,heads=1"], "a table of counts knows no tokens"),
    ],
)
def test_bad_options_are_mistakes(one: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, one, *words)


def test_a_file_that_is_no_table_of_counts_says_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = table(tmp_path / "odd.csv", [("a", 3)], "problem,draws")
    assert "odd.csv, line 2 has no column 'n'" in refused(capsys, path)
    assert "there is no file 'nowhere.csv'" in refused(capsys, "nowhere.csv", "--pool", str(tmp_path / "no.pool"))
    assert "expected the path of a pool file" in refused(capsys, str(tmp_path))


# --- pools ----------------------------------------------------------------------------------------------------


def test_a_run_is_named_by_its_beginning_in_both_ways(
    tmp_path: Path, pool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = start(tmp_path, "generate(n=4)", riddles(tmp_path, 7))
    assert len(found(capsys, pool)["curves"]) == 2
    for words in ([pool, "--run", other.run[:14]], [other.run[:14], "--pool", pool]):
        data = found(capsys, *words)
        assert [one["run"] for one in data["runs"]] == [other.run]
        assert data["curves"][0]["k"] == [1, 2, 4]
    error = refused(capsys, "xyz", "--pool", pool)
    assert f"expected a run of {pool}" in error
    assert other.run[:12] in error
    assert "a pool knows what ended its runs" in refused(capsys, pool, "--stopped", "fixed")


def test_axes_by_prices_and_shape(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    plain = found(capsys, pool)["curves"][0]["cost"]
    assert {"tokens", "seconds", "samples"} == set(plain)
    words = ["--prices", "prompt=2,completion=8,cached_prompt=1", "--shape", "parameters=1e6,layers=2,width=64,heads=4"]
    cost = found(capsys, pool, *words)["curves"][0]["cost"]
    assert {"usd", "usd-cached", "usd-batch", "flops", "eflops"} | set(plain) == set(cost)
    completion = plain["tokens"]["at"][1] - plain["tokens"]["at"][0]
    assert cost["usd"]["at"][0] == pytest.approx((2 * 3 + 8 * completion) / 1e6)
    assert cost["usd-cached"]["at"][1] == pytest.approx((2 * 3 + 1 * 3 + 2 * 8 * completion) / 1e6)
    shape = Shape.parse(words[3])
    assert cost["flops"]["at"][0] > 2 * shape.parameters * (3 + completion)
    text = said(capsys, pool, *words, "--axis", "flops", "--reach", "0.5")
    assert "\nusd " in text
    assert "\nFLOPs " in text
    assert " usd, " in text.splitlines()[-1]
    assert "it needs draws whose tokens are known, and --prices" in refused(capsys, pool, "--axis", "usd")


def test_a_pool_whose_run_stopped_at_the_first_right_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCORERS, "oracle", Exact())
    pool, file = str(tmp_path / "pool.sqlite"), riddles(tmp_path, 17)
    start(tmp_path, "generate(n=12, until=accepted('oracle'))", file)
    text = said(capsys, pool, "--reach", "0.99")
    assert "17 problems, drawn until 1 right, at most 12 draws each." in text
    assert "counted by paths" in text
    assert "cannot be forecast" in text
    start(tmp_path, "generate(n=12)", file)
    stopped, whole = found(capsys, pool, "--k", "1,12")["curves"]
    assert stopped["coverage"][1] == whole["coverage"][1]  # the same draws, as far as they were made
    assert 0 < stopped["coverage"][0] < stopped["coverage"][1]
    start(tmp_path, "generate(n=12, until=agree(0.6))", file)
    data = found(capsys, pool)
    assert len(data["curves"]) == 2
    assert any(note.startswith("Left out: ") and "agree" in note for note in data["runs"][0]["notes"])


# --- files ----------------------------------------------------------------------------------------------------


def test_files_hold_the_curves(light: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "out.csv")
    data = found(capsys, *light, "--csv", path)
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for curve in data["curves"]:
        mine = [row for row in rows if row["source"] == curve["name"]]
        assert [int(row["k"]) for row in mine] == curve["k"]
        assert [float(row["value"]) for row in mine] == curve["coverage"]
        assert [[float(row["low"]), float(row["high"])] for row in mine] == curve["interval"]
    assert f"\ncsv: {path}" in said(capsys, *light, "--csv", path)


def test_parquet_holds_the_same(pool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = str(tmp_path / "out.parquet")
    data = found(capsys, pool, "--parquet", path, "--axis", "tokens")
    rows = [row for row in parquet.read_table(path).to_pylist() if row["name"] == "coverage"]
    (curve,) = data["curves"]
    assert [row["k"] for row in rows] == curve["k"]
    assert [row["value"] for row in rows] == curve["coverage"]
    assert [row["cost"] for row in rows] == curve["cost"]["tokens"]["at"]
    assert {row["cost_unit"] for row in rows} == {"tokens"}


def test_a_page_and_a_picture_hold_the_curves(
    light: list[str], pool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    page, picture = tmp_path / "out.html", tmp_path / "out.png"
    for words in (light, [pool]):
        text = said(capsys, *words, "--html", str(page), "--png", str(picture))
        assert f"\nreport: {page}" in text
        assert f"\npng: {picture}" in text
        assert picture.read_bytes().startswith(b"\x89PNG")
        html = page.read_text(encoding="utf-8")
        for curve in found(capsys, *words)["curves"]:
            last = 100 * curve["coverage"][-1]
            assert f"{last:.1f} [" in html, last
        assert 'data-curve="' in html


@needs(PYTHIA)
def test_the_published_counts_of_pythia(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = read_counts(str(published(PYTHIA)))[0]
    rows = list(zip(counts.problems, counts.n.tolist(), counts.correct.tolist(), strict=True))
    (curve,) = found(capsys, table(tmp_path / "first.csv", rows), "--k", "1,10,100,1000,10000")["curves"]
    assert (counts.stopped, counts.common_n) == (None, 10_000)
    assert curve["coverage"][-1] == pytest.approx((counts.correct > 0).mean())
    assert curve["coverage"][0] == pytest.approx(counts.rates.mean())
