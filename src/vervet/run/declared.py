"""What of a run may be analysed: its declared draws, or what a rule that can be named left of them.

The unit of analysis is the declared index range of the run's first drawing. What was drawn until something happened has no
such range: drawing that stopped at the first accepted answer is counted by that rule, whatever else is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..errors import Mistake
from ..operators import Operator, parse
from ..operators.generate import Generate
from ..pool import SqlitePool
from ..pool.judged import drawn
from ..pool.rows import RunRow, UseRow
from ..rules import Accepted
from ..scaling.counts import Counts, Stopped
from ..scaling.draws import Draws
from ..types import canonical_json

FIRST = ("", "0:generate")  # the operator of an architecture's first drawing

_RIGHT = {"correct": True, "incorrect": False}


def has_architecture(row: RunRow) -> bool:
    """Whether a run drew by an architecture; what imports and regradings leave behind did not."""
    try:
        return bool(_architecture(row).parts)
    except Mistake:
        return False


def declared_draws(row: RunRow) -> int | None:
    """How many draws of each problem a run declared; None where what was drawn decided that, or it drew none."""
    try:
        n = _architecture(row).declared
    except Mistake:  # not an architecture of ours
        return None
    return None if row.identity.get("budget") else n


def expect_declared(row: RunRow) -> int:
    """How many draws per problem a run declared. Raises ``Mistake`` where what it drew decided that."""
    n = declared_draws(row)
    if n is None:
        raise Mistake(
            f"{row.identity['architecture']}: expected an architecture that begins with generate() and draws a number "
            "that nothing drawn decides (no until, cut or budget), since pass@k from other draws would be biased; "
            "analyse a run of generate(n=...) alone on the same pool"
        )
    return n


def draws_of(pool: SqlitePool, row: RunRow) -> Draws:
    """The declared draws of a run: problems x n. A refused or failed draw is there, as one without an answer.

    Tokens and logprobs that are known of no draw (an import) are no table of it.
    """
    n, tables = expect_declared(row), [table for _, table in _first_uses(pool, row)]
    lost, uses = [n - len(table) for table in tables], [use for table in tables for use in table]
    return Draws(
        keys=[[u.key for u in t] + [None] * k for t, k in zip(tables, lost, strict=True)],
        correct=[[_RIGHT.get(u.outcome or "") for u in t] + [False] * k for t, k in zip(tables, lost, strict=True)],
        tokens=[[u.n_tokens for u in t] + [0] * k for t, k in zip(tables, lost, strict=True)]
        if any(u.n_tokens for u in uses)
        else None,
        mean_logprob=[[u.mean_logprob for u in t] + [None] * k for t, k in zip(tables, lost, strict=True)]
        if any(u.mean_logprob is not None for u in uses)
        else None,
    )


def counts_of(pool: SqlitePool, row: RunRow) -> Counts:
    """Draws and right draws of each finished problem of a run; a draw that was not judged counts as wrong.

    A run that stopped at the first answer that a verifier accepts is counted under that rule, if the verifier accepted just
    what is right and no draw was lost. Raises ``Mistake`` where nothing unbiased can be said of it.
    """
    tables = _first_uses(pool, row)
    name, names = str(row.identity["architecture"]), [problem for problem, _ in tables]
    right = [sum(u.outcome == "correct" for u in table) for _, table in tables]
    rule = _stopped(row)
    if rule is None:
        return Counts([expect_declared(row)] * len(names), right, name, names)
    if why := _misled(pool, row, tables, rule):
        raise Mistake(f"{name}: {why}, so coverage cannot be told from it; analyse a run of generate(n=...) alone")
    return Counts([len(table) for _, table in tables], right, name, names, rule)


def solved_by(pool: SqlitePool, row: RunRow, k: int) -> dict[str, bool]:
    """By problem, whether one of the first ``k`` draws of a run was right."""
    return {
        name: any(use.outcome == "correct" for use in table if use.order < k) for name, table in _first_uses(pool, row)
    }


def same_question(one: RunRow, other: RunRow) -> bool:
    """Whether two runs begin by asking the same model the same of problems of one task, for any number of draws."""
    if any(one.identity.get(name) != other.identity.get(name) for name in ("task", "data")):
        return False
    if one.identity["models"] != other.identity["models"]:
        return False
    try:
        first, second = (_bare(_architecture(row).parts[0]) for row in (one, other))
    except Mistake:
        return False
    return first is not None and first == second


def first_drawing(row: RunRow) -> str:
    """What a run's declared draws are: equal for runs that begin with the same draws; "" where it declared none."""
    if declared_draws(row) is None:
        return ""
    rest = {name: value for name, value in row.identity.items() if name not in ("architecture", "budget")}
    return canonical_json([rest, repr(_architecture(row).parts[0])])


def _architecture(row: RunRow) -> Operator:
    return parse(str(row.identity["architecture"]))


def _bare(operator: Operator) -> Operator | None:
    return replace(operator, n=1, until=None, ahead=None) if isinstance(operator, Generate) else None


def _stopped(row: RunRow) -> Stopped | None:
    """The rule of a run that drew until its verifier accepted, and nothing else decided; None for any other."""
    try:
        first = _architecture(row).parts[0]
    except Mistake:
        return None
    if not isinstance(first, Generate) or first.cut or row.identity.get("budget"):
        return None
    return Stopped(1, first.n) if isinstance(first.until, Accepted) else None


def _misled(pool: SqlitePool, row: RunRow, tables: Sequence[tuple[str, list[UseRow]]], rule: Stopped) -> str:
    """Why a run that stopped at what its verifier accepted did not stop at the first right answers; "" where it did."""
    used = drawn(pool, row.id)
    n_used = Counter(use[:-1] for use in used)  # by stream, whose indices begin at 0
    if any(use[-1] >= n_used[use[:-1]] for use in used) or not all(table for _, table in tables):
        return "a draw of it was refused or failed, and nothing says at which place"
    for problem, table in tables:
        *before, last = [use.outcome == "correct" for use in table]
        if any(before) or not (last or len(table) == rule.cap):
            return (
                "it stopped at the first answer that its verifier accepted, which is not always the first right one "
                f"({problem}: {sum(before) + last} right of {len(table)} draws)"
            )
    return ""


def _first_uses(pool: SqlitePool, row: RunRow) -> list[tuple[str, list[UseRow]]]:
    """The draws of every finished problem, none where all of them were refused or failed. Raises where no problem has one."""
    tables: dict[str, list[UseRow]] = {answer.problem: [] for answer in pool.answers(row.id)}
    for use in pool.answer_uses(row.id):
        if use.problem in tables and use.operator in FIRST:
            tables[use.problem].append(use)
    if not any(tables.values()):
        raise Mistake(f"run {row.id[:12]}: no draw of a finished problem was used; start the run again to go on")
    return list(tables.items())
