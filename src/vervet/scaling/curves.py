"""Curves against the number of draws k: what is in n recorded draws, what each selector finds, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vervet.errors import Mistake
from vervet.scaling import passk, vote
from vervet.scaling.draws import Bools, Draws, Floats
from vervet.scaling.intervals import UNBOUNDED, UNIT, Band, Range, new_draws, new_problems

#: A claim about the same problems needs at least this many times k draws; beyond n / 4 there is no such interval.
DRAWS_PER_K = 4


@dataclass(frozen=True)
class Curve:
    """One figure against k, a mean over problems with equal weight; every tuple is aligned with ``k``.

    ``name``: "coverage", "vote", "best by mean logprob" or "tokens"; ``unit``: "share of problems" (0 to 1) or
    "tokens per problem". ``value`` counts the not judged draws as incorrect, as ``least`` does; ``most`` counts them
    as correct. ``low``, ``high``: 95 % over *new problems*, from that of ``least`` to that of ``most``.
    ``draws_low``, ``draws_high``: 95 % over *new draws on the same problems*; None where k is over n / 4.
    """

    name: str
    k: tuple[int, ...]
    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    draws_low: tuple[float | None, ...]
    draws_high: tuple[float | None, ...]
    least: tuple[float, ...]
    most: tuple[float, ...]
    n_problems: int
    n_draws: int
    n_not_judged: int = 0
    unit: str = "share of problems"


@dataclass(frozen=True)
class _Figure:
    """Per problem and k: the value and its variance under new draws (NaN: not known), both (problems, ks)."""

    values: Floats
    variances: Floats


Measure = Callable[[Bools, Sequence[int]], _Figure]  # (right, the small ks) -> figure


def default_ks(n: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50 ... below n, and n itself.

    >>> default_ks(64)
    (1, 2, 5, 10, 20, 50, 64)
    """
    steps = [lead * 10**power for power in range(len(str(n))) for lead in (1, 2, 5)]
    return (*(k for k in steps if k < n), n)


def curves(draws: Draws, ks: Sequence[int] | None = None, *, seed: int) -> list[Curve]:
    """Coverage and vote, then best by mean logprob and tokens where their columns are given.

    All curves share the resamples of problems, so that their bands may be compared. ``ks``: increasing, each between
    1 and n (else Mistake); by default ``default_ks(n)``. Up to n = 256 the vote is exact, beyond it comes from 1,000
    random subsets per problem and has no interval for new draws. Cost: a few seconds for 1,000 problems x 64 draws.

    >>> keys = [["4", "4", "5"], ["1", "2", "3"]]
    >>> right = [[True, True, False], [False, False, True]]
    >>> [curve.name for curve in curves(Draws(keys, right), [1, 3], seed=0)]
    ['coverage', 'vote']
    """
    chosen = tuple(default_ks(draws.n) if ks is None else ks)
    passk.check_ks(chosen, draws.n)
    if not chosen or list(chosen) != sorted(set(chosen)):
        raise Mistake(f"ks must increase, got {list(chosen)}")
    made = [
        _judged("coverage", draws, chosen, seed, lambda right, small: _coverage(right, chosen, small)),
        _judged("vote", draws, chosen, seed, lambda right, small: _vote(draws, right, chosen, small, seed)),
    ]
    scores = draws.scores
    if scores is not None:
        best = "best by mean logprob"
        made.append(_judged(best, draws, chosen, seed, lambda right, small: _best(right, scores, chosen, small)))
    if draws.tokens is not None:
        made.append(_tokens(draws, chosen, seed))
    return made


def _coverage(right: Bools, ks: Sequence[int], small: Sequence[int]) -> _Figure:
    n, counts = right.shape[1], right.sum(axis=1)
    return _figure(passk.pass_at_k(n, counts, ks), passk.pass_variance(n, counts, small))


def _best(right: Bools, scores: Floats, ks: Sequence[int], small: Sequence[int]) -> _Figure:
    return _figure(passk.best_at_k(right, scores, ks), passk.best_variance(right, scores, small))


def _vote(draws: Draws, right: Bools, ks: Sequence[int], small: Sequence[int], seed: int) -> _Figure:
    tallies = [vote.tally(keys, row) for keys, row in zip(draws.keys, right, strict=True)]
    if draws.n > vote.MAX_EXACT:
        return _figure(vote.vote_at_k_sampled(tallies, ks, seed), np.empty((len(tallies), 0)))
    return _figure(vote.vote_at_k(tallies, ks), vote.vote_variance(tallies, small))


def _figure(values: Floats, known: Floats) -> _Figure:
    variances = np.full(values.shape, np.nan)
    variances[:, : known.shape[1]] = known
    return _Figure(values, variances)


def _judged(name: str, draws: Draws, ks: tuple[int, ...], seed: int, measure: Measure) -> Curve:
    """A curve of shares, with both bounds where some draws were not judged."""
    small = _small(ks, draws.n)
    least = measure(draws.right, small)
    most = measure(draws.right_at_most, small) if draws.n_not_judged else least
    return _curve(name, draws, ks, seed, least, most, UNIT)


def _tokens(draws: Draws, ks: tuple[int, ...], seed: int) -> Curve:
    table = np.asarray(draws.tokens, dtype=float)
    k = np.asarray(ks, dtype=float)
    variance = table.var(axis=1, ddof=1) / draws.n if draws.n > 1 else np.full(len(table), np.nan)
    variances = np.where(k * DRAWS_PER_K <= draws.n, variance[:, None] * k**2, np.nan)
    figure = _Figure(passk.mean_at_k(table, ks), variances)
    return _curve("tokens", draws, ks, seed, figure, figure, UNBOUNDED, unit="tokens per problem")


def _curve(
    name: str,
    draws: Draws,
    ks: tuple[int, ...],
    seed: int,
    least: _Figure,
    most: _Figure,
    within: Range,
    unit: str = "share of problems",
) -> Curve:
    lower, upper = (new_problems(f.values, seed, within=within, clusters=draws.clusters) for f in (least, most))
    cases = [draws.n_problems * (draws.n // k) for k in ks]
    again = Band(
        *(
            getattr(new_draws(f.values, f.variances, cases, within=within), end)
            for f, end in ((least, "low"), (most, "high"))
        )
    )
    return Curve(
        name=name,
        k=ks,
        value=_plain(least.values.mean(axis=0)),
        low=_plain(lower.low),
        high=_plain(upper.high),
        draws_low=_known(again.low),
        draws_high=_known(again.high),
        least=_plain(least.values.mean(axis=0)),
        most=_plain(most.values.mean(axis=0)),
        n_problems=draws.n_problems,
        n_draws=draws.n,
        n_not_judged=draws.n_not_judged,
        unit=unit,
    )


def _small(ks: tuple[int, ...], n: int) -> tuple[int, ...]:
    return tuple(k for k in ks if k * DRAWS_PER_K <= n)


def _plain(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _known(values: Floats) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)
