"""Costs of k draws: the published vectors, hand-counted sums, linearity, and two sides matched at equal cost."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vervet.errors import Mistake
from vervet.scaling import cost, kinetics, matched, passk
from vervet.scaling.cost import Cost, Shape, flops, usd, usd_cached, usd_in_batch, wall
from vervet.scaling.kinetics import attended, block_top_k, dense, top_k
from vervet.scaling.matched import Side
from vervet.types import Bill, Prices

LLAMA = Shape(8.03e9, 32, 4096, 32, 8, 128)
QWEN = Shape(8.19e9, 36, 4096, 32, 8, 128)  # as in Kinetics: D = 128 x 36
TINY = Shape(parameters=101, layers=3, width=7, heads=5, kv_heads=2, head_dim=11)
LENGTHS = st.integers(0, 23)


@pytest.mark.parametrize("module", [cost, kinetics, matched])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


# --- operations ------------------------------------------------------------------------------------------


def test_flops_per_token_of_large_language_monkeys() -> None:
    assert LLAMA.flops_per_token(1024) / 1e9 == pytest.approx(16.59687, abs=1e-5)


def test_flops_count_the_prompt_once() -> None:
    found = flops(LLAMA, 300, 500, context=1024)
    assert found.unit == "FLOPs"
    assert found.at(7) == pytest.approx(LLAMA.flops_per_token(1024) * (300 + 7 * 500))


@given(LENGTHS, st.lists(LENGTHS, min_size=1, max_size=5))
def test_flops_sum_what_every_token_has_before_it(prompt: int, completions: list[int]) -> None:
    found = flops(TINY, [prompt], [completions])
    first = sum(TINY.flops_per_token(i) for i in range(prompt))
    rest = [sum(TINY.flops_per_token(prompt + i) for i in range(length)) for length in completions]
    assert found.fixed == pytest.approx(first)
    assert found.each == pytest.approx(np.mean(rest))


def test_tables_of_lengths_are_averaged_after_they_are_squared() -> None:
    unequal, equal = flops(TINY, [3, 5], [[0, 20], [10, 10]]), flops(TINY, 4, 10)
    assert unequal.each > equal.each
    assert flops(TINY, [3, 5], 10).each == pytest.approx(equal.each)  # linear in the prompt


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parameters=8e9,layers=32,width=4096", "no heads"),
        ("parameters=8e9,layers=32,width=4096,heads=32,depth=3", "depth=3"),
        ("parameters=8e9,layers=32,width=4096,heads=32,heads=8", "once"),
        ("parameters=8e9,layers=32.5,width=4096,heads=32", "whole number above 0 for layers"),
        ("parameters=eight,layers=32,width=4096,heads=32", "a number above 0 for parameters"),
        ("parameters=inf,layers=32,width=4096,heads=32", "above 0 for parameters"),
        ("parameters=8e9,layers=nan,width=4096,heads=32", "above 0 for layers"),
        ("parameters=8e9,layers=32,width=4,heads=32", "head_dim"),
        ("", "parameters"),
    ],
)
def test_a_shape_that_cannot_be_read_says_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(Mistake, match=said):
        Shape.parse(text)


def test_a_shape_is_read_in_any_order() -> None:
    assert Shape.parse("kv_heads=8, heads=32,width=4096,layers=32,parameters=8.03e9,head_dim=128") == LLAMA


@pytest.mark.parametrize(
    ("prompt", "completion"), [(-1, 5), ([1, 2], [[1], [2], [3]]), (1, [1, 2]), ([], 1), (1, np.nan)]
)
def test_counts_that_cannot_be_are_refused(prompt: object, completion: object) -> None:
    with pytest.raises(Mistake, match="tokens"):
        flops(TINY, prompt, completion)  # type: ignore[arg-type]


# --- Kinetics --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "k", "compute", "memory"),
    [
        (1024, 1, 17.2370, 65.2298),
        (16_384, 1, 350.0087, 11_480.4476),
        (32_768, 1, 858.3470, 45_226.0056),
        (16_384, 32, 11_200.2771, 356_589.6598),
    ],
)
def test_dense_vectors_of_kinetics(length: int, k: int, compute: float, memory: float) -> None:
    found = dense(QWEN, 256, length)
    assert (found.compute.at(k) / 1e12, found.memory.at(k) / 1e12) == pytest.approx((compute, memory), abs=6e-5)
    assert found.total.at(k) == pytest.approx(found.compute.at(k) + found.memory.at(k))


@given(LENGTHS, LENGTHS, st.integers(1, 29))
def test_attended_is_the_sum_over_tokens(prompt: int, completion: int, kept: int) -> None:
    assert attended(prompt, completion, kept) == sum(min(kept, prompt + t) for t in range(completion))


def signed(prompt: int, length: int, kept: int, sign: int) -> float:
    """The closed form of the paper's code, which is half a token per growing key off the exact sum."""
    return kept * length + sign * max(0, kept - prompt) ** 2 / 2


def sparse(keys: float, length: int) -> tuple[float, float]:
    """Compute and memory in TFLOP of top-k attention over so many keys in all."""
    compute = 2 * QWEN.parameters * length + 4 * keys * QWEN.heads * 128 * 36
    return compute / 1e12, 4 * keys * QWEN.kv_heads * 128 * 36 * 562.5 / 1e12


def test_top_k_takes_off_what_the_authors_add() -> None:
    exact = float(attended(256, 16_384, 1024))
    assert (exact, signed(256, 16_384, 1024, -1), signed(256, 16_384, 1024, 1)) == (16_481_920, 16_482_304, 17_072_128)
    theirs = sparse(signed(256, 16_384, 1024, 1), 16_384)
    assert theirs == pytest.approx((278.4395, 1_416.0306), abs=6e-5)  # published by the authors' code
    found = top_k(QWEN, 256, 16_384, kept=1024)
    ours = (found.compute.at(1) / 1e12, found.memory.at(1) / 1e12)
    assert ours == pytest.approx(sparse(exact, 16_384))
    assert theirs[0] > ours[0]
    assert theirs[1] > ours[1] * 1.03


def test_block_top_k_vector() -> None:
    """Theirs is the form with minus; half a key for each of 768 growing tokens is what ours is below it."""
    found = block_top_k(QWEN, 256, 16_384, blocks=60, block=16, local=64)
    half = np.subtract(sparse(signed(256, 16_384, 1024, -1), 0), sparse(float(attended(256, 16_384, 1024)), 0))
    ours = np.array([found.compute.at(1), found.memory.at(1)]) / 1e12
    assert ours + half == pytest.approx((280.6428, 1_725.8722), abs=6e-5)


def test_sparse_attention_that_keeps_everything_reads_no_less_than_dense() -> None:
    full, kept = dense(TINY, 13, 17), top_k(TINY, 13, 17, kept=1000)
    assert kept.compute.at(1) == pytest.approx(full.compute.at(1) - 2 * 17 * 5 * 33)  # dense counts L^2 for L (L - 1)
    with pytest.raises(Mistake, match="at least one key"):
        top_k(TINY, 13, 17, kept=0)
    with pytest.raises(Mistake, match="at least one token"):
        block_top_k(TINY, 13, 17, blocks=3, block=0)


# --- dollars and time --------------------------------------------------------------------------------------

PRICES = Prices(prompt=2.0, completion=8.0, cached_prompt=0.2, cache_write=2.5, batch=0.5)


@pytest.mark.parametrize("k", [1, 2, 17])
def test_dollars_are_those_of_the_bills(k: int) -> None:
    prompt, completion = 1009, 503
    plain = k * PRICES.usd(Bill(prompt, completion))
    first = PRICES.usd(Bill(prompt, completion, cache_write_tokens=prompt))
    others = (k - 1) * PRICES.usd(Bill(prompt, completion, cached_prompt_tokens=prompt))
    assert usd(PRICES, prompt, completion).at(k) == pytest.approx(plain)
    assert usd_cached(PRICES, prompt, completion).at(k) == pytest.approx(first + others)
    assert usd_in_batch(PRICES, prompt, completion).at(k) == pytest.approx(plain / 2)


def test_without_prices_of_its_own_a_cache_saves_nothing() -> None:
    plain = Prices(prompt=2.0, completion=8.0)
    assert usd_cached(plain, 1009, 503) == usd(plain, 1009, 503)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=7))
def test_wall_time_is_the_union_of_the_calls(calls: list[tuple[int, int]]) -> None:
    spans = [(float(start), float(start + length)) for start, length in calls]
    open_seconds = {second for start, length in calls for second in range(start, start + length)}
    found = wall(spans)
    assert found.seconds == len(open_seconds)
    assert found.busy_seconds == sum(length for _, length in calls)
    assert found.mean_concurrency == (found.busy_seconds / found.seconds if open_seconds else 0.0)


@pytest.mark.parametrize("call", [(2.0, 1.0), (0.0, float("nan")), (0.0, float("inf"))])
def test_a_call_that_ends_before_it_starts_is_refused(call: tuple[float, float]) -> None:
    with pytest.raises(Mistake, match="starts before it ends"):
        wall([call])


# --- matched -------------------------------------------------------------------------------------------------


def side(n: int, counts: list[int], price: Cost) -> Side:
    ks = range(1, n + 1)
    return Side(ks, [price.at(k) for k in ks], passk.pass_at_k(n, counts, ks))


def test_matched_rows_spend_the_same_and_find_the_crossing() -> None:
    """A cheap model that saturates against a dear one: one crossing, with the sign on both sides of it."""
    generator = np.random.default_rng(3)
    cheap = side(61, generator.binomial(61, np.where(np.arange(211) < 120, 0.4, 0.0)).tolist(), Cost("usd", 0.0, 1.0))
    dear = side(13, generator.binomial(13, 0.5, size=211).tolist(), Cost("usd", 2.0, 3.0))
    found = matched.matched(cheap, dear, seed=0)
    assert (found.rows[0].budget, found.rows[-1].budget) == pytest.approx((5.0, 41.0))
    assert all(
        row.a_k == pytest.approx(row.budget) and row.b_k == pytest.approx((row.budget - 2) / 3) for row in found.rows
    )
    [crossing] = found.crossings
    for row in found.rows:
        assert row.difference.value == pytest.approx(row.a - row.b)
        assert (row.difference.value > 0) == (row.budget < crossing)
        assert row.difference.low < row.difference.value < row.difference.high


def test_curves_that_touch_do_not_cross_and_a_shared_stretch_is_one_crossing() -> None:
    flat = Side([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0], np.full((2, 4), 0.5))
    touching = Side([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0], np.tile([0.3, 0.5, 0.5, 0.4], (2, 1)))
    passing = Side([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0], np.tile([0.3, 0.5, 0.5, 0.6], (2, 1)))
    assert matched.matched(flat, touching, seed=0).crossings == ()
    assert matched.matched(flat, passing, seed=0).crossings == (2.0,)
    assert matched.matched(flat, flat, seed=0).crossings == ()


def test_sides_of_one_k_meet_in_one_budget_alone() -> None:
    one, other = Side([1], [2.0], np.array([[1.0], [0.0]])), Side([3], [2.0], np.array([[0.0], [0.0]]))
    [row] = matched.matched(one, other, seed=0).rows
    assert (row.budget, row.a_k, row.b_k, row.difference.value) == (2.0, 1.0, 3.0, 0.5)


def test_what_cannot_be_matched_is_refused() -> None:
    one = Side([1, 2], [1.0, 2.0], np.zeros((3, 2)))
    with pytest.raises(Mistake, match="no budget is common"):
        matched.matched(one, Side([1, 2], [3.0, 4.0], np.zeros((3, 2))), seed=0)
    with pytest.raises(Mistake, match="same problems"):
        matched.matched(one, Side([1, 2], [1.0, 2.0], np.zeros((5, 2))), seed=0)
    for budgets in ([2.5], [0.5, 1.0], []):
        with pytest.raises(Mistake, match="from 1 to 2"):
            matched.matched(one, one, budgets, seed=0)
    for ks, costs, values in (([2, 1], [1, 2], 2), ([1, 2], [2, 1], 2), ([1, 2], [0, 1], 2), ([1, 2], [1, 2], 3)):
        with pytest.raises(Mistake, match="expected"):
            Side(ks, costs, np.zeros((3, values)))
    with pytest.raises(Mistake, match="expected"):
        Side([], [], np.zeros((3, 0)))
