"""From a pool to figures: the runs that can be analysed, their curves, their table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from vervet.errors import Mistake
from vervet.pool import open_pool
from vervet.pool.rows import RunRow
from vervet.pool.store import SqlitePool
from vervet.report.figures import Figures
from vervet.report.table import curve_table, verifier_lines
from vervet.run.declared import counts_of, declared_draws, draws_of, first_drawing, has_architecture
from vervet.run.grading import verifier_figures
from vervet.scaling.counted import coverage_curve
from vervet.scaling.counts import Counts
from vervet.scaling.curves import curves
from vervet.scaling.intervals import accuracy

_VERDICTS = {"correct": True, "incorrect": False}


def of_run(path: str, run: str, ks: Sequence[int] | None = None) -> Figures:
    """The figures of one run of a pool. Raises ``Mistake`` where it has no declared range of draws."""
    with open_pool(path) as pool:
        return curves_of(pool, runs_of(pool, run)[0], ks)


def of_pool(
    path: str,
    run: str | None = None,
    ks: Sequence[int] | None = None,
    more: Callable[[SqlitePool, RunRow, Figures], Figures] | None = None,
) -> list[Figures]:
    """The figures of every run of a pool that can be analysed, or of one; ``more`` adds to each what else is to be shown.

    Of runs that begin with the same draws the first stands for all. Which others are left out, and why, stands in the notes
    of the first. Raises ``Mistake`` where there is no run that can be analysed, with the reasons.
    """
    with open_pool(path) as pool:
        found, refused, shown = [], [], set[str]()
        for row in runs_of(pool, run):
            drawing = first_drawing(row)
            if drawing in shown:  # the same draws again: its answers are a point beside their curve
                continue
            try:
                figures = curves_of(pool, row, ks)
                found.append(more(pool, row, figures) if more else figures)
                shown |= {drawing} if drawing else set()
            except Mistake as error:
                refused.append((row, str(error)))
        if not found:
            raise Mistake("; ".join(reason for _, reason in refused))
        left_out = [
            f"Left out: {reason}." for reason in dict.fromkeys(why for row, why in refused if has_architecture(row))
        ]
        return [replace(found[0], notes=[*found[0].notes, *left_out]), *found[1:]]


def runs_of(pool: SqlitePool, run: str | None = None) -> list[RunRow]:
    """The runs of a pool, or the one whose id begins so. Raises ``Mistake`` where there is none, or more than one."""
    if run is not None:
        return [pool.run_of(run)]
    rows = pool.runs()
    if not rows:
        raise Mistake(f"expected a pool with a run, but {pool.path} has none")
    return rows


def curves_of(pool: SqlitePool, row: RunRow, ks: Sequence[int] | None = None) -> Figures:
    """Facts and curves of a run, and its verifiers against its grader.

    Of a run that stopped at the first right answers, the curve of coverage by path counting, and a note.
    """
    if declared_draws(row) is None:
        counts = counts_of(pool, row)
        facts = {**facts_of(pool, row), "drawn": how_drawn(counts)}
        return Figures(facts, [coverage_curve(counts, ks, seed=row.identity["seed"])], notes=[stopped_note(counts)])
    curve = curves(draws_of(pool, row), ks, seed=row.identity["seed"])
    return Figures(facts_of(pool, row), curve, verifier_figures(pool, row))


def counts_shown(path: str, figures: Sequence[Figures]) -> list[Counts]:
    """The success counts of the runs of a pool that are shown, in their order."""
    with open_pool(path) as pool:
        rows = {row.id: row for row in pool.runs()}
        return [counts_of(pool, rows[one.facts["run"]]) for one in figures]


def table(figures: Figures) -> str:
    """The run in one line and its curves as a table."""
    facts = figures.facts
    graded = f"  graded by {', '.join(facts['graded_by'])}" if "graded_by" in facts else ""
    parts = [f"{facts['task']}  {facts['model']}  {facts['architecture']}{graded}", curves_table(figures)]
    return "\n\n".join([*parts, *(["\n".join(verifier_lines(figures.verifiers))] if figures.verifiers else [])])


def curves_table(figures: Figures) -> str:
    """The curves as a table, with how was drawn what they are of."""
    return curve_table(figures.curves, str(figures.facts.get("drawn", "")))


def how_drawn(counts: Counts) -> str:
    """What ended the drawing, in words; "" where every problem has one declared number of draws.

    >>> from vervet.scaling.counts import FIXED, Stopped
    >>> how_drawn(Counts([1, 4, 60], [1, 1, 0], stopped=Stopped(1, 60)))
    'drawn until 1 right, at most 60 draws each'
    >>> how_drawn(Counts([10, 40], [1, 1], stopped=FIXED))
    '10 to 40 draws each, a number fixed before drawing'
    """
    rule = counts.stopped
    if rule is not None and rule.successes:
        return f"drawn until {rule.successes} right" + (f", at most {rule.cap:,} draws each" if rule.cap else "")
    least, most = counts.least_n, int(counts.n.max())
    return f"{least:,} to {most:,} draws each, a number fixed before drawing" if most > least else ""


def stopped_note(counts: Counts) -> str:
    """What must be said of counts that what was drawn ended."""
    return (
        f"{how_drawn(counts).capitalize()}: counted by paths (Girshick, Mosteller and Savage 1946); no law is fitted to such "
        "a set and nothing is forecast from it."
    )


def facts_of(pool: SqlitePool, row: RunRow) -> dict[str, Any]:
    """What a run is, what it found, and what it cost, as ``vervet run --json`` says it."""
    identity, spent = row.identity, pool.spent(row.id)
    final = accuracy([_VERDICTS.get(answer.outcome) for answer in pool.answers(row.id)], identity["seed"])
    facts = {
        "task": identity["task"],
        "model": identity["models"]["model"],
        "architecture": identity["architecture"],
        "split": identity["split"],
        "problems": final.n_problems,
        "accuracy": final.value,
        "interval": (final.low, final.high),
        "not_judged": final.n_not_judged,
        "bounds": (final.least, final.most),
        "spent": {
            "fresh_samples": spent.fresh_samples,
            "prompt_tokens": spent.bill.prompt_tokens,
            "completion_tokens": spent.bill.completion_tokens,
            "calls": spent.calls,
            "unsettled_tokens": spent.bill.unsettled_tokens,
        },
        "seconds": round(row.seconds, 1),
        "run": row.id,
    }
    if others := pool.other_graders(row.id):
        facts["graded_by"] = others
    return facts
