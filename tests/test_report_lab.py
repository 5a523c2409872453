"""The whole of what is said of a run, and of a table of counts: each part is that of the room it comes from."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.riddles import riddles, start
from vervet.errors import Mistake
from vervet.models.fake import FakeModel, Fault
from vervet.models.laws import Exact, Iid
from vervet.pool import SqlitePool, open_pool
from vervet.report import judgements, lab, pages, samples
from vervet.report.figures import Figures
from vervet.report.judgements import Judgements
from vervet.run.declared import counts_of, draws_of
from vervet.run.foretold import kept
from vervet.scaling.choice import verdict
from vervet.scaling.chosen import selector_curves
from vervet.scaling.counted import coverage_curve
from vervet.scaling.counts import Counts, Stopped
from vervet.scaling.curves import curves
from vervet.scaling.laws import LAWS, fit, parameter_intervals
from vervet.types import Candidates, Score
from vervet.verify import SCORERS


class Length:
    """Likes long texts: a score that is no verdict."""

    async def __call__(self, problem: object, texts: Candidates, llm: object) -> list[Score]:
        return [Score(float(len(candidate.text))) for candidate in texts]


@pytest.fixture(autouse=True)
def oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verifier that accepts just what is right, and a scorer that accepts nothing."""
    monkeypatch.setitem(SCORERS, "oracle", Exact())
    monkeypatch.setitem(SCORERS, "long", Length())


def shown(folder: Path, **asked: Any) -> list[Figures]:
    return lab.of_pool(str(folder / "pool.sqlite"), asked=lab.Asked(**asked))


def opened(folder: Path) -> SqlitePool:
    return open_pool(str(folder / "pool.sqlite"))


def judged(folder: Path) -> Judgements:
    with opened(folder) as pool:
        row = pool.runs()[0]
        counts = counts_of(pool, row)
        return judgements.judgements(pool, row, counts.problems, counts.common_n)


def test_doctests() -> None:
    assert doctest.testmod(samples).failed == doctest.testmod(judgements).failed == 0


# --- a run ----------------------------------------------------------------------------------------------------


def test_every_part_of_a_run_is_that_of_its_room(tmp_path: Path) -> None:
    start(tmp_path, "generate(n=12) | best(by='long')", riddles(tmp_path, 17), seed=5)
    start(tmp_path, "generate(n=5) | vote()", riddles(tmp_path, 17), seed=5)
    figures = shown(tmp_path)[0]
    with opened(tmp_path) as pool:
        row, other = pool.runs()
        counts, draws, said = counts_of(pool, row), draws_of(pool, row), judged(tmp_path)
        assert [told.forecast for told in figures.forecasts] == kept(pool, row)
        vote = pages.facts_of(pool, other)
    plain = curves(draws, seed=5)
    more = selector_curves(draws, plain[0].k, scores=said.scores, accepted=said.accepted, seed=5)
    assert figures.curves == [*plain, *more]
    assert [one.name for one in more] == ["best by long", "vote weighted by long"]
    assert [one.law.name for one in figures.laws] == list(LAWS)
    for one in figures.laws:
        if one.law.name == "loglog":
            assert one.law.parameters == fit("loglog", counts).parameters
            assert one.intervals == parameter_intervals("loglog", counts, 5)  # by the seed of the run
    assert figures.verdict == verdict(counts, 5).sentence
    assert figures.rates == counts.rates.tolist()
    assert list(figures.costs) == ["tokens", "seconds", "samples"]
    assert figures.axis == figures.costs["tokens"]
    (point,) = figures.points
    assert (point.name, point.accuracy.value) == ("generate(n=5) | vote()", vote["accuracy"])
    assert figures.axis is not None
    assert figures.axis.at(4) < point.cost < figures.axis.at(6)


def test_few_draws_have_no_law_and_say_so(tmp_path: Path) -> None:
    start(tmp_path, "generate(n=3)", riddles(tmp_path, 7))
    (figures,) = shown(tmp_path)
    assert (figures.laws, figures.verdict, figures.forecasts) == ((), "", [])
    assert figures.notes == ["No law is fitted to fewer than 4 draws a problem."]


def test_points_are_runs_of_the_same_model_on_the_same_problems(tmp_path: Path) -> None:
    file = riddles(tmp_path, 7)
    run = start(tmp_path, "generate(n=3)", file).run
    start(tmp_path, "generate(n=4) | vote()", file)
    start(tmp_path, "generate(n=4) | vote()", file, problems=6)
    start(tmp_path, "generate(n=4) | vote()", file, model="fake/iid?p=0.5")
    (first,) = lab.of_pool(str(tmp_path / "pool.sqlite"), run, lab.Asked(axis="samples"))
    assert [(point.name, point.cost) for point in first.points] == [
        ("generate(n=4) | vote()", pytest.approx(4, rel=0.3))
    ]


def test_what_the_samples_of_a_problem_were(tmp_path: Path) -> None:
    start(
        tmp_path,
        "generate(n=9) | vote()",
        riddles(tmp_path, 13),
        model=FakeModel(Iid(p=-1), faults={4: Fault("refused")}),
    )
    (figures,) = shown(tmp_path)
    with opened(tmp_path) as pool:
        row = pool.runs()[0]
        counts, draws = counts_of(pool, row), draws_of(pool, row)
        texts = {name: pool.samples_of(name) for name in counts.problems}
    assert [(one.id, one.n, one.correct) for one in figures.problems] == [
        (name, 9, c) for name, c in zip(counts.problems, counts.correct.tolist(), strict=True)
    ]
    for i, one in enumerate(figures.problems):
        assert one.prompt.startswith("Riddle ")
        assert one.voted in draws.keys[i]
        assert one.voted_correct is draws.correct[i][list(draws.keys[i]).index(one.voted)]
        assert one.voted_correct is (one.voted == one.target)
        assert len(one.samples) == 6
        assert [s.index for s in one.samples] == sorted(s.index for s in one.samples)
        assert 4 not in [s.index for s in one.samples]
        right = sum(s.outcome == "correct" for s in one.samples)
        assert right == min(one.correct, max(3, 6 - (8 - one.correct)))
        for s in one.samples:
            assert (s.outcome == "correct") == (s.answer == one.target)
            assert s.text == next(t.text for t in texts[one.id] if t.address.index == s.index)
    assert {one.voted_correct for one in figures.problems} == {True, False}


def test_long_texts_are_cut_and_nothing_is_shown_of_what_is_no_answer(tmp_path: Path) -> None:
    start(tmp_path, "generate(n=4) | best(by='judge')", riddles(tmp_path, 5), model="fake/judge")
    (figures,) = shown(tmp_path)
    with opened(tmp_path) as pool:
        assert len(pool.samples_of(figures.problems[0].id)) > 4  # what the judge said is kept too
    for one in figures.problems:
        assert len(one.samples) <= 4
        assert "not_judged" not in {s.outcome for s in one.samples}


# --- what scorers said ----------------------------------------------------------------------------------------


def test_scores_and_acceptances_are_tables_by_problem_and_draw(tmp_path: Path) -> None:
    start(tmp_path, "generate(n=5) | first(by='oracle')", riddles(tmp_path, 7))
    said = judged(tmp_path)
    with opened(tmp_path) as pool:
        right = draws_of(pool, pool.runs()[0]).right
    assert said.accepted["oracle"].tolist() == right.tolist()
    assert said.scores == {}  # two values are a verdict, no score
    assert said.notes == []


def test_a_lost_draw_is_neither_liked_nor_accepted(tmp_path: Path) -> None:
    model = FakeModel(Iid(p=0.8), faults={1: Fault("refused")})
    start(tmp_path, "generate(n=5) | best(by='long') | first(by='oracle')", riddles(tmp_path, 7), model=model)
    said = judged(tmp_path)
    assert said.scores["long"].shape == said.accepted["oracle"].shape == (7, 5)
    assert np.isneginf(said.scores["long"][:, 4]).all()
    assert np.isfinite(said.scores["long"][:, :4]).all()
    assert not said.accepted["oracle"][:, 4].any()
    assert "long" not in said.accepted
    best = {one.name: one for one in shown(tmp_path)[0].curves}["best by long"]
    assert 0 < best.value[-1] <= 1


def test_a_scorer_that_did_not_see_every_draw_is_left_out_and_told(tmp_path: Path) -> None:
    file = riddles(tmp_path, 7)
    start(tmp_path, "generate(n=6)", file)
    start(tmp_path, "generate(n=4) | best(by='long')", file)
    said = judged(tmp_path)
    assert (said.scores, said.accepted) == ({}, {})
    assert said.notes == ["long is left out: it did not judge 14 of the draws."]
    assert said.notes[0] in shown(tmp_path)[0].notes


def test_one_judge_of_two_models_is_two_scorers(tmp_path: Path) -> None:
    file = riddles(tmp_path, 5)
    for soundness in (0.9, 0.7):
        judge = f"fake/judge?s={soundness}"
        start(tmp_path, "generate(n=4) | best(by='judge')", file, judge=judge)
    names = list({**judged(tmp_path).scores, **judged(tmp_path).accepted})
    assert len(names) == 2, names
    assert all(name.startswith("judge@") for name in names)


# --- a run that stopped at the first right answer -------------------------------------------------------------


UNTIL = "generate(n=12, until=accepted('oracle'))"


def test_a_run_that_stopped_at_the_first_right_answer_has_a_curve_and_no_law(tmp_path: Path) -> None:
    file = riddles(tmp_path, 17)
    start(tmp_path, UNTIL, file, seed=3)
    start(tmp_path, "generate(n=12)", file, seed=3)
    stopped, whole = shown(tmp_path)
    with opened(tmp_path) as pool:
        row = pool.runs()[0]
        counts = counts_of(pool, row)
        first = [list(r).index(True) if any(r) else 99 for r in draws_of(pool, pool.runs()[1]).right.tolist()]
    assert counts.stopped == Stopped(1, 12)
    assert stopped.curves == [coverage_curve(counts, seed=3)]
    assert stopped.coverage.value == pytest.approx([sum(at < k for at in first) / 17 for k in stopped.coverage.k])
    assert (stopped.laws, stopped.verdict, stopped.forecasts, stopped.problems) == ((), "", (), ())
    assert stopped.facts["drawn"] == "drawn until 1 right, at most 12 draws each"
    (note,) = stopped.notes
    assert "Drawn until 1 right, at most 12 draws each: counted by paths" in note
    assert stopped.axis is not None
    assert stopped.axis.unit == "samples"
    assert whole.laws
    assert not any("counted by paths" in note for note in whole.notes)
    assert pages.of_run(str(tmp_path / "pool.sqlite"), row.id).curves == stopped.curves
    assert pages.counts_shown(str(tmp_path / "pool.sqlite"), [stopped, whole])[0].n.tolist() == counts.n.tolist()


def test_what_cannot_be_analysed_is_told_beside_what_can(tmp_path: Path) -> None:
    file = riddles(tmp_path, 7)
    start(tmp_path, "generate(n=6, until=agree(0.6))", file)
    with pytest.raises(Mistake, match=r"agree.*biased"):
        shown(tmp_path)
    start(tmp_path, "generate(n=4)", file)
    (figures,) = shown(tmp_path)
    assert figures.facts["architecture"] == "generate(n=4)"
    assert [note for note in figures.notes if "agree" in note and note.startswith("Left out: ")]


def test_a_verifier_that_errs_leaves_no_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORERS, "oracle", Exact(s=0.6))
    start(tmp_path, UNTIL, riddles(tmp_path, 17))
    with pytest.raises(Mistake, match="not always the first right one"):
        shown(tmp_path)


# --- runs by name ---------------------------------------------------------------------------------------------


def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    file, path = riddles(tmp_path, 5), str(tmp_path / "pool.sqlite")
    with open_pool(path) as pool, pytest.raises(Mistake, match=r"a pool with a run, but .* has none"):
        pages.runs_of(pool)
    ids = [start(tmp_path, f"generate(n={n})", file).run for n in range(1, 19)]  # two begin with the same digit
    with open_pool(path) as pool:
        assert pages.runs_of(pool, ids[3][:12])[0].id == ids[3]
        assert [row.id for row in pages.runs_of(pool)] == ids
        double = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)
        with pytest.raises(Mistake, match=f"expected a run of .*{ids[0][:12]}.*, but got 'nothing'"):
            pages.runs_of(pool, "nothing")
        with pytest.raises(Mistake, match=f"'{double}' begins several runs of .*: give more of the id"):
            pages.runs_of(pool, double)


# --- tables of counts -----------------------------------------------------------------------------------------

TABLE = Counts([40] * 12, [0, 0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 40], "gpt")


def test_a_table_of_counts_has_everything_but_costs() -> None:
    (figures,) = lab.of_counts([TABLE], lab.Asked(ks=[1, 10, 40], seed=7))
    assert figures.curves == [coverage_curve(TABLE, [1, 10, 40], seed=7)]
    assert figures.facts == {"model": "gpt", "problems": 12, "draws": 480}
    assert [one.law.name for one in figures.laws] == list(LAWS)
    assert {one.law.name for one in figures.laws if one.intervals} <= set(lab.WITH_INTERVALS)
    assert {(told.forecast.n, told.truth) for told in figures.forecasts} == {(40, None)}
    assert {400, 4000} <= {told.forecast.k for told in figures.forecasts}
    assert figures.rates == TABLE.rates.tolist()
    assert list(figures.costs) == []
    assert figures.title == "gpt"


def test_other_seeds_move_the_intervals_alone() -> None:
    counts = Counts(range(3, 44), [2] * 41, stopped=Stopped(2))
    (one,), (other,) = (lab.of_counts([counts], lab.Asked(seed=seed)) for seed in (1, 2))
    assert one.coverage.value == other.coverage.value
    assert one.coverage.low != other.coverage.low


def test_counts_that_stopped_at_right_draws_have_no_law_and_no_forecast() -> None:
    (figures,) = lab.of_counts([Counts([1, 3, 60], [1, 1, 0], "m", stopped=Stopped(1, 60))], lab.Asked(ks=[1, 3, 60]))
    assert figures.coverage.value == pytest.approx((1 / 3, 2 / 3, 2 / 3))
    assert (figures.laws, figures.forecasts, figures.rates) == ((), (), ())
    assert "no law is fitted" in figures.notes[0]


def test_numbers_that_differ_are_refused() -> None:
    with pytest.raises(Mistake, match=r"fixed.*name the rule"):
        lab.of_counts([TABLE, Counts([5, 6], [1, 1])])
