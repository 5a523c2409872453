"""The operators one by one, the laws that a memo without an index breaks, and the grammar with its caret."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from vervet.errors import Mistake, NothingDrawn
from vervet.llm import LLM
from vervet.models.fake import FakeModel, Fault
from vervet.models.laws import Exact, Iid, Judge, Refine
from vervet.operators import OPERATORS, Operator, parse
from vervet.rules.expression import list_name
from vervet.testing import OPERATOR_CHECKS, llm_for, pool_for, problem_for, target_of, world_for
from vervet.types import Candidate, Candidates, Problem


def answer(text: str, llm: LLM) -> Candidates:
    return asyncio.run(parse(text)(llm.problem, Candidates(), llm))


def is_right(candidate: Candidate | None, problem: Problem) -> bool:
    return candidate is not None and candidate.key == str(target_of(problem))


@dataclass(frozen=True, repr=False)
class Refining(Operator):
    """Repair whatever came, so many times, without asking whether it is right.

    Cost: ``rounds`` samples.

    Reference: none.
    """

    rounds: int = 2

    async def __call__(self, problem: Problem, candidates: Candidates, llm: LLM) -> Candidates:
        """The last repair first."""
        for _ in range(self.rounds if candidates else 0):
            request = llm.ask("repair", problem, candidates, evidence="Look again.").request
            async with llm.stream(request, 1, role="repair") as samples:
                new = [llm.candidate(problem, sample) async for sample in samples]
            candidates = candidates.with_items((*new, *candidates))
        return candidates


def test_refine_rounds_follow_their_law() -> None:
    """0.3, .425, .51875, and towards .8: a memo that gives an equal question its first draw again breaks this."""
    law, n = Refine(n_wrong=1), {0: 400, 1: 400, 2: 400, 12: 90}
    n_right = dict.fromkeys(n, 0)
    world = world_for(law)

    async def main() -> None:
        for number in range(400):
            llm = LLM.at_desk(world, problem_for(number))
            most = 12 if number < n[12] else 2
            first = await parse("generate()")(llm.problem, Candidates(), llm)
            trail = await Refining(most)(llm.problem, first, llm)
            for rounds in [r for r in n_right if r <= most]:
                n_right[rounds] += is_right(trail[most - rounds], llm.problem)

    asyncio.run(main())
    for rounds, count in n_right.items():
        expected = law.accuracy(rounds)  # .3, .425, .51875, .784
        tolerance = 4.5 * (expected * (1 - expected) / n[rounds]) ** 0.5
        assert abs(count / n[rounds] - expected) < tolerance, f"{rounds=}"


@dataclass(frozen=True, repr=False)
class TwoWaves(Operator):
    """Ask one question twice in a row, as a beam does that expands equal prefixes."""

    async def __call__(self, problem: Problem, candidates: Candidates, llm: LLM) -> Candidates:
        drawn = [await llm.draw(llm.ask("answer", problem).request, 8) for _ in range(2)]
        return candidates.with_items([llm.candidate(problem, s) for wave in drawn for s in wave])


def test_a_beam_that_asks_an_equal_question_twice_gets_fresh_draws() -> None:
    """Coverage over both waves is that of 16 draws, not of 8."""
    law, n = Iid(p=0.1), 150
    world = world_for(law)

    async def main() -> int:
        found = 0
        for number in range(n):
            llm = LLM.at_desk(world, problem_for(number))
            candidates = await TwoWaves()(llm.problem, Candidates(), llm)
            assert len({c.lineage for c in candidates}) == 16
            found += any(is_right(c, llm.problem) for c in candidates)
        return found

    n_covered = asyncio.run(main())
    expected = law.coverage(16)  # .815; coverage of 8 is .570
    assert abs(n_covered / n - expected) < 4.5 * (expected * (1 - expected) / n) ** 0.5


def test_first_accepted_has_the_precision_of_the_law() -> None:
    law = Judge(p=0.3, c=0.9, s=0.8)
    world = world_for(law)
    n_right = n_accepted = 0

    async def main() -> list[tuple[Candidates, Problem]]:
        found = []
        for number in range(100):
            llm = LLM.at_desk(world, problem_for(number))
            found.append(
                (await parse("generate(n=6) | first(by='judge')")(llm.problem, Candidates(), llm), llm.problem)
            )
        return found

    for candidates, problem in asyncio.run(main()):
        if candidates[0].scores["judge"].accepted:
            n_accepted += 1
            n_right += is_right(candidates[0], problem)
    expected = law.precision(0.3)
    assert abs(n_right / n_accepted - expected) < 4.5 * (expected * (1 - expected) / n_accepted) ** 0.5


def test_vote_first_filter_best() -> None:
    llm = llm_for(Iid(p=0.6, n_wrong=2))
    drawn = answer("generate(n=15)", llm)
    keys = [c.key for c in drawn]
    again = llm_for(llm.model, pool=llm.world.pool)
    assert answer("generate(n=15) | vote()", again)[0].key == max(keys, key=keys.count)
    first = answer("generate(n=15) | first()", llm_for(llm.model, pool=llm.world.pool))
    assert is_right(first[0], llm.problem)
    assert len(first) == 15
    kept = answer("generate(n=15) | filter()", llm_for(llm.model, pool=llm.world.pool))
    assert [c.lineage for c in kept] == [c.lineage for c in drawn if is_right(c, llm.problem)]
    best = answer("generate(n=15) | best()", llm_for(llm.model, pool=llm.world.pool))
    values = [c.scores["mean_logprob"].value for c in best]
    assert values == sorted(values, reverse=True)


def test_filter_passes_all_on_where_none_is_accepted() -> None:
    candidates = answer("generate(n=5) | filter()", llm_for(Iid(p=0.0)))
    assert len(candidates) == 5
    assert not any(c.scores["verifier"].accepted for c in candidates)


def test_repair_puts_the_evidence_in_the_question_and_stops_when_accepted() -> None:
    llm = llm_for(Refine(p0=0.0, a=1.0))
    candidates = answer("generate() | repair(rounds=5)", llm)
    assert len(candidates) == 2
    assert is_right(candidates[0], llm.problem)
    question = llm.world.pool.question(candidates[0].lineage[-1].stream.question)
    assert question.role == "english/repair.1"
    assert "This answer is wrong." in question.messages[-1]["content"]
    assert len(candidates[0].lineage) == 2
    accepted = llm_for(Refine(p0=1.0))
    answer("generate() | repair(rounds=5)", accepted)
    assert accepted.model.log.calls == 1


def test_a_limit_leaves_the_best_so_far() -> None:
    from vervet.budget import Budget

    llm = llm_for(Refine(p0=0.0, a=0.0, b=0.0), budget=Budget(calls=2))
    assert len(answer("generate(n=3) | repair(rounds=5) | vote()", llm)) == 4


def test_all_failed_is_an_error_with_the_reasons() -> None:
    with pytest.raises(NothingDrawn, match="filtered"):
        answer("generate(n=2)", llm_for(Iid(), faults={i: Fault("refused", reason="filtered") for i in range(2)}))


def test_an_operator_names_a_model_of_the_run() -> None:
    models = {"": FakeModel(Iid(p=0.0)), "small": FakeModel(Iid(p=1.0))}
    llm = llm_for(models)
    assert is_right(answer("generate(model='small')", llm)[0], llm.problem)
    with pytest.raises(Mistake, match="'small'"):
        answer("generate(model='large')", llm_for(models))


def test_a_problem_without_a_verifier_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="vote"):
        answer("generate() | first()", llm_for("iid", problem_for(verifier=None)))


def test_a_new_operator_is_one_class_and_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, list_name(Refining), Refining)
    llm = llm_for(Refine())
    assert len(answer("generate(n=2) | refining(rounds=3)", llm)) == 5
    for check in OPERATOR_CHECKS:
        asyncio.run(check(Refining()))


def test_the_conformance_suite_catches_an_operator_that_breaks_its_promises() -> None:
    class Loose(Operator):
        """Counts its calls. Reference: none"""

        def __init__(self) -> None:
            self.n = 0

        async def __call__(self, problem: Problem, candidates: Candidates, llm: LLM) -> Candidates:
            self.n += 1
            return candidates.reorder(list(range(len(candidates)))[self.n % 2 :])

        def __repr__(self) -> str:
            return f"loose(n={self.n})"

    failed = []
    for check in OPERATOR_CHECKS:
        try:
            asyncio.run(check(Loose()))
        except (AssertionError, Mistake):
            failed.append(check.__name__)
    assert {"is_frozen_and_repeats", "live_equals_rerun_equals_replay", "names_its_reference"} <= set(failed)


def test_scorers_and_parts_of_a_chain() -> None:
    whole = parse("generate(n=3, until=accepted(by='judge')) | filter() | best()")
    assert whole.scorers == {"judge", "verifier", "mean_logprob"}
    assert [type(p).__name__ for p in whole.parts] == ["Generate", "Filter", "Best"]
    assert repr(parse("generate(8) | (vote() | first())")) == "generate(n=8) | vote() | first()"


# --- the grammar ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at", "why"),
    [
        ("generate(n=4) | wote()", "wote", "expected one of"),
        ("generate(m=4)", "generate", "m"),
        ("generate(n=4) | vote", "vote", "bare name"),
        ("generate(n=4) | vote(", "(", "never closed"),
        ("generate(n='4')", "generate", "n"),
        ("generate(n=-1)", "generate", "n"),
        ("generate(n=2.5)", "generate", "n"),
        ("generate(until=agree(share=2)) | vote()", "agree", "share"),
        ("generate(until=agree(0.9) & wate())", "wate", "expected one of"),
        ("generate(n=4) & vote()", "generate", "joins"),
        ("generate(until=agree(0.9) | tokens(5))", "agree", "joins"),
        ("generate(n=__import__('os'))", "__import__", "expected one of"),
        ("generate(n=(1).real)", "(1).real", "expected a call"),
        ("generate(n=4) | vote().x", "vote", "expected a call"),
        ("generate(n=4, n=5)", "generate", "each argument once"),
        ("5", "5", "expected operators"),
        ("agree(0.9)", "agree", "expected operators"),
    ],
)
def test_a_caret_stands_under_the_place(text: str, at: str, why: str) -> None:
    with pytest.raises(Mistake, match=why) as caught:
        parse(text)
    said, shown, caret = str(caught.value).rsplit("\n", 2)
    place = caret.index("^") - 2
    assert said
    assert shown.strip() == text
    assert text[place:].startswith(at) or text[place - 1 :].startswith(at), f"{caught.value}"


def test_the_caret_counts_characters_not_bytes() -> None:
    with pytest.raises(Mistake) as caught:
        parse("generate(stop='é') | wote()")
    _, shown, caret = str(caught.value).rsplit("\n", 2)
    assert shown[caret.index("^") :].startswith("wote")


def test_empty_and_nested_expressions() -> None:
    for text in ("", "   ", "|", "generate() |"):
        with pytest.raises(Mistake):
            parse(text)
    deep = "generate(n=5,\n   until = agree(.6) & tokens(100) & accepted())|filter( )"
    assert repr(parse(deep)) == "generate(n=5, until=agree(share=0.6) & tokens(n=100) & accepted()) | filter()"


def test_exact_is_free() -> None:
    problem = problem_for()
    scores = asyncio.run(Exact()(problem, Candidates((Candidate(f"Answer: {target_of(problem)}"),)), None))
    assert scores[0].accepted
    assert pool_for().path
