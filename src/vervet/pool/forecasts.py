"""What was foretold of a run, kept before it could be known: later draws confirm it or refute it.

The first forecast of a law from n draws at k stays, so that nobody can put a better one in its place afterwards.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from vervet.pool.coding import storable
from vervet.pool.ledger import SETTLED, Ledger
from vervet.pool.rows import CallTime, ForecastRow, Foretold


class Forecasts(ABC):
    """The part of a pool that keeps forecasts, and when its calls were made; a subclass gives the queue and the reader."""

    @abstractmethod
    def _put(self, work: Callable[[Ledger], Any]) -> None:
        """Queue work for the writer."""

    @abstractmethod
    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, one's own queued writes included."""

    @abstractmethod
    def _expect_run(self, run: str) -> None:
        """Raise Mistake where the pool knows no such run."""

    def add_forecasts(self, run: str, rows: Sequence[Foretold]) -> None:
        """Keep forecasts of a run, made now; of one law, target, n and k the first stays."""
        self._expect_run(run)
        made = time.time()
        values = [(r.n, r.k, storable(r.law), storable(r.target), r.value, r.low, r.high, r.level, made) for r in rows]

        def work(ledger: Ledger) -> None:
            key = ledger.run_key(run)
            sql = "INSERT OR IGNORE INTO forecasts VALUES (?,?,?,?,?,?,?,?,?,?)"
            ledger.db.executemany(sql, [(key, *row) for row in values])

        self._put(work)

    def forget_forecasts(self) -> None:
        """Let go of all forecasts: what they were made from is judged otherwise now."""
        self._put(lambda ledger: ledger.db.execute("DELETE FROM forecasts"))

    def forecasts(self, run: str | None = None) -> list[ForecastRow]:
        """The forecasts of a run, or of all, in the order of runs, n, k, law and target."""
        rows = self._rows(
            "SELECT r.id, f.law, f.target, f.n, f.k, f.value, f.low, f.high, f.level, f.made FROM forecasts f "
            "JOIN runs r ON r.key = f.run WHERE ? IN (r.id, '') ORDER BY f.run, f.n, f.k, f.law, f.target",
            (run or "",),
        )
        return [
            ForecastRow(*row[:5], *(math.nan if v is None else v for v in row[5:8]), *row[8:]) for row in rows
        ]  # SQLite has no word for what is not a number

    def call_times(self, run: str) -> list[CallTime]:
        """When the settled calls of a run began and how long each took, in the order in which they began."""
        rows = self._rows(
            f"SELECT started, seconds FROM calls WHERE state = {SETTLED} "
            "AND run = (SELECT key FROM runs WHERE id = ?) ORDER BY started, id",
            (run,),
        )
        return [CallTime(*row) for row in rows]
