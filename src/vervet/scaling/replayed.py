"""Stopping rules on recorded draws: what each would have looked at, and whether its answer would have been right.

A rule sees the draws of a problem one by one. The recorded order is one of many, so that a figure of a rule is a mean
over at least 20 seeded orders (``replay``); ``replay_as_recorded`` is for what was published in the order of a file.
``ahead``: how many draws are in flight beyond what the rule has seen when it stops; they are paid for and not looked at.
It is 0 unless said, which is drawing one after another, ``generate(..., ahead=1)``; its default, ahead=8, takes up to 7 more
wherever the rule stops before n.
A saving is measured against a fixed number of draws of the same accuracy (``fixed_needed``), not against all n.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vervet.errors import Mistake
from vervet.scaling.draws import Bools, Draws, Floats, Ints

N_ORDERS = 20
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Prefixes:
    """What is known after each draw in one order of them; tables (problems, n), column t after t + 1 draws.

    ``codes``: the answer of the draw at a place, -1 without one. ``lead``, ``second``: votes of the two leading answers.
    ``place``: where the first draw of the leading answer stands (ties to what was seen first; 0 before any answer).
    ``accepted``: by verifier, whether it accepts the draw at a place.
    """

    codes: Ints
    lead: Ints
    second: Ints
    place: Ints
    accepted: Mapping[str, Bools] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Draws per problem."""
        return int(self.codes.shape[1])


@dataclass(frozen=True, eq=False)
class Stops:
    """Where a rule ends: ``after`` how many draws, and at which ``place`` its answer stands; both (problems,)."""

    after: Ints
    place: Ints


class StopRule(Protocol):
    """A rule: its name, as an architecture says it where there is one (N draws, A of them in flight), and where it stops."""

    @property
    def name(self) -> str:
        """What it is called."""

    def stops(self, seen: Prefixes) -> Stops:
        """Where it stops in one order of the draws."""


@dataclass(frozen=True)
class Fixed:
    """The vote over the first ``k`` draws, whatever they are."""

    k: int

    @property
    def name(self) -> str:
        """As an architecture."""
        return f"generate(n={self.k}) | vote()"

    def stops(self, seen: Prefixes) -> Stops:
        """After k draws. Raises Mistake where there are fewer."""
        if not 1 <= self.k <= seen.n:
            raise Mistake(f"expected k from 1 to the {seen.n} draws per problem, got k={self.k}")
        return Stops(np.full(len(seen.codes), self.k), seen.place[:, self.k - 1])


@dataclass(frozen=True)
class Agreement:
    """Stop when the leading answer holds ``share`` of at least ``at_least`` draws: the rule ``agree`` of an architecture.

    Reference: Aggarwal et al. 2023, arXiv 2305.11860 (the majority rule of Adaptive-Consistency; share .8 there).
    """

    share: float
    at_least: int = 4

    @property
    def name(self) -> str:
        """As an architecture."""
        least = "" if self.at_least == 4 else f", at_least={self.at_least}"
        return f"generate(n=N, until=agree(share={self.share}{least}), ahead=A) | vote()"

    def stops(self, seen: Prefixes) -> Stops:
        """Where the vote is clear enough, else after all draws."""
        t = np.arange(1, seen.n + 1)
        return _voted(seen, (t >= self.at_least) & (seen.lead >= self.share * t))


@dataclass(frozen=True)
class BetaMajority:
    """Stop when the leading answer is ahead of the second with this ``confidence``: 1 - I_.5(v1 + 1, v2 + 1).

    v1, v2: votes of the two leading answers; draws without an answer count as draws and vote for nothing.

    Reference: Aggarwal et al. 2023, arXiv 2305.11860 (Adaptive-Consistency, Beta criterion; .95 there).
    """

    confidence: float = 0.95

    @property
    def name(self) -> str:
        """What the paper calls it."""
        return f"Adaptive-Consistency (Beta, {self.confidence})"

    def stops(self, seen: Prefixes) -> Stops:
        """Where the lead is sure enough, else after all draws."""
        from scipy.special import betainc

        pairs, where = np.unique(
            seen.lead * (seen.n + 1) + seen.second, return_inverse=True
        )  # few: n is small beside both
        sure = 1 - betainc(pairs // (seen.n + 1) + 1.0, pairs % (seen.n + 1) + 1.0, 0.5)
        return _voted(seen, (sure >= self.confidence)[where].reshape(seen.lead.shape))


@dataclass(frozen=True)
class UnanimousWindow:
    """Draw in windows of ``window`` and stop at the first whose answers all agree, with that answer; else vote over all.

    A window with a draw without an answer is not unanimous, nor is one that n cuts short.

    Reference: Li et al. 2024, Early-Stopping Self-Consistency, ICLR 2024 (windows of 5 up to 40 draws there).
    """

    window: int = 5

    @property
    def name(self) -> str:
        """What the paper calls it."""
        return f"ESC (windows of {self.window})"

    def stops(self, seen: Prefixes) -> Stops:
        """After the first unanimous window, else after all draws."""
        last, answer = seen.n, seen.place[:, -1]
        after = np.full(len(seen.codes), last)
        for end in range(seen.n // self.window * self.window, 0, -self.window):  # backwards: the first window stays
            codes = seen.codes[:, end - self.window : end]
            same = (codes == codes[:, :1]).all(axis=1) & (codes[:, 0] >= 0)
            after, answer = np.where(same, end, after), np.where(same, end - self.window, answer)
        return Stops(after, answer)


@dataclass(frozen=True)
class FirstAccepted:
    """Stop at the first draw that the verifier ``by`` accepts; where it accepts none, the first draw is the answer.

    Reference: Stroebl et al. 2024, arXiv 2411.17501 (resampling until a verifier accepts; there it abstains at the end).
    """

    by: str = "verifier"

    @property
    def name(self) -> str:
        """As an architecture."""
        return f"generate(n=N, until=accepted(by={self.by!r}), ahead=A) | first(by={self.by!r})"

    def stops(self, seen: Prefixes) -> Stops:
        """At the first accepted draw, else after all. Raises Mistake where nothing is known of the verifier."""
        if self.by not in seen.accepted:
            raise Mistake(f"expected what {self.by!r} accepts, got that of {sorted(seen.accepted) or 'no verifier'}")
        accepted = seen.accepted[self.by]
        after = _first(accepted)
        return Stops(after, np.where(accepted.any(axis=1), after - 1, 0))


@dataclass(frozen=True, eq=False)
class Way:
    """One way to answer: per problem how often it is right (0 to 1) and what it uses, all (problems,).

    ``samples``: draws, with those in flight; ``tokens``: of these draws, None where they are not known.
    """

    name: str
    right: Floats
    samples: Floats
    tokens: Floats | None = None

    @property
    def cost(self) -> Floats:
        """Tokens where they are known, else samples, per problem."""
        return self.samples if self.tokens is None else self.tokens


def replay(
    draws: Draws, rules: Sequence[StopRule], seed: int, *, n_orders: int = N_ORDERS, ahead: int = 0,
    accepted: Mapping[str, ArrayLike] | None = None,
) -> list[Way]:  # fmt: skip
    """Each rule on the recorded draws, a mean over ``n_orders`` random orders of the draws of every problem.

    All rules see the same orders. ``accepted``: by verifier, whether it accepts each draw, (problems, n). The name of a way is
    the architecture that draws so. Raises Mistake for fewer than 20 orders. Cost: about n_orders x n steps over the
    problems; 1,000 problems x 64 draws take about a second.

    >>> draws = Draws(keys=[["4", "4", "4", "5"]], correct=[[True, True, True, False]])
    >>> (way,) = replay(draws, [Agreement(share=1.0, at_least=2)], seed=0, n_orders=1000)
    >>> way.name
    'generate(n=4, until=agree(share=1.0, at_least=2), ahead=1) | vote()'
    >>> way.samples.round(1).tolist(), way.right.tolist()  # half the orders begin with an equal pair; the others take all
    ([3.0], [1.0])
    """
    if n_orders < N_ORDERS:
        raise Mistake(f"expected at least {N_ORDERS} orders, since one order is one draw of chance, got {n_orders=}")
    generator = np.random.default_rng(seed)
    whole = np.tile(np.arange(draws.n), (draws.n_problems, 1))
    orders = (generator.permuted(whole, axis=1) for _ in range(n_orders))
    return _replay(draws, rules, orders, n_orders, ahead, accepted)


def replay_as_recorded(
    draws: Draws, rules: Sequence[StopRule], *, ahead: int = 0, accepted: Mapping[str, ArrayLike] | None = None
) -> list[Way]:
    """Each rule in the one order in which the draws were recorded, as published figures are made; arguments as ``replay``.

    >>> draws = Draws(keys=[["4", "5", "5"]], correct=[[True, False, False]])
    >>> replay_as_recorded(draws, [Fixed(2)])[0].right.tolist()
    [1.0]
    """
    whole = np.tile(np.arange(draws.n), (draws.n_problems, 1))
    return _replay(draws, rules, [whole], 1, ahead, accepted)


def prefixes(codes: Ints, accepted: Mapping[str, Bools] | None = None) -> Prefixes:
    """What is known after each draw; ``codes``: (problems, n), equal numbers for equal answers, -1 without one.

    >>> prefixes(np.array([[0, 1, 1, -1]])).place.tolist()
    [[0, 0, 1, 1]]
    """
    n_problems, n = codes.shape
    rows = np.arange(n_problems)
    counts = np.zeros((n_problems, int(codes.max(initial=0)) + 2), dtype=np.int32)  # the last column: no answer
    first = np.full(counts.shape, n, dtype=np.int32)
    lead, second, place = (np.zeros(n_problems, dtype=np.int64) for _ in range(3))
    winner = np.full(n_problems, -2)
    table = np.empty((3, n, n_problems), dtype=np.int64)
    for t in range(n):
        code = codes[:, t]
        given = code >= 0
        counts[rows, code] += 1
        votes = counts[rows, code]
        first[rows, code] = np.minimum(first[rows, code], t)
        other = given & (code != winner)
        ahead = other & ((votes > lead) | ((votes == lead) & (first[rows, code] < place)))
        second = np.where(other, np.maximum(second, np.minimum(votes, lead)), second)
        lead = np.where(given, np.maximum(lead, votes), lead)
        winner, place = np.where(ahead, code, winner), np.where(ahead, first[rows, code], place)
        table[:, t] = lead, second, place
    return Prefixes(codes, table[0].T, table[1].T, table[2].T, accepted or {})


def coded(keys: Sequence[Sequence[str | None]]) -> Ints:
    """Numbers for answers: equal within a problem where the keys are equal, -1 without a key; (problems, n).

    >>> coded([["4", None, "5", "4"]]).tolist()
    [[0, -1, 1, 0]]
    """
    rows = []
    for row in keys:
        numbers: dict[str, int] = {}
        rows.append([-1 if key is None else numbers.setdefault(key, len(numbers)) for key in row])
    return np.array(rows, dtype=np.int64)


def fixed_needed(ks: Sequence[int], accuracy_at: ArrayLike, accuracy: float) -> float | None:
    """How many fixed draws reach an accuracy, on the straight lines between the known ks; None where none of them does.

    ``ks`` increase; ``accuracy_at``: (ks,). The first crossing counts, since a vote's curve may fall again.

    >>> fixed_needed([1, 2, 4], [0.5, 0.625, 0.75], 0.6875), fixed_needed([1, 2], [0.5, 0.625], 0.75)
    (3.0, None)
    """
    values = np.asarray(accuracy_at, dtype=float)
    reached = np.flatnonzero(values >= accuracy)
    if not reached.size:
        return None
    i = int(reached[0])
    if i == 0:
        return float(ks[0])
    share = (accuracy - values[i - 1]) / (values[i] - values[i - 1])
    return float(ks[i - 1] + share * (ks[i] - ks[i - 1]))


def _replay(
    draws: Draws, rules: Sequence[StopRule], orders: Iterable[Ints], n_orders: int, ahead: int,
    accepted: Mapping[str, ArrayLike] | None,
) -> list[Way]:  # fmt: skip
    if ahead < 0:
        raise Mistake(f"expected ahead of 0 or more, got {ahead=}")
    tables = {name: _accepted(name, table, draws) for name, table in (accepted or {}).items()}
    codes, tokens = coded(draws.keys), None if draws.tokens is None else np.asarray(draws.tokens, dtype=float)
    rows = np.arange(draws.n_problems)
    sums = np.zeros((len(rules), 3, draws.n_problems))  # right, samples, tokens
    for order in orders:
        seen = prefixes(_in(codes, order), {name: _in(table, order) for name, table in tables.items()})
        right = _in(draws.right, order)
        spent = None if tokens is None else np.cumsum(_in(tokens, order), axis=1)
        for i, rule in enumerate(rules):
            stops = rule.stops(seen)
            used = np.minimum(stops.after + ahead, draws.n)
            sums[i, 0] += right[rows, stops.place]
            sums[i, 1] += used
            if spent is not None:
                sums[i, 2] += spent[rows, used - 1]
    sums /= n_orders
    return [
        Way(_named(rule, draws.n, ahead), right, samples, None if tokens is None else used_tokens)
        for rule, (right, samples, used_tokens) in zip(rules, sums, strict=True)
    ]


def _named(rule: StopRule, n: int, ahead: int) -> str:
    return rule.name.replace("n=N,", f"n={n},").replace("ahead=A)", f"ahead={ahead + 1})")


def _accepted(name: str, table: ArrayLike, draws: Draws) -> Bools:
    found = np.asarray(table, dtype=bool)
    if found.shape != draws.right.shape:
        raise Mistake(
            f"expected what {name!r} says of {draws.n_problems} problems x {draws.n} draws, got {found.shape}"
        )
    return found


def _in(table: NDArray[T], order: Ints) -> NDArray[T]:
    """A table (problems, n) with the draws of each problem in this order."""
    return np.take_along_axis(table, order, axis=1)


def _voted(seen: Prefixes, fires: Bools) -> Stops:
    after = _first(fires)
    return Stops(after, seen.place[np.arange(len(after)), after - 1])


def _first(fires: Bools) -> Ints:
    """After how many draws a rule fires for the first time; all of them where it never does."""
    return np.asarray(np.where(fires.any(axis=1), fires.argmax(axis=1) + 1, fires.shape[1]))
