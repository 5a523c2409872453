"""The gap report of a pool: which run, which selectors, which other runs, and what it says of each."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.riddles import riddles, start
from vervet.errors import Mistake
from vervet.pool import judged, open_pool
from vervet.report import advice as advice_module
from vervet.report import matching as matching_module
from vervet.report import needs as needs_module
from vervet.report.advice import Advice, advice, lines
from vervet.report.needs import needs
from vervet.scaling.draws import Draws
from vervet.tasks import TaskOptions
from vervet.types import Score, text_digest


def path(folder: Path) -> str:
    return str(folder / "pool.sqlite")


def judge_all(folder: Path, scorer: str, run: str, least: int = 0) -> None:
    """A verifier that accepts what is right, by what the pool says of it, from the problem ``least`` on."""
    with open_pool(path(folder)) as pool:
        for name in pool.problems()[least:]:
            verdicts = pool.verdicts(name)
            texts = {text_digest(s.text) for s in pool.samples_of(name, run=run)}
            rows = {digest: Score(0.5, verdicts[digest].correct) for digest in texts}
            pool.add_scores(scorer, name, rows, 0)


@pytest.mark.parametrize("module", [advice_module, matching_module, needs_module])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_the_run_with_most_draws_is_looked_at_and_the_gaps_add_up(tmp_path: Path) -> None:
    start(tmp_path, "generate(n=4) | vote()")
    large = start(tmp_path, "generate(n=8) | vote()")
    found = advice(path(tmp_path))
    assert found.facts["run"] == large.run
    assert (found.gaps.n, found.gaps.n_problems) == (8, 40)
    g = found.gaps
    assert g.selected.value + g.selection.value + g.generation.value == pytest.approx(1)
    assert set(g.standings) == {"vote()", "best(by='mean_logprob')"}
    assert g.selector == "best(by='mean_logprob')"  # the law's right samples are surer
    itself, other = found.runs
    assert itself.endswith(", this run")
    assert found.runs[itself].accuracy.value == large.accuracy
    assert other.startswith("generate(n=4) | vote() (")


def test_one_run_or_one_task_can_be_named(tmp_path: Path) -> None:
    small = start(tmp_path, "generate(n=4) | vote()")
    start(tmp_path, "generate(n=8) | vote()")
    start(tmp_path, "generate(n=16) | vote()", file="words", problems=3, options=TaskOptions())
    assert advice(path(tmp_path), "words").facts["draws"] == 16
    assert advice(path(tmp_path), run=small.run[:10]).facts["draws"] == 4
    assert advice(path(tmp_path), "file:number").facts["draws"] == 8
    assert "file:number" in " ".join(advice(path(tmp_path)).notes)
    with pytest.raises(Mistake, match="expected a run of"):
        advice(path(tmp_path), run="zz")


def test_a_verifier_that_judged_every_draw_is_a_selector_and_a_rule(tmp_path: Path) -> None:
    result = start(tmp_path, "generate(n=8, temperature=0.9) | vote()")
    judge_all(tmp_path, "tests", result.run)
    found = advice(path(tmp_path))
    assert found.gaps.selector == "first(by='tests')"
    assert found.gaps.selection.value < 1 / 40  # a half that does not tell two selectors apart takes both
    assert "best(by='tests')" not in found.gaps.standings  # its values tell no draws apart
    assert found.gaps.cost.way == (
        "generate(n=8, temperature=0.9, until=accepted(by='tests'), ahead=1) | first(by='tests')"
    )


def test_a_judge_is_a_selector_and_what_it_asked_counts(tmp_path: Path) -> None:
    result = start(tmp_path)
    judge_all(tmp_path, "judge@fake", result.run)
    found = advice(path(tmp_path))
    assert "first(by='judge')" in found.gaps.standings
    assert "accepted" not in found.gaps.cost.way  # what it asks before it accepts one is not known of each draw
    assert any("what it asked of a model is in its costs" in note for note in found.notes)


def test_without_tokens_draws_are_what_costs() -> None:
    draws = Draws([["1", "2"]], [[True, False]], tokens=[[0, 0]])
    assert advice_module._measured(draws).tokens is None
    assert advice_module._measured(Draws(draws.keys, draws.correct, [[0, 3]])).tokens is not None


def test_a_verifier_that_judged_some_draws_is_left_out_and_told(tmp_path: Path) -> None:
    result = start(tmp_path)
    judge_all(tmp_path, "tests", result.run, least=3)
    found = advice(path(tmp_path))
    assert "first(by='tests')" not in found.gaps.standings
    assert "tests is left out: it did not judge 24 of the draws." in found.notes


def test_runs_of_another_model_are_a_purchase(tmp_path: Path) -> None:
    start(tmp_path)
    start(tmp_path, "generate(n=2) | vote()", model="fake/iid?p=1")
    found = advice(path(tmp_path))
    first = found.purchases.ranked[0]
    assert first.what.startswith("another model: fake/iid?p=1")
    assert first.gain is not None
    assert first.gain.value == pytest.approx(1 - found.gaps.standings[found.gaps.selector].value)
    assert first.cost_factor is not None
    assert first.cost_factor < 1


def test_adaptive_runs_are_ways_with_what_they_used(tmp_path: Path) -> None:
    start(tmp_path)
    adaptive = start(tmp_path, "generate(n=8, until=agree(0.8)) | vote()")
    found = advice(path(tmp_path))
    _, name = found.runs
    with open_pool(path(tmp_path)) as pool:
        used = pool.used(adaptive.run)
        drawn = judged.n_used(pool, adaptive.run)
    assert found.runs[name].cost == pytest.approx(sum(tokens for _, tokens in used.values()) / 40)
    assert all(4 <= n <= 8 and other == 0 for n, other in drawn.values())
    assert any("up to 7 draws in flight" in note for note in found.notes)


def test_partial_runs_are_left_out_and_told(tmp_path: Path) -> None:
    start(tmp_path)
    start(tmp_path, "generate(n=2) | vote()", problems=7)
    assert any("finished only 7" in note for note in advice(path(tmp_path)).notes)


def test_forecasts_are_kept_with_the_run(tmp_path: Path) -> None:
    result = start(tmp_path, "generate(n=16) | vote()")
    said = " ".join(one.sentence for one in advice(path(tmp_path)).purchases.ranked)
    assert "Coverage at 160 draws is forecast" in said
    with open_pool(path(tmp_path)) as pool:
        assert pool.forecasts(result.run)


def test_the_report_says_where_accuracy_is_lost_and_is_json(tmp_path: Path) -> None:
    start(tmp_path, "generate(n=16) | vote()")
    found = advice(path(tmp_path), epsilon=0.05)
    text = "\n".join(lines(found))
    for word in (
        "Selection gap",
        "Generation gap",
        "Cost gap",
        "What to buy next",
        "Stop earlier",
        "A verifier",
        "Draw 32",
        "counted on problems on which it was not chosen",
        "and the best selector does not pick it",
        "on problems it was not chosen on",
    ):
        assert word in text
    cost = next(line for line in lines(found) if line.startswith("Cost gap"))
    assert "195 completion tokens a problem, where generate(n=8) | best() takes 97.5; choosing so loses" in cost
    bar = next(line for line in lines(found) if line.startswith("0 "))
    assert len(bar) == advice_module.BAR + 4
    assert bar.count(".") == round(advice_module.BAR * found.gaps.generation.value)
    data = json.loads(json.dumps(found.data))
    assert {"task", "run", "gaps", "ranked", "verifiers", "runs", "notes"} <= set(data)


def test_where_no_way_is_cheaper_no_loss_is_told(tmp_path: Path) -> None:
    start(tmp_path)
    (cost,) = (line for line in lines(advice(path(tmp_path))) if line.startswith("Cost gap"))
    assert cost.endswith("and no way here within 1 points of the best selector takes less.")


def test_where_no_draw_is_right_the_grader_is_named_first(tmp_path: Path) -> None:
    start(tmp_path, model="fake/iid?p=0")
    found = advice(path(tmp_path))
    text = lines(found)
    assert text[2] == (
        "No right answer among 8 draws of 40 problems: check the grader (vervet show POOL PROBLEM) or try another model."
    )
    assert "stop earlier" not in [one.what for one in found.purchases.ranked]
    assert any("nothing says which draws could be spared" in line for line in text)


def test_a_selector_that_picks_every_right_answer_is_not_said_to_miss_one(tmp_path: Path) -> None:
    result = start(tmp_path)
    judge_all(tmp_path, "tests", result.run)
    found = advice(path(tmp_path))
    assert found.gaps.standings[found.gaps.selector].value == found.gaps.coverage.value
    for selection, said in ((0.0, "picks it"), (0.005, "picks every right answer drawn here, but")):
        gap = replace(found.gaps.selection, value=selection)
        text = "\n".join(lines(replace(found, gaps=replace(found.gaps, selection=gap))))
        assert f"first(by='tests') {said}" in text
        assert "does not pick it" not in text


def test_without_declared_draws_the_pilot_is_named(tmp_path: Path) -> None:
    start(tmp_path, "generate(n=8, until=agree(0.8)) | vote()")
    with pytest.raises(Mistake, match=r"vervet run TASK --with .generate\(n=16\) \| vote\(\). --problems 200"):
        advice(path(tmp_path))
    with pytest.raises(Mistake, match="vervet run words --with"):
        advice(path(tmp_path), "words")


def test_an_effect_needs_what_the_draws_of_a_run_say(tmp_path: Path) -> None:
    start(tmp_path)
    found = needs(path(tmp_path), 0.05, budget_tokens=100_000)
    assert found.facts["completion_tokens_per_draw"] == pytest.approx(12, abs=2)
    assert found.power.n_problems == 40
    assert found.power.bought is not None
    text = "\n".join(needs_module.lines(found))
    assert "within 5 points" in text
    assert "The budget buys" in text
    assert "(a problem costs 3 prompt tokens, a draw 13 completion tokens)" in text
    single = needs_module.lines(needs(path(tmp_path), 0.05))
    assert not any("budget" in line for line in single)


def test_one_draw_a_problem_is_enough_for_a_report(tmp_path: Path) -> None:
    start(tmp_path, "generate(n=1)", file=riddles(tmp_path, 3))
    found = advice(path(tmp_path))
    assert isinstance(found, Advice)
    assert found.gaps.selection.value == pytest.approx(0)
    assert any("Draw more than once" in line for line in lines(found))
    assert any("draw twice or more" in line for line in needs_module.lines(needs(path(tmp_path), 0.1)))
    assert "3 problems x 1 draw" in lines(found)[0]
    assert any("none of the 1 draw is right" in line for line in lines(found))


def test_an_effect_needs_what_finished_problems_say_where_one_was_never_drawn(tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    rows = [{"prompt": text, "target": "1", "hints": {"form": ""}} for text in ("one", "word " * 5000, "one two three")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    start(tmp_path, "generate(n=4)", str(file))
    assert needs(path(tmp_path), 0.1).facts["prompt_tokens_per_problem"] == (2 + 4) / 2
