"""Where two pools say something of one thing: which of the two stays, or that they contradict one another.

Each takes the connection of ``copying`` before the rows of the attached pool are copied. What stays does not depend on
which pool came first. Raises Mistake with the place where both cannot be right.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from vervet.errors import Mistake
from vervet.pool.coding import COLUMNS, N_COLUMNS, Row, decode, supersedes
from vervet.pool.schema import INDEX_BITS, split_key
from vervet.types import Failure, Sample, Stored, Stream, Void

_BLOCK = 256  # samples that are compared at once
_MASK = (1 << INDEX_BITS) - 1
_NAMES = [name.strip() for name in COLUMNS.split(",")]


def expect_same_problems(db: sqlite3.Connection, path: str) -> None:
    """A problem of both pools is the same problem."""
    row = db.execute(
        "SELECT i.id, p.data = i.data FROM in_problems i JOIN main.problems p ON p.id = i.id WHERE p.data IS NOT NULL "
        "AND i.data IS NOT NULL AND (p.data, p.target) IS NOT (i.data, i.target) ORDER BY i.id LIMIT 1"
    ).fetchone()
    if row:
        what = "another target" if row[1] else "another content"
        raise Mistake(
            f"{path}: problem {row[0]} has {what} here than in the pools before it; merge only pools that agree"
        )


# --- samples -------------------------------------------------------------------------------------------


def samples(db: sqlite3.Connection, path: str) -> None:
    """Compare what lies at the addresses of both pools, and let the further one of two beginnings stay."""
    if not db.execute("SELECT 1 FROM main.samples LIMIT 1").fetchone():
        return
    here, there = (", ".join(f"{t}.{name}" for name in _NAMES) for t in "os")
    compared = ["state", *_NAMES[3:]]
    both = ", ".join(f"s.{name}" for name in compared), ", ".join(f"o.{name}" for name in compared)
    query = (
        f"SELECT {here}, {there}, t.model, t.question, t.replicate, t.scope FROM in_samples s "
        f"JOIN map_streams m ON m.old = s.address >> {INDEX_BITS} "
        f"JOIN main.samples o ON o.address = (m.new << {INDEX_BITS} | (s.address & {_MASK})) "
        f"JOIN main.streams t ON t.id = m.new "
        f"WHERE s.address > ? AND ({both[0]}) IS NOT ({both[1]}) ORDER BY s.address LIMIT {_BLOCK}"
    )
    names = ", ".join(compared)
    update = f"UPDATE main.samples SET ({names}) = ({', '.join('?' * len(compared))}) WHERE address = ?"
    last = -1
    while rows := db.execute(query, (last,)).fetchall():
        last = rows[-1][N_COLUMNS]
        better = [
            (*_compared(new), old[0]) for old, new, stream in map(_split, rows) if _replaces(old, new, stream, path)
        ]
        db.executemany(update, better)


def _split(row: Row) -> tuple[Row, Row, Stream]:
    return row[:N_COLUMNS], row[N_COLUMNS : 2 * N_COLUMNS], Stream(*row[2 * N_COLUMNS :])


def _compared(row: Row) -> Row:
    return (row[1], *row[3:])


def _replaces(old_row: Row, new_row: Row, stream: Stream, path: str) -> bool:
    """True where the row of the attached pool takes the place of the one that is there."""
    index = split_key(old_row[0])[1]
    old, new = decode(old_row, stream, index), decode(new_row, stream, index)
    if isinstance(old, Void) and isinstance(new, Void):
        return False
    if isinstance(old, Sample) and isinstance(new, Sample):
        if supersedes(old, new) or supersedes(new, old):
            return supersedes(old, new)
        if _content(old) == _content(new):
            return _fullness(new_row) > _fullness(old_row)
    elif isinstance(old, Failure) and isinstance(new, Failure) and old.kind == new.kind:
        return new.reason < old.reason
    raise Mistake(
        f"{path}: {stream.at(index)} is {_said(new)} here, {_said(old)} in the pools before it; one address holds one "
        "draw, so these pools cannot be one: keep them apart"
    )


def _content(sample: Sample) -> tuple[Any, ...]:
    return sample.text, sample.reasoning, sample.tool_calls, sample.n_tokens, sample.is_open


def _fullness(row: Row) -> tuple[int, str]:
    """Which of two rows of one text says more; where they say as much, an order that knows no files."""
    return sum(value is not None for value in row[3:]), repr(row[3:])


def _said(stored: Stored) -> str:
    if isinstance(stored, Sample):
        return f"the text {stored.text[:40]!r} ({stored.n_tokens} tokens)"
    return f"a draw that was {stored.kind}" if isinstance(stored, Failure) else "out of use"


# --- verdicts, scores, answers -------------------------------------------------------------------------


def judgements(db: sqlite3.Connection, path: str) -> None:
    """Verdicts, scores and final answers, and by which graders."""
    _expect_same_graders(db, path)
    same_class = _same_classes(db, path)
    _expect_same_scores(db, path)
    _expect_same_answers(db, path)
    judged = "WHERE {0}.outcome = 'not_judged' AND excluded.outcome != 'not_judged'"
    new = "answer = excluded.answer, key = excluded.key, outcome = excluded.outcome, reason = excluded.reason"
    db.execute(
        "INSERT INTO main.verdicts SELECT p.new, v.text, v.answer, v.key, v.outcome, v.reason FROM in_verdicts v "
        f"JOIN map_problems p ON p.old = v.problem WHERE true ON CONFLICT DO UPDATE SET {new} "
        + judged.format("verdicts")
    )
    db.execute(
        "INSERT INTO main.answers SELECT r.new, p.new, a.text, a.answer, a.key, a.outcome, a.reason FROM in_answers a "
        "JOIN map_runs r ON r.old = a.run JOIN map_problems p ON p.old = a.problem WHERE true "
        f"ON CONFLICT DO UPDATE SET text = excluded.text, {new} " + judged.format("answers")
    )
    db.execute(
        "INSERT INTO main.scores SELECT s.scorer, p.new, s.text, s.replicate, s.value, s.accepted, s.steps, s.evidence, "
        "s.not_judged FROM in_scores s JOIN map_problems p ON p.old = s.problem WHERE true ON CONFLICT DO UPDATE SET "
        "value = excluded.value, accepted = excluded.accepted, steps = excluded.steps, evidence = excluded.evidence, "
        "not_judged = excluded.not_judged WHERE excluded.not_judged = '' AND (scores.not_judged != '' "
        "OR (excluded.value, excluded.steps, excluded.evidence) < (scores.value, scores.steps, scores.evidence))"
    )
    db.execute(
        "INSERT OR IGNORE INTO main.regraded SELECT p.new, g.grader FROM in_regraded g "
        "JOIN map_problems p ON p.old = g.problem"
    )
    for problem, key, other in same_class:
        for table in ("verdicts", "answers"):
            db.execute(f"UPDATE main.{table} SET key = ? WHERE problem = ? AND key = ?", (key, problem, other))


def _expect_same_graders(db: sqlite3.Connection, path: str) -> None:
    row = db.execute(
        "SELECT p.id, ifnull(a.grader, 'its own'), ifnull(b.grader, 'its own') FROM map_problems m "
        "JOIN main.problems p ON p.key = m.new LEFT JOIN main.regraded a ON a.problem = m.new "
        "LEFT JOIN in_regraded b ON b.problem = m.old WHERE a.grader IS NOT b.grader "
        "AND EXISTS (SELECT 1 FROM main.verdicts v WHERE v.problem = m.new) "
        "AND EXISTS (SELECT 1 FROM in_verdicts v WHERE v.problem = m.old) ORDER BY p.id LIMIT 1"
    ).fetchone()
    if row:
        raise Mistake(
            f"{path}: problem {row[0]} was graded by {row[2]} grader here, by {row[1]} in the pools before it; "
            "bring them to one grader first: vervet regrade"
        )


def _same_classes(db: sqlite3.Connection, path: str) -> list[tuple[int, str, str]]:
    """Problem and two keys under which the pools keep one class of answers. Raises Mistake where verdicts differ."""
    rows = db.execute(
        "SELECT m.new, p.id, v.text, o.key, v.key, o.outcome, v.outcome FROM in_verdicts v "
        "JOIN map_problems m ON m.old = v.problem JOIN main.problems p ON p.key = m.new "
        "JOIN main.verdicts o ON (o.problem, o.text) = (m.new, v.text) "
        "WHERE (v.key, v.outcome) IS NOT (o.key, o.outcome) AND 'not_judged' NOT IN (v.outcome, o.outcome)"
    )
    classes: dict[tuple[int, str], str] = {}
    for problem, name, text, key, other, outcome, another in rows:
        if outcome != another or None in (key, other):
            raise Mistake(
                f"{path}: text {text} of problem {name} is {another} (key {other!r}) here, {outcome} (key {key!r}) in the "
                "pools before it; bring them to one grader first: vervet regrade"
            )
        low, high = sorted((_root(classes, problem, key), _root(classes, problem, other)))
        if low != high:
            classes[problem, high] = low
    return [(problem, _root(classes, problem, key), key) for problem, key in classes]


def _root(classes: dict[tuple[int, str], str], problem: int, key: str) -> str:
    while (problem, key) in classes:
        key = classes[problem, key]
    return key


def _expect_same_scores(db: sqlite3.Connection, path: str) -> None:
    row = db.execute(
        "SELECT p.id, s.scorer, s.text FROM in_scores s JOIN map_problems m ON m.old = s.problem "
        "JOIN main.problems p ON p.key = m.new JOIN main.scores o ON (o.scorer, o.problem, o.replicate, o.text) "
        "= (s.scorer, m.new, s.replicate, s.text) WHERE o.accepted IS NOT s.accepted "
        "AND o.not_judged = '' AND s.not_judged = '' LIMIT 1"
    ).fetchone()
    if row:
        raise Mistake(
            f"{path}: the scorer {row[1]} accepts text {row[2]} of problem {row[0]} in one pool and not in the other; "
            "bring them to one first: vervet regrade"
        )


def _expect_same_answers(db: sqlite3.Connection, path: str) -> None:
    row = db.execute(
        "SELECT p.id, a.text, o.text, t.id FROM in_answers a JOIN map_runs r ON r.old = a.run "
        "JOIN map_problems m ON m.old = a.problem JOIN main.problems p ON p.key = m.new "
        "JOIN main.runs t ON t.key = r.new JOIN main.answers o ON (o.run, o.problem) = (r.new, m.new) "
        "WHERE (a.text, a.outcome) IS NOT (o.text, o.outcome) AND 'not_judged' NOT IN (a.outcome, o.outcome) LIMIT 1"
    ).fetchone()
    if row:
        raise Mistake(
            f"{path}: run {row[3][:12]} answers problem {row[0]} with {(row[1] or '')[:40]!r} here, with "
            f"{(row[2] or '')[:40]!r} in the pools before it: one of them ended early; start that run again there first"
        )
