"""Two runs with declared draws at equal cost, or in equal time: coverage and vote on the problems of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vervet.errors import Mistake
from vervet.pool.rows import RunRow
from vervet.pool.store import SqlitePool
from vervet.report.costs import chosen, costs_of
from vervet.report.table import short, text_table
from vervet.run.declared import counts_of, draws_of
from vervet.scaling import vote
from vervet.scaling.cost import Cost
from vervet.scaling.curves import default_ks
from vervet.scaling.draws import Draws, Floats
from vervet.scaling.intervals import Estimate
from vervet.scaling.matched import Matched, Side, matched
from vervet.scaling.passk import pass_at_k

N_BUDGETS = 5  # from the least to the most that both can spend
_VOTE_SEED = 0
_UNITS = {"tokens": "prompt and completion tokens"}


@dataclass(frozen=True)
class EqualCost:
    """Coverage and vote of two runs where a problem costs the same on both sides; ``unit_a``, ``unit_b``: in what."""

    unit_a: str
    unit_b: str
    coverage: Matched
    vote: Matched


def equal_cost(
    a: tuple[SqlitePool, RunRow], b: tuple[SqlitePool, RunRow], names: Sequence[str], axis: str, seed: int
) -> EqualCost:
    """Both runs at five costs that both can spend, on an axis of ``report.costs.AXES``, on the problems ``names``.

    Raises ``Mistake`` where a run declared no draws, an axis cannot be reckoned, or no cost is common to both.
    """
    first, second = (_side(pool, row, names, axis) for pool, row in (a, b))
    least, most = max(first.costs[0], second.costs[0]), min(first.costs[-1], second.costs[-1])
    if least >= most:
        raise Mistake(
            f"no cost is common to both: a problem costs {short(first.costs[0])} to {short(first.costs[-1])} "
            f"{_counts(first.cost.unit)} in one and {short(second.costs[0])} to {short(second.costs[-1])} in the other; "
            "draw more of the cheaper one"
        )
    budgets = np.clip(np.geomspace(least, most, N_BUDGETS), least, most).tolist()
    covered, voted = ([Side(one.ks, one.costs, each(one)) for one in (first, second)] for each in (_coverage, _votes))
    return EqualCost(
        first.cost.unit,
        second.cost.unit,
        matched(covered[0], covered[1], budgets, seed=seed),
        matched(voted[0], voted[1], budgets, seed=seed),
    )


@dataclass(frozen=True, eq=False)
class _Curves:
    ks: tuple[int, ...]
    cost: Cost
    coverage: Floats
    vote: Floats

    @property
    def costs(self) -> list[float]:
        return [self.cost.at(k) for k in self.ks]


def _coverage(one: _Curves) -> Floats:
    return one.coverage


def _votes(one: _Curves) -> Floats:
    return one.vote


def _side(pool: SqlitePool, row: RunRow, names: Sequence[str], axis: str) -> _Curves:
    draws, problems = draws_of(pool, row), list(counts_of(pool, row).problems)
    cost = chosen(costs_of(pool, row, draws), axis)
    place = [problems.index(name) for name in names]
    ks = default_ks(draws.n)
    return _Curves(ks, cost, pass_at_k(draws.n, draws.right.sum(axis=1)[place], ks), _voted(draws, place, ks))


def _voted(draws: Draws, place: Sequence[int], ks: Sequence[int]) -> Floats:
    tallies = [vote.tally(draws.keys[i], draws.right[i]) for i in place]
    if draws.n <= vote.MAX_EXACT:
        return vote.vote_at_k(tallies, ks)
    return vote.vote_at_k_sampled(tallies, ks, _VOTE_SEED)


def equal_cost_lines(found: EqualCost, a: str, b: str) -> list[str]:
    """A row for each cost: what each side draws for it, and coverage and vote with their difference, in percent."""
    rows = []
    for c, v in zip(found.coverage.rows, found.vote.rows, strict=True):
        rows.append([short(c.budget), short(c.a_k), short(c.b_k), *_cells(c.a, c.b, c.difference),
                     *_cells(v.a, v.b, v.difference)])  # fmt: skip
    unit_a, unit_b = _counts(found.unit_a), _counts(found.unit_b)
    unit = unit_a if unit_a == unit_b else f"{unit_a} ({a}), {unit_b} ({b})"
    head = [
        unit,
        f"draws {a}",
        f"draws {b}",
        f"coverage {a}",
        f"coverage {b}",
        f"{a} - {b}",
        f"vote {a}",
        f"vote {b}",
        f"{a} - {b}",
    ]
    said = "At equal cost a problem (shares in %, differences in points; a tied vote is shared, where a run takes the first):"
    lines = [said, *text_table(head, rows).splitlines()]
    for name, one in (("coverage", found.coverage), ("vote", found.vote)):
        if one.crossings:
            at = ", ".join(short(cost) for cost in one.crossings)
            lines.append(
                f"The curves of {name} cross at {at} {unit} a problem (of the measured means; see the intervals above)."
            )
    return lines


def _counts(unit: str) -> str:
    return _UNITS.get(unit, unit)


def _cells(one: float, two: float, gap: Estimate) -> list[str]:
    low, value, high = (100 * end for end in (gap.low, gap.value, gap.high))
    return [f"{100 * one:.1f}", f"{100 * two:.1f}", f"{value:+.1f} [{low:.1f}, {high:.1f}]"]
