"""Tasks from files: what can be read, which line is at fault, which rows count, what is asked, what stays the same."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vervet.errors import Mistake
from vervet.tasks import LOADERS, TaskOptions, grader_of, task_of
from vervet.tasks.loading import FileTask, _matches
from vervet.tasks.reading import BadRow, Row, parse_rows, read_rows
from vervet.types import Example, Task

OWN = TaskOptions(prompt_field="q", target_field="a", grader="number")
N = 41


def rows(n: int = N) -> list[dict[str, Any]]:
    """Sums as a user would write them down, at levels 1 to 3."""
    return [{"q": f"What is {i} + {i * i}?", "a": i + i * i, "level": 1 + i % 3} for i in range(n)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write rows, or text, or bytes, to a file; its path."""

    def wrote(what: Any, name: str = "mine.jsonl") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, list):
            what = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in what)
        path.write_bytes(what if isinstance(what, bytes) else what.encode())
        return str(path)

    return wrote


def file_of(path: str, options: TaskOptions = OWN) -> FileTask:
    task = task_of(path, options)
    assert isinstance(task, FileTask)
    return task


def asked(example: Example) -> str:
    return str(example.problem.messages[-1]["content"])


# --- reading -------------------------------------------------------------------------------------------


def test_one_file_in_every_format_gives_the_same_problems(write: Callable[..., str], tmp_path: Path) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, ["q", "a", "level"])
    writer.writeheader()
    writer.writerows(rows())
    paths = [
        write(rows()),
        write(json.dumps(rows(), indent=1), "mine.json"),
        write(json.dumps(rows()), "array.jsonl"),
        write("\ufeff" + "\r\n\r\n".join(map(json.dumps, rows())), "windows.jsonl"),
    ]
    ids = [[e.problem.id for e in file_of(path).examples("all", None, 0)] for path in paths]
    assert len(ids[0]) == N
    assert all(one == ids[0] for one in ids)
    from_table = file_of(write(table.getvalue(), "mine.csv"))
    assert {asked(e) for e in from_table.examples("all", None, 0)} == {row["q"] for row in rows()}


def test_a_malformed_line_is_named_before_anything_else_happens(write: Callable[..., str]) -> None:
    lines = [json.dumps(row) for row in rows(7)]
    lines[3] = '{"q": "What is 1 + 1?", "a": '
    path = write("\n".join(lines))
    with pytest.raises(
        Mistake, match=r"mine\.jsonl, line 4 is no row: Expecting value.*'{\"q\": \"What is.*--malformed skip"
    ):
        task_of(path, OWN)
    task = file_of(path, TaskOptions("q", "a", "number", malformed="skip"))
    assert task.size == 6
    assert len(task.skipped) == 1
    assert "line 4" in task.skipped[0]
    assert task.identity["skipped"] == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"[1, 2]", "expected an object, but got list"),
        (b'"text"', "expected an object, but got str"),
        (b'{"q": "caf\xe9", "a": 1}', "not UTF-8"),
        (b'{"q": "\\ud800", "a": 1}', "not UTF-8"),
        (b'{"q": 1} {"q": 2}', "Extra data"),
        (b"{" * 5, "Expecting property name"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"q": ' + b"9" * 5_000 + b"}", "integer string conversion"),
    ],
)
def test_each_kind_of_malformed_line(write: Callable[..., str], line: bytes, said: str) -> None:
    path = write(json.dumps(rows(1)[0]).encode() + b"\n\n" + line + b"\n")
    with pytest.raises(Mistake, match="line 3 is no row") as caught:
        read_rows(path)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400
    assert len(read_rows(path, "skip").rows) == 1


def test_a_line_of_ten_megabytes_and_odd_characters_are_text(write: Callable[..., str]) -> None:
    odd = "é 漢字 🦊 \u2028 \x85 \x0b tab\t" + "x" * 10_000_000
    path = write([{"q": odd, "a": 1}, {"q": "another", "a": 2}])
    found = read_rows(path).rows
    assert [row.fields["q"] for row in found] == [odd, "another"]


def test_csv_with_quotes_long_cells_and_wrong_lines(write: Callable[..., str]) -> None:
    text = f',q,a\n0,"two\nlines, ""quoted""",1\n1,{"x" * 200_000},2\n2,too,many,cells\n3,short\n\n4,"fine",5\n'
    path = write(text, "mine.csv")
    with pytest.raises(Mistake, match=r"line 5 is no row: 4 cells under 3 names"):
        read_rows(path)
    found = read_rows(path, "skip")
    assert [row.fields["q"] for row in found.rows] == ['two\nlines, "quoted"', "x" * 200_000, "fine"]
    assert [row.place for row in found.rows] == ["mine.csv, line 2", "mine.csv, line 4", "mine.csv, line 8"]
    assert len(found.skipped) == 2
    assert csv.field_size_limit() == 131_072, "a setting of the whole process was left changed"
    with pytest.raises(Mistake, match="all different, but got 'q, q'"):
        read_rows(write("q,q\n1,2\n", "twice.csv"))
    assert read_rows(write("q\ta\n1\t2\n", "mine.tsv")).rows[0].fields == {"q": "1", "a": "2"}


def test_numbers_that_json_does_not_know_are_null(write: Callable[..., str]) -> None:
    assert read_rows(write('{"q": NaN, "a": -Infinity}')).rows[0].fields == {"q": None, "a": None}
    (row,) = read_rows(write('{"q": "NaN", "a": [1, {"b": NaN}], "c": 1e999}')).rows
    assert (row.fields, row.odd) == ({"q": "NaN", "a": [1, {"b": None}], "c": None}, {"a", "c"})


def test_a_path_that_leads_nowhere(write: Callable[..., str], tmp_path: Path) -> None:
    write(rows())
    with pytest.raises(Mistake, match=r"there is no .*mine\.json; did you mean .*mine\.jsonl"):
        task_of(str(tmp_path / "mine.json"), OWN)
    with pytest.raises(Mistake, match="there is no /nowhere/at/all"):
        task_of("gsm8k:/nowhere/at/all")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Mistake, match="the folder holds no file that ends in"):
        task_of(str(tmp_path / "empty"), OWN)
    with pytest.raises(Mistake, match="expected a file that ends in"):
        task_of(write("hello", "notes.txt"), OWN)
    for text in ("", "\n\n", "[]"):
        with pytest.raises(Mistake, match="holds no row"):
            task_of(write(text), OWN)
    with pytest.raises(Mistake, match=r"gsm8k:FILE, .*or a file, but got 'gsm9k:x'"):
        task_of("gsm9k:x")
    for typo, meant in (("maths", "math"), ("gsm8", "gsm8k"), ("humaneva", "humaneval")):
        with pytest.raises(Mistake, match=rf"there is no loader '{typo}'; did you mean {meant}:.*mine\.jsonl\?"):
            task_of(f"{typo}:{write(rows())}", OWN)
    with pytest.raises(Mistake, match="expected math:FILE, but got 'math:' without a file"):
        task_of("math:")
    with pytest.raises(Mistake, match=r"mine\.jsonl is UTF-16: save it as UTF-8"):
        task_of(write(json.dumps(rows(1)[0]).encode("utf-16")), OWN)
    with pytest.raises(Mistake, match="or a file, but got"):
        task_of("x" * 5_000)
    with pytest.raises(Mistake, match="is not JSON"):
        task_of(write("[1, 2", "broken.json"), OWN)


@pytest.mark.parametrize("name", ["gone.jsonl", "gone"])
def test_a_link_that_leads_nowhere_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(tmp_path / "nowhere.jsonl")
    with pytest.raises(Mistake, match=r"gone.* is a link to .*nowhere\.jsonl, which is not there"):
        task_of(str(tmp_path / name), OWN)


def test_a_pipe_or_a_device_is_refused_and_never_opened(write: Callable[..., str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.jsonl"))
        for place in (tmp_path / "pipe.jsonl", tmp_path / "socket.jsonl", Path("/dev/zero")):
            with pytest.raises(Mistake, match="is neither: a pipe, a socket or a device"):
                task_of(str(place), OWN)
    (tmp_path / "socket.jsonl").unlink()
    write(rows())
    with pytest.raises(Mistake, match=r"pipe\.jsonl is neither"):
        task_of(str(tmp_path), OWN)


def test_a_folder_is_searched_two_levels_deep_and_no_further_than_a_data_set_goes(
    write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(rows(3), "set/one/two/x.jsonl")
    write(rows(5)[3:], "set/y.jsonl")
    write("no rows", "set/README.md")
    for hidden in ("set/one/two/three/z.jsonl", "set/.git/config.json", "set/.z.jsonl"):
        write("{", hidden)
    assert file_of(str(tmp_path / "set")).size == 5
    monkeypatch.setattr("vervet.tasks.reading._MOST_OTHERS", 4)  # one, two, three and the page
    assert file_of(str(tmp_path / "set")).size == 5
    write("", "set/one/another")
    with pytest.raises(Mistake, match="it holds more than 4 entries of other kinds"):
        file_of(str(tmp_path / "set"))


@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x.json", "x.csv", "x.tsv"]))
def test_whatever_bytes_come_each_line_is_a_row_or_is_told(data: bytes, name: str) -> None:
    told: list[BadRow] = []
    try:
        found = list(parse_rows(name, data, told.append))
    except Mistake:
        return
    for row in found:
        json.dumps(row.fields, allow_nan=False, ensure_ascii=False).encode()
        assert row.place.startswith(name)
    assert all(str(error).startswith(name) for error in told)


def test_a_folder_of_files_with_the_splits_that_their_names_say(write: Callable[..., str], tmp_path: Path) -> None:
    write(rows(5), "set/train-00000.jsonl")
    write(rows(8)[5:], "set/train-00001.jsonl")
    write(rows(10)[8:], "set/test.jsonl")
    task = file_of(str(tmp_path / "set"))
    assert task.splits == ("all", "test", "train"), "a run takes the first one"
    assert len(task.examples("all", None, 0)) == task.size == 10
    assert len(task.examples("train", None, 0)) == 8
    assert {asked(e) for e in task.examples("test", None, 0)} == {row["q"] for row in rows(10)[8:]}
    with pytest.raises(Mistake, match="one of the splits all, test, train, but got 'development'"):
        task.examples("development", None, 0)
    write([{"q": "Another?", "a": 1}], "set/others.jsonl")
    assert file_of(str(tmp_path / "set")).splits == ("all", "development", "test")
    write("{", "set/others.jsonl")
    with pytest.raises(Mistake, match=r"others\.jsonl, line 1 is no row"):
        file_of(str(tmp_path / "set"))


def test_a_hugging_face_data_set(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list([{**row, "a": {"value": row["a"]}, "score": float("nan")} for row in rows(13)])
    data.save_to_disk(str(tmp_path / "one"))
    splits = {"train": data.select(range(10)), "validation": data.select(range(10, 13))}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "two"))
    data.to_parquet(str(tmp_path / "three.parquet"))
    options = TaskOptions("q", "a.value", "number")
    one, two, three = (file_of(str(tmp_path / name), options) for name in ("one", "two", "three.parquet"))
    assert one.splits == ("all", "development", "test")
    assert two.splits == ("all", "validation", "train")
    assert len(two.examples("train", None, 0)) == 10
    ids = [[e.problem.id for e in task.examples("all", None, 0)] for task in (one, three)]
    assert ids[0] == ids[1]
    assert one.identity["file"] == three.identity["file"] != two.identity["file"]
    assert one.examples("all", 1, 0)[0].target in {row["a"] for row in rows(13)}
    (tmp_path / "two" / "train" / "data-00000-of-00001.arrow").write_bytes(b"torn")
    with pytest.raises(Mistake, match="cannot be read"):
        file_of(str(tmp_path / "two"), options)
    (tmp_path / "three.parquet").write_bytes(b"torn")
    with pytest.raises(Mistake, match="expected a Parquet file"):
        file_of(str(tmp_path / "three.parquet"), options)


# --- fields and rows -----------------------------------------------------------------------------------


def test_a_wrong_field_lists_the_fields_found(write: Callable[..., str]) -> None:
    path = write([{"question": "1 + 1?", "answer": 2}])
    with pytest.raises(Mistake, match=r"'awnser' \(did you mean 'answer'\?\); fields found: question, answer"):
        task_of(path, TaskOptions("question", "awnser", "number"))
    with pytest.raises(Mistake, match=r"expected --prompt-field.*fields found: question, answer"):
        task_of(path, TaskOptions(target_field="answer", grader="number"))
    with pytest.raises(Mistake, match=r"expected --grader, one of .*number.*, but got none"):
        task_of(path, TaskOptions("question", "answer"))
    with pytest.raises(Mistake, match=r"expected a verifier .*, but got 'oracle'"):
        task_of(path, TaskOptions("question", "answer", "number", verifier="oracle"))
    with pytest.raises(Mistake, match="no row has the field 'subject'; fields found: question, answer"):
        task_of(path, TaskOptions("question", "answer", "number", where=(("subject", "x"),)))


def test_a_row_that_lacks_what_others_have_is_named_or_skipped(write: Callable[..., str]) -> None:
    path = write([*rows(3), {"q": "no target"}, {"q": "  ", "a": 1}, {"q": "null", "a": None}, {"q": ["x"], "a": 1}])
    with pytest.raises(Mistake, match=r"mine\.jsonl, line 4 has no field 'a'"):
        task_of(path, OWN)
    task = file_of(path, TaskOptions("q", "a", "number", malformed="skip"))
    assert task.size == 3
    assert [line.partition(" has ")[0].partition(" field")[0] for line in task.skipped] == [
        f"mine.jsonl, line {n}" for n in (4, 5, 6, 7)
    ]


def test_a_field_within_a_field_and_a_conversation(write: Callable[..., str]) -> None:
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "?"},
        {"role": "user", "content": "2 + 2"},
    ]
    path = write([{"in": {"talk": talk}, "out": [{"value": 4}]}])
    (example,) = file_of(path, TaskOptions("in.talk", "out.0.value", "number", system="Be short.")).examples(
        "all", None, 0
    )
    assert example.target == 4
    assert example.problem.messages == ({"role": "system", "content": "Be short."}, *talk)
    with pytest.raises(Mistake, match="asks a whole conversation: a template and examples need a text"):
        task_of(path, TaskOptions("in.talk", "out.0.value", "number", template="{prompt}!"))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            {"role": "robot", "content": "x"},
            r"message 2: expected a role \(system, user, assistant, tool\), but got 'robot'",
        ),
        ({"role": None, "content": "x"}, "message 2: expected a role"),
        ({"role": "user", "content": 7}, "message 2: expected its content as text or a list of parts .* but got '7'"),
        ({"role": "user", "content": None}, "message 2: expected its content"),
        ({"role": "user", "content": []}, "message 2: expected its content"),
        ({"role": "user", "content": ["x"]}, "message 2: expected its content"),
        ({"content": "x"}, "expected text, or messages with role and content"),
    ],
)
def test_a_conversation_is_of_roles_and_texts(write: Callable[..., str], message: Any, said: str) -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "2 + 2"}]}
    good = {"q": [{"role": "system", "content": "Be short."}, parts], "a": 4}
    assert file_of(write([good])).size == 1
    path = write([good, {"q": [parts, message], "a": 4}])
    with pytest.raises(Mistake, match=rf"line 2 field 'q'.*{said}"):
        task_of(path, OWN)
    assert file_of(path, TaskOptions("q", "a", "number", malformed="skip")).size == 1


_A_TEXT = "expected a text or a number for the grader"


@pytest.mark.parametrize("target", [{"value": 2}, [2], True])
@pytest.mark.parametrize("grader", ["number", "gsm8k", "math"])
def test_a_target_of_another_kind_is_a_wrong_row(write: Callable[..., str], grader: str, target: Any) -> None:
    path = write([*rows(2), {"q": "1 + 1?", "a": target}])
    with pytest.raises(Mistake, match=rf"mine\.jsonl, line 3 field 'a': {_A_TEXT} '{grader}', but got"):
        task_of(path, TaskOptions("q", "a", grader))
    task = file_of(path, TaskOptions("q", "a", grader, malformed="skip"))
    assert (task.size, len(task.skipped)) == (2, 1)


@pytest.mark.parametrize("grader", ["exact", "normalised", "regex"])
def test_accepted_texts_are_texts(write: Callable[..., str], grader: str) -> None:
    pattern = "x" if grader == "regex" else None
    for good in ("x", 7, True, ["x", 7, None]):
        assert file_of(write([{"q": "?", "a": good}]), TaskOptions("q", "a", grader, pattern=pattern)).size == 1
    for wrong in ({"value": 2}, {"pattern": 7}, [], [None], [["x"]], [{"x": 1}]):
        with pytest.raises(Mistake, match=f"{_A_TEXT} '{grader}', or a list of accepted ones, but got"):
            task_of(write([{"q": "?", "a": wrong}]), TaskOptions("q", "a", grader, pattern=pattern))
    with pytest.raises(Mistake, match="has no target in the field 'a'"):
        task_of(write([{"q": "?", "a": "  "}]), TaskOptions("q", "a", grader, pattern=pattern))


@pytest.mark.parametrize(
    ("value", "wanted", "matches"),
    [
        (5, "5", True), (5.0, "5", True), ("5", "5.0", True), ("Algebra", "Algebra", True), ("Algebra", "algebra", False),
        (True, "true", True), (True, "1", False), (["a", "b"], "b", True), (950, "901..1000", True), (1001, "901..1000", False),
        ("x", "a..z", False), ("a..z", "a..z", True), (None, "None", True), ({"a": 1}, "a", False), (-3, "-5..-1", True),
    ],
)  # fmt: skip
def test_where_compares_as_text_as_a_number_or_in_a_range(value: Any, wanted: str, matches: bool) -> None:
    assert _matches(value, wanted) is matches


def test_where_keeps_the_rows_that_match_every_condition(write: Callable[..., str]) -> None:
    path = write(rows())
    task = file_of(path, TaskOptions("q", "a", "number", where=(("level", "2"), ("a", "0..100"))))
    assert {e.target for e in task.examples("all", None, 0)} == {
        r["a"] for r in rows() if r["level"] == 2 and r["a"] <= 100
    }
    with pytest.raises(Mistake, match="no row is left where level is '9'; values found: 1, 2, 3"):
        task_of(path, TaskOptions("q", "a", "number", where=(("level", "9"),)))


# --- splits, order, identity ---------------------------------------------------------------------------


def test_more_problems_than_there_are_says_how_many(write: Callable[..., str]) -> None:
    task = file_of(write(rows()))
    with pytest.raises(Mistake, match=r"42 problems were asked for, but the split all holds 41"):
        task.examples("all", N + 1, 0)
    with pytest.raises(Mistake, match="expected 1 problem or more, but got 0"):
        task.examples("all", 0, 0)
    one = file_of(write(rows(1), "one.jsonl"))
    empty = next(half for half in ("development", "test") if one.rows[0][0] != half)
    with pytest.raises(Mistake, match=f"all problems were asked for, but the split {empty} holds 0"):
        one.examples(empty, None, 0)
    with pytest.raises(Mistake, match=r"expected a level that its rows have \(none\), but got 2"):
        task.examples("all", 1, 0, level=2)


def test_fewer_are_the_first_of_more_and_a_seed_gives_another_order(write: Callable[..., str]) -> None:
    task: Task = file_of(write(rows()))
    every = task.examples("all", None, 7)
    assert task.examples("all", 13, 7) == every[:13]
    assert [e.problem.id for e in every] != [e.problem.id for e in task.examples("all", None, 8)]
    assert len({e.problem.id for e in every}) == task.size == N


@pytest.mark.parametrize(
    "options",
    [
        TaskOptions("q", "a", "math"), TaskOptions("q", "a", "number", system="Be brief."),
        TaskOptions("q", "a", "number", template="Q: {prompt}\n{form}"), TaskOptions("q", "a", "number", rubric="Be strict."),
        TaskOptions("q", "a", "number", verifier="judge"), TaskOptions("q", grader="command", command="cat {file}"),
        TaskOptions("q", "level", "number"),
    ],
)  # fmt: skip
def test_another_wording_or_grader_takes_the_same_rows(write: Callable[..., str], options: TaskOptions) -> None:
    twice = [*rows(), *rows(7), *rows(3)]  # equal rows too
    path = write(twice)
    texts = {row["q"] for row in twice}

    def taken(task: FileTask) -> list[str]:
        return [next(t for t in texts if t in asked(e)) for e in task.examples("all", 20, 5)]

    assert taken(file_of(path, options)) == taken(file_of(path))
    assert len({e.problem.id for e in file_of(path, options).examples("all", None, 5)}) == len(twice)


def test_the_halves_are_disjoint_and_depend_on_the_problem_alone(write: Callable[..., str]) -> None:
    task = file_of(write(rows()))
    halves = [{asked(e) for e in task.examples(split, None, 0)} for split in ("development", "test")]
    assert not halves[0] & halves[1]
    assert len(halves[0] | halves[1]) == N
    assert min(map(len, halves)) > N // 4
    # Other rows, another order, another wording and another target change nothing for a problem.
    turned = [{**row, "a": 0} for row in reversed(rows(N + 30)[5:])]
    other = file_of(write(turned, "other.jsonl"), TaskOptions("q", "a", "number", template="Q: {prompt}", system="x"))
    found = {asked(e).removeprefix("Q: ") for e in other.examples("test", None, 1)}
    assert found >= {text for text in halves[1] if text in {row["q"] for row in turned}}
    assert not found & halves[0]


def test_equal_rows_are_numbered_and_ids_stand_for_content(write: Callable[..., str]) -> None:
    path = write([*rows(2), rows(1)[0], {**rows(1)[0], "a": 99}])
    ids = sorted(e.problem.id for e in file_of(path).examples("all", None, 0))
    assert len(set(ids)) == 4
    assert sum(name.endswith("-2") for name in ids) == 1
    assert all(name.startswith("file:number/") for name in ids)
    again = file_of(write(list(reversed(rows(2))), "copy.jsonl"))
    assert {e.problem.id for e in again.examples("all", None, 0)} <= set(ids)
    judged = file_of(path, TaskOptions("q", "a", "number", rubric="Be strict."))
    assert not {e.problem.id for e in judged.examples("all", None, 0)} & set(ids)


def test_the_identity_holds_content_and_options_and_never_a_path(write: Callable[..., str], tmp_path: Path) -> None:
    first, copy = file_of(write(rows())), file_of(write(rows(), "deep/copy.jsonl"))
    assert first.identity == copy.identity
    assert str(tmp_path) not in json.dumps(first.identity)
    assert first.identity != file_of(write(rows(5), "five.jsonl")).identity
    assert file_of(write(rows()), TaskOptions("q", "a", "number", where=(("level", "1"),))).identity["where"] == [
        ["level", "1"]
    ]
    assert first.name == "file:number"
    assert grader_of(first.name) == first.grader == "number"


# --- what is asked -------------------------------------------------------------------------------------


def test_a_template_names_fields_and_doubles_its_braces(write: Callable[..., str]) -> None:
    path = write([{"q": "1 + 1?", "a": 2, "meta": {"topic": "sums {easy}"}, "tags": ["x"]}])

    def text(template: str) -> str:
        return asked(file_of(path, TaskOptions("q", "a", "number", template=template)).examples("all", 1, 0)[0])

    assert text("{{{meta.topic}}} {tags} {prompt}") == '{sums {easy}} ["x"] 1 + 1?'
    assert text("{q}\n{form}").startswith("1 + 1?\nReason step by step.")
    for template, said in {
        "{promt}": r"no field 'promt'; fields found: q, a, meta, tags",
        "{": "write literal braces twice",
        "{}": "expected a field's name",
        "{prompt!r}": "expected a field's name",
        "{prompt:>9}": "expected a field's name",
        "Is it {a}? {prompt}": r"\{a\} holds the target, which must not be shown",
    }.items():
        with pytest.raises(Mistake, match=said):
            text(template)


@pytest.mark.parametrize("shown", ["answer", "answer.value", "answer.value.x", "answer.steps"])
def test_no_part_of_the_field_that_holds_the_target_is_shown(write: Callable[..., str], shown: str) -> None:
    path = write([{"q": "1 + 1?", "answer": {"value": 2, "steps": "1 + 1 = 2"}, "answers": "several"}])
    with pytest.raises(Mistake, match="holds the target, which must not be shown"):
        task_of(path, TaskOptions("q", "answer.value", "number", template=f"{{prompt}} {{{shown}}}"))
    file_of(path, TaskOptions("q", "answer.value", "number", template="{prompt} {answers}"))


@pytest.mark.parametrize("shown", ["answer", "answer.value", "answer.value.0"])
@pytest.mark.parametrize("option", ["hints_field", "visible_field"])
def test_no_public_field_holds_the_target(write: Callable[..., str], option: str, shown: str) -> None:
    path = write([{"q": "1 + 1?", "answer": {"value": 2, "hints": {"x": 1}}, "answers": {"several": 1}}])
    with pytest.raises(Mistake, match=rf"{option}: '{shown}' holds the target \('answer\.value'\), which must not"):
        task_of(path, TaskOptions("q", "answer.value", "exact", **{option: shown}))
    for good in ("answer.hints", "answers"):
        assert file_of(path, TaskOptions("q", "answer.value", "number", hints_field=good)).size == 1


def test_no_conversation_that_is_asked_holds_the_target(write: Callable[..., str]) -> None:
    talk = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
    path = write([{"talk": talk}])
    with pytest.raises(Mistake, match="prompt_field: 'talk' holds the target"):
        task_of(path, TaskOptions("talk", "talk.1.content", "number"))
    assert file_of(path, TaskOptions("talk.0.content", "talk.1.content", "number")).size == 1


@pytest.mark.parametrize(
    ("verifier", "needs"),
    [
        ("countdown", "numbers and goal"), ("ifeval", "instructions"), ("code", "tests"), ("examples", "tests"),
        ("behaviour", "inputs or tests"), ("command", "command"),
    ],
)  # fmt: skip
def test_a_verifier_without_what_it_needs_is_refused(write: Callable[..., str], verifier: str, needs: str) -> None:
    path = write(rows(3))
    with pytest.raises(Mistake, match=f"the verifier '{verifier}' needs the hints {needs}") as caught:
        task_of(path, TaskOptions("q", "a", "number", verifier=verifier))
    assert ("--command" if verifier == "command" else "--hints-field") in str(caught.value).replace("_", "-")
    with pytest.raises(Mistake, match=f"the verifier '{verifier}' needs the hints {needs}"):
        task_of(f"gsm8k:{write([{'question': '?', 'answer': '#### 2'}])}", TaskOptions(verifier=verifier))


def test_a_row_without_the_numbers_of_countdown_is_a_wrong_row(write: Callable[..., str]) -> None:
    good = {"q": "Make 7.", "a": 7, "open": {"numbers": [3, 4], "goal": 7}}
    path = write([good, {**good, "open": {"goal": 7}}])
    for options in (TaskOptions("q", "a", "countdown", hints_field="open"),
                    TaskOptions("q", "a", "number", "countdown", hints_field="open")):  # fmt: skip
        with pytest.raises(Mistake, match=r"line 2 cannot be used: the (grader|verifier) 'countdown' needs the hint"):
            task_of(path, options)
    assert file_of(path, TaskOptions("q", "open.goal", "countdown", hints_field="open", malformed="skip")).size == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"command": "gcc {file} && ./a.out"},
            "a command is not run by a shell: write sh -c '...', but got the word '&&'",
        ),
        ({"command": "cat {file} | wc"}, "a command is not run by a shell"),
        ({"command": "lean {answer}"}, "but got {answer}"),
        ({"command": "true"}, "expected {file} in a command"),
        ({"command": "cat {file}", "file": "../x"}, "a file must have a relative name without '..', but got '../x'"),
        ({"command": "cat {file}", "readable": ("/nowhere/at/all",)}, "readable must be absolute paths that exist"),
    ],
)
def test_a_command_is_looked_at_before_anything_is_spent(
    write: Callable[..., str], options: dict[str, Any], said: str
) -> None:
    path = write(rows(3))
    for more in ({"grader": "command"}, {"grader": "number", "verifier": "command", "target_field": "a"}):
        with pytest.raises(Mistake, match=rf"^command: .*{re.escape(said)}"):
            task_of(path, TaskOptions("q", **more, **options))
    script = "sh -c 'gcc {file} -o a && ./a > out; cat out | wc'"
    assert file_of(path, TaskOptions("q", grader="command", command=script)).size == 3


def test_a_row_that_makes_no_command_is_a_wrong_row(write: Callable[..., str]) -> None:
    path = write(
        [{"q": "?", "a": {"files": {"/etc/x": ""}}}, {"q": "??", "a": {"limits": {"walls": 1}}}, {"q": "!", "a": {}}]
    )
    options = {"prompt_field": "q", "target_field": "a", "grader": "command", "command": "gcc {file}", "file": "x.c"}
    with pytest.raises(Mistake, match=r"line 1 field 'a': .*relative name"):
        task_of(path, TaskOptions(**options))
    task = file_of(path, TaskOptions(**options, malformed="skip"))
    assert (task.size, len(task.skipped)) == (1, 2)


def test_public_hints_come_from_a_field(write: Callable[..., str]) -> None:
    path = write([{"q": "Make 7.", "a": 7, "open": {"numbers": [3, 4], "goal": 7}}])
    (example,) = file_of(path, TaskOptions("q", "a", "countdown", "countdown", hints_field="open")).examples(
        "all", 1, 0
    )
    assert example.problem.hints == {"numbers": [3, 4], "goal": 7}
    assert example.problem.verifier == "countdown"
    with pytest.raises(Mistake, match=r"field 'q': expected public hints as an object, but got 'Make 7\.'"):
        task_of(path, TaskOptions("q", "a", "countdown", hints_field="q"))
    with pytest.raises(Mistake, match="gsm8k takes its public hints from its own fields"):
        task_of(f"gsm8k:{path}", TaskOptions(hints_field="open"))


def test_the_form_is_asked_for_once(write: Callable[..., str]) -> None:
    path = write(rows(5))
    assert "form" not in file_of(path).examples("all", 1, 0)[0].problem.hints
    worded = file_of(path, TaskOptions("q", "a", "number", template="{prompt}\n{form}")).examples("all", 1, 0)[0]
    assert worded.problem.hints["form"] == ""


def test_examples_come_from_another_file_and_never_ask_the_problem_itself(write: Callable[..., str]) -> None:
    path = write([{"q": row["q"], "a": str(row["a"])} for row in rows()])
    source = write([{"q": row["q"].upper(), "a": str(row["a"])} for row in rows(4)], "train.jsonl")
    task = file_of(path, TaskOptions("q", "a", "number", shots=3, shots_from=source))
    assert task.size == N
    for example in task.examples("all", None, 0):
        blocks = asked(example).split("\n\n")
        shots, own = blocks[:-1], blocks[-1].removesuffix("\nAnswer:")
        assert len(shots) == 3
        assert not any(own.casefold() in shot.casefold() for shot in shots), (
            "a problem's answer stands in its own prompt"
        )
    assert task.identity["shots"] == 3
    assert task.identity["shots_from"] != task.identity["file"]
    torn = write('{"q": "torn\n' + Path(source).read_text(), "torn.jsonl")
    with pytest.raises(Mistake, match=r"torn\.jsonl, line 1 is no row"):
        task_of(path, TaskOptions("q", "a", "number", shots=3, shots_from=torn))
    told = file_of(path, TaskOptions("q", "a", "number", shots=3, shots_from=torn, malformed="skip"))
    assert [line.partition(" is ")[0] for line in told.skipped] == ["torn.jsonl, line 1"]
    with pytest.raises(Mistake, match=r"expected 5 worked examples in .*train\.jsonl \(one to spare.*but got 4"):
        task_of(path, TaskOptions("q", "a", "number", shots=4, shots_from=source))


def test_examples_from_the_same_file_are_no_problems(write: Callable[..., str]) -> None:
    texts = [{"q": row["q"], "a": str(row["a"])} for row in rows()]
    task = file_of(write([*texts, *texts]), TaskOptions("q", "a", "number", shots=5))
    prompts = [asked(e) for e in task.examples("all", None, 0)]
    heads = {prompt.rpartition("\n\n")[0] for prompt in prompts}
    assert len(heads) == 1, "every problem has the same examples"
    assert task.size == 2 * (N - 5)
    assert not any(prompt.rpartition("\n\n")[2] in heads.pop() for prompt in prompts[:1])
    with pytest.raises(Mistake, match="expected 50 worked examples in the file itself, but got 41"):
        task_of(write(texts), TaskOptions("q", "a", "number", shots=50))
    with pytest.raises(Mistake, match="no row is left for a problem"):
        task_of(write(texts), TaskOptions("q", "a", "number", shots=N))
    with pytest.raises(Mistake, match="no row of the file itself holds a worked answer: write examples into"):
        task_of(write(rows()), TaskOptions("q", grader="number", shots=1))


@pytest.mark.parametrize(
    ("grader", "target", "written"),
    [
        ("number", 4, "4"), ("number", 2.5, "2.5"), ("math", 7, "7"), ("exact", ["Paris", "City of Paris"], "Paris"),
        ("normalised", True, "True"), ("json", {"b": 1, "a": ["x"]}, '{"a":["x"],"b":1}'), ("json", "text", '"text"'),
        ("json", "[1, 2]", "[1, 2]"), ("gsm8k", "2 + 3 = 5\n#### 5", "2 + 3 = 5\n#### 5"),
    ],
)  # fmt: skip
def test_every_kind_of_target_can_be_a_worked_answer(
    write: Callable[..., str], grader: str, target: Any, written: str
) -> None:
    path = write([{"q": f"Question {i}?", "a": target} for i in range(3)])
    prompt = asked(file_of(path, TaskOptions("q", "a", grader, shots=2)).examples("all", 1, 0)[0])
    assert prompt.count(f"?\nAnswer: {written}\n\nQuestion ") == 2
    assert prompt.endswith("?\nAnswer:")


@pytest.mark.parametrize(
    ("grader", "target"),
    [("code", ["assert twice(1) == 2"]), ("regex", {"pattern": "x"}), ("command", {"files": {"a": "b"}})],
)
def test_a_target_that_is_no_answer_is_no_worked_one(write: Callable[..., str], grader: str, target: Any) -> None:
    path = write([{"q": f"Question {i}?", "a": target} for i in range(3)])
    more: dict[str, Any] = {"regex": {"pattern": "x"}, "command": {"command": "cat {file}"}}.get(grader, {})
    with pytest.raises(Mistake, match="holds a worked answer"):
        task_of(path, TaskOptions("q", "a", grader, shots=1, **more))


def test_options_that_do_not_fit_are_refused(write: Callable[..., str]) -> None:
    path = write(rows(3))
    for name in ("pattern", "command"):
        with pytest.raises(Mistake, match=f"{name} is for the grader"):
            task_of(path, TaskOptions("q", "a", "number", **{name: "x {file}"}))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"shots": -1}, "expected 0 shots or more"),
        ({"shots_from": "x.jsonl"}, "say how many of them"),
        ({"malformed": "ignore"}, "expected malformed 'refuse' or 'skip'"),
        ({"file": "a.c"}, "belong to a command"),
        ({"command": "cc '{file}"}, "No closing quotation"),
        ({"command": " "}, "expected the words of a command"),
    ]
    for given_options, said in wrong:
        with pytest.raises(Mistake, match=said):
            TaskOptions(**given_options)
    with pytest.raises(Mistake, match="makes its own problems"):
        task_of("words", OWN)
    with pytest.raises(Mistake, match="math is graded by 'math'; to grade its file by 'exact'"):
        task_of(f"math:{path}", TaskOptions(grader="exact"))


def test_a_row_reads_its_fields() -> None:
    row = Row({"a": {"b": [1, {"c": "x"}]}, "n": 1.5, "empty": "", "t": True}, "here")
    assert row.value("a.b.1.c") == "x"
    assert row.text("n") == "1.5"
    assert row.has("a.b.0")
    assert not row.has("a.b.2")
    for name in ("empty", "t", "a", "zzz"):
        with pytest.raises(BadRow, match=r"^here "):
            row.text(name)


def test_every_loader_has_a_name_that_can_be_used(write: Callable[..., str]) -> None:
    for name, loader in LOADERS.items():
        assert name == loader.name
        assert ":" not in name and grader_of(name) == loader.grader
