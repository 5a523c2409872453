"""Rules replayed on recorded draws: the plain rules candidate by candidate, published rows, orders, what is in flight."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest

from tests.published import needs, published
from vervet import select
from vervet.errors import Mistake
from vervet.rules import Accepted, Agree
from vervet.rules.until import UntilRule
from vervet.scaling import replayed, vote
from vervet.scaling.draws import Draws
from vervet.scaling.replayed import (
    Agreement,
    BetaMajority,
    FirstAccepted,
    Fixed,
    Prefixes,
    StopRule,
    UnanimousWindow,
    coded,
    fixed_needed,
    prefixes,
    replay,
    replay_as_recorded,
)
from vervet.types import Answer, Candidate, Candidates, Score

LETTERS = "gpt35_last_letters_T0.7_answers.jsonl"
N_PROBLEMS, N = 31, 13


def drawn(seed: int = 0) -> tuple[Draws, np.ndarray]:
    """Answers with a fifth missing, of which "0" is right; whether a verifier accepts each; tokens by place."""
    generator = np.random.default_rng(seed)
    table = generator.integers(0, 4, (N_PROBLEMS, N))
    keys = [
        [None if x == 3 and y < 0.8 else str(x) for x, y in zip(row, generator.random(N), strict=True)] for row in table
    ]
    accepted = generator.random((N_PROBLEMS, N)) < 0.15
    tokens = generator.integers(5, 50, (N_PROBLEMS, N)).tolist()
    return Draws(keys, [[key == "0" for key in row] for row in keys], tokens), accepted


def plainly(draws: Draws, accepted: np.ndarray, rule: UntilRule, first: bool) -> list[tuple[int, bool, int]]:
    """What the rule of an architecture does, candidate by candidate: draws, whether the answer is right, tokens."""
    found = []
    for keys, right, accepts, tokens in zip(draws.keys, draws.correct, accepted, draws.tokens or (), strict=True):
        seen: list[Candidate] = []
        for key, accept in zip(keys, accepts, strict=True):
            scores = {"tests": Score(None, bool(accept))}
            seen.append(Candidate("", Answer(key, key) if key is not None else None, scores=scores))
            if rule(Candidates(tuple(seen))):
                break
        order = (
            select.first([bool(a) for a in accepts[: len(seen)]]) if first else select.plurality([c.key for c in seen])
        )
        found.append((len(seen), bool(right[order[0]]), sum(tokens[: len(seen)])))
    return found


@pytest.mark.parametrize(
    ("rule", "plain"),
    [(Agreement(s, m), Agree(s, m)) for s in (0.4, 0.6, 0.95, 1.0) for m in (1, 3, 4)]
    + [(FirstAccepted("tests"), Accepted("tests"))],
    ids=repr,
)
def test_a_replayed_rule_does_what_the_rule_of_an_architecture_does(rule: StopRule, plain: UntilRule) -> None:
    draws, accepted = drawn()
    (way,) = replay_as_recorded(draws, [rule], accepted={"tests": accepted})
    expected = plainly(draws, accepted, plain, first=isinstance(plain, Accepted))
    assert way.tokens is not None
    assert list(zip(way.samples, way.right, way.tokens, strict=True)) == expected


def test_the_leading_answers_are_those_of_a_plain_count() -> None:
    draws, _ = drawn(1)
    seen = prefixes(coded(draws.keys))
    for row, keys in enumerate(draws.keys):
        for t in range(1, N + 1):
            votes = select.votes(keys[:t])
            ordered = [*sorted(votes.values(), reverse=True), 0, 0]
            assert (seen.lead[row, t - 1], seen.second[row, t - 1]) == tuple(ordered[:2])
            if votes:
                assert seen.place[row, t - 1] == select.plurality(keys[:t])[0]


def test_over_many_orders_a_fixed_number_of_draws_is_the_exact_vote() -> None:
    """Within four standard errors of 2,000 orders."""
    draws, _ = drawn(2)
    tallies = [vote.tally(keys, right) for keys, right in zip(draws.keys, draws.right, strict=True)]
    ks = (1, 4, 13)
    ways = replay(draws, [Fixed(k) for k in ks], seed=3, n_orders=2000)
    for way, exact in zip(ways, vote.vote_at_k(tallies, ks).T, strict=True):
        assert np.abs(way.right - exact).max() <= 4 * 0.5 / np.sqrt(2000)
        assert way.right.mean() == pytest.approx(exact.mean(), abs=0.01)


def test_orders_are_seeded_and_few_of_them_are_refused() -> None:
    draws, _ = drawn()
    one, again, other = (replay(draws, [Agreement(0.6)], seed)[0].samples for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
    with pytest.raises(Mistake, match="at least 20 orders"):
        replay(draws, [Agreement(0.6)], 0, n_orders=5)


def test_what_is_in_flight_is_paid_but_not_looked_at() -> None:
    draws, _ = drawn()
    alone, together = (replay_as_recorded(draws, [Agreement(0.6)], ahead=ahead)[0] for ahead in (0, 7))
    assert (alone.right == together.right).all()
    assert (together.samples == np.minimum(alone.samples + 7, N)).all()
    assert alone.name.endswith("ahead=1) | vote()")
    assert together.name.endswith("ahead=8) | vote()")
    assert (together.cost >= alone.cost).all()


@pytest.mark.parametrize(
    ("votes", "sure"),
    [((3, 0), 0.9375), ((4, 0), 0.96875), ((4, 1), 0.890625), ((6, 1), 0.964844), ((8, 2), 0.967285), ((4, 4), 0.5)],
)
def test_the_beta_criterion_has_its_published_values(votes: tuple[int, int], sure: float) -> None:
    flat = np.zeros((1, 20), dtype=np.int64)
    seen = Prefixes(flat, flat + votes[0], flat + votes[1], flat)
    below, above = (BetaMajority(sure + shift).stops(seen).after[0] for shift in (-1e-6, 1e-6))
    assert (below, above) == (1, 20)


def test_early_stopping_takes_the_expected_number_of_windows() -> None:
    """w [sum (i + 1) q (1 - q)^i + M (1 - q)^(M - 1)], q = .8^5 + .2^5, M = 8: 14.61 draws; three standard errors."""
    generator = np.random.default_rng(5)
    keys = [["a" if x < 0.8 else "b" for x in row] for row in generator.random((4001, 40))]
    (way,) = replay_as_recorded(Draws(keys, [[k == "a" for k in row] for row in keys]), [UnanimousWindow(5)])
    assert way.samples.mean() == pytest.approx(14.61, abs=3 * way.samples.std() / np.sqrt(4001))


def test_a_window_with_a_draw_without_an_answer_is_not_unanimous() -> None:
    draws = Draws([["a", None, "b", "b", "a"]], [[True, False, False, False, True]])
    (way,) = replay_as_recorded(draws, [UnanimousWindow(2)])
    assert (way.samples[0], way.right[0]) == (4, 0.0)


def test_bad_input_is_refused() -> None:
    draws, accepted = drawn()
    with pytest.raises(Mistake, match="k=14"):
        replay_as_recorded(draws, [Fixed(14)])
    with pytest.raises(Mistake, match="no verifier"):
        replay_as_recorded(draws, [FirstAccepted("tests")])
    with pytest.raises(Mistake, match="31 problems x 13 draws"):
        replay_as_recorded(draws, [FirstAccepted("tests")], accepted={"tests": accepted[:, :5]})
    with pytest.raises(Mistake, match="ahead"):
        replay_as_recorded(draws, [Fixed(1)], ahead=-1)


def test_a_draw_without_any_answer_is_wrong() -> None:
    (way,) = replay_as_recorded(Draws([[None, None]], [[False, False]]), [Fixed(2)])
    assert way.right[0] == 0


def published_draws() -> Draws:
    rows = [json.loads(line) for line in published(LETTERS).read_text(encoding="utf-8").splitlines()]
    return Draws([r["answers"] for r in rows], [[a == r["gold"] for a in r["answers"]] for r in rows])


@needs(LETTERS)
def test_the_published_answers_give_the_published_row_in_the_order_of_the_file() -> None:
    rules: list[StopRule] = [Fixed(k) for k in (1, 5, 10, 20, 40)]
    rules += [UnanimousWindow(5), *(BetaMajority(c) for c in (0.8, 0.9, 0.95, 0.99))]
    found = replay_as_recorded(published_draws(), rules)
    assert [round(100 * way.right.mean(), 2) for way in found] == [
        78.6, 81.0, 81.2, 81.0, 81.6, 81.8, 80.8, 81.4, 81.4, 81.6,
    ]  # fmt: skip
    assert [round(way.samples.mean(), 3) for way in found[5:]] == [9.47, 2.784, 4.986, 6.784, 10.054]


@needs(LETTERS)
def test_savings_are_measured_against_the_curve_of_fixed_numbers() -> None:
    """Over many orders: .8 takes 2.7 draws where a fixed number needs 6.6, not 40."""
    draws = published_draws()
    ks = list(range(1, 41))
    tallies = [vote.tally(keys, right) for keys, right in zip(draws.keys, draws.right, strict=True)]
    curve = vote.vote_at_k(tallies, ks).mean(axis=0)
    low, high = replay(draws, [BetaMajority(0.8), BetaMajority(0.9)], seed=0, n_orders=40)
    assert low.samples.mean() == pytest.approx(2.65, abs=0.1)
    assert fixed_needed(ks, curve, low.right.mean()) == pytest.approx(6.6, abs=1.2)
    assert high.samples.mean() == pytest.approx(4.95, abs=0.15)
    needed = fixed_needed(ks, curve, high.right.mean())
    assert needed is not None
    assert needed > 14


def test_doctests() -> None:
    assert doctest.testmod(replayed).failed == 0
