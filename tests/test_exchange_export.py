"""Out of a pool: what each form holds, what is left out, and that other libraries read it."""

from __future__ import annotations

import asyncio
import doctest
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.riddles import riddles, start
from vervet.errors import Mistake
from vervet.exchange import export as exporting
from vervet.exchange import forms, import_file, written
from vervet.exchange.export import as_used, export
from vervet.exchange.forms import FORMS, Asked, Choice, Draw, steps_of
from vervet.models.http import rate
from vervet.pool import open_pool
from vervet.types import Bill, Example, Problem, Question, Sample, Score, Stream, Use, text_digest

EMBEDDED = Path(__file__).parents[1] / "src/vervet/models/embedded-small"
HELD = Question(({"role": "user", "content": "2 + 2?"},))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """23 riddles of all difficulties, 11 draws each."""
    folder = tmp_path_factory.mktemp("pool")
    start(folder, "generate(n=11) | vote()", riddles(folder, 23))
    return str(folder / "pool.sqlite")


def read(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def exported(pool: str, folder: Path, form: str, **options: Any) -> tuple[exporting.Exported, list[dict[str, Any]]]:
    path = str(folder / f"{form}.jsonl")
    return export(pool, path, form, force=True, **options), read(path)


def draw(text: str, outcome: str | None = "correct", index: int = 0, **more: Any) -> Draw:
    sample = Sample(Stream("m", "q").at(index), text, more.pop("ended", "eos"), 3, 5, more.pop("reasoning", ""))
    settings = {"role": "answer", "prompt": HELD.messages, "prefill": "", "mean_logprob": None, "answer": None, "key": None,
                "outcome": outcome, "scores": {}, **more}  # fmt: skip
    return Draw(sample, **settings)


def formed(form: str, draws: Sequence[Draw], **choice: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    left = Counter[str]()
    asked = Asked(Example(Problem("p", HELD.messages, "number"), "4"), "sums", "all", draws)
    rows = list(FORMS[form](asked, Choice(**choice), left))
    return rows, {why: n for why, n in left.items() if n}


# --- the forms ----------------------------------------------------------------------------------------


def test_samples_hold_every_draw(pool: str, tmp_path: Path) -> None:
    found, rows = exported(pool, tmp_path, "samples")
    assert (found.rows, found.problems, found.draws, found.left_out) == (253, 23, 253, {})
    assert [row["index"] for row in rows[:11]] == list(range(11))
    with open_pool(pool) as opened:
        for row in (rows[0], rows[97]):
            example = opened.problem(row["problem"])
            assert example is not None
            assert row["prompt"] == [dict(m) for m in example.problem.messages]
            stored = opened.find(Stream(row["model"], row["question"]), [row["index"]])[row["index"]]
            assert isinstance(stored, Sample) and stored.trace is not None and stored.trace.logprob is not None
            assert (row["text"], row["tokens"], row["ended"]) == (stored.text, stored.n_tokens, "eos")
            assert row["mean_logprob"] == pytest.approx(sum(stored.trace.logprob) / stored.n_tokens)
    assert {row["outcome"] for row in rows} == {"correct", "incorrect"}
    assert all((row["answer"] == row["key"]) for row in rows)


def test_sft_takes_right_texts_once_and_the_first_by_index(pool: str, tmp_path: Path) -> None:
    _, all_rows = exported(pool, tmp_path, "samples")
    right = [row for row in all_rows if row["outcome"] == "correct"]
    found, rows = exported(pool, tmp_path, "sft")
    assert [row["completion"] for row in rows] == [[{"role": "assistant", "content": row["text"]}] for row in right]
    assert found.rows + sum(found.left_out.values()) == found.draws
    _, few = exported(pool, tmp_path, "sft", limit=2)
    firsts = [row["text"] for i, row in enumerate(right) if sum(r["problem"] == row["problem"] for r in right[:i]) < 2]
    assert [row["completion"][0]["content"] for row in few] == firsts


def test_what_sft_leaves_out_and_why() -> None:
    draws = [
        draw("right"), draw("right", index=1), draw("wrong", "incorrect"), draw("nobody said", None), draw("failed", "not_judged"),
        draw("on and on", ended="length"), draw("  "), draw("stopped", ended="stop:\n"), draw("more"),
        draw("picture", prompt=({"role": "user", "content": [{"type": "image"}]},)),
        draw("?", prompt=({"role": "user", "content": "(What was asked in problem 3 of x is not known: its samples were imported.)"},)),
        draw("tool", prompt=(*HELD.messages, {"role": "tool", "content": "7", "tool_call_id": "1"})),
    ]  # fmt: skip
    rows, left = formed("sft", draws, limit=2)
    assert [row["completion"][0]["content"] for row in rows] == ["right", "stopped"]
    assert left == {
        "the same text again": 1, "not right": 1, "not judged": 2, "cut off": 1, "the text is empty": 1, "beyond the limit": 1,
        "the prompt is not plain text": 1, "what was asked is not known": 1, "tools are called": 1,
    }  # fmt: skip


def test_a_reply_begins_as_it_was_begun_and_carries_what_was_thought() -> None:
    rows, _ = formed("sft", [draw(" is 4", prefill="It", reasoning="2 and 2")], reasoning=True)
    assert rows[0]["completion"] == [{"role": "assistant", "content": "It is 4", "reasoning_content": "2 and 2"}]
    rows, _ = formed("groups", [draw(" is 4", prefill="It")])
    assert rows[0]["responses"] == ["It is 4"]


def test_pairs_meet_within_a_prompt_each_text_once(pool: str, tmp_path: Path) -> None:
    _, all_rows = exported(pool, tmp_path, "samples")
    outcome = {(str(row["prompt"]), row["text"]): row["outcome"] for row in all_rows}
    found, rows = exported(pool, tmp_path, "pairs")
    texts = []
    for row in rows:
        chosen, rejected = ((str(row["prompt"]), row[side][0]["content"]) for side in ("chosen", "rejected"))
        assert (outcome[chosen], outcome[rejected]) == ("correct", "incorrect")
        texts += [chosen, rejected]
    assert len(set(texts)) == len(texts)
    by_problem: dict[str, Counter[str]] = {}
    for (prompt, _), said in outcome.items():
        by_problem.setdefault(prompt, Counter())[said] += 1
    assert len(rows) == sum(min(c["correct"], c["incorrect"]) for c in by_problem.values())
    assert 2 * found.rows + sum(found.left_out.values()) == found.draws
    again, other = exported(pool, tmp_path, "pairs")[1], exported(pool, tmp_path, "pairs", seed=1)[1]
    assert again == rows != other
    assert max(Counter(str(row["prompt"]) for row in exported(pool, tmp_path, "pairs", limit=2)[1]).values()) == 2


def test_pairs_by_a_score_keep_their_distance() -> None:
    values = [0.0, 0.125, 0.25, 0.5, 0.625, 1.0]
    draws = [draw(f"t{v}", None, scores={"reward@m": Score(v)}) for v in values]
    by = {f"t{v}": v for v in values}
    for margin, n in ((0.0, 3), (0.5, 3), (0.625, 2), (0.75, 1), (1.0, 1), (1.5, 0)):
        rows, left = formed("pairs", draws, scorer="reward@m", margin=margin)
        apart = [by[row["chosen"][0]["content"]] - by[row["rejected"][0]["content"]] for row in rows]
        assert len(rows) == n
        assert all(difference >= max(margin, 1e-9) for difference in apart)
        assert left.get("without a partner", 0) == 6 - 2 * n
    assert formed("pairs", [replace(d, scores={"reward@m": Score(0.5)}) for d in draws], scorer="reward@m")[0] == []


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=6), st.integers(0, 3))
def test_there_are_as_many_pairs_as_there_can_be(valued: list[tuple[int, bool]], margin: int) -> None:
    draws = [
        draw(f"t{i}", scores={"s": Score(float(v))}, ended="eos" if whole else "length")
        for i, (v, whole) in enumerate(valued)
    ]

    def most(free: tuple[int, ...]) -> int:
        if not free:
            return 0
        first, *rest = free
        found = most(tuple(rest))
        for other in rest:
            better, worse = sorted((first, other), key=lambda i: -valued[i][0])
            if valued[better][1] and valued[better][0] - valued[worse][0] >= max(margin, 1):
                found = max(found, 1 + most(tuple(i for i in rest if i != other)))
        return found

    assert len(formed("pairs", draws, scorer="s", margin=float(margin))[0]) == most(tuple(range(len(draws))))


def test_a_text_that_was_cut_off_may_only_lose() -> None:
    cut, whole, wrong = draw("cut", ended="length"), draw("whole"), draw("wrong", "incorrect", ended="length")
    rows, left = formed("pairs", [cut, whole, wrong])
    assert [(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in rows] == [("whole", "wrong")]
    assert left == {"without a partner": 1}


def test_what_a_verifier_accepted_counts_instead_of_the_grader() -> None:
    draws = [draw("a", "incorrect", scores={"v": Score(None, True)}), draw("b", scores={"v": Score(None, False)}),
             draw("c", scores={"v": Score(not_judged="broke")})]  # fmt: skip
    rows, left = formed("sft", draws, scorer="v")
    assert [row["completion"][0]["content"] for row in rows] == ["a"]
    assert left == {"not accepted": 1, "not judged": 1}
    assert [r["rewards"] for r in formed("groups", draws, scorer="v")[0]] == [[1.0, 0.0]]


def test_groups_hold_the_draws_of_one_question_with_rewards(pool: str, tmp_path: Path) -> None:
    _, all_rows = exported(pool, tmp_path, "samples")
    _, rows = exported(pool, tmp_path, "groups")
    assert len(rows) == 23
    for row in rows:
        of = [r for r in all_rows if r["problem"] == row["extra_info"]["problem"]]
        assert row["responses"] == [r["text"] for r in of]
        assert row["rewards"] == [float(r["outcome"] == "correct") for r in of]
        assert row["reward_model"]["style"] == "rule" and row["reward_model"]["ground_truth"].isdigit()
        assert row["data_source"] == "file:number" and row["extra_info"]["split"] == "all"
    assert [row["extra_info"]["index"] for row in rows] == list(range(23))
    assert {len(row["rewards"]) for row in exported(pool, tmp_path, "groups", limit=5)[1]} == {5}


def test_groups_keep_draws_without_a_text_or_an_answer_as_wrong() -> None:
    draws = [draw("4"), draw("", "incorrect", 1), draw(" \n", "incorrect", 2), draw("no idea", "incorrect", 3)]
    draws += [draw("", "not_judged", 4), draw("", None, 5)]
    (row,), left = formed("groups", draws)
    assert (row["responses"], row["rewards"]) == (["4", "", " \n", "no idea"], [1, 0, 0, 0])
    assert left == {"not judged": 2}
    assert formed("pairs", draws)[1]["the text is empty"] == 4


def test_steps_are_what_the_reward_model_was_shown() -> None:
    text = "First, 2.\n\nThen 4.\n\n\n"
    assert steps_of(text) == rate._steps(text) == ["First, 2.", "Then 4."]
    draws = [
        draw(text, scores={"reward@m": Score(0.25, steps=(0.75, 0.25))}),
        draw("one", scores={"reward@m": Score(0.25, steps=(0.75, 0.25))}),
        draw("two", scores={"reward@m": Score(0.25)}), draw("three"),
    ]  # fmt: skip
    rows, left = formed("steps", draws, scorer="reward@m")
    assert rows == [
        {"prompt": "2 + 2?", "completions": ["First, 2.", "Then 4."], "labels": [True, False], "values": [0.75, 0.25]}
    ]
    assert left == {"the text has another number of steps than the score": 1, "no step values": 2}
    assert formed("steps", draws[:1], scorer="reward@m", threshold=0.125)[0][0]["labels"] == [True, True]


def test_steps_of_a_pool_come_from_the_scorer_that_gives_them(tmp_path: Path) -> None:
    path = str(tmp_path / "a.pool")
    with open_pool(path) as opened:
        run = held(opened, "First, 2.\n\nThen 4.")
        with pytest.raises(Mistake, match=r"values steps: run an architecture .* --reward MODEL"):
            export(path, str(tmp_path / "x.jsonl"), "steps")
        of = text_digest("First, 2.\n\nThen 4.")
        opened.add_scores("plain@m", "p", {of: Score(0.5)}, 0)
        opened.add_scores("reward@m", "p", {of: Score(0.5, steps=(1.0, 0.25))}, 0)
    _, rows = exported(path, tmp_path, "steps")
    assert rows[0]["values"] == [1.0, 0.25]
    assert exported(path, tmp_path, "steps", run=run[:9])[0].rows == 1
    with open_pool(path) as opened:
        opened.add_scores("reward@other", "p", {of: Score(0.5, steps=(1.0, 0.5))}, 0)
    with pytest.raises(Mistake, match="several scorers value steps"):
        export(path, str(tmp_path / "x.jsonl"), "steps")
    assert exported(path, tmp_path, "steps", scorer="reward@other")[1][0]["values"] == [1.0, 0.5]
    assert [s["scorer"] for s in exported(path, tmp_path, "samples")[1][0]["scores"]] == [
        "plain@m",
        "reward@m",
        "reward@other",
    ]
    with pytest.raises(Mistake, match=r"expected a scorer of .* \(reward@m, reward@other\), but got 'reward'"):
        export(path, str(tmp_path / "x.jsonl"), "sft", scorer="reward")


@pytest.mark.parametrize("form", ["steps", "sft", "groups"])
def test_steps_and_thoughts_are_in_parquet_too(tmp_path: Path, form: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra 'data'")
    path = str(tmp_path / "a.pool")
    with open_pool(path) as opened:
        held(opened, "One.\n\nTwo.", reasoning="Hm.")
        opened.add_scores("v", "p", {text_digest("One.\n\nTwo."): Score(0.5, True, (1.0, 0.5))}, 0)
    _, rows = exported(path, tmp_path, form, scorer="v")
    export(path, str(tmp_path / "x.parquet"), form, scorer="v")
    assert parquet.read_table(tmp_path / "x.parquet").to_pylist() == rows
    if form == "sft":
        assert rows[0]["completion"][0]["reasoning_content"] == "Hm."


# --- from the pool --------------------------------------------------------------------------------------


def held(opened: Any, text: str, role: str = "answer", reasoning: str = "") -> str:
    """One sample in an open pool, used in a role."""
    run: str = opened.start_run({"name": "a"})
    opened.add_problem("sums", Example(Problem("p", HELD.messages, "number"), {"number": 4}))
    stream = Stream("m@1", opened.add_question(HELD))
    call = asyncio.run(opened.claim(run, stream, [0], Bill(), True)).call
    if call is not None:
        opened.record(call, 0, Sample(stream.at(0), text, "eos", 7, 3, reasoning), Bill())
        opened.settle(call)
    opened.add_uses(run, [Use("p", "", stream.at(0), 0, role, 7, text_digest(text))])
    return run


def test_only_answers_go_out(tmp_path: Path) -> None:
    path = str(tmp_path / "a.pool")
    with open_pool(path) as opened:
        held(opened, "7", "judge")
    with pytest.raises(Mistake, match=r"nothing of .* as samples \(no answer was drawn\)"):
        export(path, str(tmp_path / "x.jsonl"), "samples")
    with open_pool(path) as opened:
        held(opened, "7", "repair")
    assert exported(path, tmp_path, "samples")[1][0]["role"] == "repair"
    with pytest.raises(Mistake, match=r"as groups \(not judged: 1\); no file was written"):
        export(path, str(tmp_path / "x.jsonl"), "groups")
    assert not (tmp_path / "x.jsonl").exists()


def test_a_sample_goes_out_as_it_was_used(tmp_path: Path) -> None:
    folder = tmp_path
    file = riddles(folder, 5)
    long = start(folder, "generate(n=3)", file)
    short = start(folder, "generate(n=3, max_tokens=3)", file)
    path = str(folder / "pool.sqlite")
    assert short.fresh_now == 0
    whole, cut = (exported(path, folder, "samples", run=run.run)[1] for run in (long, short))
    assert [row["tokens"] for row in cut] == [3] * 15
    assert all(a["text"].startswith(b["text"]) and a["text"] != b["text"] for a, b in zip(whole, cut, strict=True))
    assert {row["ended"] for row in cut} == {"length"}
    assert exported(path, folder, "samples")[0].rows == 30
    assert exported(path, folder, "sft")[0].left_out.get("cut off") is None  # what was cut off has no answer here


def test_a_text_that_ended_at_a_stop_string_is_found_by_its_digest() -> None:
    whole = Sample(Stream("m", "q").at(0), "aabbcc", "eos", 3)
    shown = as_used(whole, 3, text_digest("aab"))
    assert shown is not None and (shown.text, shown.ended) == ("aab", "stop:")
    assert as_used(whole, 3, text_digest("bb")) is None


def test_which_problems_and_runs(tmp_path: Path) -> None:
    file = riddles(tmp_path, 40)
    path = str(tmp_path / "pool.sqlite")
    first = start(tmp_path, "generate(n=2)", file, split="development", problems=11)
    start(tmp_path, "generate(n=3)", file, split="test", problems=7)
    assert exported(path, tmp_path, "samples", run=first.run[:10])[0].rows == 22
    assert {row["split"] for row in exported(path, tmp_path, "samples", exclude=["test"])[1]} == {"development"}
    found, _ = exported(path, tmp_path, "samples", exclude=["development"])
    assert (found.rows, found.left_out) == (21, {"problems of an excluded split": 11})
    start(tmp_path, "generate(n=2)", file, split="all", problems=40)  # the same problems under another name of a split
    assert exported(path, tmp_path, "samples", exclude=["test"])[0].problems == 33
    for options, said in (
        ({"exclude": ["tset"]}, r"expected a split that a run used \(all, development, test\), but got 'tset'"),
        ({"task": "nothing"}, r"expected a task \(file:number\), but got 'nothing'"),
        ({"run": "zz"}, r"expected a run of .*, but got 'zz'"),
        ({"scorer": "zz"}, "expected a scorer of .*none: let a run use one"),
        ({"limit": 0}, "a limit of at least 1"),
    ):
        with pytest.raises(Mistake, match=said):
            export(path, str(tmp_path / "x.jsonl"), "samples", **options)


def test_imported_samples_go_out_as_they_came(tmp_path: Path) -> None:
    rows = [{"problem": "a", "text": "Answer: 7", "correct": True, "reward": 0.5, "prompt": "3 + 4?"},
            {"problem": "a", "text": "Answer: 7", "correct": True, "reward": 0.25, "prompt": "3 + 4?"}]  # fmt: skip
    for name, of in (("with", rows), ("without", [{k: v for k, v in row.items() if k != "prompt"} for row in rows])):
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in of), encoding="utf-8")
        import_file(str(file), str(tmp_path / f"{name}.pool"))
    _, found = exported(str(tmp_path / "with.pool"), tmp_path, "samples")
    assert [row["text"] for row in found] == ["Answer: 7", "Answer: 7"]
    assert [row["scores"][0]["value"] for row in found] == [0.5, 0.25]
    assert exported(str(tmp_path / "with.pool"), tmp_path, "sft")[0].rows == 1
    with pytest.raises(Mistake, match="what was asked is not known: 2"):
        export(str(tmp_path / "without.pool"), str(tmp_path / "x.jsonl"), "sft")


# --- the file -------------------------------------------------------------------------------------------


def test_a_file_is_not_written_over_by_accident(pool: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("mine")
    with pytest.raises(Mistake, match="write over it with --force"):
        export(pool, str(path), "sft")
    assert path.read_text() == "mine"
    export(pool, str(path), "sft", force=True)
    assert len(read(str(path))) > 23
    for name, said in (("x.csv", r"ends in .parquet or .jsonl"), ("no/x.jsonl", "make the folder first")):
        with pytest.raises(Mistake, match=said):
            export(pool, str(tmp_path / name), "sft")


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_what_breaks_leaves_no_file(pool: str, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra 'data'")

    def breaks(*_: Any) -> Iterator[dict[str, Any]]:
        yield {"prompt": [], "completion": []}
        raise KeyboardInterrupt

    monkeypatch.setitem(FORMS, "sft", breaks)
    with pytest.raises(KeyboardInterrupt):
        export(pool, str(tmp_path / f"x.{ending}"), "sft")
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow_names_the_extra(pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(Mistake, match=r"pip install 'vervet\[data\]'"):
        export(pool, str(tmp_path / "x.parquet"), "sft")


@pytest.mark.parametrize("form", ["samples", "sft", "pairs", "groups"])
def test_pandas_and_datasets_read_both_kinds_of_file(pool: str, tmp_path: Path, form: str) -> None:
    pandas = pytest.importorskip("pandas", reason="needs the extra 'data'")
    datasets = pytest.importorskip("datasets", reason="needs the extra 'data'")
    paths = [str(tmp_path / f"x.{ending}") for ending in ("jsonl", "parquet")]
    found = [export(pool, path, form) for path in paths]
    assert found[0].data == {**found[1].data, "path": paths[0]}
    frames = pandas.read_json(paths[0], lines=True), pandas.read_parquet(paths[1])
    assert all(len(frame) == found[0].rows for frame in frames)
    assert list(frames[0].columns) == list(frames[1].columns)
    for kind, path in zip(("json", "parquet"), paths, strict=True):
        loaded = datasets.load_dataset(kind, data_files=path, split="train", cache_dir=str(tmp_path / kind))
        assert loaded.num_rows == found[0].rows
        assert loaded[0]["prompt"] == read(paths[0])[0]["prompt"]
        assert [row for row in loaded] == read(paths[0])  # noqa: C416


@pytest.fixture
def trl(tmp_path: Path) -> Iterator[Any]:
    """TRL with the embedded tokenizer; it and its friends warn of what is their own affair."""
    pytest.importorskip("torch", reason="needs the extra 'local'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("trl", reason="needs trl (pip install 'trl>=1')")


@pytest.mark.parametrize("form", ["sft", "pairs", "groups"])
def test_trl_takes_the_rows_for_conversations(pool: str, tmp_path: Path, trl: Any, form: str) -> None:
    from transformers import AutoTokenizer
    from trl.data_utils import is_conversational, maybe_apply_chat_template

    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    _, rows = exported(pool, tmp_path, form)
    assert all(is_conversational(row) for row in rows)
    text = maybe_apply_chat_template({k: v for k, v in rows[0].items() if k not in ("responses", "rewards")}, tokenizer)
    assert text["prompt"].endswith("<|assistant|>") and "Riddle" in text["prompt"]
    for side in {"completion", "chosen", "rejected"} & set(rows[0]):
        assert text[side] == rows[0][side][0]["content"] + "<|eos|>"


@pytest.mark.parametrize("form", ["sft", "pairs"])
def test_trl_trainers_prepare_the_rows(pool: str, tmp_path: Path, trl: Any, form: str) -> None:
    import datasets
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = str(tmp_path / "x.parquet")
    found = export(pool, path, form)
    rows = datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=str(tmp_path))
    trainer, config = {"sft": (trl.SFTTrainer, trl.SFTConfig), "pairs": (trl.DPOTrainer, trl.DPOConfig)}[form]
    settings = config(output_dir=str(tmp_path / "out"), use_cpu=True, bf16=False, report_to="none")
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    prepared = trainer(model=model, args=settings, train_dataset=rows, processing_class=tokenizer).train_dataset
    assert len(prepared) == found.rows
    if form == "sft":
        learned = [token for token in prepared[0]["labels"] if token != -100]
        assert tokenizer.decode(learned) == rows[0]["completion"][0]["content"] + "<|eos|>"
    else:
        assert tokenizer.decode(prepared[0]["chosen_ids"]) == rows[0]["chosen"][0]["content"] + "<|eos|>"


def test_examples() -> None:
    for module in (exporting, forms, written):
        assert doctest.testmod(module).failed == 0
