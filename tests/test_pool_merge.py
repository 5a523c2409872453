"""One pool from several, a smaller one from one: nothing is lost, nothing is counted twice, and replays agree."""

from __future__ import annotations

import asyncio
import doctest
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from vervet.errors import Mistake, PoolDamaged
from vervet.exchange import import_file
from vervet.pool import copying, joining, open_pool, parts, prune, reports
from vervet.pool.merge import merge
from vervet.pool.prune import prune as pruned
from vervet.run import Result, Run
from vervet.scaling.forecast import Forecast
from vervet.types import (
    Answer,
    Bill,
    Example,
    Failure,
    Problem,
    Sample,
    Score,
    Stream,
    Use,
    Verdict,
    text_digest,
)

STREAM = Stream("m@1", "9f" * 16)
PROBLEM = Problem("p1", ({"role": "user", "content": "?"},), "number")
NAMED = (  # every table by names instead of numbers: what two pools must agree on to be the same
    "SELECT id, identity, created, round(seconds, 6) FROM runs",
    "SELECT id, task, data, target, level FROM problems",
    "SELECT * FROM questions",
    "SELECT model, question, replicate, scope FROM streams",
    "SELECT t.model, t.question, t.replicate, t.scope, s.address & 4294967295, s.state, s.ended, s.n_tokens, "
    "s.prompt_tokens, s.mean_logprob, s.k, s.form, s.text, s.reasoning, s.tool_calls, s.ids, s.ends, s.logprob, s.topk, "
    "s.entropy FROM samples s JOIN streams t ON t.id = s.address >> 32",
    "SELECT r.id, t.model, t.question, t.replicate, t.scope, c.indices, c.continues, c.reserve_completion_tokens, "
    "c.prompt_tokens, c.completion_tokens, c.cached_prompt_tokens, c.unsettled_tokens, c.usd, c.n_samples, c.state, "
    "c.seconds, c.started, (SELECT group_concat(f.idx || f.kind || f.reason) FROM failures f WHERE f.call = c.id) "
    "FROM calls c JOIN runs r ON r.key = c.run JOIN streams t ON t.id = c.stream",
    "SELECT r.id, t.question, t.scope, f.address & 4294967295, p.id, f.kind, f.reason FROM kept_failures f "
    "JOIN runs r ON r.key = f.run JOIN problems p ON p.key = f.problem JOIN streams t ON t.id = f.address >> 32",
    "SELECT r.id, p.id, u.operator, u.role, u.ord, t.question, t.scope, u.address & 4294967295, u.n_tokens, u.text "
    "FROM uses u JOIN runs r ON r.key = u.run JOIN problems p ON p.key = u.problem JOIN streams t ON t.id = u.address >> 32",
    "SELECT p.id, v.text, v.answer, v.key, v.outcome, v.reason FROM verdicts v JOIN problems p ON p.key = v.problem",
    "SELECT s.scorer, p.id, s.text, s.replicate, s.value, s.accepted, s.steps, s.evidence, s.not_judged FROM scores s "
    "JOIN problems p ON p.key = s.problem",
    "SELECT r.id, p.id, a.text, a.answer, a.key, a.outcome, a.reason FROM answers a JOIN runs r ON r.key = a.run "
    "JOIN problems p ON p.key = a.problem",
    "SELECT p.id, g.grader FROM regraded g JOIN problems p ON p.key = g.problem",
    "SELECT r.id, f.n, f.k, f.law, f.target, f.value, f.low, f.high, f.level, f.made FROM forecasts f "
    "JOIN runs r ON r.key = f.run",
)


def rows(path: str) -> list[list[Any]]:
    """Everything in a pool, by names, in an order that knows no numbers."""
    db = sqlite3.connect(path)
    found = [sorted(db.execute(query).fetchall(), key=repr) for query in NAMED]
    db.close()
    return found


def ran(path: str, architecture: str = "generate(n=5) | vote()", task: str = "words", **options: Any) -> Result:
    return Run(task, architecture, model="fake/iid?p=0.4", problems=7, pool=path, **options).start()


@pytest.fixture
def pools(tmp_path: Path) -> list[str]:
    """Three pools: two share a run and some draws, the third shares nothing; scores, forecasts and failures too."""
    paths = [str(tmp_path / name) for name in "abc"]
    first = ran(paths[0])
    ran(paths[0], "generate(n=5) | first()", "countdown")
    ran(paths[1])
    ran(paths[1], "generate(n=11) | vote()")
    ran(paths[2], seed=3)
    with open_pool(paths[0]) as pool:
        pool.add_forecasts(first.run, [Forecast("law", "same problems", 5, 50, 0.5, 0.4, 0.6)])
        pool.keep_failures(first.run, pool.problems()[0], {STREAM.at(3): Failure("transient", "429")})
    return paths


def made(path: str, *samples: Sample, run: str = "a", text: str = "", outcome: Any = None, key: str = "7") -> str:
    """A pool with these samples, and one verdict."""
    with open_pool(path) as pool:
        name = pool.start_run({"name": run})
        pool.add_problem("words", Example(PROBLEM, "7"))
        call = asyncio.run(pool.claim(name, STREAM, [s.address.index for s in samples], Bill(), True)).call
        if call is not None:
            for sample in samples:
                pool.record(call, sample.address.index, sample, Bill(completion_tokens=sample.n_tokens))
            pool.settle(call, Bill(prompt_tokens=3), 0.5)
        if outcome:
            pool.add_verdicts("p1", {text_digest(text): (Answer(key, key), Verdict(outcome))})
    return path


def sample(index: int, text: str = "ab", n_tokens: int = 2, ended: str | None = "eos") -> Sample:
    return Sample(STREAM.at(index), text, ended, n_tokens, 3)


# --- laws ----------------------------------------------------------------------------------------------


def test_a_pool_merged_with_an_empty_one_is_that_pool(pools: list[str], tmp_path: Path) -> None:
    empty = str(tmp_path / "empty")
    open_pool(empty).close()
    for order in ([pools[0], empty], [empty, pools[0]], [pools[0]]):
        out = str(tmp_path / f"out{len(order)}{order[0] == empty}")
        merge(out, order)
        assert rows(out) == rows(pools[0])


def test_the_order_does_not_matter_and_a_second_time_changes_nothing(pools: list[str], tmp_path: Path) -> None:
    found = []
    for i, order in enumerate(permutations(pools)):
        merge(str(tmp_path / f"out{i}"), order)
        found.append(rows(str(tmp_path / f"out{i}")))
    assert all(one == found[0] for one in found[1:])
    merge(str(tmp_path / "again"), [str(tmp_path / "out0"), *pools])
    assert rows(str(tmp_path / "again")) == found[0]
    with open_pool(str(tmp_path / "again")) as pool:
        assert pool.check() == []


def test_bills_add_up_and_replays_agree(pools: list[str], tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    merged = merge(out, pools)
    assert (merged.pools, merged.runs, merged.problems) == (3, 4, 21)
    assert merged.shared == 35  # the run that two pools share drew the same texts in both
    spent: dict[str, list[Any]] = {}
    for path in pools:
        with open_pool(path) as pool:
            for row in pool.runs():
                spent.setdefault(row.id, []).append(pool.spent(row.id))
    with open_pool(out) as pool:
        for run, each in spent.items():
            whole = pool.spent(run)
            assert whole.bill == sum((s.bill for s in each), Bill())
            assert (whole.calls, whole.fresh_samples) == (
                sum(s.calls for s in each),
                sum(s.fresh_samples for s in each),
            )
            assert whole.seconds == pytest.approx(sum(s.seconds for s in each))
    for path, options in (
        (pools[0], {}),
        (pools[1], {"architecture": "generate(n=11) | vote()"}),
        (pools[2], {"seed": 3}),
    ):
        here, there = (ran(p, replay=True, **options) for p in (path, out))
        assert (there.fresh_now, here.outcomes) == (0, there.outcomes)


def test_a_copy_that_went_on_counts_what_both_paid_once(tmp_path: Path) -> None:
    a, copy, out = (str(tmp_path / name) for name in ("a", "copy", "out"))
    ran(a)
    merge(copy, [a])
    ran(copy, "generate(n=11) | vote()")
    merge(out, [a, copy])
    assert rows(out) == rows(copy)


# --- what two pools say of one thing ------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True])
def test_the_further_trajectory_stays(tmp_path: Path, turned: bool) -> None:
    paths = [
        made(str(tmp_path / "a"), sample(0, "ab", 2, "length"), sample(1)),
        made(str(tmp_path / "b"), sample(0, "abcd", 4), sample(2), run="b"),
    ]
    out = str(tmp_path / "out")
    assert merge(out, paths[::-1] if turned else paths).samples == 3
    with open_pool(out) as pool:
        assert pool.find(STREAM, range(4)) == {0: sample(0, "abcd", 4), 1: sample(1), 2: sample(2)}


@pytest.mark.parametrize("turned", [False, True])
def test_another_text_at_one_address_is_refused(tmp_path: Path, turned: bool) -> None:
    paths = [made(str(tmp_path / "a"), sample(5, "ab")), made(str(tmp_path / "b"), sample(5, "xy"), run="b")]
    with pytest.raises(Mistake, match=r"m@1/9f9f9f9f/r0#5 is the text '(ab|xy)'"):
        merge(str(tmp_path / "out"), paths[::-1] if turned else paths)
    assert {p.name for p in tmp_path.iterdir()} <= {"a", "b", "a-owners", "b-owners"}


def test_a_draw_out_of_use_stays_so_and_contradicts_a_text(tmp_path: Path) -> None:
    a, b, c = (made(str(tmp_path / n), sample(i), run=n) for i, n in enumerate("abc"))
    for path, index in ((a, 7), (b, 7), (c, 0)):
        with open_pool(path) as pool:
            pool.void(STREAM, [index])
    merge(str(tmp_path / "ab"), [a, b])
    with open_pool(str(tmp_path / "ab")) as pool:
        assert sorted(pool.find(STREAM, range(9))) == [0, 1, 7]
    with pytest.raises(Mistake, match="#0 is out of use here, the text 'ab'"):
        merge(str(tmp_path / "ac"), [a, c])


def test_a_failure_and_a_text_contradict_two_failures_do_not(tmp_path: Path) -> None:
    paths = [made(str(tmp_path / "a"), sample(0)), *(str(tmp_path / n) for n in "bc")]
    for path, reason in zip(paths[1:], ("after 3 s", "after 2 s"), strict=True):
        with open_pool(path) as pool:
            call = asyncio.run(pool.claim(pool.start_run({"name": path}), STREAM, [0], Bill(), True)).call
            assert call is not None
            pool.record(call, 0, Failure("failed", reason), Bill())
            pool.settle(call)
    merge(str(tmp_path / "bc"), paths[1:])
    with open_pool(str(tmp_path / "bc")) as pool:
        assert pool.find(STREAM, [0]) == {0: Failure("failed", "after 2 s")}
    with pytest.raises(Mistake, match="#0 is a draw that was failed here"):
        merge(str(tmp_path / "abc"), paths)


def test_verdicts_that_differ_are_refused_and_a_judged_one_stays(tmp_path: Path) -> None:
    a, b, c = (
        made(str(tmp_path / n), sample(0), text="ab", outcome=outcome)
        for n, outcome in (("a", "correct"), ("b", "incorrect"), ("c", "not_judged"))
    )
    with pytest.raises(Mistake, match=r"of problem p1 is incorrect .* vervet regrade"):
        merge(str(tmp_path / "ab"), [a, b])
    for order in ([a, c], [c, a]):
        out = str(tmp_path / f"out{order[0] == a}")
        merge(out, order)
        with open_pool(out) as pool:
            assert pool.verdicts("p1") == {text_digest("ab"): Verdict("correct")}


def test_problems_under_two_graders_are_refused(tmp_path: Path) -> None:
    a, b = (made(str(tmp_path / n), sample(0), text=n, outcome="correct") for n in "ab")
    with open_pool(b) as pool:
        pool.note_grader("p1", "lenient")
    with pytest.raises(Mistake, match="problem p1 was graded by lenient grader here, by its own"):
        merge(str(tmp_path / "out"), [a, b])


def test_classes_of_answers_that_share_a_text_are_one(tmp_path: Path) -> None:
    a, b = (made(str(tmp_path / n), sample(0), text="both", outcome="correct", key=n) for n in "ab")
    with open_pool(b) as pool:
        pool.add_verdicts("p1", {text_digest("only b"): (Answer("x", "b"), Verdict("correct"))})
    for order in ([a, b], [b, a]):
        out = str(tmp_path / f"out{order[0] == a}")
        merge(out, order)
        db = sqlite3.connect(out)
        assert db.execute("SELECT DISTINCT key FROM verdicts").fetchall() == [("a",)]
        db.close()


def test_scores_that_differ_and_another_target_are_refused(tmp_path: Path) -> None:
    a, b, c = (made(str(tmp_path / n), sample(0)) for n in "abc")
    for path, accepted in ((a, True), (b, False)):
        with open_pool(path) as pool:
            pool.add_scores("checker", "p1", {7: Score(None, accepted)}, 0)
    with pytest.raises(Mistake, match="scorer checker accepts text 7 of problem p1 in one pool"):
        merge(str(tmp_path / "ab"), [a, b])
    db = sqlite3.connect(c)
    db.execute("UPDATE problems SET target = '8'")
    db.commit()
    db.close()
    with pytest.raises(Mistake, match="problem p1 has another target here"):
        merge(str(tmp_path / "ac"), [a, c])


def test_another_answer_of_one_run_is_refused(tmp_path: Path) -> None:
    paths = [made(str(tmp_path / n), sample(0)) for n in "ab"]
    for path, text in zip(paths, ("x", "y"), strict=True):
        with open_pool(path) as pool:
            pool.add_answer(pool.start_run({"name": "a"}), "p1", text, None, Verdict("incorrect"))
    with pytest.raises(Mistake, match="answers problem p1 with 'y' here, with 'x' in the pools before it"):
        merge(str(tmp_path / "out"), paths)


# --- what is refused ----------------------------------------------------------------------------------


def test_no_file_is_written_over_and_none_is_made_by_a_mistake(pools: list[str], tmp_path: Path) -> None:
    before = Path(pools[0]).read_bytes()
    for out, sources, said in (
        (pools[0], pools, "expected the path of a new pool"),
        (str(tmp_path / "out"), [*pools, pools[0]], "got one of them twice"),
        (str(tmp_path / "out"), [str(tmp_path / "nothing")], "there is no file"),
        (str(tmp_path / "no" / "out"), pools, "make the folder first"),
    ):
        with pytest.raises(Mistake, match=said):
            merge(out, sources)
    Path(tmp_path / "text").write_text("no pool")
    Path(tmp_path / "empty").touch()
    for name, said in (("text", "expected a Vervet pool"), ("empty", "is empty: not a pool")):
        with pytest.raises(Mistake, match=said):
            merge(str(tmp_path / "out"), [*pools, str(tmp_path / name)])
        with pytest.raises(Mistake, match=said):
            pruned(str(tmp_path / name), str(tmp_path / "out"))
    assert Path(tmp_path / "empty").read_bytes() == b""
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(("-wal", "-shm"))]
    assert Path(pools[0]).read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name in ("out", "nothing") or ".part" in p.name]


def test_what_is_unfinished_is_refused(tmp_path: Path) -> None:
    path = made(str(tmp_path / "a"), sample(0))
    with open_pool(path) as pool:
        asyncio.run(pool.claim(pool.start_run({"name": "a"}), STREAM, [1], Bill(), True))
        asyncio.run(pool.flush())
        for work in (lambda: merge(str(tmp_path / "out"), [path]), lambda: pruned(path, str(tmp_path / "out"))):
            with pytest.raises(Mistake, match="1 calls are open"):
                work()
        batch = asyncio.run(pool.new_batch(str(tmp_path)))
        asyncio.run(pool.park(batch, {STREAM.at(1): (Bill(), {})}, True))
        with pytest.raises(Mistake, match="1 draws wait in batch files"):
            merge(str(tmp_path / "out"), [path])
        asyncio.run(pool.release(batch))
    merge(str(tmp_path / "out"), [path])


def test_a_merge_that_breaks_leaves_nothing(pools: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(copying, "_uses", breaks)
    with pytest.raises(KeyboardInterrupt):
        merge(str(tmp_path / "out"), pools)
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]


def test_a_damaged_pool_is_called_damaged_and_not_another_one(pools: list[str], tmp_path: Path) -> None:
    whole, damaged = pools[1], str(tmp_path / "damaged")
    merge(damaged, [whole])
    db = sqlite3.connect(damaged)
    db.execute("UPDATE problems SET data = data || ' '")
    (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'scores'").fetchone()
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (page,) = db.execute("PRAGMA page_size").fetchone()
    db.close()
    with open(damaged, "r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\xee" * 64)
    for order in ([whole, damaged], [damaged, whole]):
        with pytest.raises(PoolDamaged, match=rf"{damaged}.*(is damaged|malformed).*first place: "):
            merge(str(tmp_path / "out"), order)
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(("-wal", "-shm", ".part"))]


def test_a_file_whose_tables_have_no_readable_names_is_damaged(tmp_path: Path) -> None:
    path = Path(made(str(tmp_path / "a"), sample(0)))
    path.write_bytes(path.read_bytes().replace(b"tableproblemsproblems", b"table\xff\xffoblemsproblems"))
    with pytest.raises(PoolDamaged, match="names of its tables"):
        merge(str(tmp_path / "out"), [str(path)])


def test_a_row_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    a, b = (made(str(tmp_path / name), sample(0)) for name in "ab")
    db = sqlite3.connect(b)
    db.execute("UPDATE samples SET ended = CAST(x'ff' AS TEXT)")
    db.commit()
    db.close()
    with pytest.raises(PoolDamaged, match=rf"a row of {b}, or of a pool before it, cannot be read"):
        merge(str(tmp_path / "out"), [a, b])


def test_parts_of_the_dead_are_removed_and_those_of_the_living_stay(pools: list[str], tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    node = os.uname().nodename
    dead = [f".out.{node}-{ended.pid}.abc_def0.part{side}" for side in ("", "-wal")]
    others = [
        f".out.{node}-{os.getpid()}.abcdef00.part",
        f".out.{node}.more-{ended.pid}.abcdef00.part",
        f".out2.{node}-{ended.pid}.abcdef00.part",
        f".out.{node}-{ended.pid}.abcdef00.part.bak",
    ]
    for name in (*dead, *others):
        (tmp_path / name).touch()
    merge(str(tmp_path / "out"), pools)
    assert {p.name for p in tmp_path.iterdir() if ".part" in p.name} == set(others)


def test_a_killed_merge_leaves_a_part_that_the_next_one_removes(pools: list[str], tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom vervet.pool import copying, merge\n"
        "copying._uses = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nmerge.merge(sys.argv[1], sys.argv[2:])"
    )
    out = str(tmp_path / "out")
    assert subprocess.run([sys.executable, "-c", code, out, *pools]).returncode == -9
    assert [p for p in tmp_path.iterdir() if ".part" in p.name]
    merge(out, pools)
    assert not [p for p in tmp_path.iterdir() if ".part" in p.name or p.name.endswith(("-wal", "-shm"))]


# --- prune --------------------------------------------------------------------------------------------


def digest_of(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_pruned_pool_replays_its_runs_and_knows_what_they_paid(pools: list[str], tmp_path: Path) -> None:
    out, source = str(tmp_path / "out"), pools[1]
    with open_pool(source) as pool:
        spent = {row.id: pool.spent(row.id) for row in pool.runs()}
        small = next(row.id for row in pool.runs() if "n=5" in str(row.identity["architecture"]))
    before = digest_of(source)
    found = pruned(source, out, [small[:9]])
    assert digest_of(source) == before
    assert (found.runs, found.problems, found.samples, found.left_out) == (1, 7, 35, 42)
    assert found.bytes_before == Path(source).stat().st_size
    assert found.n_bytes == Path(out).stat().st_size
    with open_pool(out) as pool:
        assert [row.id for row in pool.runs()] == [small]
        assert pool.spent(small) == spent[small]
        assert pool.check() == []
    assert ran(out, replay=True).outcomes == ran(source, replay=True).outcomes
    assert ran(out, "generate(n=11) | vote()").fresh_now == 42


def test_pruned_of_nothing_it_is_the_same_pool(pools: list[str], tmp_path: Path) -> None:
    pruned(pools[1], str(tmp_path / "out"))
    assert rows(str(tmp_path / "out")) == rows(pools[1])


def test_without_figures_texts_and_what_truncating_needs_stay(tmp_path: Path) -> None:
    path, out, full = (str(tmp_path / name) for name in ("a", "out", "full"))
    options: dict[str, Any] = {"model": "embedded-small", "problems": 2, "pool": path}
    pytest.importorskip("torch", reason="needs the extra 'local'")
    Run("countdown", "generate(n=3, max_tokens=29) | vote()", **options).start()
    Run("countdown", "generate(n=3, max_tokens=11) | vote()", **options).start()
    Run("countdown", "generate(n=3, max_tokens=29) | vote()", **{**options, "pool": full}).start()
    pruned(path, out, figures=False)
    pruned(full, full + ".out", figures=False)
    for n in (11, 29):
        architecture = f"generate(n=3, max_tokens={n}) | vote()"
        here, there = (
            Run("countdown", architecture, **{**options, "pool": p}, replay=True).start() for p in (path, out)
        )
        assert here.outcomes == there.outcomes
    for made_pool, left in ((out, False), (full + ".out", True)):
        db = sqlite3.connect(made_pool)
        assert db.execute("SELECT count(logprob), count(topk), count(entropy) FROM samples").fetchone() == (0, 0, 0)
        assert (db.execute("SELECT count(ids) FROM samples").fetchone() == (0,)) is left
        db.close()


@pytest.mark.parametrize("architecture", ["generate(n=3) | repair(rounds=2)", "generate(n=5, until=agree(0.75))"])
def test_what_other_roles_drew_is_merged_and_pruned_too(tmp_path: Path, architecture: str) -> None:
    a, b, out, small = (str(tmp_path / name) for name in ("a", "b", "out", "small"))
    task = "countdown" if "repair" in architecture else "words"
    first = ran(a, architecture, task)
    ran(b, architecture, task, seed=1)
    ran(b, "generate(n=7)", task)
    merge(out, [b, a])
    pruned(out, small, [first.run])
    for path in (out, small):
        again = ran(path, architecture, task, replay=True)
        assert (again.run, again.fresh_now, again.outcomes) == (first.run, 0, first.outcomes)


def test_imported_pools_are_merged(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("x.pool", "y.pool")]
    imported = []
    for path, name in zip(paths, "xy", strict=True):
        file = tmp_path / f"{name}.jsonl"
        lines = [{"problem": p, "answer": f"{name}{p}", "correct": p == name} for p in "xy" for _ in range(3)]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        imported.append(import_file(str(file), path, task="both", model=name))
    out = str(tmp_path / "out")
    with pytest.raises(Mistake, match=r"text .* of problem both/\w is"):
        merge(out, [paths[0], made_again(paths[0], tmp_path)])
    merge(out, paths)
    for one in imported:
        (of,) = one.models
        run = Run(f"pool:{out}", "generate(n=3)", of.model, pool=out, replay=True, problems=2)
        assert (run.start().run, run.start().fresh_now) == (of.run, 0)


def made_again(path: str, tmp_path: Path) -> str:
    """A copy of a pool in which the first verdict is the other one."""
    copy = str(tmp_path / "again.pool")
    merge(copy, [path])
    db = sqlite3.connect(copy)
    db.execute("UPDATE verdicts SET outcome = CASE outcome WHEN 'correct' THEN 'incorrect' ELSE 'correct' END")
    db.commit()
    db.close()
    return copy


def test_failures_voids_and_draws_of_all_roles_stay(tmp_path: Path) -> None:
    path, out = made(str(tmp_path / "a"), *map(sample, range(5))), str(tmp_path / "out")
    with open_pool(path) as pool:
        run = pool.start_run({"name": "a"})
        pool.void(STREAM, [7])
        uses: Sequence[Use] = [Use("p1", "", STREAM.at(i), i, "answer", 2, text_digest("ab")) for i in (0, 2)]
        pool.add_uses(run, [*uses, replace(uses[0], address=STREAM.at(4), role="judge")])
    pruned(path, out)
    with open_pool(out) as pool:
        assert sorted(pool.find(STREAM, range(9))) == [0, 2, 4, 7]


def test_a_run_to_keep_is_one_of_the_pool(pools: list[str], tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="expected a run of"):
        pruned(pools[0], str(tmp_path / "out"), ["zz"])
    with pytest.raises(Mistake, match="expected the path of a new pool"):
        pruned(pools[0], pools[1])


def test_examples() -> None:
    for module in (copying, joining, parts, prune, reports):
        assert doctest.testmod(module).failed == 0
