"""The table of address states, index order, structured concurrency and limits, on fakes of known laws."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from vervet.budget import Budget, Wallet
from vervet.errors import LimitReached, Mistake, ModelError, NothingDrawn, OverContext, Unsupported
from vervet.llm import LLM
from vervet.models.fake import FakeModel, Fault
from vervet.models.laws import Iid, Length
from vervet.operators import parse
from vervet.pool import open_pool
from vervet.testing import llm_for, pool_for, problem_for, target_of, world_for
from vervet.types import Bill, Candidates, Endings, Failure, Request, Sample, Void

BOTH = pytest.mark.parametrize("continues", [True, False], ids=["continues", "cannot continue"])


def asked(llm: LLM, **options) -> Request:
    return llm.ask("answer", llm.problem, **options).request


def draw(llm: LLM, n: int, **options):
    return asyncio.run(llm.draw(asked(llm, **options), n))


def is_right(llm: LLM, sample: Sample) -> bool:
    answer = llm.read(llm.problem, sample.text)
    return answer is not None and answer.key == str(target_of(llm.problem))


# --- the table of address states -----------------------------------------------------------------------


@BOTH
def test_absent_asks_the_model_and_ended_is_given(continues: bool) -> None:
    pool = pool_for()
    model = FakeModel(Iid(), continues=continues)
    first = draw(llm_for(model, pool=pool), 16)
    assert sum(model.log.attempts.values()) == 16
    again = draw(llm_for(model, pool=pool, run="other"), 64)
    assert sum(model.log.attempts.values()) == 64, "n from 16 to 64 draws exactly 48 more"
    assert again.samples[:16] == first.samples
    assert draw(llm_for(model, pool=pool, wallet=Wallet(0, 0)), 64).samples == again.samples
    assert model.log.attempts.total() == 64


@BOTH
def test_three_concurrent_askers_pay_once(continues: bool, tmp_path: Path) -> None:
    """Three runs, two pool objects on one file, one model that is slow: each address is drawn once."""
    path = str(tmp_path / "pool")
    model = FakeModel(Iid(), continues=continues, n=4, delay_s=0.0)

    async def main() -> list:
        pools = [open_pool(path), open_pool(path)]
        llms = [llm_for(model, pool=pools[i % 2], run=f"run {i}") for i in range(3)]
        drawn = await asyncio.gather(*(llm.draw(asked(llm), 11) for llm in llms))
        spent = [pools[0].spent(llm.world.run).bill.tokens for llm in llms]
        for pool in pools:
            pool.close()
        assert sum(spent) == model.log.total_tokens
        return drawn

    first, *others = asyncio.run(main())
    assert all(drawn.samples == first.samples for drawn in others)
    assert set(model.log.attempts.values()) == {1}
    assert len(model.log.attempts) == 11


def test_open_is_followed_further_where_the_model_can() -> None:
    pool = pool_for()
    model = FakeModel(Length(p=0.4))
    uncut = draw(llm_for(model), 8)
    n_whole = model.log.total_tokens
    model = FakeModel(Length(p=0.4))
    cut = draw(llm_for(model, pool=pool), 8, max_tokens=20)
    assert {s.ended for s in cut} == {"length"}
    assert {s.n_tokens for s in cut} == {20}
    llm = llm_for(model, pool=pool)
    followed = asyncio.run(llm.follow(cut[0], max_tokens=4000))
    assert followed == uncut[0]
    assert model.log.tokens[cut[0].address] == uncut[0].n_tokens, "expected the new tokens alone to be paid"
    assert draw(llm_for(model, pool=pool), 8).samples == uncut.samples
    assert model.log.tokens.total() == n_whole - model.count(asked(llm).question), "no token was drawn twice"
    short = draw(llm_for(model, pool=pool, wallet=Wallet(0)), 8, max_tokens=20)
    assert short.samples == cut.samples, "need less: truncate"


def test_other_endings_are_another_row_where_the_model_cannot_continue() -> None:
    pool = pool_for()
    model = FakeModel(Length(p=0.4), continues=False)
    cut, whole = [draw(llm_for(model, pool=pool), 5, max_tokens=n) for n in (20, 4000)]
    assert not {s.address for s in cut} & {s.address for s in whole}
    assert all("endings" in s.address.stream.scope for s in (*cut, *whole))
    with pytest.raises(Unsupported):
        asyncio.run(llm_for(model, pool=pool).follow(cut[0], max_tokens=50))


@BOTH
@pytest.mark.parametrize(("kind", "n_tokens"), [("refused", 0), ("failed", 3)])
def test_refused_and_failed_are_given_to_every_run(continues: bool, kind, n_tokens: int) -> None:
    pool = pool_for()
    model = FakeModel(Iid(), continues=continues, faults={2: Fault(kind, n_tokens=n_tokens, reason="no")})
    for run in ("a", "b"):
        drawn = draw(llm_for(model, pool=pool, run=run), 5)
        assert drawn.failures == {2: Failure(kind, "no")}
        assert [s.address.index for s in drawn] == [0, 1, 3, 4]
    assert model.log.attempts.total() == 5, "the outcome is known: nobody asks again"
    assert model.log.total_tokens == pool.spent(llm_for(model, pool=pool, run="a").world.run).bill.tokens


@BOTH
def test_transient_is_asked_again_within_the_limits(continues: bool) -> None:
    model = FakeModel(Iid(), continues=continues, n=1, faults={1: Fault("transient", times=4)})
    llm = llm_for(model)
    drawn = draw(llm, 3)
    assert not drawn.failures
    assert model.log.attempts[drawn[1].address] == 5
    assert llm.world.pool.spent(llm.world.run).calls == 7
    with_limit = llm_for(
        FakeModel(Iid(), continues=continues, n=1, faults={0: Fault("transient")}), wallet=Wallet(calls=2)
    )
    with pytest.raises(LimitReached):
        draw(with_limit, 1)
    assert with_limit.world.pool.spent(with_limit.world.run).calls == 2


@BOTH
def test_transient_stays_vacant_for_others_and_is_kept_once_a_later_question_was_built(continues: bool) -> None:
    pool = pool_for()
    model = FakeModel(Iid(), continues=continues, faults={1: Fault("transient", times=5)})
    llm = llm_for(model, pool=pool, run="a")
    drawn = draw(llm, 3)
    assert set(drawn.failures) == {1}
    assert not pool.kept_failures(llm.world.run), "nothing was built on it yet"
    draw(llm, 1, temperature=0.5)  # a later question, built without index 1
    assert set(draw(llm_for(model, pool=pool, run="a"), 3).failures) == {1}, "in its own run it stays"
    assert not draw(llm_for(model, pool=pool, run="b"), 3).failures, "for another run it is vacant"
    assert set(draw(llm_for(model, pool=pool, run="a"), 3).failures) == {1}
    assert not draw(llm_for(model, pool=pool, run="a", retry_failed=True), 3).failures
    assert not draw(llm_for(model, pool=pool, run="a"), 3).failures, "and it stays asked"


@BOTH
def test_transient_is_asked_again_by_a_rerun_where_nothing_was_built_on_it(continues: bool) -> None:
    pool = pool_for()
    model = FakeModel(Iid(), continues=continues, faults={1: Fault("transient", times=5)})
    assert set(draw(llm_for(model, pool=pool), 3).failures) == {1}
    assert not draw(llm_for(model, pool=pool), 3).failures


@BOTH
def test_void_is_skipped_and_counted(continues: bool) -> None:
    pool = pool_for()
    model = FakeModel(Iid(), continues=continues)
    first = draw(llm_for(model, pool=pool), 3)
    pool.void(first[0].address.stream, [1, 4])
    drawn = draw(llm_for(model, pool=pool), 5)
    assert [s.address.index for s in drawn] == [0, 2, 3, 5, 6]
    assert drawn.n_void == 2
    assert isinstance(pool.find(first[0].address.stream, [1])[1], Void)


def test_a_broken_block_is_void_and_the_next_indices_take_its_place() -> None:
    """A model that cannot continue, broken when three of its samples are there: no bias, no dead index."""
    n_right = n_all = 0
    pool = pool_for()
    for number in range(150):
        broken = FakeModel(Length(p=0.5), continues=False, n=8, delay_s=0.0)
        seen: list = []

        async def breaks(address, seen=seen) -> None:
            seen.append(address)
            if len(seen) == 4:
                raise ConnectionError("the line is dead")

        broken.hook = breaks
        problem = problem_for(number)
        with pytest.raises(ConnectionError):
            draw(llm_for(broken, problem, pool=pool), 8)
        model = FakeModel(Length(p=0.5), continues=False, n=8)
        llm = llm_for(model, problem, pool=pool)
        drawn = draw(llm, 8)
        assert len(drawn) == 8
        row = drawn[0].address.stream
        void = [i for i, s in pool.find(row, range(8)).items() if isinstance(s, Void)]
        finished = {a.index for a in seen[:3]}
        first_broken = min(set(range(8)) - finished)
        assert void == list(range(first_broken, 8)), "the block from the first broken index on, finished ones too"
        assert drawn.n_void == len(void)
        n_right += sum(is_right(llm, s) for s in drawn)
        n_all += 8
    # 1,200 samples: five standard errors are .072; keeping the finished ones alone would give about .6
    assert abs(n_right / n_all - 0.5) < 0.072


def test_what_a_dead_owner_held_is_void_only_where_the_model_cannot_continue(tmp_path: Path) -> None:
    for continues in (True, False):
        path = str(tmp_path / f"pool{continues}")
        pool = open_pool(path)
        model = FakeModel(Iid(), continues=continues, n=8)
        llm = llm_for(model, pool=pool, run="killed")
        whole = draw(llm_for(FakeModel(Iid(), continues=continues, n=8)), 8)
        row = whole[0].address.stream
        claim = asyncio.run(pool.claim(llm.world.run, row, range(4), Bill(9, 100), continues))
        assert claim.call is not None
        pool.record(claim.call, 2, whole[2], Bill(9, whole[2].n_tokens))
        pool.close()  # without settling: as a kill would leave it
        pool = open_pool(path)
        drawn = draw(llm_for(model, pool=pool), 8)
        expected = list(range(8)) if continues else list(range(4, 12))
        assert [s.address.index for s in drawn] == expected
        assert pool.spent(llm.world.run).bill.unsettled_tokens == 300
        if continues:
            assert drawn.samples == whole.samples
        pool.close()


# --- the door hands out indices ------------------------------------------------------------------------


def test_occurrences_and_branches() -> None:
    async def main() -> None:
        llm = llm_for("iid")
        request = asked(llm)
        first, second, third = [await llm.draw(request, 4) for _ in range(3)]
        assert [d[0].address.stream.scope for d in (first, second, third)] == ["", "occurrence=2", "occurrence=3"]
        assert len({s.text for d in (first, second, third) for s in d}) == 12
        async with llm.stream(request, 1):
            with pytest.raises(Mistake, match="branch"):
                await llm.draw(request, 1)
        arms = await asyncio.gather(*(llm.branch(name).draw(request, 2) for name in ("left", "right")))
        assert [d[0].address.stream.scope for d in arms] == ["left", "right"]
        assert (await llm_for(llm.model, pool=llm.world.pool).draw(request, 4)).samples == first.samples

    asyncio.run(main())


def test_bad_branch_names() -> None:
    for name in ("", "a/b", "a;b", "a=b"):
        with pytest.raises(Mistake, match="branch"):
            llm_for("iid").branch(name)


# --- decisions in index order --------------------------------------------------------------------------


def test_decisions_are_made_in_index_order() -> None:
    """The first four by index are right as often as the law says; the first four to finish are another matter."""
    law = Length(p=0.4)
    n_right = {"index": 0, "finished": 0}
    pool = pool_for()
    for number in range(40):
        order: list = []

        async def note(address, order=order) -> None:
            order.append(address.index)

        model = FakeModel(law, n=16, delay_s=0.0, hook=note)
        llm = llm_for(model, problem_for(number), pool=pool)

        async def main(llm=llm) -> list[Sample]:
            async with llm.stream(asked(llm), 16, ahead=16) as samples:
                taken = []
                async for sample in samples:
                    taken.append(sample)
                    if len(taken) == 4:
                        return taken
            return taken

        taken = asyncio.run(main())
        assert [s.address.index for s in taken] == [0, 1, 2, 3]
        n_right["index"] += sum(is_right(llm, s) for s in taken)
        wholes = {i: model.trajectory(asked(llm).question, taken[0].address.stream.at(i)) for i in order[:4]}
        n_right["finished"] += sum(is_right(llm, s) for s in wholes.values())
    shares = {k: v / 160 for k, v in n_right.items()}
    assert abs(shares["index"] - 0.4) < 0.19  # five standard errors of 160 draws
    assert shares["finished"] > shares["index"] + 0.2


# --- leaving, cancelling, failing ----------------------------------------------------------------------


@BOTH
def test_leaving_a_stream_stops_the_bill(continues: bool) -> None:
    """64 asked, 4 used: at most 4 + ahead are paid, and no task is left."""
    for ahead in (1, 8):
        model = FakeModel(Length(), continues=continues, n=2, delay_s=0.0)
        llm = llm_for(model)

        async def main(llm=llm, ahead=ahead) -> int:
            before = asyncio.all_tasks()
            async with llm.stream(asked(llm), 64, ahead=ahead) as samples:
                n = 0
                async for _ in samples:
                    n += 1
                    if n == 4:
                        break
            assert asyncio.all_tasks() == before
            return model.log.total_tokens  # noqa: B023

        paid = asyncio.run(main())
        assert len(model.log.tokens) <= 4 + ahead
        bill = llm.world.pool.spent(llm.world.run).bill
        assert bill.tokens == paid == llm.world.purse.spent_tokens
        assert not bill.unsettled_tokens


@BOTH
def test_an_exception_of_the_consumer_is_raised_as_itself_and_ends_everything(continues: bool) -> None:
    model = FakeModel(Length(), continues=continues, n=2, delay_s=0.0)
    llm = llm_for(model)

    async def main() -> None:
        before = asyncio.all_tasks()
        with pytest.raises(KeyError):  # noqa: PT012  # leaving the block is what is tested
            async with llm.stream(asked(llm), 64, ahead=8) as samples:
                async for _ in samples:
                    raise KeyError("mine")
        assert asyncio.all_tasks() == before
        n_tokens = model.log.total_tokens
        await asyncio.sleep(0.01)
        assert model.log.total_tokens == n_tokens == llm.world.purse.spent_tokens
        assert llm.world.purse.reserved_tokens == 0

    asyncio.run(main())
    assert len(draw(llm_for(FakeModel(Length(), continues=continues), pool=llm.world.pool), 12)) == 12


# --- errors --------------------------------------------------------------------------------------------


def test_nothing_drawn_fatal_and_over_context() -> None:
    faults = {i: Fault("refused", reason="filtered") for i in range(3)}
    with pytest.raises(NothingDrawn, match="filtered"):
        draw(llm_for(Iid(), faults=faults), 3)
    with pytest.raises(ModelError, match="bad key"):
        draw(llm_for(Iid(), faults={1: Fault("fatal", reason="bad key")}), 3)
    with pytest.raises(OverContext, match="context of 5"):
        draw(llm_for(Iid(), context=5), 1)
    with pytest.raises(Mistake, match="say max_tokens"):
        draw(llm_for(Iid(), context=None), 1)
    for n, ahead in ((-1, None), (1, 0)):
        with pytest.raises(Mistake, match="expected n of 0 or more"):
            asyncio.run(_stream(llm_for("iid"), n, ahead))


async def _stream(llm: LLM, n: int, ahead: int | None) -> None:
    async with llm.stream(asked(llm), n, ahead):
        pass


# --- budgets and wallets -------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("budget", [Budget(draws=3), Budget(tokens=50), Budget(tokens=9), Budget(calls=1)], ids=repr)
def test_budgets_do_not_depend_on_the_pool(continues: bool, budget: Budget) -> None:
    model = FakeModel(Iid(), continues=continues)
    full = pool_for()
    draw(llm_for(model, pool=full), 32)
    results = []
    for pool in (pool_for(), full):
        llm = llm_for(model, budget=budget, pool=pool)
        candidates = asyncio.run(parse("generate(n=16) | repair(rounds=2)")(llm.problem, Candidates(), llm))
        results.append((tuple(candidates), llm.left["draws"], llm.left["tokens"], llm.left["calls"]))
    assert results[0] == results[1]
    assert min(results[0][1:]) >= 0


def test_the_wallet_cuts_the_sample_and_the_question_stays() -> None:
    model = FakeModel(Length(p=0.4))
    pool = pool_for()
    llm = llm_for(model, pool=pool, wallet=Wallet(tokens=40))
    drawn = draw(llm, 5)
    prompt = model.count(asked(llm).question)
    assert drawn.ended == "wallet"
    assert [(s.ended, s.n_tokens) for s in drawn] == [("cut:wallet", 40 - prompt)]
    assert model.log.total_tokens == 40
    uncut = draw(llm_for(FakeModel(Length(p=0.4))), 5)
    assert draw(llm_for(model, pool=pool, run="richer"), 5).samples == uncut.samples


def test_within_narrows_and_both_meters_count() -> None:
    llm = llm_for("iid", budget=Budget(draws=9))
    inner = llm.within(Budget(draws=2))
    assert len(draw(inner, 5)) == 2
    assert (inner.left["draws"], llm.left["draws"]) == (0, 7)


def test_what_the_asker_fixed_wins_and_the_smaller_limit_counts() -> None:
    llm = llm_for("iid", replace(problem_for(0), fixed={"temperature": 0.2, "max_tokens": 7}))
    request = llm.ask("answer", llm.problem, temperature=1.0, max_tokens=30).request
    assert (request.question.temperature, request.endings) == (0.2, Endings(max_tokens=7))
    with pytest.raises(Mistake, match="warmth"):
        llm_for("iid", replace(problem_for(0), fixed={"warmth": 1})).ask("answer", problem_for(0, warmth=1))
    with pytest.raises(Unsupported, match="plays the roles"):
        llm.ask("sing", llm.problem)


def test_score_is_looked_up_first() -> None:
    world = world_for("judge")
    llm = LLM.at_desk(world, problem_for())
    candidates = Candidates(tuple(llm.candidate(llm.problem, s) for s in draw(llm, 4)))
    first = asyncio.run(llm.score("judge", llm.problem, candidates))
    calls = world.models[""].log.calls
    assert asyncio.run(llm.score("judge", llm.problem, candidates)) == first
    assert world.models[""].log.calls == calls == 5


def test_a_half_done_sample_of_a_model_that_cannot_continue_is_billed_and_void_but_never_kept() -> None:
    async def late() -> tuple[LLM, FakeModel]:
        model = FakeModel(Length(), continues=False, delay_s=0.001)
        llm = llm_for(model)
        llm.world.deadline = asyncio.get_running_loop().time() + 0.03
        async with llm.stream(llm.ask("answer", llm.problem).request, 4) as samples:
            assert [s async for s in samples] == []
            assert samples.ended == "wallet"
        return llm, model

    llm, model = asyncio.run(late())
    (address, *_) = model.log.tokens
    known = llm.world.pool.find(address.stream, range(4))
    assert {type(stored) for stored in known.values()} == {Void}
    assert llm.world.pool.spent(llm.world.run).bill.tokens == model.log.total_tokens > 0
