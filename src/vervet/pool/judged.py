"""What reports ask beside the curves: scores of a run's draws, how many it used, which draws two runs share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vervet.pool.reports import Reports


def scorers(pool: Reports, run: str) -> list[str]:
    """The scorers that judged texts of a run's problems, graders left out."""
    rows = pool._rows(
        "SELECT DISTINCT scorer FROM scores WHERE scorer NOT LIKE 'grader:%' AND problem IN "
        "(SELECT problem FROM uses WHERE run = (SELECT key FROM runs WHERE id = ?)) ORDER BY scorer",
        (run,),
    )
    return [row[0] for row in rows]


def scored(
    pool: Reports, run: str, scorer: str, operators: Sequence[str]
) -> Iterator[tuple[str, float | None, int | None]]:
    """Problem, the scorer's value, and whether it accepted, for each answer draw of these operators, by problem and order."""
    marks = ",".join("?" * len(operators))
    return pool._stream_rows(
        "SELECT p.id, s.value, s.accepted FROM runs r JOIN uses u ON u.run = r.key "
        "JOIN problems p ON p.key = u.problem "
        "LEFT JOIN scores s ON s.scorer = ? AND s.problem = u.problem AND s.text = u.text "
        "AND s.replicate = ifnull(json_extract(r.identity, '$.replicate'), 0) "
        f"WHERE r.id = ? AND u.role = 'answer' AND u.operator IN ({marks}) "
        "ORDER BY u.run, u.problem, u.operator, u.role, u.ord",
        (scorer, run, *operators),
    )


def n_used(pool: Reports, run: str) -> dict[str, tuple[int, int]]:
    """By problem: draws that a run used, and completion tokens of those that were no answers (judges, critiques).

    A draw that was used twice counts once, at its longest.
    """
    rows = pool._rows(
        "SELECT p.id, count(*), sum(CASE WHEN u.answer THEN 0 ELSE u.n END) FROM ("
        "SELECT problem, max(n_tokens) AS n, max(role IN ('answer', 'repair')) AS answer FROM uses "
        "WHERE run = (SELECT key FROM runs WHERE id = ?) GROUP BY problem, address"
        ") u JOIN problems p ON p.key = u.problem GROUP BY u.problem ORDER BY u.problem",
        (run,),
    )
    return {problem: (n, other) for problem, n, other in rows}


def drawn(pool: Reports, run: str) -> set[tuple[str, str, int, str, int]]:
    """The addresses that a run used: model, question, replicate, scope and index."""
    rows = pool._rows(
        "SELECT DISTINCT t.model, t.question, t.replicate, t.scope, u.address & 4294967295 FROM uses u "
        "JOIN streams t ON t.id = u.address >> 32 WHERE u.run = (SELECT key FROM runs WHERE id = ?)",
        (run,),
    )
    return {tuple(row) for row in rows}
