"""Limits are promises: nested budgets, wallets in dollars, calls that bring less than was asked, cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vervet.budget import Budget, Meter, Purse, Wallet
from vervet.errors import LimitReached, Mistake, NothingDrawn
from vervet.llm import LLM
from vervet.models.fake import FakeCall, FakeModel
from vervet.models.laws import Iid, Length
from vervet.testing import llm_for, pool_for, problem_for, world_for
from vervet.types import Bill, Prices, Request, Sample, Spent, Stream

PRICES = Prices(prompt=1.0, completion=4.0, cached_prompt=0.1, cache_write=1.25)


class Short(FakeModel):
    """A model that says it brings 16 samples a call, and brings two: what it learns is what it then says."""

    brings = 2

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.asked: list[int] = []

    @asynccontextmanager
    async def draw(
        self, request: Request, stream: Stream, indices: Sequence[int], so_far: Mapping[int, Sample] | None = None
    ) -> AsyncIterator[FakeCall]:
        self.asked.append(len(indices))
        async with super().draw(request, stream, indices[: self.brings], so_far) as call:
            self.supports = replace(self.supports, n=self.brings)
            yield call


@pytest.mark.parametrize("continues", [True, False])
def test_what_a_call_does_not_bring_is_asked_for_side_by_side(continues: bool) -> None:
    model = Short(Iid(), continues=continues, n=16)
    llm = llm_for(model)
    drawn = asyncio.run(llm.draw(llm.ask("answer", llm.problem, max_tokens=50).request, 16))
    assert [s.address.index for s in drawn] == list(range(16))
    assert model.asked == [16, *[2] * 7]
    assert set(model.log.attempts.values()) == {1}, "no index is drawn twice"
    assert llm.world.pool.spent(llm.world.run).calls == 8


def test_a_long_prompt_is_warmed_by_one_draw() -> None:
    starts: list[tuple[int, ...]] = []

    class Watched(FakeModel):
        def draw(self, request, stream, indices, so_far=None):
            starts.append((self.log.n_open, *indices))
            return super().draw(request, stream, indices, so_far)

    for text, expected in (("word " * 1000, [(0, 0), (0, 1), (1, 2)]), ("word", [(0, 0), (1, 1), (2, 2)])):
        starts.clear()
        model = Watched(Iid(), n=1, delay_s=0.01)
        problem = replace(problem_for(1), messages=({"role": "user", "content": text},))
        llm = llm_for(model, problem)
        asyncio.run(llm.draw(llm.ask("answer", problem, max_tokens=50).request, 3))
        assert starts == expected


# --- dollars -------------------------------------------------------------------------------------------


def test_every_kind_of_token_has_its_price() -> None:
    bill = Bill(1000, 100, cached_prompt_tokens=600, cache_write_tokens=200, unsettled_tokens=10)
    assert PRICES.usd(bill) == pytest.approx((200 * 1 + 600 * 0.1 + 200 * 1.25 + 100 * 4 + 10 * 4) / 1e6)
    assert PRICES.worst(1000, 100) == pytest.approx((1000 * 1.25 + 100 * 4) / 1e6)
    assert PRICES.usd(bill) <= PRICES.worst(1000, 110)


def test_an_unknown_price_is_an_error_and_not_zero() -> None:
    for options in ({"wallet": Wallet(usd=1.0)}, {"budget": Budget(usd=1.0)}):
        model = FakeModel(Iid())
        llm = llm_for(model, **options)
        with pytest.raises(Mistake, match=r"price of fake/iid.* unknown.*vervet\.toml"):
            asyncio.run(llm.draw(llm.ask("answer", llm.problem, max_tokens=9).request, 3))
        assert model.log.calls == 0


@pytest.mark.parametrize("continues", [True, False])
def test_a_wallet_in_dollars_ends_the_drawing_in_time(continues: bool) -> None:
    model = FakeModel(Iid(), continues=continues, n=4, prices=PRICES)
    llm = llm_for(model, wallet=Wallet(usd=0.001))
    drawn = asyncio.run(llm.draw(llm.ask("answer", llm.problem, max_tokens=20).request, 1000))
    spent = llm.world.pool.spent(llm.world.run)
    assert drawn.ended == "wallet"
    assert drawn.samples
    assert 0.0008 < spent.bill.usd <= 0.001
    assert spent.bill.usd == pytest.approx(PRICES.usd(spent.bill))


def test_a_budget_in_dollars_is_the_same_on_a_fuller_pool() -> None:
    model, pool = FakeModel(Iid(), prices=PRICES), pool_for()
    drawn = []
    for budget in (Budget(usd=0.0007), Budget(), Budget(usd=0.0007)):
        llm = LLM.at_desk(world_for(model, pool, run=repr(budget)), problem_for(1), budget)
        drawn.append(asyncio.run(llm.draw(llm.ask("answer", llm.problem, max_tokens=20).request, 40)))
    assert drawn[0] == drawn[2]
    assert 0 < len(drawn[0]) < len(drawn[1]) == 40
    assert drawn[0].ended == "budget"


def test_the_dollars_of_a_lost_call_are_booked_at_their_bound(tmp_path) -> None:
    path = str(tmp_path / "pool")
    pool = pool_for(path)
    run = pool.start_run({"run": "a"})
    asyncio.run(pool.claim(run, Stream("fake", "q"), [0, 1], Bill(10, 50, usd=0.25), False))
    pool.close()
    pool = pool_for(path)
    asyncio.run(pool.claim(pool.start_run({"run": "b"}), Stream("fake", "q"), [9], Bill(), False))
    assert pool.spent(run).bill.usd == 0.25
    pool.close()


# --- any tree of limits --------------------------------------------------------------------------------


class Checked(Purse):
    """Fails at the moment when spent and reserved together pass the wallet."""

    def reserve(self, *args, **options):
        grant = super().reserve(*args, **options)
        self.check()
        return grant

    def settle(self, *args, **options):
        super().settle(*args, **options)
        self.check()

    def check(self) -> None:
        assert self.left_tokens >= 0
        assert self.left_calls >= 0
        assert self.left_usd >= -1e-12


@dataclass
class Node:
    """What one task does: draws under its budget, then its children at once, each under its own; left after a while."""

    budget: Budget
    n: int
    max_tokens: int
    patience: int
    children: list[Node] = field(default_factory=list)


limit = st.one_of(st.none(), st.integers(0, 200))
budgets = st.builds(
    Budget, draws=limit, tokens=limit, calls=limit, usd=st.one_of(st.none(), st.floats(0, 5e-4, allow_nan=False))
)
leaves = st.builds(Node, budgets, st.integers(0, 9), st.integers(1, 30), st.integers(0, 12))
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        Node, budgets, st.integers(0, 9), st.integers(1, 30), st.integers(0, 12), st.lists(inner, max_size=3)
    ),
    max_leaves=8,
)


async def walk(node: Node, llm: LLM, meters: list[Meter]) -> None:
    inner = llm.within(node.budget)
    meters.append(inner.meters[-1])
    used = 0
    try:
        request = inner.ask("answer", inner.problem, max_tokens=node.max_tokens).request
        async with inner.stream(request, node.n, ahead=3) as samples:
            async for _ in samples:
                used += 1
                if used >= node.patience:
                    break
    except (LimitReached, NothingDrawn):
        pass
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(walk(c, inner.branch(f"b{i}"), meters)) for i, c in enumerate(node.children)]
        if tasks and node.patience % 3 == 0:
            for _ in range(node.patience):
                await asyncio.sleep(0)
            tasks[0].cancel()


@settings(max_examples=60, deadline=None)
@given(tree=trees, wallet=st.builds(Wallet, tokens=limit, calls=limit), usd=st.floats(0, 1e-3), continues=st.booleans(),
       seed=st.integers(0, 3))  # fmt: skip
def test_spent_never_exceeds_a_limit(tree: Node, wallet: Wallet, usd: float, continues: bool, seed: int) -> None:
    model = FakeModel(Length() if seed % 2 else Iid(), continues=continues, n=1 + seed, delay_s=0.0, prices=PRICES)
    world = world_for(model)
    world.purse = Checked(replace(wallet, usd=usd), Spent())
    meters: list[Meter] = []
    asyncio.run(walk(tree, LLM.at_desk(world, problem_for(seed)), meters))
    for meter in meters:
        for name in ("draws", "tokens", "calls", "usd"):
            assert meter.left(name) >= -1e-12, f"{name} of {meter}"
    bill = world.pool.spent(world.run).bill
    assert world.purse.reserved_tokens == world.purse.n_open == model.log.n_open == 0
    assert world.purse.spent_tokens == bill.tokens
    assert bill.usd <= usd + 1e-12
    assert bill.tokens - bill.unsettled_tokens == model.log.total_tokens
    world.pool.close()
