"""The draws that runs used for a problem, with everything that was said of them: what an export is made of.

One problem at a time, so that memory holds the draws of one problem and never those of a pool.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from vervet.pool.coding import COLUMNS, N_COLUMNS, SAMPLE, decode
from vervet.pool.reports import Reports
from vervet.pool.schema import split_key
from vervet.types import Sample, Score, Stream

_COLUMNS = ", ".join(f"s.{name.strip()}" for name in COLUMNS.split(","))
_MEAN = [name.strip() for name in COLUMNS.split(",")].index("mean_logprob")


@dataclass(frozen=True, slots=True)
class DrawRow:
    """A stored sample and how it was used: ``n_tokens`` of it, as the text of digest ``text``, in a role.

    ``mean_logprob`` is over all of the sample. ``outcome`` None: not graded.
    """

    sample: Sample
    n_tokens: int
    text: int
    role: str
    mean_logprob: float | None
    answer: str | None
    key: str | None
    outcome: str | None


def draws_of(pool: Reports, problem: str, roles: Sequence[str], run: str | None = None) -> list[DrawRow]:
    """Every draw that was used for a problem in these roles, by all runs or by one; equal uses once.

    In an order that is the same in every pool: by replicate, index, model, question and scope.
    """
    marks = ",".join("?" * len(roles))
    chosen = "SELECT key FROM runs" + (" WHERE id = ?" if run else "")
    rows = pool._rows(
        f"SELECT {_COLUMNS}, u.n_tokens, u.text, min(u.role), v.answer, v.key, v.outcome, "
        "t.model, t.question, t.replicate, t.scope FROM uses u JOIN samples s ON s.address = u.address "
        "JOIN streams t ON t.id = s.address >> 32 "
        "LEFT JOIN verdicts v ON v.problem = u.problem AND v.text = u.text "
        f"WHERE u.run IN ({chosen}) AND u.problem = (SELECT key FROM problems WHERE id = ?) AND u.role IN ({marks}) "
        f"AND s.state = {SAMPLE} GROUP BY u.address, u.n_tokens, u.text "
        "ORDER BY t.replicate, s.address & 4294967295, t.model, t.question, t.scope, u.n_tokens",
        (*([run] if run else []), problem, *roles),
    )
    found = []
    for row in rows:
        sample = decode(row[:N_COLUMNS], Stream(*row[-4:]), split_key(row[0])[1])
        assert isinstance(sample, Sample)
        n_tokens, text, role, answer, key, outcome = row[N_COLUMNS:-4]
        found.append(DrawRow(sample, n_tokens, text, role, row[_MEAN], answer, key, outcome))
    return found


def scorers(pool: Reports) -> list[str]:
    """Everybody who scored texts of a pool, graders left out."""
    rows = pool._rows("SELECT DISTINCT scorer FROM scores WHERE scorer NOT LIKE 'grader:%' ORDER BY scorer")
    return [row[0] for row in rows]


def scores_of(pool: Reports, problem: str, scorers: Sequence[str]) -> dict[tuple[int, int], dict[str, Score]]:
    """What these scorers said of the texts of a problem: by replicate and text digest, then by scorer."""
    marks = ",".join("?" * len(scorers))
    rows = pool._rows(
        "SELECT replicate, text, scorer, value, accepted, steps, evidence, not_judged FROM scores "
        f"WHERE scorer IN ({marks}) AND problem = (SELECT key FROM problems WHERE id = ?) ORDER BY scorer",
        (*scorers, problem),
    )
    found: dict[tuple[int, int], dict[str, Score]] = {}
    for replicate, text, scorer, value, accepted, steps, *words in rows:
        score = Score(value, None if accepted is None else bool(accepted), tuple(json.loads(steps)), *words)
        found.setdefault((replicate, text), {})[scorer] = score
    return found


def problems_of(pool: Reports, run: str) -> list[str]:
    """The problems that a run used draws for, in the order in which they were added."""
    rows = pool._rows(
        "SELECT id FROM problems WHERE data IS NOT NULL AND key IN "
        "(SELECT problem FROM uses WHERE run = (SELECT key FROM runs WHERE id = ?)) ORDER BY key",
        (run,),
    )
    return [row[0] for row in rows]


def has_reasoning(pool: Reports) -> bool:
    """Whether any sample keeps reasoning apart from its text. Cost: at most one reading of the samples."""
    return bool(pool._rows(f"SELECT 1 FROM samples WHERE state = {SAMPLE} AND reasoning != '' LIMIT 1"))


def values_steps(pool: Reports, scorer: str) -> bool:
    """Whether a scorer gave values of steps."""
    return bool(pool._rows("SELECT 1 FROM scores WHERE scorer = ? AND steps NOT IN ('[]', '') LIMIT 1", (scorer,)))
