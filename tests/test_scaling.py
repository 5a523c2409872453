"""Estimators and intervals against known truths: vectors, enumeration, closed forms, simulation with tolerances."""

from __future__ import annotations

import csv
import doctest
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.lab import COVERAGE as PYTHIA  # at 1, 10, 100, 1000, 10000: Schaeffer et al. 2025
from tests.published import needs, published
from vervet.errors import Mistake
from vervet.scaling import compare, curves, draws, intervals, passk, vote
from vervet.scaling.draws import Draws

COUNTS = "pythia_math_n10000_counts.csv"
ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.booleans(), st.integers(0, 3)), min_size=1, max_size=8
)


@pytest.mark.parametrize("module", [draws, intervals, passk, vote, compare, curves])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


# --- pass@k and best at k -----------------------------------------------------------------------------------


def test_vectors_of_large_language_monkeys() -> None:
    assert passk.pass_at_k(10, [3], [1, 2, 5, 8, 10])[0] == pytest.approx([0.3, 0.533333, 0.916667, 1, 1], abs=1e-6)
    assert passk.pass_at_k(8, [0, 1, 4, 8], [4])[:, 0] == pytest.approx([0, 0.5, 0.985714, 1], abs=1e-6)
    assert passk.coverage(8, [0, 1, 4, 8], [1, 2, 4, 8]) == pytest.approx([0.40625, 0.508929, 0.621429, 0.75], abs=1e-6)


@given(st.integers(1, 97), st.data())
def test_pass_at_k_is_the_ratio_of_binomials(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = 1 - math.comb(n - c, k) / math.comb(n, k)
    assert passk.pass_at_k(n, [c], [k])[0, 0] == pytest.approx(exact, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("k", [0, -1, 8])
def test_k_beyond_the_draws_is_a_mistake_and_never_one(k: int) -> None:
    row = [[True] * 7]
    for call in (
        lambda: passk.pass_at_k(7, [5], [k]),
        lambda: passk.best_at_k(row, [[0.0] * 7], [k]),
        lambda: passk.mean_at_k([[1] * 7], [k]),
        lambda: vote.vote_at_k([vote.tally(["a"] * 7, [True] * 7)], [k]),
        lambda: vote.vote_at_k_sampled([vote.tally(["a"] * 7, [True] * 7)], [k], 0),
        lambda: vote.vote_at_k_plain(["a"] * 7, [True] * 7, k),
        lambda: curves.curves(Draws([["a"] * 7], row), [k], seed=0),
    ):
        with pytest.raises(Mistake, match="between 1 and the 7 draws"):
            call()
    with pytest.raises(Mistake):
        passk.pass_at_k(7, [8], [1])


@needs(COUNTS)
def test_coverage_of_pythia_on_math() -> None:
    counts: dict[str, list[int]] = {}
    with published(COUNTS).open(newline="") as file:
        for row in csv.DictReader(file):
            assert row["n"] == "10000"
            counts.setdefault(row["model"], []).append(int(row["c"]))
    assert counts.keys() == PYTHIA.keys()
    for model, expected in PYTHIA.items():
        assert len(counts[model]) == 128
        found = passk.coverage(10_000, counts[model], [1, 10, 100, 1000, 10_000])
        assert found == pytest.approx(expected, abs=5.1e-6), model


@given(ROWS, st.data())
def test_best_at_k_agrees_with_every_subset(rows: list[tuple[str | None, bool, int]], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(rows)))
    scores = [-math.inf if score == 0 else float(score) for _, _, score in rows]
    total = []
    for subset in itertools.combinations(range(len(rows)), k):
        top = [i for i in subset if scores[i] == max(scores[j] for j in subset)]
        total.append(sum(rows[i][1] for i in top) / len(top))
    found = passk.best_at_k([[right for _, right, _ in rows]], [scores], [k])[0, 0]
    assert found == pytest.approx(np.mean(total), abs=1e-12)


def test_best_by_an_oracle_is_coverage_and_by_nothing_is_the_mean() -> None:
    right = np.random.default_rng(5).random((13, 31)) < 0.3
    ks = [1, 3, 17, 31]
    assert passk.best_at_k(right, right, ks) == pytest.approx(passk.pass_at_k(31, right.sum(axis=1), ks))
    flat = passk.best_at_k(right, np.full(right.shape, np.nan), ks)
    assert flat == pytest.approx(np.repeat(right.mean(axis=1)[:, None], 4, axis=1))


# --- the vote -----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=3))
def test_the_exact_vote_agrees_with_every_subset(problems: list[list[tuple[str | None, bool, int]]]) -> None:
    n = min(len(rows) for rows in problems)
    tables = [([key for key, _, _ in rows[:n]], [good for _, good, _ in rows[:n]]) for rows in problems]
    ks = range(1, n + 1)
    found = vote.vote_at_k([vote.tally(*table) for table in tables], ks)
    plain = [[vote.vote_at_k_plain(*table, k) for k in ks] for table in tables]
    assert found == pytest.approx(np.array(plain), abs=1e-12)


def test_a_vote_between_two_answers_is_hypergeometric() -> None:
    right, wrong, k = 37, 24, 13  # odd k, no silence: no ties
    chances = [math.comb(right, m) * math.comb(wrong, k - m) / math.comb(right + wrong, k) for m in range(7, k + 1)]
    found = vote.vote_at_k([vote.Tally(61, (right, wrong), (right, 0))], [k])[0, 0]
    assert found == pytest.approx(sum(chances), abs=1e-12)


def test_the_credits_of_all_answers_and_of_silence_add_up_to_one() -> None:
    counts, n, ks = (29, 17, 17, 5, 3, 1, 1, 1), 79, [1, 2, 11, 47, 78, 79]
    wins = sum(
        vote.vote_at_k([vote.Tally(n, counts, tuple(c * (i == j) for j, c in enumerate(counts)))], ks)
        for i in range(len(counts))
    )
    silent = n - sum(counts)
    none = [math.comb(silent, k) / math.comb(n, k) for k in ks]
    assert (wins + none)[0] == pytest.approx(np.ones(len(ks)), abs=1e-10)


def test_the_sampled_vote_agrees_with_the_exact_one_within_four_errors() -> None:
    generator = np.random.default_rng(11)
    tallies = []
    for _ in range(19):
        keys = [str(key) if key < 9 else None for key in generator.zipf(1.5, 61)]
        tallies.append(vote.tally(keys, [key in ("1", "4") for key in keys]))
    ks = [1, 2, 7, 23, 61]
    gap = vote.vote_at_k_sampled(tallies, ks, seed=3, n_subsets=2000) - vote.vote_at_k(tallies, ks)
    assert np.abs(gap).max() < 4 * 0.5 / math.sqrt(2000)
    assert vote.vote_at_k_sampled(tallies, ks, 3, 7).tolist() == vote.vote_at_k_sampled(tallies, ks, 3, 7).tolist()


def test_the_exact_vote_is_bounded_in_n_and_wants_one_n() -> None:
    with pytest.raises(Mistake, match="256"):
        vote.vote_at_k([vote.Tally(257, (257,), (257,))], [1])
    with pytest.raises(Mistake, match="one number of draws"):
        vote.vote_at_k([vote.Tally(3, (3,), (3,)), vote.Tally(5, (5,), (5,))], [1])
    with pytest.raises(Mistake):
        vote.vote_at_k([], [1])


def test_nobody_answers_is_wrong() -> None:
    assert vote.vote_at_k([vote.tally([None] * 5, [False] * 5)], [1, 5]).tolist() == [[0.0, 0.0]]


# --- variance under new draws -------------------------------------------------------------------------------


def plain_jackknife(table: np.ndarray, estimate: object) -> float:
    left_out = [estimate(np.delete(table, i, axis=0)) for i in range(len(table))]  # type: ignore[operator]
    return float((len(table) - 1) * np.var(left_out))


def test_the_fast_jackknives_agree_with_leaving_out_one_by_one() -> None:
    generator = np.random.default_rng(2)
    keys = generator.integers(0, 5, 17)
    table = np.stack([keys, (keys == 1) | (generator.random(17) < 0.2), generator.permutation(17)], axis=1)
    names, right = [str(k) if k else None for k in keys], table[:, 1].astype(bool)

    def voted(rows: np.ndarray) -> float:
        kept = vote.tally([str(k) if k else None for k in rows[:, 0]], rows[:, 1].astype(bool))
        return float(vote.vote_at_k([kept], [5])[0, 0])

    found = vote.vote_variance([vote.tally(names, right)], [5, 17])
    assert found[0, 0] == pytest.approx(plain_jackknife(table, voted))
    assert np.isnan(found[0, 1])
    passed = passk.pass_variance(17, [right.sum()], [5, 17])
    assert passed[0, 0] == pytest.approx(
        plain_jackknife(table, lambda t: passk.pass_at_k(16, [t[:, 1].sum()], [5])[0, 0])
    )
    best = passk.best_variance([right], [table[:, 2]], [5, 17])
    assert best[0, 0] == pytest.approx(
        plain_jackknife(table, lambda t: passk.best_at_k([t[:, 1]], [t[:, 2]], [5])[0, 0])
    )
    assert np.isnan(passed[0, 1])
    assert np.isnan(best[0, 1])


def test_the_variance_at_one_draw_is_that_of_a_mean() -> None:
    assert passk.pass_variance(31, [7], [1])[0, 0] == pytest.approx(7 / 31 * 24 / 31 / 30)


def test_intervals_hold_the_truth_at_their_rate() -> None:
    """iid law, 53 problems x 29 draws, 400 runs: a 95 % interval holds the truth in 90 to 99.5 % of them."""
    generator = np.random.default_rng(8)
    n, k = 29, 7
    fixed = generator.beta(0.7, 1.3, 53)
    same, new, wide = 0, 0, 1 - math.gamma(2) / math.gamma(1.3) * math.gamma(1.3 + k) / math.gamma(2 + k)
    for run in range(400):
        again = generator.binomial(n, fixed)
        band = intervals.new_draws(passk.pass_at_k(n, again, [k]), passk.pass_variance(n, again, [k]), [53 * (n // k)])
        same += band.low[0] <= np.mean(1 - (1 - fixed) ** k) <= band.high[0]
        fresh = generator.binomial(n, generator.beta(0.7, 1.3, 53))
        band = intervals.new_problems(passk.pass_at_k(n, fresh, [k]), seed=run, n_resamples=400)
        new += band.low[0] <= wide <= band.high[0]
    assert 0.90 <= same / 400 <= 0.995
    assert 0.90 <= new / 400 <= 0.995


# --- intervals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "floor"), [(500, 0.0074), (200, 0.0183)])
def test_the_floor_where_nothing_differs(n: int, floor: float) -> None:
    assert intervals.exact_floor(n) == pytest.approx(floor, abs=1e-4)
    same = compare.paired_difference(np.ones(n), np.ones(n), seed=0)
    assert (same.value, same.low, same.high) == pytest.approx((0, -floor, floor), abs=1e-4)
    never = intervals.accuracy([False] * n, seed=0)
    assert (never.low, never.high) == pytest.approx((0, floor), abs=1e-4)
    always = intervals.accuracy([True] * n, seed=0)
    assert (always.low, always.high) == pytest.approx((1 - floor, 1), abs=1e-4)


def test_compared_columns_share_their_resamples() -> None:
    a = np.random.default_rng(4).random(101)
    band = intervals.new_problems(np.stack([a, a - 0.25], axis=1), seed=6, within=None)
    assert band.low[1] == pytest.approx(band.low[0] - 0.25)
    gap = compare.paired_difference(a, a - 0.25, seed=6)
    assert gap.high - gap.low < 0.1 < (band.high - band.low)[0]


def test_variants_of_one_problem_do_not_narrow_the_interval() -> None:
    base = np.random.default_rng(7).random(41)
    one = intervals.new_problems(base[:, None], seed=1)
    copies = intervals.new_problems(np.repeat(base, 5)[:, None], seed=1, clusters=np.repeat(np.arange(41), 5).tolist())
    assert (copies.low[0], copies.high[0]) == pytest.approx((one.low[0], one.high[0]))


def test_the_not_judged_widen_to_both_bounds() -> None:
    some = intervals.accuracy([True] * 50 + [False] * 30 + [None] * 23, seed=0)
    assert (some.least, some.most, some.n_not_judged) == (50 / 103, 73 / 103, 23)
    assert some.low < some.least < some.most < some.high
    assert some.value == some.least


def test_normal_size_intervals_look_like_the_textbook() -> None:
    found = intervals.accuracy([True] * 300 + [False] * 700, seed=0)
    half = 1.96 * math.sqrt(0.3 * 0.7 / 1000)
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.003)


# --- comparisons --------------------------------------------------------------------------------------------


def test_auroc_of_two_normals_has_its_closed_form_within_and_pooled() -> None:
    generator = np.random.default_rng(9)
    right = generator.random((307, 41)) < generator.random((307, 1))
    shift = generator.normal(0, 2, (307, 1))  # problems differ: pooling blurs, within does not
    scores = generator.normal(np.where(right, 0.8, 0.0), 1.0)
    truth = 0.5 * (1 + math.erf(0.8 / 2))
    plain = compare.discrimination(right, scores, seed=0)
    moved = compare.discrimination(right, scores + shift, seed=0)
    assert plain.within
    assert plain.pooled
    assert moved.within
    assert moved.pooled
    assert plain.within.value == pytest.approx(truth, abs=0.02)
    assert plain.pooled.value == pytest.approx(truth, abs=0.02)
    assert moved.within.value == pytest.approx(plain.within.value)
    assert moved.pooled.value == pytest.approx(0.5 * (1 + math.erf(0.8 / math.sqrt(20))), abs=0.05)
    assert moved.pooled.low < moved.pooled.value < moved.pooled.high
    assert plain.n_mixed == int(((right.sum(axis=1) > 0) & (right.sum(axis=1) < 41)).sum())


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=23))
def test_auroc_agrees_with_all_pairs(rows: list[tuple[bool, int]]) -> None:
    right, wrong = [s for good, s in rows if good], [s for good, s in rows if not good]
    pairs = [(a > b) + 0.5 * (a == b) for a in right for b in wrong]
    found = compare.auroc([good for good, _ in rows], [float(s) for _, s in rows])
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_unknown_scores_and_one_sided_problems_are_left_out() -> None:
    found = compare.discrimination(
        [[True, True], [True, False], [True, False]], [[1, 2], [2, 1], [3, math.nan]], seed=0
    )
    assert found.n_mixed == 1
    assert found.within is not None
    assert found.within.value == 1.0
    assert found.pooled is not None
    assert found.pooled.value == pytest.approx((0.5 + 1 + 1 + 1) / 4)
    assert compare.discrimination([[True, True]], [[1, 2]], seed=0).pooled is None


def test_lengths_of_right_and_wrong() -> None:
    found = compare.lengths([[True, False, False], [True, True, True]], [[10, 20, 40], [5, 5, 5]], seed=0)
    assert found.right
    assert found.wrong
    assert found.difference
    assert (found.right.value, found.wrong.value) == (6.25, 30.0)
    assert (found.difference.value, found.n_mixed) == (-20.0, 1)
    assert compare.lengths([[True]], [[3]], seed=0).wrong is None


# --- curves -------------------------------------------------------------------------------------------------


def some_draws(n_problems: int = 47, n: int = 23, unjudged: int = 0) -> Draws:
    generator = np.random.default_rng(10)
    right = generator.random((n_problems, n)) < generator.random((n_problems, 1))
    keys = [["g" if good else str(generator.integers(3)) for good in row] for row in right]
    verdicts: list[list[bool | None]] = [[bool(good) for good in row] for row in right]
    for i in range(unjudged):
        verdicts[i][i % n] = None
    tokens = generator.poisson(50, right.shape).tolist()
    scores: list[list[float | None]] = generator.normal(right, 1.0).tolist()
    scores[0][0] = None
    return Draws(keys, verdicts, tokens, scores)


def test_curves_obey_their_laws() -> None:
    found = curves.curves(some_draws(), seed=0)
    assert [curve.name for curve in found] == ["coverage", "vote", "best by mean logprob", "tokens"]
    coverage, voted, best, tokens = found
    assert coverage.k == (1, 2, 5, 10, 20, 23)
    assert list(coverage.value) == sorted(coverage.value)
    assert coverage.value[0] == pytest.approx(voted.value[0]) == pytest.approx(best.value[0])
    for curve in (voted, best):
        assert all(one <= whole + 1e-12 for one, whole in zip(curve.value, coverage.value, strict=True))
    assert tokens.value[-1] == pytest.approx(23 * tokens.value[0])
    for curve in found:
        assert all(low < value < high for low, value, high in zip(curve.low, curve.value, curve.high, strict=True))
        known = [low is not None for low in curve.draws_low]
        assert known == [4 * k <= 23 for k in curve.k]
    assert curves.curves(some_draws(), seed=0) == found


def test_not_judged_draws_give_two_bounds() -> None:
    for curve in curves.curves(some_draws(unjudged=11), [1, 5, 23], seed=0)[:3]:
        assert curve.n_not_judged == 11
        assert all(a <= b for a, b in zip(curve.least, curve.most, strict=True))
        assert curve.least == curve.value
        assert curve.most[0] > curve.least[0]
        assert all(
            low < least and most < high
            for low, least, most, high in zip(curve.low, curve.least, curve.most, curve.high, strict=True)
        )


def test_beyond_the_exact_size_the_vote_is_sampled() -> None:
    voted = curves.curves(some_draws(n_problems=5, n=257), [1, 10], seed=0)[1]
    assert voted.draws_low == (None, None)
    assert voted.value[0] == pytest.approx(
        curves.curves(some_draws(n_problems=5, n=257), [1], seed=0)[0].value[0], abs=0.05
    )


def test_nothing_right_is_not_an_interval_of_nothing() -> None:
    never = Draws([["a"] * 13] * 101, [[False] * 13] * 101)
    for curve in curves.curves(never, [1, 3, 13], seed=0):
        assert curve.low == (0, 0, 0)
        assert curve.high == pytest.approx([intervals.exact_floor(101)] * 3)
        high = curve.draws_high
        assert high[:2] == pytest.approx((intervals.exact_floor(101 * 13), intervals.exact_floor(101 * 4)))


@pytest.mark.parametrize("ks", [[], [2, 1], [2, 2]])
def test_ks_that_do_not_increase_are_refused(ks: list[int]) -> None:
    with pytest.raises(Mistake, match="increase"):
        curves.curves(some_draws(), ks, seed=0)


def test_ragged_tables_are_refused() -> None:
    with pytest.raises(Mistake, match="declared index range"):
        Draws([["a", "b"], ["a"]], [[True, False], [True]])
    with pytest.raises(Mistake, match="tokens"):
        Draws([["a", "b"]], [[True, False]], tokens=[[1]])
    with pytest.raises(Mistake, match="at least one"):
        Draws([], [])
    with pytest.raises(Mistake, match="cluster"):
        Draws([["a"]], [[True]], clusters=["x", "y"])
