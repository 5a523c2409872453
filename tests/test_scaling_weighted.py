"""The weighted vote: counted, looked at and sampled agree with one subset after the other; what weights may be."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vervet import select
from vervet.errors import Mistake
from vervet.scaling import subsets, vote, weighted
from vervet.scaling.draws import Floats
from vervet.scaling.subsets import Ballot, ballot

KEYS = st.sampled_from(["a", "b", "c", "d", None])
WHOLE = st.lists(st.tuples(KEYS, st.booleans(), st.integers(0, 4)), min_size=1, max_size=9)
REAL = st.lists(st.tuples(KEYS, st.booleans(), st.floats(0, 9, allow_subnormal=False)), min_size=1, max_size=8)


def made(rows: list[tuple[str | None, bool, float]]) -> Ballot:
    return ballot([key for key, _, _ in rows], [good for _, good, _ in rows], [weight for _, _, weight in rows])


def some_ballots(n_problems: int, n: int, levels: int, seed: int) -> list[Ballot]:
    """Answers by a power law, weights on a grid of so many levels, or real ones for 0."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(n_problems):
        keys = [str(key) if key < 9 else None for key in generator.zipf(1.5, n)]
        weights = generator.integers(0, levels + 1, n) / levels if levels else generator.random(n)
        found.append(ballot(keys, [key in ("1", "4") for key in keys], weights))
    return found


@pytest.mark.parametrize("module", [subsets, weighted])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


# --- exact --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(WHOLE)
def test_the_counted_vote_agrees_with_every_subset(rows: list[tuple[str | None, bool, float]]) -> None:
    one, ks = made(rows), range(1, len(rows) + 1)
    plain = [subsets.vote_over_all_plain(one, k) for k in ks]
    assert weighted.counted(one, weighted.levels_of(one), ks) == pytest.approx(plain, abs=1e-11)
    assert [subsets.vote_over_all(one, k) for k in ks] == pytest.approx(plain, abs=1e-12)


@settings(deadline=None, max_examples=200)
@given(REAL)
def test_the_vote_by_real_weights_agrees_with_every_subset(rows: list[tuple[str | None, bool, float]]) -> None:
    one, ks = made(rows), range(1, len(rows) + 1)
    plain = [subsets.vote_over_all_plain(one, k) for k in ks]
    found = weighted.weighted_vote_at_k([one], ks, seed=0)
    assert found.values[0] == pytest.approx(plain, abs=1e-11)
    assert not found.errors.any()


def test_many_answers_that_tie() -> None:
    keys = [str(i) for i in range(11)] + ["10"]
    one = ballot(keys, [i < 3 for i in range(12)], [0.5] * 10 + [0.25, 0.25])
    ks = range(1, 13)
    plain = [subsets.vote_over_all_plain(one, k) for k in ks]
    assert weighted.counted(one, weighted.levels_of(one), ks) == pytest.approx(plain, abs=1e-12)
    assert plain[-1] == pytest.approx(3 / 11)


@pytest.mark.parametrize("weight", [1.0, 0.3, 7.5])
def test_equal_weights_are_the_plain_vote(weight: float) -> None:
    generator = np.random.default_rng(1)
    tables = [[str(key) if key < 9 else None for key in generator.zipf(1.5, 61)] for _ in range(13)]
    right = [[key in ("1", "4") for key in keys] for keys in tables]
    ballots = [ballot(keys, good, [weight] * 61) for keys, good in zip(tables, right, strict=True)]
    tallies = [vote.tally(keys, good) for keys, good in zip(tables, right, strict=True)]
    ks = [1, 2, 7, 23, 60, 61]
    found = weighted.weighted_vote_at_k(ballots, ks, seed=0)
    assert found.values == pytest.approx(vote.vote_at_k(tallies, ks), abs=1e-10)
    assert not found.errors.any()


def test_weights_at_their_largest_size_stay_exact() -> None:
    """256 draws: between two answers of weights 1 and 2, the winner is hypergeometric."""
    n, right, k = 256, 101, 77
    one = ballot(
        ["r"] * right + ["w"] * (n - right), [True] * right + [False] * (n - right), [2] * right + [1] * (n - right)
    )
    ways = math.comb(n, k)
    chances = [(m, math.comb(right, m) * math.comb(n - right, k - m) / ways) for m in range(k + 1)]
    exact = sum(chance * (1 if 2 * m > k - m else 0.5 if 2 * m == k - m else 0) for m, chance in chances)
    assert weighted.counted(one, 2, [k])[0] == pytest.approx(exact, abs=1e-10)


def test_weights_of_all_that_is_drawn_decide_at_n() -> None:
    ballots = some_ballots(17, 41, 0, seed=2)
    found = weighted.weighted_vote_at_k(ballots, [41], seed=0).values[:, 0]
    for one, value in zip(ballots, found, strict=True):
        sums = [sum(row) for row in one.weights]
        assert value == pytest.approx(one.credit[int(np.argmax(sums))])


def test_the_served_vote_of_all_draws_is_the_same_answer() -> None:
    generator = np.random.default_rng(3)
    keys = [str(key) for key in generator.integers(0, 5, 37)]
    weights = generator.random(37)
    first = select.plurality(keys, weights.tolist())[0]
    one = ballot(keys, [key == keys[first] for key in keys], weights)
    assert weighted.weighted_vote_at_k([one], [37], seed=0).values[0, 0] == 1.0


# --- random subsets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 5, 100])
def test_the_sampled_vote_agrees_with_the_counted_one(levels: int) -> None:
    ballots, ks = some_ballots(19, 61, levels, seed=4), [1, 2, 7, 23, 60, 61]
    exact = weighted.weighted_vote_at_k(ballots, ks, seed=0)
    found = subsets.vote_sampled(ballots, ks, seed=3, n_orders=2000)
    assert not exact.errors.any()
    assert (np.abs(found.values - exact.values) <= 4.5 * found.errors + 1e-10).all()
    assert found.errors.max() <= 0.5 / math.sqrt(1999)
    assert not found.errors[:, -1].any()


def test_the_sampled_vote_of_equal_weights_agrees_with_the_vote() -> None:
    generator = np.random.default_rng(5)
    tables = [[str(key) if key < 20 else None for key in generator.zipf(1.4, 251)] for _ in range(11)]
    right = [[key in ("1", "3") for key in keys] for keys in tables]
    ks = [1, 10, 57, 250]
    exact = vote.vote_at_k([vote.tally(k, r) for k, r in zip(tables, right, strict=True)], ks)
    found = subsets.vote_sampled([ballot(k, r) for k, r in zip(tables, right, strict=True)], ks, seed=6)
    assert (np.abs(found.values - exact) <= 4.5 * found.errors + 1e-10).all()


def test_the_stated_error_is_the_error() -> None:
    """Ratios of error to stated error over problems and seeds have a mean square of about 1."""
    ballots, ks = some_ballots(29, 31, 3, seed=7), [3, 11]
    exact = weighted.weighted_vote_at_k(ballots, ks, seed=0).values
    ratios: list[Floats] = []
    for seed in range(20):
        found = subsets.vote_sampled(ballots, ks, seed, n_orders=400)
        ratios.append(((found.values - exact) / found.errors)[(exact > 0.05) & (exact < 0.95)])
    assert 0.8 < float((np.concatenate(ratios) ** 2).mean()) < 1.25


def test_real_weights_and_many_draws_are_sampled_and_say_so() -> None:
    ballots = some_ballots(5, 61, 0, seed=8)
    found = weighted.weighted_vote_at_k(ballots, [1, 2, 13, 60, 61], seed=0)
    assert (found.errors > 0).any(axis=0).tolist() == [False, False, True, False, False]
    wide = weighted.weighted_vote_at_k(some_ballots(3, 257, 1, seed=9), [1, 10, 257], seed=0)
    assert (wide.errors > 0).any(axis=0).tolist() == [False, True, False]
    again = subsets.vote_sampled(ballots, [5, 2, 9], 3, 17)
    assert again.values.tolist() == subsets.vote_sampled(ballots, [5, 2, 9], 3, 17).values.tolist()
    assert again.values[:, 1].tolist() == subsets.vote_sampled(ballots, [2, 9], 3, 17).values[:, 0].tolist()


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ballots, ks = some_ballots(3, 13, 0, seed=10), [1, 4, 11]
    sampled, looked_at = subsets.vote_sampled(ballots, ks, 3, 50), [subsets.vote_over_all(one, 4) for one in ballots]
    monkeypatch.setattr(subsets, "CHUNK", 100)
    assert subsets.vote_sampled(ballots, ks, 3, 50).values.tolist() == sampled.values.tolist()
    assert [subsets.vote_over_all(one, 4) for one in ballots] == pytest.approx(looked_at, abs=1e-14)


# --- what weights may be ------------------------------------------------------------------------------------


def test_unknown_weights_count_as_nothing_but_name_their_answer() -> None:
    unknown = ballot(["a", "a", "b", None], [True, True, False, False], [None, math.nan, -math.inf, 5.0])
    assert unknown == ballot(["a", "a", "b", None], [True, True, False, False], [0, 0, 0, 0])
    found = weighted.weighted_vote_at_k([unknown], [1, 4], seed=0).values[0]
    assert found == pytest.approx([2 / 4, 1 / 2])  # nothing weighs anything: the answers drawn share the win
    known = ballot(["a", "a", "b"], [True, True, False], [None, None, 0.001])
    assert weighted.weighted_vote_at_k([known], [3], seed=0).values[0, 0] == 0.0


@pytest.mark.parametrize("weight", [-0.1, math.inf, -1e-9])
def test_weights_that_cannot_be_added_up_are_refused(weight: float) -> None:
    with pytest.raises(Mistake, match="sigmoid"):
        ballot(["a", "b"], [True, False], [0.5, weight])


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(Mistake, match="a verdict and a weight per draw"):
        ballot(["a", "b"], [True, False], [0.5])
    one, other = ballot(["a"] * 3, [True] * 3), ballot(["a"] * 5, [True] * 5)
    for call in (weighted.weighted_vote_at_k, subsets.vote_sampled):
        with pytest.raises(Mistake, match="one number of draws"):
            call([one, other], [1], 0)
        with pytest.raises(Mistake, match="one number of draws"):
            call([], [1], 0)
        for k in (0, 4):
            with pytest.raises(Mistake, match="between 1 and the 3 draws"):
                call([one], [k], 0)
        with pytest.raises(Mistake, match="at least 2 orders"):
            call(some_ballots(2, 300, 0, seed=0), [30], 0, 1)


def test_sums_that_differ_by_the_order_of_adding_are_equal() -> None:
    one = ballot(["a", "a", "b"], [True, True, False], [0.1, 0.2, 0.3])
    assert 0.1 + 0.2 != 0.3
    for found in (
        weighted.weighted_vote_at_k([one], [3], seed=0).values[0, 0],
        subsets.vote_over_all(one, 3),
        subsets.vote_over_all_plain(one, 3),
        subsets.vote_sampled([one], [3], 0, 2).values[0, 0],
    ):
        assert found == 0.5


def test_nobody_answers_is_wrong() -> None:
    silent = ballot([None] * 5, [False] * 5, [1.0] * 5)
    assert weighted.weighted_vote_at_k([silent], [1, 5], seed=0).values.tolist() == [[0.0, 0.0]]
    assert weighted.counted(silent, weighted.levels_of(silent), [1, 5]).tolist() == [0.0, 0.0]
    assert subsets.vote_over_all(silent, 2) == subsets.vote_over_all_plain(silent, 2) == 0.0


def test_rounding_costs_little_where_weights_spread_and_much_where_they_crowd() -> None:
    generator = np.random.default_rng(0)
    errors: dict[str, list[float]] = {"spread": [], "crowded": []}
    for name, found in errors.items():
        for _ in range(40):
            n = int(generator.integers(2, 11))
            real = generator.random(n) if name == "spread" else 1 / (1 + np.exp(-generator.normal(0, 5, n)))
            keys = [str(key) for key in generator.integers(0, 4, n)]
            right = [key == "0" for key in keys]
            one, rough = ballot(keys, right, real), ballot(keys, right, np.rint(real / real.max() * 100))
            for k in range(1, n + 1):
                found.append(weighted.counted(rough, weighted.levels_of(rough), [k])[0] - subsets.vote_over_all(one, k))
    assert math.sqrt(np.mean(np.square(errors["spread"]))) < 0.02
    assert math.sqrt(np.mean(np.square(errors["crowded"]))) > 0.02


# --- variance under new draws -------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "widest"), [(1, 1.15), (3, 3.0), (7, 6.0)])
def test_the_variance_by_blocks_is_not_too_small_on_average(k: int, widest: float) -> None:
    generator = np.random.default_rng(11)
    n, found = 28, []
    for _ in range(600):
        keys = generator.choice(["a", "b", "c"], n, p=[0.45, 0.35, 0.2])
        found.append(weighted.counted(ballot(keys.tolist(), keys == "a", generator.integers(1, 4, n)), 3, [k])[0])
    values = np.array(found)[:, None]
    stated = float(weighted.block_variance(values, n, [k]).mean())
    assert 0.9 * values.var() < stated < widest * values.var()
    assert np.isnan(weighted.block_variance(values, n, [15])).all()
