"""What every estimator at k must obey, whatever the counts: bounds, order in k, no matter which row or draw comes first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vervet.scaling import passk, reliability, subsets, vote, weighted
from vervet.scaling.counted import coverage_at_k, coverage_curve
from vervet.scaling.counts import FIXED, Counts, Stopped
from vervet.scaling.subsets import ballot

Row = tuple[str | None, bool, float]
TABLES = st.integers(1, 8).flatmap(
    lambda n: st.lists(
        st.lists(
            st.tuples(st.sampled_from(["a", "b", "c", None]), st.booleans(), st.integers(0, 5)), min_size=n, max_size=n
        ),
        min_size=1,
        max_size=4,
    )
)


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    """Sets of a fixed number, of different declared numbers, and stopped at right draws."""
    kind = draw(st.sampled_from(["equal", "declared", "stopped"]))
    n_problems = draw(st.integers(1, 7))
    if kind == "stopped":
        successes, cap = draw(st.integers(1, 4)), draw(st.integers(4, 60))
        ends = [draw(st.tuples(st.integers(successes, cap), st.integers(0, successes))) for _ in range(n_problems)]
        n = [end if c == successes else cap for end, c in ends]
        return Counts(n, [c for _, c in ends], stopped=Stopped(successes, cap))
    size = draw(st.integers(1, 60))
    n = [size if kind == "equal" else draw(st.integers(1, 60)) for _ in range(n_problems)]
    return Counts(n, [draw(st.integers(0, one)) for one in n], stopped=FIXED)


def reach(one: Counts) -> int:
    return (one.stopped.cap or 0) if one.stopped and one.stopped.successes else one.least_n


@settings(deadline=None)
@given(counts())
def test_coverage_stays_in_bounds_and_never_falls(one: Counts) -> None:
    found = coverage_at_k(one, range(1, reach(one) + 1))
    assert (found >= 0).all()
    assert (found <= 1).all()
    assert (np.diff(found, axis=1) >= -1e-12).all()


@settings(deadline=None, max_examples=40)
@given(counts(), st.randoms(use_true_random=False))
def test_the_order_of_the_problems_does_not_matter(one: Counts, order: object) -> None:
    places = list(range(one.n_problems))
    order.shuffle(places)  # type: ignore[attr-defined]
    other = Counts(one.n[places], one.correct[places], stopped=one.stopped)
    ks = sorted({1, reach(one)})
    assert coverage_at_k(other, ks) == pytest.approx(coverage_at_k(one, ks)[places])
    assert coverage_curve(other, ks, seed=0).value == pytest.approx(coverage_curve(one, ks, seed=0).value)


@given(st.integers(1, 97), st.data())
def test_all_of_k_never_rises_and_lies_under_most_and_any(n: int, data: st.DataObject) -> None:
    c, share = data.draw(st.integers(0, n)), data.draw(st.floats(0.01, 1))
    ks = range(1, n + 1)
    every, some = reliability.all_at_k(n, [c], ks)[0], passk.pass_at_k(n, [c], ks)[0]
    most, mean = reliability.most_at_k(n, [c], ks, share)[0], reliability.mean_most_at_k(n, [c], ks)[0]
    assert (np.diff(every) <= 1e-12).all()
    assert (every <= most + 1e-9).all()
    assert (most <= some + 1e-9).all()
    for found in (every, most, mean):
        assert (found >= 0).all()
        assert (found <= 1).all()
    assert every[0] == pytest.approx(c / n)


@given(st.integers(2, 60), st.integers(1, 60), st.data())
def test_a_higher_share_is_never_easier(n: int, k: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), min(k, n)
    low, high = sorted(data.draw(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1))))
    easy, hard = (reliability.most_at_k(n, [c], [k], share)[0, 0] for share in (low, high))
    assert hard <= easy + 1e-9


@settings(deadline=None)
@given(TABLES, st.randoms(use_true_random=False))
def test_the_order_of_the_draws_does_not_matter(tables: list[list[Row]], order: object) -> None:
    ks = range(1, len(tables[0]) + 1)
    before = weighted.weighted_vote_at_k([ballot(*zip(*rows, strict=True)) for rows in tables], ks, seed=0).values
    for rows in tables:
        order.shuffle(rows)  # type: ignore[attr-defined]
    after = weighted.weighted_vote_at_k([ballot(*zip(*rows, strict=True)) for rows in tables], ks, seed=0).values
    assert after == pytest.approx(before, abs=1e-11)


@settings(deadline=None)
@given(TABLES, st.floats(1e-3, 1e3))
def test_the_scale_of_the_weights_does_not_matter(tables: list[list[Row]], scale: float) -> None:
    ks = range(1, len(tables[0]) + 1)
    columns = [[list(column) for column in zip(*rows, strict=True)] for rows in tables]
    one = [ballot(keys, right, weights) for keys, right, weights in columns]  # type: ignore[arg-type]
    other = [ballot(k, r, [scale * w for w in ws]) for k, r, ws in columns]  # type: ignore[arg-type, operator]
    ways = (
        lambda ballots: weighted.weighted_vote_at_k(ballots, ks, seed=0).values,
        lambda ballots: subsets.vote_sampled(ballots, ks, seed=0, n_orders=10).values,
    )
    for way in ways:
        assert way(other) == pytest.approx(way(one), abs=1e-11)


@settings(deadline=None)
@given(TABLES)
def test_votes_stay_under_what_the_draws_hold(tables: list[list[Row]]) -> None:
    """No vote beats the chance that an answer with any right draw is drawn, and all lie in [0, 1]."""
    n = len(tables[0])
    ks = range(1, n + 1)
    found = weighted.weighted_vote_at_k([ballot(*zip(*rows, strict=True)) for rows in tables], ks, seed=0).values
    good = [{key for key, right, _ in rows if right and key is not None} for rows in tables]
    hits = [sum(key in keys for key, _, _ in rows) for rows, keys in zip(tables, good, strict=True)]
    assert (found >= 0).all()
    assert (found <= passk.pass_at_k(n, hits, ks) + 1e-11).all()


@settings(deadline=None)
@given(TABLES)
def test_equal_weights_are_the_vote(tables: list[list[Row]]) -> None:
    ks = range(1, len(tables[0]) + 1)
    columns = [([key for key, _, _ in rows], [right for _, right, _ in rows]) for rows in tables]
    found = weighted.weighted_vote_at_k([ballot(*both) for both in columns], ks, seed=0).values
    assert found == pytest.approx(vote.vote_at_k([vote.tally(*both) for both in columns], ks), abs=1e-11)
