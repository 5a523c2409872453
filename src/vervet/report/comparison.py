"""Runs compared on the problems that both have finished: accuracy, cost, and what of the difference may be chance.

The first run is compared with each of the others. With more than two, p-values are corrected for their number (Holm).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vervet.errors import Mistake
from vervet.operators import parse
from vervet.pool import judged, open_pool
from vervet.pool.rows import RunRow
from vervet.pool.store import SqlitePool
from vervet.report.matching import EqualCost, equal_cost, equal_cost_lines
from vervet.report.table import counted, text_table
from vervet.run.declared import counts_of, declared_draws, same_question
from vervet.scaling.compare import paired_difference
from vervet.scaling.curves import default_ks
from vervet.scaling.intervals import UNBOUNDED, Estimate
from vervet.scaling.paired import CoverageDifference, Paired, coverage_difference, holm, paired
from vervet.scaling.purchases import amount
from vervet.tasks import grader_of

SIGNIFICANT = 0.05
UNEQUAL = 1.1  # times the cost, from which on a comparison is not one at equal cost

_RIGHT = {"correct": True, "incorrect": False}


@dataclass(frozen=True)
class Side:
    """A run: ``letter`` by which it is called here, what it is, and what it paid over all its restarts (tokens)."""

    letter: str
    run: str
    pool: str
    task: str
    model: str
    architecture: str
    replicate: int
    finished: int
    paid_tokens: int


@dataclass(frozen=True)
class Pair:
    """One run, ``a``, against another, ``b`` (letters), on the problems that both have finished and that are judged.

    ``only_a``, ``only_b``: problems that just one has finished, left out; ``not_judged``: problems left out because a grader
    failed, with the ``bounds`` of a - b if they are taken all against and all for a. ``p_corrected``: by Holm, over all pairs.
    ``used_a``, ``used_b``: prompt and completion tokens per problem, paid or replayed; ``used_difference`` of them, a - b.
    ``shared_draws``: how many draws both used. ``coverage``, ``equal_cost``: where both declared their draws and asked other questions.
    """

    a: str
    b: str
    result: Paired
    p_corrected: float
    only_a: int
    only_b: int
    not_judged: int
    bounds: tuple[float, float]
    used_a: float
    used_b: float
    used_difference: Estimate
    shared_draws: int
    coverage: CoverageDifference | None
    equal_cost: EqualCost | None
    sentence: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """The runs in the order in which they were named, and the first against each of the others."""

    sides: tuple[Side, ...]
    pairs: tuple[Pair, ...]

    @property
    def data(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class _Run:
    side: Side
    pool: SqlitePool
    row: RunRow

    @property
    def graders(self) -> list[str]:
        return self.pool.other_graders(self.row.id) or [grader_of(str(self.row.identity["task"]))]


def comparison(runs: Sequence[str], pools: Sequence[str], axis: str = "tokens") -> Comparison:
    """Compare the first run with each of the others.

    A run is the beginning of its id, or its architecture where no other run has it; ``FILE:RUN`` names its pool file too.
    ``pools``: one for all runs, or one for each, in order. ``axis``: the cost at which declared draws are compared. Raises
    ``Mistake`` for a run that is not there or is ambiguous, runs without a common problem, and verdicts of different graders.
    """
    if len(runs) < 2:
        raise Mistake(f"expected two runs or more to compare, got {len(runs)}; 'vervet pool info FILE' lists them")
    places = [_place(spec, i, runs, pools) for i, spec in enumerate(runs)]
    with ExitStack() as stack:
        opened = {path: stack.enter_context(open_pool(path)) for path in dict.fromkeys(path for path, _ in places)}
        found = [_run(opened[path], spec, chr(ord("A") + i)) for i, (path, spec) in enumerate(places)]
        first, *others = found
        if any(first.row.id == one.row.id and first.side.pool == one.side.pool for one in others):
            raise Mistake(f"expected runs that differ, but {first.row.id[:12]} was named twice")
        results = [_results(first, one) for one in others]
        corrected = holm([one.p_value for one in results])
        pairs = [_pair(first, one, result, p, axis) for one, result, p in zip(others, results, corrected, strict=True)]
    return Comparison(tuple(one.side for one in found), tuple(pairs))


def lines(found: Comparison) -> list[str]:
    """The comparison for a terminal."""
    text = []
    for one in found.sides:
        text.append(
            f"{one.letter}  {one.task}  {one.model}  {one.architecture}  run {one.run[:12]}, replicate {one.replicate}: "
            f"{counted(one.finished, 'problem')}, paid {one.paid_tokens:,} prompt and completion tokens"
        )
    for pair in found.pairs:
        text += ["", *_pair_lines(pair, corrected=len(found.pairs) > 1)]
    return [
        *text,
        "",
        "[ ] 95 % interval over new problems, paired; p: exact sign test on the problems where one alone is right.",
    ]


# --- which runs ------------------------------------------------------------------------------------------


def _place(spec: str, i: int, runs: Sequence[str], pools: Sequence[str]) -> tuple[str, str]:
    """The pool file of a run, and what names it there."""
    file, colon, rest = spec.rpartition(":")
    if colon and Path(file).is_file():
        return file, rest
    if len(pools) not in (1, len(runs)):
        raise Mistake(f"expected one --pool for all runs, or one for each of the {len(runs)}, got {len(pools)}")
    path = pools[0] if len(pools) == 1 else pools[i]
    if not Path(path).is_file():
        raise Mistake(f"expected the path of a pool file, but there is no file {path!r}: give --pool FILE, or FILE:RUN")
    return path, spec


def _run(pool: SqlitePool, spec: str, letter: str) -> _Run:
    rows = pool.runs()
    found = [row for row in rows if row.id.startswith(spec)] or [
        r for r in rows if r.identity["architecture"] == _plain(spec)
    ]
    if len(found) != 1:
        known = "\n".join(
            f"  {r.id[:12]}  {r.identity['task']}  {_model(r)}  {r.identity['architecture']}" for r in found or rows
        )
        what = "is no run of it" if not found else f"fits {len(found)} of them"
        raise Mistake(
            f"expected a run of {pool.path}, by the beginning of its id or its architecture, but {spec!r} {what}:\n"
            f"{known or '  (it holds no run: start one with vervet run)'}"
        )
    row = found[0]
    side = Side(
        letter, row.id, pool.path, str(row.identity["task"]), _model(row), str(row.identity["architecture"]),
        int(row.identity.get("replicate", 0)), len(pool.answers(row.id)), pool.spent(row.id).bill.tokens,
    )  # fmt: skip
    return _Run(side, pool, row)


def _plain(spec: str) -> str:
    """An architecture as runs are named by it."""
    try:
        return repr(parse(spec))
    except Mistake:
        return spec


def _model(row: RunRow) -> str:
    return str(row.identity["models"].get("model", "?"))


# --- one pair --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Common:
    """The problems that both have finished, and those of them that are judged on both sides."""

    a: dict[str, bool | None]
    b: dict[str, bool | None]

    @property
    def both(self) -> list[str]:
        return [name for name in self.a if name in self.b]

    @property
    def judged(self) -> list[str]:
        return [name for name in self.both if self.a[name] is not None and self.b[name] is not None]


def _common(a: _Run, b: _Run) -> _Common:
    one, two = ({x.problem: _RIGHT.get(x.outcome) for x in run.pool.answers(run.row.id)} for run in (a, b))
    return _Common(one, two)


def _results(a: _Run, b: _Run) -> Paired:
    common = _common(a, b)
    if not common.both:
        raise Mistake(
            f"expected runs with problems in common, but {a.side.letter} ({a.side.task}) has finished {len(common.a):,} and "
            f"{b.side.letter} ({b.side.task}) {len(common.b):,} others; compare runs of one task, split and seed"
        )
    if a.graders != b.graders:
        raise Mistake(
            f"expected verdicts of one grader, but {a.side.letter} was graded by {', '.join(a.graders)} and {b.side.letter} by "
            f"{', '.join(b.graders)}: regrade one of the pools (vervet regrade POOL --grader NAME)"
        )
    if not common.judged:
        raise Mistake(
            f"expected a problem that is judged in both runs, but none of {len(common.both):,} is: regrade the pool"
        )
    one, two = ([bool(side[name]) for name in common.judged] for side in (common.a, common.b))
    return paired(one, two, int(a.row.identity["seed"]))


def _pair(a: _Run, b: _Run, result: Paired, p_corrected: float, axis: str) -> Pair:
    common, seed = _common(a, b), int(a.row.identity["seed"])
    at_equal_cost, unmatched = _equal_cost(a, b, common.judged, axis, seed)
    used = [[float(sum(run.pool.used(run.row.id).get(name, (0, 0)))) for name in common.judged] for run in (a, b)]
    drawn = [judged.drawn(run.pool, run.row.id) for run in (a, b)]
    shared = len(drawn[0] & drawn[1])
    means = [float(np.mean(side)) for side in used]
    return Pair(
        a=a.side.letter, b=b.side.letter, result=result, p_corrected=p_corrected,
        only_a=len(common.a) - len(common.both), only_b=len(common.b) - len(common.both),
        not_judged=len(common.both) - len(common.judged), bounds=_bounds(common),
        used_a=means[0], used_b=means[1], used_difference=paired_difference(used[0], used[1], seed, within=UNBOUNDED),
        shared_draws=shared, coverage=_coverage(a, b, common.judged, seed),
        equal_cost=at_equal_cost,
        sentence=_sentence(a.side.letter, b.side.letter, result, p_corrected),
        notes=(*_cost_notes(a.side.letter, b.side.letter, result, means, p_corrected),
               *_draw_notes(a, b, shared, [len(side) for side in drawn]), *unmatched),
    )  # fmt: skip


def _bounds(common: _Common) -> tuple[float, float]:
    """The least and the most that a - b can be, whatever the problems without a verdict are worth."""
    least = [(common.a[n] is True) - (common.b[n] is not False) for n in common.both]
    most = [(common.a[n] is not False) - (common.b[n] is True) for n in common.both]
    return float(np.mean(least)), float(np.mean(most))


def _coverage(a: _Run, b: _Run, names: Sequence[str], seed: int) -> CoverageDifference | None:
    """Coverage at common ks, where both declared their draws, and the draws of one are not the first of the other's."""
    if not _other_draws(a, b):
        return None
    counts = [counts_of(run.pool, run.row) for run in (a, b)]
    right = [dict(zip(one.problems, one.correct.tolist(), strict=True)) for one in counts]
    kept = [name for name in names if all(name in side for side in right)]
    if not kept:
        return None
    (n_a, n_b), (of_a, of_b) = ([one.common_n for one in counts], [[side[name] for name in kept] for side in right])
    return coverage_difference(n_a, of_a, n_b, of_b, default_ks(min(n_a, n_b)), seed)


def _other_draws(a: _Run, b: _Run) -> bool:
    """Whether both declared their draws, and those of one are not the first of the other's."""
    same = same_question(a.row, b.row) and a.side.replicate == b.side.replicate
    return not same and bool(declared_draws(a.row) and declared_draws(b.row))


def _equal_cost(
    a: _Run, b: _Run, names: Sequence[str], axis: str, seed: int
) -> tuple[EqualCost | None, tuple[str, ...]]:
    """Both at equal cost where that can be told, else why not."""
    if not _other_draws(a, b):
        return None, ()
    try:
        return equal_cost((a.pool, a.row), (b.pool, b.row), names, axis, seed), ()
    except Mistake as error:
        return None, (f"Not compared at equal cost: {error}.",)


# --- in words --------------------------------------------------------------------------------------------


def _sentence(a: str, b: str, found: Paired, p: float) -> str:
    d = found.difference
    if p < SIGNIFICANT and d.value:
        better, worse = (a, b) if d.value > 0 else (b, a)
        value, low, high = (d.value, d.low, d.high) if d.value > 0 else (-d.value, -d.high, -d.low)
        return (
            f"{better} is better than {worse} by {100 * value:.1f} points [{100 * low:.1f}, {100 * high:.1f}], {_p(p)}."
        )
    most = max(abs(d.low), abs(d.high))
    never = " (they never differed)" if not found.a_only + found.b_only else ""
    return f"No difference between {a} and {b} could be seen{never}, {_p(p)}; one of up to {100 * most:.1f} points is not excluded."


def _p(value: float) -> str:
    """A p-value in words.

    >>> _p(0.0321), _p(1e-9), _p(1.0)
    ('p = 0.032', 'p < 0.0001', 'p = 1')
    """
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def _cost_notes(a: str, b: str, found: Paired, used: Sequence[float], p: float) -> list[str]:
    if min(used) <= 0 or max(used) <= UNEQUAL * min(used):
        return []
    dear, cheap = (a, b) if used[0] > used[1] else (b, a)
    gain = found.difference.value if dear == a else -found.difference.value
    said = (
        f"{dear} used {max(used) / min(used):.1f} times the prompt and completion tokens of {cheap}, so this is no comparison "
        "at equal cost"
    )
    if p < SIGNIFICANT and gain < 0:
        return [f"{said}; {cheap} is better and cheaper."]
    if p < SIGNIFICANT:
        return [f"{said}; give {cheap} as many tokens (a larger n) before you call {dear} better."]
    return [f"{said}; at no difference that can be seen, {cheap} is the cheaper one."]


def _draw_notes(a: _Run, b: _Run, shared: int, n_drawn: Sequence[int]) -> list[str]:
    one, two, notes = a.side, b.side, []
    if shared:
        notes.append(
            f"They share {shared:,} of their {n_drawn[0]:,} and {n_drawn[1]:,} draws: this compares fixed architectures on the "
            "same draws; they are no replicates of each other."
        )
    if one.replicate != two.replicate:
        same = one.architecture == two.architecture and one.model == two.model
        what = "one architecture drawn twice, so any difference is chance" if same else "separate draws on both sides"
        notes.append(f"{one.letter} is replicate {one.replicate} and {two.letter} replicate {two.replicate}: {what}.")
    return notes


def _pair_lines(pair: Pair, corrected: bool) -> list[str]:
    r, rows = pair.result, []
    for letter, right, used in ((pair.a, r.a, pair.used_a), (pair.b, r.b, pair.used_b)):
        rows.append([letter, _share(right), amount(used) if used else "not known"])
    d = pair.used_difference
    more = f"{d.value:+,.0f} [{d.low:,.0f}, {d.high:,.0f}]" if pair.used_a and pair.used_b else "not known"
    rows.append([f"{pair.a} - {pair.b}", _share(r.difference, "+"), more])
    text = [pair.sentence, text_table(["", "answered right, %", "prompt and completion tokens used per problem"], rows)]
    said = f"{counted(r.n_problems, 'problem')}: {pair.a} alone right on {r.a_only:,}, {pair.b} alone on {r.b_only:,}, {_p(r.p_value)}"
    text.append(f"{said}, corrected for the number of runs (Holm) {_p(pair.p_corrected)}" if corrected else said)
    if not r.a_only + r.b_only:
        text.append(
            f"They never differed: up to {100 * r.floor:.1f} % of problems on which they do is not excluded (exact)."
        )
    if pair.only_a or pair.only_b:
        text.append(
            f"Left out: {counted(pair.only_a, 'problem')} that only {pair.a} and {pair.only_b:,} that only {pair.b} finished."
        )
    if pair.not_judged:
        low, high = (100 * end for end in pair.bounds)
        text.append(
            f"Left out: {counted(pair.not_judged, 'problem')} without a verdict; with them the difference lies between {low:.1f} and "
            f"{high:.1f} points."
        )
    if pair.coverage is not None:
        c = pair.coverage
        cells = [
            [f"{k:,}", f"{100 * one:.1f}", f"{100 * two:.1f}", _share(gap, "+")]
            for k, one, two, gap in zip(c.k, c.a, c.b, c.difference, strict=True)
        ]
        text.append(text_table(["k", f"coverage {pair.a}, %", f"{pair.b}, %", f"{pair.a} - {pair.b}, points"], cells))
    if pair.equal_cost is not None:
        text += equal_cost_lines(pair.equal_cost, pair.a, pair.b)
    return [*text, *pair.notes]


def _share(one: Estimate, sign: str = "") -> str:
    value, low, high = (round(100 * end, 1) + 0.0 for end in (one.value, one.low, one.high))  # + 0.0: never "-0.0"
    return f"{value:{sign}.1f} [{low:.1f}, {high:.1f}]"
