"""Reading for people: what is in the pool, and the rows that figures are made of."""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vervet.errors import Mistake
from vervet.pool.coding import COLUMNS, N_COLUMNS, SAMPLE, VOID, decode, mean_of
from vervet.pool.rows import AnswerRow, PoolInfo, RunRow, UseRow
from vervet.pool.schema import SCHEMA_VERSION, TABLES, quick_check, split_key
from vervet.types import Bill, Example, Problem, Question, Sample, Spent, Stream, Verdict

_SAMPLE_ROW = (
    "SELECT " + ", ".join(f"s.{c.strip()}" for c in COLUMNS.split(",")) + ", t.model, t.question, t.replicate, t.scope "
)
_STREAM_COLUMNS = 4


def run_named(name: str, ids: Sequence[str], path: str) -> str:
    """The one of the runs of a pool whose id begins with ``name``. Raises ``Mistake`` where there is none, or more than one.

    >>> run_named("8b", ["84a0", "8bf3"], "x.pool")
    '8bf3'
    """
    found = [run for run in ids if run.startswith(name)]
    if len(found) > 1:
        listed = ", ".join(run[:12] for run in found)
        raise Mistake(f"{name!r} begins several runs of {path} ({listed}): give more of the id")
    if not found:
        known = ", ".join(run[:12] for run in ids) or "none: start one with vervet run"
        raise Mistake(f"expected a run of {path} ({known}), but got {name!r}")
    return found[0]


class Reports(ABC):
    """The reading half of a pool; a subclass gives ``_rows``, and ``_cursor`` for what is too long for a list."""

    path: str

    @abstractmethod
    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, one's own queued writes included."""

    @abstractmethod
    def _stream_rows(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """The same, row by row."""

    def runs(self) -> list[RunRow]:
        """The runs, oldest first."""
        rows = self._rows("SELECT id, identity, seconds FROM runs ORDER BY created, key")
        return [RunRow(run, json.loads(identity), seconds) for run, identity, seconds in rows]

    def run_of(self, name: str) -> RunRow:
        """The run whose id begins so. Raises ``Mistake`` where there is none, or more than one."""
        rows = {row.id: row for row in self.runs()}
        return rows[run_named(name, list(rows), self.path)]

    def info(self) -> PoolInfo:
        """Counts by table, bytes, samples by model, open calls."""
        counts = {table: int(self._rows(f"SELECT count(*) FROM {table}")[0][0]) for table in TABLES}
        models = self._rows(
            "SELECT t.model, sum(c.n_samples) FROM calls c JOIN streams t ON t.id = c.stream GROUP BY t.model"
        )
        n_open = int(self._rows("SELECT count(*) FROM calls WHERE state = 0")[0][0])
        files = [Path(self.path + suffix) for suffix in ("", "-wal")]
        n_bytes = sum(file.stat().st_size for file in files if file.exists())
        return PoolInfo(self.path, SCHEMA_VERSION, n_bytes, counts, dict(models), n_open)

    def paid(self, model: str) -> Spent:
        """What all runs paid for one model, and what that brought."""
        row = self._rows(
            "SELECT sum(c.prompt_tokens), sum(c.completion_tokens), sum(c.usd), count(*), sum(c.n_samples) "
            "FROM calls c JOIN streams t ON t.id = c.stream WHERE t.model = ?",
            (model,),
        )[0]
        prompt, completion, usd, n_calls, n_samples = (value or 0 for value in row)
        return Spent(Bill(prompt, completion, usd=float(usd)), n_calls, n_samples)

    def check(self) -> list[str]:
        """Every place where the pool is damaged (reads the whole file); empty where it is whole."""
        found = quick_check(self.path)
        if found:
            return found
        for row in self._stream_rows(_SAMPLE_ROW + "FROM samples s LEFT JOIN streams t ON t.id = s.address >> 32"):
            try:
                if row[N_COLUMNS] is None:
                    found.append(f"table samples, rowid {row[0]}: expected a row of table streams, got none")
                else:
                    _stored(row)
            except Exception as error:
                found.append(str(error))
        return found

    def problem(self, problem: str) -> Example | None:
        """A problem with its target, None where it was never added."""
        rows = self._rows("SELECT data, target, level FROM problems WHERE id = ? AND data IS NOT NULL", (problem,))
        if not rows:
            return None
        data, target, level = rows[0]
        fields = json.loads(data)
        return Example(Problem(**{**fields, "messages": tuple(fields["messages"])}), json.loads(target), level)

    def problems(self) -> list[str]:
        """The ids of the problems, in the order in which they were added."""
        return [row[0] for row in self._rows("SELECT id FROM problems WHERE data IS NOT NULL ORDER BY key")]

    def question(self, digest: str) -> Question:
        """The question with this digest; Mistake where there is none."""
        rows = self._rows("SELECT data FROM questions WHERE digest = ?", (digest,))
        if not rows:
            raise Mistake(f"expected the digest of a question in {self.path}, got {digest!r}")
        fields: Any = json.loads(rows[0][0])
        fields.update({name: tuple(fields[name]) for name in ("messages", "tools") if name in fields})
        return Question(**fields)

    def answer_uses(self, run: str, role: str = "answer") -> Iterator[UseRow]:
        """The draws that a run used in a role, by problem and order, with their verdicts.

        The mean logprob was computed when the sample was written; only where fewer tokens were used than are stored
        it is computed from the column.
        """
        rows = self._stream_rows(
            "SELECT p.id, u.operator, u.ord, v.key, v.outcome, u.n_tokens, s.mean_logprob, "
            "ifnull(length(s.text), 0), "
            "CASE WHEN u.n_tokens < s.n_tokens THEN substr(s.logprob, 1, 2 * u.n_tokens) END "
            "FROM uses u JOIN problems p ON p.key = u.problem "
            "LEFT JOIN verdicts v ON v.problem = u.problem AND v.text = u.text "
            f"LEFT JOIN samples s ON s.address = u.address AND s.state != {VOID} "
            "WHERE u.run = (SELECT key FROM runs WHERE id = ?) AND u.role = ? "
            "ORDER BY u.run, u.problem, u.operator, u.role, u.ord",
            (run, role),
        )
        for problem, operator, order, key, outcome, n_tokens, mean, length, part in rows:
            if part is not None:
                mean = mean_of(part)
            yield UseRow(problem, operator, order, key, outcome, n_tokens, mean, length)

    def used(self, run: str, operators: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
        """Prompt and completion tokens that a run used for each problem, paid or replayed; a prompt once a question.

        ``operators``: only what these drew.
        """
        which = f"AND operator IN ({','.join('?' * len(operators))}) " if operators else ""
        rows = self._rows(
            "SELECT p.id, sum(x.prompt), sum(x.completion) FROM ("
            "SELECT u.problem, ifnull(max(s.prompt_tokens), 0) AS prompt, sum(u.n) AS completion FROM ("
            "SELECT problem, address, max(n_tokens) AS n FROM uses WHERE run = (SELECT key FROM runs WHERE id = ?) "
            f"{which}GROUP BY problem, address) u LEFT JOIN samples s ON s.address = u.address GROUP BY u.problem, u.address >> 32"
            ") x JOIN problems p ON p.key = x.problem GROUP BY x.problem ORDER BY x.problem",
            (run, *operators),
        )
        return {problem: (prompt, completion) for problem, prompt, completion in rows}

    def verifiers(self, run: str) -> list[str]:
        """The scorers that accepted or rejected draws of a run."""
        rows = self._rows(
            "SELECT DISTINCT scorer FROM scores WHERE accepted IS NOT NULL AND scorer NOT LIKE 'grader:%' AND problem IN "
            "(SELECT problem FROM uses WHERE run = (SELECT key FROM runs WHERE id = ?)) ORDER BY scorer",
            (run,),
        )
        return [row[0] for row in rows]

    def checked(
        self, run: str, scorer: str, operators: Sequence[str], role: str = "answer"
    ) -> Iterator[tuple[str, int | None, str | None]]:
        """Problem, whether the scorer accepted, and the verdict, for each draw of these operators, by problem and order."""
        marks = ",".join("?" * len(operators))
        return self._stream_rows(
            "SELECT p.id, s.accepted, v.outcome FROM runs r JOIN uses u ON u.run = r.key "
            "JOIN problems p ON p.key = u.problem "
            "LEFT JOIN verdicts v ON v.problem = u.problem AND v.text = u.text "
            "LEFT JOIN scores s ON s.scorer = ? AND s.problem = u.problem AND s.text = u.text "
            "AND s.replicate = ifnull(json_extract(r.identity, '$.replicate'), 0) "
            f"WHERE r.id = ? AND u.role = ? AND u.operator IN ({marks}) "
            "ORDER BY u.run, u.problem, u.operator, u.role, u.ord",
            (scorer, run, role, *operators),
        )

    def used_samples(self, problem: str, roles: Sequence[str]) -> list[tuple[int, int, Sample]]:
        """Text digest, tokens used and sample of every draw that was used for a problem in these roles, once a text."""
        marks = ",".join("?" * len(roles))
        rows = self._rows(
            _SAMPLE_ROW + ", u.text, u.n_tokens FROM uses u JOIN samples s ON s.address = u.address "
            "JOIN streams t ON t.id = s.address >> 32 WHERE u.run IN (SELECT key FROM runs) "
            f"AND u.problem = (SELECT key FROM problems WHERE id = ?) AND u.role IN ({marks}) "
            f"AND s.state = {SAMPLE} GROUP BY u.text ORDER BY u.text",
            (problem, *roles),
        )
        return [(row[-2], row[-1], _stored(row)) for row in rows]

    def task_of(self, problem: str) -> str:
        """The name of the task that a problem is of; Mistake where there is no such problem."""
        rows = self._rows("SELECT task FROM problems WHERE id = ? AND data IS NOT NULL", (problem,))
        if not rows:
            raise Mistake(f"expected the id of a problem of {self.path}, got {problem!r}")
        return str(rows[0][0])

    def verdicts(self, problem: str) -> dict[int, Verdict]:
        """The verdicts on the texts of a problem, by text digest."""
        sql = "SELECT text, outcome, reason FROM verdicts WHERE problem = (SELECT key FROM problems WHERE id = ?)"
        return {text: Verdict(outcome, reason) for text, outcome, reason in self._rows(sql, (problem,))}

    def other_graders(self, run: str) -> list[str]:
        """The graders, other than its task's, whose verdicts stand on problems of a run."""
        sql = (
            "SELECT DISTINCT grader FROM regraded WHERE problem IN "
            "(SELECT problem FROM answers WHERE run = (SELECT key FROM runs WHERE id = ?)) ORDER BY grader"
        )
        return [row[0] for row in self._rows(sql, (run,))]

    def samples_of(self, name: str, limit: int = 100, run: str = "") -> list[Sample]:
        """Samples that were used for a problem (by its id), by one run or by any, or drawn from a question (by its digest)."""
        rows = self._rows(
            _SAMPLE_ROW + "FROM samples s JOIN streams t ON t.id = s.address >> 32 WHERE s.address IN "
            "(SELECT address FROM uses WHERE run IN (SELECT key FROM runs WHERE ? IN (id, '')) "
            "AND problem = (SELECT key FROM problems WHERE id = ?)) "
            f"AND s.state = {SAMPLE} ORDER BY s.address LIMIT ?",
            (run, name, limit),
        ) or self._rows(
            _SAMPLE_ROW + "FROM streams t JOIN samples s ON s.address BETWEEN t.id << 32 AND (t.id << 32) + 4294967295 "
            f"WHERE t.question = ? AND s.state = {SAMPLE} ORDER BY s.address LIMIT ?",
            (name, limit),
        )
        return [sample for row in rows if isinstance(sample := _stored(row), Sample)]

    def replayed(self, run: str) -> int:
        """How many of the draws that a run used it did not pay for itself."""
        rows = self._rows(
            "SELECT count(DISTINCT u.address) FROM uses u JOIN runs r ON r.key = u.run "
            "LEFT JOIN samples s ON s.address = u.address LEFT JOIN calls c ON c.id = s.call "
            "WHERE r.id = ? AND c.run IS NOT r.key",
            (run,),
        )
        return int(rows[0][0])

    def answers(self, run: str) -> list[AnswerRow]:
        """The final answers of a run, in the order in which the problems were added."""
        rows = self._rows(
            "SELECT p.id, a.text, a.answer, a.key, a.outcome, a.reason FROM answers a "
            "JOIN problems p ON p.key = a.problem WHERE a.run = (SELECT key FROM runs WHERE id = ?) ORDER BY a.problem",
            (run,),
        )
        return [AnswerRow(*row) for row in rows]


def _stored(row: sqlite3.Row | tuple[Any, ...]) -> Any:
    return decode(tuple(row[:N_COLUMNS]), Stream(*row[N_COLUMNS : N_COLUMNS + _STREAM_COLUMNS]), split_key(row[0])[1])
