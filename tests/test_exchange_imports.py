"""Recorded samples into a pool: every format, what is refused and where, and that replays work as on drawn pools."""

from __future__ import annotations

import doctest
import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.published import needs, published
from vervet.budget import Wallet
from vervet.errors import MissingExtra, MissingFigures, Mistake, Unsupported
from vervet.exchange import Fields, Imported, import_file, lm_eval, planning, unknown
from vervet.exchange.imports import read_entries
from vervet.models import load
from vervet.pool import open_pool
from vervet.run import Result, Run, regrade
from vervet.tasks import TaskOptions
from vervet.types import Problem, text_digest
from vervet.verify import READERS, recorded

ANSWERS = "gpt35_last_letters_T0.7_answers.jsonl"
REWARDS = "math_odd_8samples_reward.jsonl"
CONFIDENCE = "brumo2025_odd_answers_confidence.jsonl"

LISTS = [
    {"id": 1, "gold": "7", "answers": ["7", "8", "7"], "rewards": [0.5, 0.9, 0.7]},
    {"id": 2, "gold": "5", "answers": ["5", None, "4"], "rewards": [0.1, 0.2, 0.3]},
]


def wrote(folder: Path, rows: Sequence[Mapping[str, Any]] | str, name: str = "mine.jsonl") -> str:
    path = folder / name
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return str(path)


def in_pool(folder: Path) -> str:
    return str(folder / "a.pool")


def replayed(found: Imported, architecture: str, model: str | None = None) -> Result:
    """A replay of an architecture on what was imported."""
    model = model or found.models[0].model
    mine = TaskOptions(where=(("model", model),))
    return Run(f"pool:{found.pool}", architecture, model, pool=found.pool, replay=True, options=mine).start()


@pytest.mark.parametrize("module", [lm_eval, planning, recorded, unknown])
def test_the_examples_of_the_modules(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


# --- the recorded data ---------------------------------------------------------------------------------


@needs(ANSWERS)
def test_answers_of_500_problems_give_the_published_curves(tmp_path: Path) -> None:
    found = import_file(str(published(ANSWERS)), in_pool(tmp_path), grader="exact")
    (one,) = found.models
    assert (found.problems, found.samples, found.new, one.n, one.beyond) == (500, 20_000, 20_000, 40, 0)
    assert one.accuracy == pytest.approx(0.78715)
    assert replayed(found, "generate(n=40) | vote()").accuracy == pytest.approx(0.816)
    with open_pool(found.pool) as pool:
        uses = [use for use in pool.answer_uses(one.run) if use.outcome == "correct"]
    right = Counter(use.problem for use in uses)
    assert len(uses) == round(0.78715 * 20_000) and len(right) == round(0.92 * 500)
    assert import_file(str(published(ANSWERS)), found.pool, grader="exact").new == 0


@needs(REWARDS)
def test_rewards_are_voted_on_and_chosen_by(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in published(REWARDS).read_text().splitlines()]
    found = import_file(str(published(REWARDS)), in_pool(tmp_path), grader="math")
    (one,) = found.models
    # The target of problem 3, "4:30p..", is nothing that the grader can read.
    unread = [row for row in rows if row["gold"] == "4:30p.."]
    assert (one.samples, one.not_judged, one.disagree) == (400, 8 * len(unread), 0)

    vote = replayed(found, "generate(n=8) | vote()")
    first = [Counter(row["answers"]).most_common(1)[0][0] for row in rows]  # most frequent, ties to the first seen
    right = [row["correct"][row["answers"].index(a)] for row, a in zip(rows, first, strict=True)]
    assert round(vote.accuracy * 50) == sum(right)

    best = replayed(found, "generate(n=8) | best(by='reward')")
    right = [row["correct"][row["rewards"].index(max(row["rewards"]))] for row in rows]
    assert round(best.accuracy * 50) == sum(right)
    with open_pool(found.pool) as pool:
        texts = {answer.problem: answer.text for answer in pool.answers(best.run)}
    for row in rows:
        text = texts[f"{Path(published(REWARDS)).stem}/{row['problem']}"]
        assert recorded.unmarked(str(text)) == row["answers"][row["rewards"].index(max(row["rewards"]))]

    before = regrade(found.pool)
    assert not before.changed
    assert {round(old * 50) for old, _ in before.accuracy.values()} >= {sum(right)}


@needs(REWARDS)
def test_verdicts_of_the_file_itself(tmp_path: Path) -> None:
    found = import_file(str(published(REWARDS)), in_pool(tmp_path), reader="math")
    assert (found.grader, found.models[0].accuracy, found.models[0].not_judged) == ("recorded", 377 / 400, 0)
    assert replayed(found, "generate(n=8) | vote()").accuracy == pytest.approx(0.96)
    assert not regrade(found.pool).changed


@needs(CONFIDENCE)
def test_groups_that_were_not_drawn_alike_are_not_mixed(tmp_path: Path) -> None:
    path = str(published(CONFIDENCE))
    with pytest.raises(Mistake, match=r"line 12: group 'truncated', but .*line 1 is of group 'completed'"):
        import_file(path, in_pool(tmp_path), grader="math")
    assert not Path(in_pool(tmp_path)).exists()
    completed = TaskOptions(grader="math", where=(("group", "completed"),))
    (one,) = import_file(path, in_pool(tmp_path), options=completed, model="mine").models
    assert (one.model, one.problems, one.samples, one.n, one.beyond, one.disagree) == (
        "import/mine",
        15,
        406,
        8,
        286,
        0,
    )
    apart = import_file(path, in_pool(tmp_path), grader="math", fields=Fields(group="group"), model="all")
    assert [m.model for m in apart.models] == ["import/all/completed", "import/all/truncated"]
    best = replayed(apart, "generate(n=8) | best(by='confidence')", "import/mine")
    rows = [json.loads(line) for line in published(CONFIDENCE).read_text().splitlines()]
    right = 0
    for problem in {row["problem"] for row in rows}:
        mine = [row for row in rows if row["problem"] == problem and row["group"] == "completed"][:8]
        surest = max(
            (row for row in mine if row["confidence"]), key=lambda row: sum(row["confidence"]) / len(row["confidence"])
        )
        right += surest["correct"]
    assert round(best.accuracy * 15) == right


# --- rows ----------------------------------------------------------------------------------------------


def test_rows_of_samples_and_rows_of_lists_are_the_same(tmp_path: Path) -> None:
    rows = [
        {"problem": row["id"], "gold": row["gold"], "answer": answer, "reward": reward}
        for row in LISTS
        for answer, reward in zip(row["answers"], row["rewards"], strict=True)  # type: ignore[call-overload]
    ]
    found = import_file(wrote(tmp_path, LISTS), in_pool(tmp_path), grader="number")
    assert (found.problems, found.samples, found.models[0].n) == (2, 6, 3)
    assert found.models[0].accuracy == pytest.approx(3 / 6)  # no answer is incorrect
    (tmp_path / "b").mkdir()
    again = import_file(wrote(tmp_path / "b", rows), found.pool, grader="number")
    assert again.new == 0
    text = "problem,gold,answer,reward\n" + "".join(
        f"{r['problem']},{r['gold']},{'' if r['answer'] is None else r['answer']},{r['reward']}\n" for r in rows
    )
    assert import_file(wrote(tmp_path / "b", text, "mine.csv"), found.pool, grader="number").new == 0


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "mine.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(LISTS), path)
    assert import_file(str(path), in_pool(tmp_path), grader="number").samples == 6


def test_a_part_of_a_field_is_named_with_dots(tmp_path: Path) -> None:
    rows = [{"id": 1, "gold": 1, "answer": 1, "by": {"rm": 0.5}}, {"id": 1, "gold": 1, "answer": 2, "by": {"rm": None}}]
    entries, _ = read_entries(wrote(tmp_path, rows), fields=Fields(reward="by.rm"))
    assert [list(entry.rewards) for entry in entries] == [[0.5], [None]]
    with pytest.raises(Mistake, match=r"line 1 field 'by\.rm' holds NaN"):
        read_entries(wrote(tmp_path, [{**rows[0], "by": {"rm": math.nan}}]), fields=Fields(reward="by.rm"))


def test_texts_with_prompts_models_and_tokens(tmp_path: Path) -> None:
    rows = [
        {"problem": p, "model": m, "prompt": f"{p} + 1?", "text": f"Well.\nAnswer: {a}", "gold": 3, "tokens": 7}
        for p in (2, 5)
        for m in ("b", "a")
        for a in (3, 4)
    ]
    found = import_file(wrote(tmp_path, rows), in_pool(tmp_path), grader="number")
    assert [(m.model, m.samples, m.accuracy) for m in found.models] == [("import/b", 4, 0.5), ("import/a", 4, 0.5)]
    with open_pool(found.pool) as pool:
        example = pool.problem("mine/2")
        assert example is not None and example.problem.messages == ({"role": "user", "content": "2 + 1?"},)
        runs = {row.identity["architecture"]: pool.spent(row.id) for row in pool.runs()}
        samples = pool.samples_of("mine/2")
    assert {s.n_tokens for s in samples} == {7} and len(samples) == 4
    assert runs["import"].bill.completion_tokens == 28 and runs["generate(n=2)"].bill.tokens == 0


def test_a_problem_that_is_given_by_its_text_is_asked_so(tmp_path: Path) -> None:
    asked = "What is the sum of the first one hundred whole numbers, from one up to one hundred, both included?"
    found = import_file(
        wrote(tmp_path, [{"problem": asked, "gold": 5050, "answer": 5050}]), in_pool(tmp_path), grader="number"
    )
    with open_pool(found.pool) as pool:
        (name,) = pool.problems()
        example = pool.problem(name)
    assert example is not None and example.problem.messages[0]["content"] == asked


def test_equal_texts_that_the_file_valued_differently_stay_apart(tmp_path: Path) -> None:
    rows = [{"id": 1, "texts": ["same", "same", "same", "other"], "rewards": [1, 1, 2, 0], "correct": [1, 0, 1, None]}]
    found = import_file(wrote(tmp_path, rows), in_pool(tmp_path))
    assert found.models[0].accuracy == pytest.approx(2 / 3) and found.models[0].not_judged == 1
    with open_pool(found.pool) as pool:
        texts = [s.text for s in pool.samples_of("mine/1")]
    assert texts == [
        "same", "same\n[sample 1 of problem 1 of import/mine]", "same\n[sample 2 of problem 1 of import/mine]", "other",
    ]  # fmt: skip
    assert import_file(str(tmp_path / "mine.jsonl"), found.pool).new == 0


@pytest.mark.parametrize(
    ("reads", "answer", "key"),
    [
        ("math", r"\frac{1}{2}", "1/2"), ("math", "900,000,000", "900000000"), ("math", "4t", "4*t"), ("number", "1,200.0", "1200"),
        ("gsm8k", "$12", "12"), ("exact", "Yajo ", "Yajo"), ("normalised", "The Moon.", "moon"), ("choice", "(C)", "C"),
    ],
)  # fmt: skip
def test_an_answer_alone_has_the_key_that_its_reader_gives_it_in_a_text(reads: str, answer: str, key: str) -> None:
    problem = Problem("p", (), "imported", hints={"reads": reads, "alone": True})
    for text in (answer, recorded.marked(answer, 3, "p", "import/mine")):
        found = READERS["imported"](problem, text)
        assert found is not None
        if reads == "math":
            boxed = READERS["math"](Problem("p", (), "math"), f"So \\boxed{{{answer}}}.")
            assert boxed is not None and found.key == boxed.key
        else:
            assert found.key == key


# --- again, more, otherwise ----------------------------------------------------------------------------


def test_a_longer_file_adds_what_is_new(tmp_path: Path) -> None:
    import_file(wrote(tmp_path, LISTS[:1]), in_pool(tmp_path), grader="number")
    longer = [{**LISTS[0], "answers": ["7", "8", "7", "7"], "rewards": [0.5, 0.9, 0.7, 0.6]}, LISTS[1]]
    found = import_file(wrote(tmp_path, longer), in_pool(tmp_path), grader="number")
    assert (found.new, found.models[0].n, found.models[0].beyond) == (4, 3, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"answers": ["7", "9", "7"]},
            "line 1: sample 1 of problem mine/1 is in .* already as another one of import/mine",
        ),
        ({"rewards": [0.5, 0.9, 0.8]}, "line 1: sample 2 of problem mine/1 is in .* already"),
        ({"rewards": [0.4, 0.9, 0.7]}, "line 1: sample 0 of problem mine/1 is in .* already"),
        (
            {"gold": "8"},
            "line 1: problem mine/1 is in .* already, of mine:number, with another prompt, target or grader",
        ),
        ({"prompt": "What?"}, "line 1: problem mine/1 is in .* already"),
    ],
)
def test_a_file_that_contradicts_what_is_stored_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    import_file(wrote(tmp_path, LISTS), in_pool(tmp_path), grader="number")
    with open_pool(in_pool(tmp_path)) as pool:
        before = pool.info().counts
    with pytest.raises(Mistake, match=said):
        import_file(wrote(tmp_path, [{**LISTS[0], **change}, LISTS[1]]), in_pool(tmp_path), grader="number")
    with open_pool(in_pool(tmp_path)) as pool:
        assert pool.info().counts == before


def test_another_grader_is_another_task_on_the_same_samples(tmp_path: Path) -> None:
    path = wrote(tmp_path, [{**row, "prompt": f"{row['id']}?"} for row in LISTS])
    import_file(path, in_pool(tmp_path), grader="number", model="m")
    with pytest.raises(Mistake, match="--task, or grade what is there anew"):
        import_file(path, in_pool(tmp_path), grader="exact", model="m")
    found = import_file(path, in_pool(tmp_path), grader="exact", task="exactly", model="m")
    assert found.new == 0 and found.task == "exactly:exact"  # the draws of a question are shared


def test_a_second_model_joins_the_problems_of_the_first(tmp_path: Path) -> None:
    import_file(wrote(tmp_path, LISTS), in_pool(tmp_path), grader="number", model="one")
    with pytest.raises(Mistake, match="another one of import/one"):
        import_file(
            wrote(tmp_path, [{**LISTS[0], "answers": ["1", "2", "3"]}]), in_pool(tmp_path), grader="number", model="one"
        )
    other = [{**LISTS[0], "answers": ["1", "7"], "rewards": [9, 9]}]
    found = import_file(wrote(tmp_path, other), in_pool(tmp_path), grader="number", model="two")
    assert [(m.model, m.problems, m.n) for m in found.models] == [("import/two", 1, 2)]
    assert replayed(found, "generate(n=3) | vote()", "import/one").problems == 2
    assert replayed(found, "generate(n=2) | vote()").problems == 1  # of those that it has samples of


# --- what is declared ----------------------------------------------------------------------------------


def test_unequal_numbers_of_samples_declare_what_every_problem_has(tmp_path: Path) -> None:
    rows = [{"id": 1, "gold": 1, "answers": [1, 1, 2]}, {"id": 2, "gold": 2, "answers": [2, 3, 3, 3, 3]}]
    path = wrote(tmp_path, rows)
    with pytest.raises(Mistake, match="line 1: 4 samples a problem were asked for, but problem 1 has 3 of import/mine"):
        import_file(path, in_pool(tmp_path), grader="number", n=4)
    assert not Path(in_pool(tmp_path)).exists()
    (one,) = import_file(path, in_pool(tmp_path), grader="number").models
    assert (one.n, one.beyond, one.accuracy) == (3, 2, pytest.approx(3 / 6))
    (one,) = import_file(path, in_pool(tmp_path), grader="number", n=2).models
    assert (one.n, one.beyond, one.new) == (2, 4, 0)


def test_disagreement_with_the_file_is_counted_and_placed(tmp_path: Path) -> None:
    rows = [{"id": 1, "gold": 1, "answers": [1, 2], "correct": [True, True]}]
    (one,) = import_file(wrote(tmp_path, rows), in_pool(tmp_path), grader="number").models
    assert (one.disagree, one.first, one.accuracy) == (1, "mine.jsonl, line 1", 0.5)


def test_an_imported_model_is_replayed_and_never_drawn(tmp_path: Path) -> None:
    found = import_file(wrote(tmp_path, LISTS), in_pool(tmp_path), grader="number")
    model, task = found.models[0].model, f"pool:{found.pool}"
    assert load(model).name == model
    with pytest.raises(Unsupported, match="temperature cannot be asked of it"):
        replayed(found, "generate(n=3, temperature=0.5) | vote()")
    with pytest.raises(Unsupported, match="replayed, never drawn"):
        Run(task, "generate(n=4) | vote()", model, pool=found.pool).start()
    with pytest.raises(Unsupported, match="plays the roles answer, reward"):
        replayed(found, "generate(n=3) | best(by='judge')")
    with pytest.raises(Unsupported, match="max_tokens cannot be asked of it"):
        replayed(found, "generate(n=3, max_tokens=5) | vote()")


@pytest.mark.parametrize("limits", [{"replay": True}, {"wallet": Wallet(tokens=0)}, {"wallet": Wallet(calls=0)}])
def test_draws_that_were_not_imported_are_refused_whatever_the_wallet_holds(
    tmp_path: Path, limits: dict[str, Any]
) -> None:
    found = import_file(wrote(tmp_path, LISTS), in_pool(tmp_path), grader="number")
    for judge in (None, "fake/iid"):
        with pytest.raises(Unsupported, match="sample 3 of a problem is not in this pool"):
            Run(f"pool:{found.pool}", "generate(n=99) | vote()", judge=judge, **limits).start()
    with pytest.raises(MissingFigures, match="stored without what these endings need"):
        Run(f"pool:{found.pool}", "generate(n=3, stop='7') | vote()", **limits).start()
    early = "generate(n=99, until=agree(0.5, at_least=1)) | vote()"  # ends within what was imported
    assert Run(f"pool:{found.pool}", early, **limits).start().accuracy == 1


def test_the_pool_of_the_problems_is_where_a_run_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = import_file(wrote(tmp_path, LISTS), in_pool(tmp_path), grader="number")
    run = Run(f"pool:{found.pool}#{found.task}", "generate(n=3) | vote()")
    assert (run.pool, run.start().ended) == (found.pool, None)
    assert not Path("vervet.sqlite").exists() and Run("words", "generate()").pool == "vervet.sqlite"


# --- bad files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"gold": 1, "answer": 2}, "line 2 names no problem: name the field with --problem-field"),
        ({"id": 2, "gold": 1}, "line 2 has neither a text nor an answer"),
        ({"id": 2, "gold": 1, "answer": {"a": 1}}, "line 2 field 'answer': expected a text, a number or null"),
        ({"id": 2, "gold": 1, "answer": 1, "reward": "high"}, "line 2 field 'reward': expected a number, but got \"high\""),
        ({"id": 2, "gold": 1, "answer": 1, "correct": "perhaps"}, "line 2 field 'correct': expected true or false"),
        ({"id": 2, "gold": 1, "answer": None, "correct": True}, "line 2 field 'correct' says that a sample without an answer"),
        ({"id": 2, "gold": 1, "answer": 1, "tokens": -3}, "line 2 field 'tokens': expected a number of tokens"),
        ({"id": 2, "gold": 1, "answers": [1, 2], "rewards": [1]}, "line 2 field 'rewards': expected one value for each of its 2"),
        ({"id": 2, "gold": 1, "answers": []}, "line 2 holds no sample of problem '2'"),
        ({"id": 2, "gold": None, "answer": 1}, "line 2 has no target in the field 'gold'"),
        ({"id": 2, "gold": [1], "answer": 1}, "line 2 field 'gold': expected a text or a number for the grader 'number'"),
        ({"id": 1, "gold": 2, "answer": 1}, "line 2 says otherwise of problem '1' than mine.jsonl, line 1: the target"),
        ({"id": 1, "gold": 1, "answers": [1], "prompt": "Q?"}, "line 2 gives samples of problem '1' again, which mine.jsonl, line 1 has"),
        ({"id": 2, "gold": 1, "answer": 1, "prompt": "Q?"}, "line 2 asks in problem '2' what mine.jsonl, line 1 asks"),
        ({"id": 2, "gold": 1, "answers": [1, 2], "rewards": [1.0, math.nan]}, "line 2 field 'rewards' holds NaN or Infinity"),
        ({"id": 2, "gold": 1, "answer": math.inf}, "line 2 field 'answer' holds NaN or Infinity"),
        ({"id": 2, "gold": 1, "answer": 1, "confidence": -math.inf}, "line 2 field 'confidence' holds NaN or Infinity"),
        ({"id": 2, "gold": 1, "answer": 1, "prompt": []}, "line 2 field 'prompt': expected a text, or messages"),
        ("{", "line 2 is no row"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_and_nothing_is_written(tmp_path: Path, row: Any, said: str) -> None:
    first = json.dumps({"id": 1, "gold": 1, "answer": 1, "prompt": "Q?"})
    path = wrote(tmp_path, f"{first}\n{row if isinstance(row, str) else json.dumps(row)}\n")
    with pytest.raises(Mistake) as caught:
        import_file(path, in_pool(tmp_path), grader="number")
    assert said in str(caught.value) and not Path(in_pool(tmp_path)).exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nothing says which samples are right: give --grader NAME"),
        ({"grader": "recorded"}, "say of no sample whether it is right"),
        ({"grader": "nonsense"}, "expected --grader, one of"),
        ({"grader": "number", "format": "excel"}, "expected a format"),
        ({"grader": "number", "reader": "math"}, "expected --reader for verdicts of the file itself"),
        ({"grader": "number", "n": 0}, "of at least 1, but got 0"),
        ({"grader": "number", "n": -1}, "of at least 1, but got -1"),
        ({"grader": "number", "n": 4}, "4 samples a problem were asked for, but problem 1 has 3"),
        ({"grader": "number", "model": ""}, "expected a model's name, but got ''"),
        ({"grader": "number", "model": "import/"}, "expected a model's name"),
        ({"grader": "number", "task": " "}, "expected a task's name of any characters but :, #, /"),
        ({"grader": "number", "task": "a#b:c"}, "expected a task's name of any characters but :, #, /.*'a#b:c'"),
        ({"grader": "number", "fields": Fields(reward="score")}, "has no field 'score'"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(Mistake, match=said):
        import_file(wrote(tmp_path, LISTS), in_pool(tmp_path), **options)
    assert not Path(in_pool(tmp_path)).exists()


def test_a_line_that_cannot_be_read_may_be_left_out_and_told(tmp_path: Path) -> None:
    path = wrote(tmp_path, "".join(json.dumps(row) + "\n" for row in [*LISTS, {"id": 3, "gold": 1}]) + "{\n")
    found = import_file(path, in_pool(tmp_path), options=TaskOptions(grader="number", malformed="skip"))
    assert found.problems == 2 and [line.partition(" ")[2][:6] for line in found.skipped] == ["line 4", "line 3"]


def test_success_counts_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="need no pool: vervet scale"):
        import_file(wrote(tmp_path, "problem,n,c\n1,2,1\n", "c.csv"), in_pool(tmp_path), grader="number")


# --- other programs' formats ---------------------------------------------------------------------------


def test_large_language_monkeys(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    for i in (2, 10):
        wrote(
            folder,
            f"prompt: 'Question: {i}?'\nquestion: '{i}?'\ngt_answer: '#### {i}'\nis_correct: [true, false, true]\n"
            f"samples:\n- 'So #### {i}'\n- 'So #### 99'\n- |\n  Two lines.\n  #### {i}\n",
            f"{i}.yaml",
        )
    found = import_file(str(folder), in_pool(tmp_path), grader="gsm8k", model="llama")
    assert (found.task, found.problems, found.samples) == ("gsm8k:gsm8k", 2, 6)
    assert (found.models[0].accuracy, found.models[0].disagree) == (pytest.approx(4 / 6), 0)
    with open_pool(found.pool) as pool:
        assert pool.problems() == ["gsm8k/2", "gsm8k/10"]
    theirs = import_file(str(folder / "10.yaml"), str(tmp_path / "b.pool"))
    assert theirs.grader == "recorded" and theirs.models[0].accuracy == pytest.approx(2 / 3)


def test_a_broken_yaml_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("yaml")
    with pytest.raises(Mistake, match=r"x\.yaml, line 2 is not YAML"):
        import_file(wrote(tmp_path, "samples:\n  - a: b: c\n", "x.yaml"), in_pool(tmp_path))
    with pytest.raises(Mistake, match=r"x\.yaml: expected an object with the list 'samples', but got list"):
        import_file(wrote(tmp_path, "- 1\n", "x.yaml"), in_pool(tmp_path))
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtra, match="pyyaml is not installed"):
        import_file(str(tmp_path / "x.yaml"), in_pool(tmp_path))


def lm_eval_row(i: int, texts: list[str], **more: Any) -> dict[str, Any]:
    return {
        "doc_id": i, "doc": {"question": f"{i}?", "answer": f"#### {i}"}, "target": f"#### {i}",
        "arguments": {"gen_args_0": {"arg_0": f"Question: {i}?\nAnswer:", "arg_1": {"until": ["Question:"]}}},
        "resps": [texts], "filtered_resps": ["?"], "filter": "strict-match", "metrics": ["exact_match"], **more,
    }  # fmt: skip


def test_lm_eval(tmp_path: Path) -> None:
    folder = tmp_path / "meta-llama__Llama-3"
    folder.mkdir()
    rows = [lm_eval_row(i, [f"So #### {i}"], exact_match=float(i != 3)) for i in (3, 5)]
    path = wrote(folder, rows, "samples_gsm8k_2024-09-01T10-20-30.123.jsonl")
    found = import_file(path, in_pool(tmp_path), grader="gsm8k")
    assert (found.task, found.models[0].model) == ("gsm8k:gsm8k", "import/meta-llama/Llama-3")
    assert (found.models[0].accuracy, found.models[0].disagree) == (1.0, 1)
    assert import_file(path, str(tmp_path / "b.pool")).models[0].accuracy == 0.5  # as the metric says


def test_lm_eval_with_repeats_has_no_verdict_of_each_text(tmp_path: Path) -> None:
    rows = [lm_eval_row(i, [f"#### {i}", "#### 0", "no"], exact_match=1.0) for i in (3, 5)]
    path = wrote(tmp_path, rows, "samples_gsm8k.jsonl")
    with pytest.raises(Mistake, match="nothing says which samples are right"):
        import_file(path, in_pool(tmp_path))
    (one,) = import_file(path, in_pool(tmp_path), grader="gsm8k").models
    assert (one.n, one.accuracy, one.model) == (3, pytest.approx(2 / 6), "import/gsm8k")


def test_lm_eval_wants_one_filter_and_texts(tmp_path: Path) -> None:
    rows = [lm_eval_row(3, ["#### 3"], filter=name, exact_match=1.0) for name in ("strict-match", "flexible-extract")]
    path = wrote(tmp_path, rows, "samples_gsm8k.jsonl")
    with pytest.raises(
        Mistake, match="the filters strict-match, flexible-extract: choose one with --where filter=strict-match"
    ):
        import_file(path, in_pool(tmp_path), grader="gsm8k")
    one = TaskOptions(grader="gsm8k", where=(("filter", "flexible-extract"),))
    assert import_file(path, in_pool(tmp_path), options=one).samples == 1
    path = wrote(tmp_path, [{**lm_eval_row(3, []), "resps": [[[-3.5, False]]]}], "samples_arc.jsonl")
    with pytest.raises(Mistake, match="line 1 field 'resps': expected generated texts"):
        import_file(path, in_pool(tmp_path), grader="gsm8k")


INSPECT = """
import sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate
outputs = [ModelOutput.from_content("mockllm/model", text) for text in ("4", "5", "4", "4", "4", "8")]
for one in outputs:
    one.usage = ModelUsage(input_tokens=3, output_tokens=2, total_tokens=5)
data = [Sample(input="2 + 2?", target="4", id="a"), Sample(input="1 + 3?", target="4", id=7)]
for form in ("eval", "json"):
    task = Task(dataset=data, solver=generate(), scorer=match(), name="sums", epochs=3)
    model = get_model("mockllm/model", custom_outputs=list(outputs))
    (log,) = eval(task, model=model, log_dir=sys.argv[1], log_format=form, display="none", max_samples=1)
    assert log.status == "success", log.error
"""


def test_inspect_ai(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    done = subprocess.run([sys.executable, "-c", INSPECT, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    logs = sorted([*tmp_path.glob("*.eval"), *tmp_path.glob("*.json")])
    assert len(logs) == 2
    for i, log in enumerate(logs):
        found = import_file(str(log), str(tmp_path / f"{i}.pool"))
        (one,) = found.models
        assert (found.task, one.model, one.n, one.accuracy) == (
            "sums:recorded",
            "import/mockllm/model",
            3,
            pytest.approx(4 / 6),
        )
        graded = import_file(str(log), str(tmp_path / f"{i}.pool"), grader="normalised", task="again")
        assert (graded.new, graded.models[0].disagree) == (0, 0)
        with open_pool(found.pool) as pool:
            example = pool.problem("sums/7")
            assert example is not None and (example.problem.messages[0]["content"], example.target) == ("1 + 3?", "4")
    with pytest.raises(Mistake, match="cannot be read"):
        read_entries(wrote(tmp_path, "no zip", "broken.eval"))


def inspect_log(folder: Path, said: Sequence[Mapping[str, Any]], task: str = "sums") -> str:
    """A log of one problem, an epoch each; what each epoch said of it goes into its sample."""
    log = pytest.importorskip("inspect_ai.log")
    spec = {"task": task, "model": "someone/big", "created": "2025-01-01T00:00:00+00:00", "dataset": {}, "config": {}}
    usual = {"id": "a", "input": "2 + 2?", "target": "4", "messages": [], "output": {}}
    samples = [{"epoch": i, **usual, **one} for i, one in enumerate(said, 1)]
    made = log.EvalLog.model_validate({"version": 2, "status": "success", "eval": spec, "samples": samples})
    path = str(folder / "made.json")
    log.write_eval_log(made, path)
    return path


def test_an_epoch_of_inspect_ai_that_broke_is_a_failed_draw(tmp_path: Path) -> None:
    broken = {"message": "the server left", "traceback": "", "traceback_ansi": ""}
    said = [{"scores": {"match": {"value": "C"}}}, {"error": broken}, {"scores": {"match": {"value": "N"}}}]
    (entry,), _ = read_entries(inspect_log(tmp_path, said))
    assert (entry.failures, entry.correct) == (["", "the server left", ""], [True, None, False])
    assert (entry.model, entry.task, entry.row.fields["target"]) == ("someone/big", "sums", "4")


def test_scores_of_inspect_ai_that_say_nothing_plain_are_left_to_a_grader(tmp_path: Path) -> None:
    said = [{"scores": {"match": {"value": value}}} for value in ("C", "P", 1, 0.0, 0.5, True)]
    (entry,), _ = read_entries(inspect_log(tmp_path, said))
    assert entry.correct == [True, None, True, False, None, True]
    with pytest.raises(Mistake, match="score 'match': expected C, I or a number"):
        read_entries(inspect_log(tmp_path, [{"scores": {"match": {"value": [1, 2]}}}]))


def test_of_several_scores_of_inspect_ai_one_is_chosen(tmp_path: Path) -> None:
    path = inspect_log(tmp_path, [{"scores": {"match": {"value": "C"}, "judge": {"value": "I"}}}])
    with pytest.raises(Mistake, match="say which one tells what is right with --correct-field"):
        read_entries(path)
    (entry,), _ = read_entries(path, fields=Fields(correct="judge"))
    assert entry.correct == [False]
    with pytest.raises(Mistake, match=r"expected one of its scores \(match, judge\), but got 'other'"):
        read_entries(path, fields=Fields(correct="other"))


def test_a_log_of_inspect_ai_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    path = wrote(tmp_path, json.dumps({"version": 2, "eval": {}, "status": "success"}), "x.json")
    with pytest.raises(MissingExtra, match=r"pip install 'vervet\[inspect\]'"):
        import_file(path, in_pool(tmp_path))


# --- an interruption -----------------------------------------------------------------------------------


def test_an_interrupted_import_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": i, "gold": i, "answers": [i, 0, i], "rewards": [1, 2, 3]} for i in range(1, 200)]
    path = wrote(tmp_path, rows)
    from vervet.pool import SqlitePool

    claim, calls = SqlitePool.claim, []

    async def broken(self: SqlitePool, *args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) > 100:
            raise KeyboardInterrupt
        return await claim(self, *args, **more)

    monkeypatch.setattr(SqlitePool, "claim", broken)
    with pytest.raises(KeyboardInterrupt):
        import_file(path, in_pool(tmp_path), grader="number")
    monkeypatch.undo()
    found = import_file(path, in_pool(tmp_path), grader="number")
    assert 0 < found.new < 597 and found.models[0].accuracy == pytest.approx(2 / 3)
    with open_pool(found.pool) as pool:
        assert pool.info().n_open_calls == 0 and not pool.check()
        assert text_digest("7") in pool.verdicts("mine/7")


# --- any file ------------------------------------------------------------------------------------------

SAMPLE = st.fixed_dictionaries({
    "id": st.sampled_from([1, 2, 3]), "model": st.sampled_from(["a", "b"]), "text": st.sampled_from(["x", "y", "y\n", "a\0b", "é"]),
    "correct": st.sampled_from([True, False, None]), "reward": st.sampled_from([0.5, 1, None]),
    "confidence": st.sampled_from([[], [1.0, 2.0], 1.5]),
})  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(st.lists(SAMPLE, min_size=1, max_size=14))
def test_whatever_a_file_says_is_kept_once_and_given_back(rows: list[dict[str, Any]]) -> None:
    rows[0]["correct"] = True
    with tempfile.TemporaryDirectory() as folder:
        half = rows[: (len(rows) + 1) // 2]
        import_file(wrote(Path(folder), half), f"{folder}/a.pool")
        found = import_file(wrote(Path(folder), rows), f"{folder}/a.pool")
        assert (found.samples, found.new) == (len(rows), len(rows) - len(half))
        assert import_file(wrote(Path(folder), rows), f"{folder}/a.pool").new == 0
        for one in found.models:
            mine = [row for row in rows if f"import/{row['model']}" == one.model]
            each = [[row for row in mine if row["id"] == i] for i in sorted({row["id"] for row in mine})]
            declared = [row["correct"] for draws in each for row in draws[: one.n]]
            judged = [right for right in declared if right is not None]
            assert one.n == min(map(len, each)) and one.not_judged == len(declared) - len(judged)
            assert one.accuracy == pytest.approx(sum(judged) / len(judged) if judged else 0)
            best = replayed(found, f"generate(n={one.n}) | best(by='reward')", one.model)
            with open_pool(found.pool) as pool:
                texts = {a.problem: recorded.unmarked(str(a.text)) for a in pool.answers(best.run)}
            for draws in each:
                first = max(draws[: one.n], key=lambda row: -1 if row["reward"] is None else row["reward"])
                assert texts[f"mine/{draws[0]['id']}"] == first["text"]
