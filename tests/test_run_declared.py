"""What of a run may be analysed: declared draws, those that a rule that can be named left, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.riddles import MODEL, riddles, start
from vervet.budget import Budget
from vervet.errors import Mistake
from vervet.models.fake import FakeModel, Fault
from vervet.models.laws import Exact, Iid, truth
from vervet.pool import open_pool
from vervet.pool.rows import RunRow
from vervet.run import Result
from vervet.run.declared import (
    FIRST,
    counts_of,
    declared_draws,
    draws_of,
    expect_declared,
    same_question,
    solved_by,
)
from vervet.scaling.counted import coverage_curve
from vervet.scaling.counts import Counts, Stopped
from vervet.scaling.draws import Draws
from vervet.verify import SCORERS

LAW = Iid(p=-1)


def faulty(*indices: int) -> FakeModel:
    """A model that refuses these indices of every problem."""
    return FakeModel(LAW, faults={i: Fault("refused") for i in indices})


def row_of(folder: Path, result: Result) -> RunRow:
    with open_pool(str(folder / "pool.sqlite")) as pool:
        return next(row for row in pool.runs() if row.id == result.run)


def counted(folder: Path, result: Result) -> Counts:
    with open_pool(str(folder / "pool.sqlite")) as pool:
        return counts_of(pool, row_of(folder, result))


def drawn(folder: Path, result: Result) -> Draws:
    with open_pool(str(folder / "pool.sqlite")) as pool:
        return draws_of(pool, row_of(folder, result))


def outcomes(folder: Path, result: Result) -> dict[str, list[bool]]:
    """By problem, whether each first draw was right, in order."""
    found: dict[str, list[bool]] = {}
    with open_pool(str(folder / "pool.sqlite")) as pool:
        for use in pool.answer_uses(result.run):
            if use.operator in FIRST:
                found.setdefault(use.problem, []).append(use.outcome == "correct")
    return found


def with_a_long_one(folder: Path) -> str:
    """Six riddles, and one in their midst that no model can be asked: its prompt is longer than the context."""
    texts = [f"Riddle {i}" for i in range(6)]
    texts.insert(2, "word " * 5000)
    rows = [{"prompt": text, "target": str(truth(text)), "hints": {"form": ""}} for text in texts]
    path = folder / "long.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


# --- declared draws -------------------------------------------------------------------------------------------


def test_counts_and_draws_are_those_of_the_pool(tmp_path: Path) -> None:
    result = start(tmp_path, "generate(n=7) | vote()", riddles(tmp_path, 11))
    counts, draws, seen = counted(tmp_path, result), drawn(tmp_path, result), outcomes(tmp_path, result)
    assert (counts.common_n, counts.stopped) == (7, None)
    assert dict(zip(counts.problems, counts.correct.tolist(), strict=True)) == {p: sum(r) for p, r in seen.items()}
    assert draws.right.tolist() == [seen[problem] for problem in counts.problems]
    assert draws.tokens is not None
    assert draws.mean_logprob is not None
    assert 0 < counts.correct.sum() < 77


def test_a_refused_draw_is_one_without_an_answer(tmp_path: Path) -> None:
    result = start(tmp_path, "generate(n=5)", riddles(tmp_path, 11), model=faulty(1, 4))
    counts, draws = counted(tmp_path, result), drawn(tmp_path, result)
    assert counts.n.tolist() == [5] * 11
    assert (draws.n_problems, draws.n) == (11, 5)
    assert draws.tokens is not None
    for keys, correct, tokens in zip(draws.keys, draws.correct, draws.tokens, strict=True):
        assert list(keys).count(None) == 2
        assert list(correct)[3:] == [False, False]
        assert list(tokens)[3:] == [0, 0]
        assert min(list(tokens)[:3]) > 0
    assert counts.correct.tolist() == draws.right.sum(axis=1).tolist()
    assert 0 < counts.correct.sum() < 33


def test_a_problem_of_which_no_draw_came_is_a_row_of_wrong_draws(tmp_path: Path) -> None:
    result = start(tmp_path, "generate(n=3)", with_a_long_one(tmp_path))
    counts, draws = counted(tmp_path, result), drawn(tmp_path, result)
    assert counts.n.tolist() == [3] * 7
    (missing,) = set(counts.problems) - outcomes(tmp_path, result).keys()
    i = list(counts.problems).index(missing)
    assert counts.correct[i] == 0
    assert list(draws.keys[i]) == [None] * 3
    assert draws.n_not_judged == 0
    assert result.problems == 7


def test_a_run_none_of_whose_draws_came_cannot_be_analysed(tmp_path: Path) -> None:
    path = tmp_path / "only.jsonl"
    path.write_text(json.dumps({"prompt": "word " * 5000, "target": "1", "hints": {"form": ""}}) + "\n")
    result = start(tmp_path, "generate(n=3)", str(path))
    with pytest.raises(Mistake, match="no draw of a finished problem"):
        counted(tmp_path, result)


def test_later_steps_add_no_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORERS, "oracle", Exact())
    result = start(tmp_path, "generate(n=3) | repair(rounds=2, by='oracle') | vote()", riddles(tmp_path, 5))
    with open_pool(str(tmp_path / "pool.sqlite")) as pool:
        assert any(pool.answer_uses(result.run, "repair"))
    assert counted(tmp_path, result).n.tolist() == [3] * 5
    assert drawn(tmp_path, result).n == 3


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("generate(n=8, until=agree(0.6))", {}),
        ("generate(n=8, until=accepted('oracle') & tokens(40))", {}),
        ("generate(n=8, cut=tokens(6))", {}),
        ("generate(n=8)", {"budget": Budget(tokens=60)}),
        ("generate(n=8, until=accepted('oracle'))", {"budget": Budget(tokens=60)}),
    ],
)
def test_what_the_draws_decided_is_refused_with_the_reason(
    tmp_path: Path, architecture: str, changes: dict[str, Budget], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCORERS, "oracle", Exact())
    result = start(tmp_path, architecture, riddles(tmp_path, 5), **changes)
    row = row_of(tmp_path, result)
    assert declared_draws(row) is None
    for refused in (counted, drawn):
        with pytest.raises(Mistake, match=r"no until, cut or budget.*biased.*generate\(n=\.\.\.\) alone") as error:
            refused(tmp_path, result)
        assert row.identity["architecture"] in str(error.value)


def test_what_is_no_architecture_declares_nothing() -> None:
    row = RunRow("1", {"architecture": "judge", "models": {}}, 0.0)
    assert declared_draws(row) is None
    with pytest.raises(Mistake, match="judge: expected an architecture"):
        expect_declared(row)
    assert not same_question(row, row)


# --- drawing that stopped at the first right answer -----------------------------------------------------------


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verifier that accepts just what is right."""
    monkeypatch.setitem(SCORERS, "oracle", Exact())


UNTIL = "generate(n=12, until=accepted('oracle'), ahead=3)"


@pytest.mark.usefixtures("oracle")
def test_drawing_until_a_true_verifier_accepts_is_counted_by_that_rule(tmp_path: Path) -> None:
    file = riddles(tmp_path, 31)
    counts = counted(tmp_path, start(tmp_path, UNTIL, file))
    assert counts.stopped == Stopped(1, 12)
    assert {1, 12} <= set(counts.n.tolist())
    assert set(counts.correct.tolist()) == {0, 1}
    whole = outcomes(tmp_path, start(tmp_path, "generate(n=12)", file))  # the same draws, all of them
    curve = coverage_curve(counts, range(1, 13), seed=0)
    assert curve.value == pytest.approx([sum(any(row[:k]) for row in whole.values()) / 31 for k in range(1, 13)])


@pytest.mark.parametrize(
    "verifier", [Exact(s=0.7), Exact(c=0.5)], ids=["accepts what is wrong", "misses what is right"]
)
def test_where_verifier_and_grader_disagree_it_is_refused(
    tmp_path: Path, verifier: Exact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCORERS, "oracle", verifier)
    with pytest.raises(Mistake, match=r"not always the first right one.*generate\(n=\.\.\.\) alone"):
        counted(tmp_path, start(tmp_path, UNTIL, riddles(tmp_path, 31)))


class Scripted:
    """Accepts a problem's draws by their order, whatever they say."""

    def __init__(self, accepts: Sequence[bool]) -> None:
        self.accepts, self.n = accepts, 0

    async def __call__(self, problem: object, candidates: Sequence[object], llm: object) -> list[object]:
        from vervet.types import Score

        self.n += len(candidates)
        return [Score(None, self.accepts[self.n - 1]) for _ in candidates]


@pytest.mark.parametrize("accepts", [[False, True], [False, False]], ids=["stopped later", "never stopped"])
def test_a_right_draw_that_was_passed_over_is_found_though_the_numbers_fit(
    tmp_path: Path, accepts: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = next(
        path
        for path in (riddles(tmp_path, 1, begin) for begin in range(100))
        if [*outcomes(tmp_path, start(tmp_path, "generate(n=2)", path)).values()] == [[True, False]]
    )
    monkeypatch.setitem(SCORERS, "oracle", Scripted(accepts))
    result = start(tmp_path, "generate(n=2, until=accepted('oracle'), ahead=1)", file)
    with pytest.raises(Mistake, match="not always the first right one"):
        counted(tmp_path, result)


@pytest.mark.usefixtures("oracle")
def test_a_lost_draw_hides_where_the_first_right_one_stood(tmp_path: Path) -> None:
    """Every problem is right at its second draw, the first that came: by the numbers alone, at its first."""
    model = FakeModel(Iid(p=1), faults={0: Fault("refused")})
    result = start(tmp_path, UNTIL, riddles(tmp_path, 5), model=model)
    assert list(outcomes(tmp_path, result).values()) == [[True]] * 5
    with pytest.raises(Mistake, match="a draw of it was refused or failed"):
        counted(tmp_path, result)


@pytest.mark.usefixtures("oracle")
@pytest.mark.parametrize("lost", [1, 11], ids=["in between", "the last"])
def test_lost_draws_of_the_unsolved_are_not_passed_over(tmp_path: Path, lost: int) -> None:
    result = start(tmp_path, UNTIL, riddles(tmp_path, 31), model=faulty(lost))
    with pytest.raises(Mistake, match=r"generate\(n=\.\.\.\) alone"):
        counted(tmp_path, result)


# --- runs beside each other -----------------------------------------------------------------------------------


def test_solved_by_looks_at_the_first_draws_alone(tmp_path: Path) -> None:
    result = start(tmp_path, "generate(n=9) | vote()", riddles(tmp_path, 17))
    seen, row = outcomes(tmp_path, result), row_of(tmp_path, result)
    with open_pool(str(tmp_path / "pool.sqlite")) as pool:
        for k in (1, 2, 9):
            assert solved_by(pool, row, k) == {problem: any(right[:k]) for problem, right in seen.items()}
    assert any(not any(right[:2]) and any(right) for right in seen.values())


@pytest.mark.parametrize(
    ("architecture", "changes", "same"),
    [
        ("generate(n=9) | vote()", {}, True),
        ("generate(n=2, ahead=1) | first()", {}, True),
        ("generate(n=9, until=agree(0.6))", {}, True),
        ("generate(n=3)", {"seed": 5, "problems": 3}, True),
        ("generate(n=3, temperature=0.7)", {}, False),
        ("generate(n=3, top_p=0.9)", {}, False),
        ("generate(n=3, max_tokens=20)", {}, False),
        ("generate(n=3)", {"model": "fake/iid?p=0.4"}, False),
        ("generate(n=3)", {"file": "other"}, False),
    ],
)
def test_the_same_question_is_one_of_the_same_model_settings_and_task(
    tmp_path: Path, architecture: str, changes: dict[str, object], same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vervet.tasks import TaskOptions

    monkeypatch.setitem(SCORERS, "oracle", Exact())
    options = TaskOptions(
        prompt_field="prompt", target_field="target", grader="number", hints_field="hints", verifier="oracle"
    )
    other_file = "file" in changes
    changes = {name: value for name, value in changes.items() if name != "file"}
    first = start(tmp_path, "generate(n=3)", riddles(tmp_path, 5), options=options)
    file = riddles(tmp_path, 5, begin=5 if other_file else 0)
    second = start(tmp_path, architecture, file, options=options, **changes)
    one, other = row_of(tmp_path, first), row_of(tmp_path, second)
    assert one.identity["models"] == {"model": MODEL}
    assert same_question(one, other) is same
    assert same_question(other, one) is same
