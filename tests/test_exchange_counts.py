"""Success counts from files: columns under their usual names, several models, and the place of whatever is wrong."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest

from tests.published import needs, published
from vervet.errors import Mistake
from vervet.exchange import counts, is_counts, parse_stopped, read_counts
from vervet.scaling.counts import FIXED, Stopped

MONKEYS = "pythia_math_n10000_counts.csv"


def wrote(folder: Path, text: str, name: str = "counts.csv") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_examples_of_the_module() -> None:
    assert doctest.testmod(counts, optionflags=doctest.ELLIPSIS).failed == 0


@needs(MONKEYS)
def test_the_published_counts_of_seven_models() -> None:
    found = read_counts(str(published(MONKEYS)))
    assert [one.n_problems for one in found] == [128] * 7
    assert found[0].name == "Pythia 12B" and {one.common_n for one in found} == {10_000}
    assert found[0].rates.mean() == pytest.approx(0.02319, abs=5e-6)
    assert is_counts(str(published(MONKEYS)))


@pytest.mark.parametrize("header", ["problem,n,c", "task_id,num_samples,num_correct", "id,total,successes"])
def test_columns_have_their_usual_names(tmp_path: Path, header: str) -> None:
    path = wrote(tmp_path, f"{header}\na,10,3\nb,10,0\n")
    (found,) = read_counts(path)
    assert found.name == "counts" and list(found.problems) == ["a", "b"] and list(found.correct) == [3, 0]
    assert is_counts(path)


def test_models_and_benchmarks_are_apart_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [
        {"model": model, "benchmark": bench, "problem": i, "n": 5, "c": i}
        for model in ("b", "a") for bench in ("x", "y") for i in range(3)
    ]  # fmt: skip
    path = wrote(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "counts.jsonl")
    assert [one.name for one in read_counts(path)] == ["b, x", "b, y", "a, x", "a, y"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("b,ten,3", "line 3 column 'n': expected a whole number of 1 or more, but got 'ten'"),
        ("b,0,0", "line 3 column 'n': expected a whole number of 1 or more, but got '0'"),
        ("b,10,1.5", "line 3 column 'c': expected a whole number of 0 or more, but got '1.5'"),
        ("b,10,11", "line 3 column 'c': expected at most the 10 draws of 'n', but got 11"),
        ("b,inf,1", "line 3 column 'n'"),
        ("a,10,3", "line 3 column 'problem': problem 'a' of this model stands at counts.csv, line 2 already"),
        (",10,3", "line 3 field 'problem' is empty"),
        ("b,10", "line 3 is no row: 2 cells under 3 names"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(Mistake, match=r"counts\.csv, ") as caught:
        read_counts(wrote(tmp_path, f"problem,n,c\na,10,3\n{row}\n"))
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["model", "benchmark"])
@pytest.mark.parametrize("is_null", [False, True])
def test_a_row_without_a_name_beside_named_ones_is_refused(tmp_path: Path, name: str, is_null: bool) -> None:
    bare: dict[str, Any] = {name: None} if is_null else {}
    rows = [{"problem": i, "n": 5, "c": 1} | ({name: "a"} if i != 2 else bare) for i in range(4)]
    path = wrote(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "counts.jsonl")
    with pytest.raises(Mistake, match=rf"counts\.jsonl, line 3 has no '{name}', but counts\.jsonl, line 1 has"):
        read_counts(path)


def test_a_missing_column_is_named_with_those_found(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"has no column 'c' .*fields found: problem, n, right"):
        read_counts(wrote(tmp_path, "problem,n,right\na,10,3\n"))


def test_unequal_numbers_of_draws_need_a_reason(tmp_path: Path) -> None:
    path = wrote(tmp_path, "problem,n,c\na,10,1\nb,60,0\nc,3,1\n")
    with pytest.raises(Mistake, match="nothing says why"):
        read_counts(path)[0].expect_fixed()
    assert read_counts(path, FIXED)[0].rates[1] == 0
    assert read_counts(path, parse_stopped("successes=1, cap=60"))[0].adaptive
    with pytest.raises(Mistake, match=r"counts\.csv, counts: problem a"):
        read_counts(path, parse_stopped("successes=2,cap=60"))


def test_what_ended_the_drawing_is_read_from_a_text() -> None:
    assert parse_stopped("fixed") == FIXED and parse_stopped("successes=3") == Stopped(3)
    for text in ("", "adaptive", "successes=x", "cap=60", "successes=1,successes=2", "successes=0"):
        with pytest.raises(Mistake, match="expected fixed"):
            parse_stopped(text)


def test_other_files_are_no_counts(tmp_path: Path) -> None:
    assert not is_counts(wrote(tmp_path, "problem,answer\na,b\n", "answers.csv"))
    assert not is_counts(wrote(tmp_path, "SQLite format 3", "a.pool"))
    assert not is_counts(wrote(tmp_path, '{"n": 1', "broken.jsonl"))
    assert not is_counts(wrote(tmp_path, '{"id": 1, "n": 2, "correct": [true, false]}\n', "lists.jsonl"))
    assert not is_counts(str(tmp_path))
