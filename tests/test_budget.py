"""Wallets, budgets and the purse: spent and reserved together never exceed the wallet."""

from __future__ import annotations

import pytest

from vervet.budget import Budget, Meter, Purse, Wallet
from vervet.errors import Mistake
from vervet.types import Bill, Spent

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

CALLS = st.lists(
    st.tuples(
        st.integers(1, 9),  # samples asked for
        st.integers(1, 60),  # max_tokens
        st.integers(0, 30),  # prompt
        st.booleans(),  # the wallet may cut
        st.floats(0, 1),  # the share of the reserve that is used; 0 and never made: cancelled
        st.booleans(),  # settled now or at the end
    ),
    max_size=30,
)


@hypothesis.given(limit=st.integers(0, 400), max_calls=st.one_of(st.none(), st.integers(0, 9)), calls=CALLS)
def test_spent_and_reserved_never_exceed_the_wallet(limit: int, max_calls: int | None, calls) -> None:
    purse = Purse(Wallet(tokens=limit, calls=max_calls))
    open_grants = []
    paid = n_made = 0
    for n, max_tokens, prompt, cut, share, now in calls:
        grant = purse.reserve(n, max_tokens, prompt, cut)
        if grant is not None:
            assert 1 <= grant.n <= n
            assert 1 <= grant.max_tokens <= max_tokens
            assert grant.max_tokens == max_tokens or cut
            open_grants.append((grant, int(share * grant.tokens)))
        assert purse.spent_tokens + purse.reserved_tokens <= limit
        assert max_calls is None or purse.spent_calls + purse.n_open <= max_calls
        if now and open_grants:
            grant, cost = open_grants.pop(0)
            purse.settle(grant, Bill(completion_tokens=cost), n_calls=int(cost > 0))
            paid, n_made = paid + cost, n_made + int(cost > 0)
    for grant, cost in open_grants:
        purse.settle(grant, Bill(completion_tokens=cost), n_calls=int(cost > 0))
        paid, n_made = paid + cost, n_made + int(cost > 0)
    assert (purse.reserved_tokens, purse.n_open) == (0, 0)
    assert (purse.spent_tokens, purse.spent_calls) == (paid, n_made)
    assert paid <= limit


def test_a_purse_goes_on_from_what_the_run_spent_before() -> None:
    purse = Purse(Wallet(tokens=100, calls=3), Spent(Bill(30, 20, unsettled_tokens=10), calls=2))
    assert (purse.left_tokens, purse.left_calls) == (40, 1)
    assert purse.reserve(4, 15, 10, cut=False).n == 2
    assert purse.reserve(1, 1, 0, cut=False) is None, "no call is left"


def test_a_sample_is_cut_only_where_it_stands_alone() -> None:
    purse = Purse(Wallet(tokens=50))
    alone = purse.reserve(1, 100, 10, cut=True)
    assert (alone.n, alone.max_tokens, alone.tokens) == (1, 40, 50)
    purse.settle(alone, Bill(10, 5))
    first = purse.reserve(1, 20, 10, cut=True)
    assert purse.reserve(1, 20, 0, cut=True) is None, "another call is open: wait for what it leaves"
    purse.settle(first, Bill())
    assert Purse(Wallet(tokens=50)).reserve(1, 100, 10, cut=False) is None


def test_without_limits_all_is_granted() -> None:
    purse = Purse(Wallet())
    assert purse.reserve(9, 10**9, 10**6, cut=False).n == 9
    assert purse.left_tokens == float("inf") == purse.left_calls


@pytest.mark.parametrize("text", ["tokens", "tokens=x", "gold=3", "tokens=1.2.3", "tokens=2T", "tokens=-1"])
def test_bad_limits_say_what_was_expected(text: str) -> None:
    for parse in (Wallet.parse, Budget.parse):
        with pytest.raises(Mistake, match="expected"):
            parse(text)


def test_negative_limits_are_refused() -> None:
    with pytest.raises(Mistake, match="tokens must be 0 or more"):
        Wallet(tokens=-1)
    with pytest.raises(Mistake, match="draws must be 0 or more"):
        Budget(draws=-1)


def test_limits_as_written() -> None:
    assert Wallet.parse("tokens=2M, calls=1.5k,seconds=60") == Wallet(2_000_000, 1500, 60.0)
    assert Budget.parse("tokens=20k/problem,draws=7") == Budget(draws=7, tokens=20_000)
    meter = Meter(Budget(tokens=10))
    meter.add(draws=2, tokens=7)
    assert (meter.left("tokens"), meter.left("draws")) == (3, float("inf"))
