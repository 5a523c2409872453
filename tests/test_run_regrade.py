"""Regrading: what is stored is read, verified and graded anew, nothing is drawn, and what changed is told."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.riddles import start
from vervet.errors import Mistake
from vervet.pool import open_pool
from vervet.run import Result, Run, regrade
from vervet.run.grading import graded
from vervet.testing import llm_for, problem_for
from vervet.types import Answer, Candidate, Example, Json, Problem, Score, Verdict
from vervet.verify import GRADERS, GROUPERS, SCORERS, countdown


@pytest.fixture
def pool(tmp_path: Path) -> str:
    return str(tmp_path / "a.sqlite")


def ran(pool: str, task: str = "countdown", architecture: str = "generate(n=5) | vote()", **options: Any) -> Result:
    return Run(task, architecture, model="fake/iid", problems=7, pool=pool, **options).start()


def state(path: str) -> list[Any]:
    with open_pool(path) as opened:
        return [
            opened.info().counts["samples"],
            [(name, opened.verdicts(name)) for name in opened.problems()],
            [opened.answers(row.id) for row in opened.runs()],
        ]


def test_regrading_with_the_same_grader_changes_nothing_and_draws_nothing(pool: str) -> None:
    ran(pool)
    before = state(pool)
    found = regrade(pool)
    assert state(pool) == before
    assert (found.changed, found.problems) == ({}, 7)
    assert all(a == b for a, b in found.accuracy.values())


def test_another_grader_changes_verdicts_and_the_accuracy_of_stored_runs(
    pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lenient(problem: Problem, target: Json, answers: Sequence[Answer | None], llm: Any) -> list[Verdict]:
        return [Verdict("correct") for _ in answers]

    run = ran(pool, "words", "generate(n=5)")
    monkeypatch.setitem(GRADERS, "lenient", lenient)
    found = regrade(pool, grader="lenient")
    with open_pool(pool) as opened:
        n_answered = sum(a.text is not None and a.outcome == "correct" for a in opened.answers(run.run))
    assert found.accuracy[run.run] == (run.accuracy, n_answered / 7)
    assert set(found.changed) == {"incorrect -> correct"}


def test_another_verifier_is_compared_with_the_grader(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ran(pool, "words", "generate(n=5)")
    assert run.verifiers == {}

    monkeypatch.setitem(SCORERS, "half", _Half())
    found = regrade(pool, verifier="half")
    (figures,) = found.verifiers[run.run].values()
    assert figures.n_draws == 35
    assert figures.n_problems == 7


class _Half:
    async def __call__(self, problem: Problem, candidates: Any, llm: Any) -> list[Any]:
        return [Score(1.0, len(c.text) % 2 == 0) for c in candidates]


def test_unknown_names_are_refused_before_anything_is_touched(pool: str) -> None:
    ran(pool)
    before = state(pool)
    with pytest.raises(Mistake, match="expected a grader"):
        regrade(pool, grader="nope")
    with pytest.raises(Mistake, match="expected a verifier"):
        regrade(pool, verifier="nope")
    assert state(pool) == before


def test_a_run_with_a_verifier_tells_how_far_it_agrees_with_the_grader(pool: str) -> None:
    result = ran(pool)
    figures = result.verifiers["countdown"]
    assert (figures.n_problems, figures.n_draws) == (7, 35)
    assert json.loads(json.dumps(result.data))["verifiers"]["countdown"]["n_draws"] == 35
    assert ran(pool).verifiers == result.verifiers  # the same again, from the pool
    assert ran(pool, architecture="generate(n=5, until=agree(0.9))").verifiers == {}


def test_the_command_line_prints_what_changed(pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    from vervet.cli import main

    ran(pool)
    assert main(["regrade", pool]) == 0
    out = capsys.readouterr().out
    assert "no verdict changed" in out
    assert "verifier countdown: precision" in out
    assert main(["regrade", pool, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == 7
    assert main(["regrade", pool, "--grader", "nope"]) == 2


def test_a_grader_that_breaks_on_one_answer_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fragile(problem: Problem, target: Json, answers: Sequence[Answer | None], llm: Any) -> list[Verdict]:
        return [Verdict("correct" if 10 // int(a.text) else "incorrect") for a in answers if a]

    monkeypatch.setitem(GRADERS, "fragile", fragile)
    llm = llm_for("iid")
    texts = {i: Candidate(f"Answer: {i}", Answer(str(i), str(i))) for i in (0, 3, 11)}
    rows = asyncio.run(graded("fragile", Example(problem_for(), 7), texts, llm))
    assert [rows[i][1].outcome for i in (0, 3, 11)] == ["not_judged", "correct", "incorrect"]
    assert "ZeroDivisionError" in rows[0][1].reason


def test_classes_are_what_votes_and_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    async def parity(problem: Problem, candidates: Any, llm: Any) -> list[str | None]:
        return [None if c.key is None else "odd" if int(c.key) % 2 else None for c in candidates]

    llm = llm_for("iid")
    monkeypatch.setitem(GROUPERS, "number", parity)
    llm.world.groupers = GROUPERS
    texts = {i: Candidate(f"Answer: {i}", Answer(str(i), str(i))) for i in (3, 5, 8)}
    rows = asyncio.run(graded("number", Example(problem_for(), 5), texts, llm))
    assert [rows[i][0] and rows[i][0].key for i in (3, 5, 8)] == ["odd", "odd", None]
    assert [rows[i][1].correct for i in (3, 5, 8)] == [False, True, False]


def test_verdicts_of_a_grader_that_runs_code_are_kept_until_a_regrade(
    pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def counting(problem: Problem, target: Json, answers: Sequence[Answer | None], llm: Any) -> list[Verdict]:
        asked.append(len(answers))
        return [Verdict("incorrect", "a reason") for _ in answers]

    monkeypatch.setitem(GRADERS, "number", counting)
    monkeypatch.setattr("vervet.run.grading.EXECUTING", frozenset({"number"}))
    first = ran(pool, "words")
    n_asked = sum(asked)
    assert n_asked > 0
    assert ran(pool, "words").outcomes == first.outcomes
    assert sum(asked) == n_asked
    assert ran(pool, "words").verifiers == {}  # what a grader said is no verifier's word
    regrade(pool)
    assert sum(asked) == 2 * n_asked


def scores_in(path: str) -> list[Any]:
    import sqlite3

    db = sqlite3.connect(path)
    rows = db.execute("SELECT scorer, problem, text, accepted, evidence FROM scores ORDER BY 1, 2, 3").fetchall()
    db.close()
    return rows


def test_another_grader_touches_no_score_of_the_verifier_and_is_named_until_the_run_is_started_again(pool: str) -> None:
    from vervet.report import pages

    run = ran(pool)
    before = scores_in(pool)
    found = regrade(pool, grader="exact")
    assert scores_in(pool) == before
    assert found.accuracy[run.run][0] == run.accuracy
    (figures,) = pages.of_pool(pool)
    assert figures.facts["graded_by"] == ["exact"]
    assert "graded by exact" in pages.table(figures)
    again = ran(pool)
    assert again.outcomes == run.outcomes
    (figures,) = pages.of_pool(pool)
    assert "graded_by" not in figures.facts
    assert figures.verifiers == run.verifiers


def test_a_mistake_in_a_regrade_is_one_message_and_leaves_the_pool_as_it_was(
    pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(problem: Problem, target: Json, answers: Sequence[Answer | None], llm: Any) -> list[Verdict]:
        raise Mistake("this grader needs a pattern")

    ran(pool)
    before, scores = state(pool), scores_in(pool)
    monkeypatch.setitem(GRADERS, "refuses", refuses)
    with pytest.raises(Mistake, match="needs a pattern"):
        regrade(pool, grader="refuses")
    with pytest.raises(Mistake, match="accepts or rejects a text and asks no model"):
        regrade(pool, verifier="mean_logprob")
    assert (state(pool), scores_in(pool)) == (before, scores)


def test_an_interrupted_regrade_loses_no_score(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(pool)
    scores, reached = scores_in(pool), asyncio.Event()

    async def stalls(problem: Problem, candidates: Any, llm: Any) -> list[Score]:
        if problem.id == names[3]:
            reached.set()
            await asyncio.sleep(60)
        return await countdown.verify(problem, candidates, llm)

    with open_pool(pool) as opened:
        names = opened.problems()
    monkeypatch.setitem(SCORERS, "countdown", stalls)

    monkeypatch.setattr(sys.modules["vervet.run.regrade"], "wait", lambda work: work)

    async def cancelled() -> None:
        going: asyncio.Task[Any] = asyncio.ensure_future(regrade(pool))  # type: ignore[arg-type]
        await reached.wait()
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going

    asyncio.run(cancelled())
    assert scores_in(pool) == scores


def test_a_scorer_that_breaks_judges_nothing_and_says_why(pool: str) -> None:
    told: list[Any] = []
    run = Run("words", "generate(n=3) | first(by='countdown')", model="fake/iid", problems=2, pool=pool)
    result = run.start(lambda kind, facts: told.append((kind, dict(facts))))
    assert result.problems == 2
    reasons = {facts["reason"] for kind, facts in told if kind == "not_judged"}
    assert reasons == {"the scorer failed: KeyError: 'numbers'"}


def test_why_problems_have_no_verdict_is_counted(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unable(problem: Problem, target: Json, answers: Sequence[Answer | None], llm: Any) -> list[Verdict]:
        return [Verdict("not_judged", "nobody home") for _ in answers]

    monkeypatch.setitem(GRADERS, "number", unable)
    result = ran(pool, "words")
    assert result.reasons == {"nobody home": 7}
    assert result.data["reasons"] == {"nobody home": 7}


def test_forecasts_that_rested_on_other_verdicts_are_forgotten(tmp_path: Path) -> None:
    result = start(tmp_path, "generate(n=10)")
    assert result.forecasts
    regrade(result.pool)
    with open_pool(result.pool) as pool:
        assert len(pool.forecasts(result.run)) == len(result.forecasts)  # no verdict changed
    regrade(result.pool, grader="json")
    with open_pool(result.pool) as pool:
        assert pool.forecasts(result.run) == []
