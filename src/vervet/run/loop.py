"""One start of a run: every problem through the architecture, graded and recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..batch import BatchFolder
from ..budget import Purse, Wallet
from ..errors import InBatch, LimitReached, ModelError, NothingDrawn, OverContext, VervetError, first_of
from ..llm import LLM, Desk, Retry, World
from ..operators import Operator
from ..pool import SqlitePool
from ..pool.rows import RunRow
from ..scaling.intervals import accuracy
from ..types import Candidate, Candidates, Example, Json, Model, Spent, Task, Verdict, text_digest
from ..verify import FORMS, GROUPERS, READERS, SCORERS
from .foretold import foretell
from .grading import answers_of, graded, verifier_figures, verify_all
from .results import Outcome, Result

if TYPE_CHECKING:
    from .plan import Run

Listener = Callable[[str, Mapping[str, Any]], None]

_BARREN = 4  # problems without a sample after which a run that had none ends


def silent(kind: str, facts: Mapping[str, object]) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Loop:
    """One start of a run."""

    run: Run
    identity: Mapping[str, Json]
    task: Task
    operator: Operator
    examples: list[Example]
    models: Mapping[str, Model]
    pool: SqlitePool
    listen: Listener
    batch: BatchFolder | None = None
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    limit: str | None = None
    in_batch: bool = False
    n_barren: int = 0  # problems without any sample so far; -1 once one had some

    async def go(self) -> Result:
        """Every problem through the architecture; then the result."""
        begun = monotonic()
        run_id = self.pool.start_run(self.identity)
        before = self.pool.spent(run_id)
        collected = await self.batch.collect() if self.batch else None
        world = self._world(run_id, self.pool.spent(run_id))
        for line in self.task.skipped:
            self.listen("skipped", {"line": line})
        self.listen("run", {"run": run_id, "problems": len(self.examples), "spent": before})
        try:
            await self._all(world)
        finally:
            self.pool.add_seconds(run_id, monotonic() - begun)
        await self.pool.flush()
        return replace(self._result(run_id, before), collected=collected)

    def _world(self, run_id: str, before: Spent) -> World:
        if self.run.retry_failed:
            self.pool.forget_failures(run_id)
        wallet = Wallet(tokens=0) if self.run.replay else self.run.wallet
        deadline = None
        if wallet.seconds is not None:
            deadline = asyncio.get_running_loop().time() + max(0.0, wallet.seconds - before.seconds)
        return World(
            pool=self.pool, models=self.models, run=run_id, replicate=self.run.replicate, readers=READERS,
            scorers=SCORERS, forms=FORMS, groupers=GROUPERS, retry=Retry(), deadline=deadline, note=self.listen,
            purse=Purse(wallet) if self.run.replay else Purse(wallet, before, self.pool.reserved(run_id)),
            kept=self.pool.kept_failures(run_id), waiting=self.batch.waiting if self.batch else None,
        )  # fmt: skip

    async def _all(self, world: World) -> None:
        """``concurrency`` workers take the problems in order, until all are done or a limit ended the run."""
        waiting: Iterator[tuple[int, Example]] = iter(enumerate(self.examples))

        async def work() -> None:
            for i, example in waiting:
                if self.limit is not None:
                    return
                self.outcomes[i] = outcome = await self._solve(world, example)
                self.listen("problem", {"outcome": outcome, "correct": outcome.verdict.correct})

        try:
            async with asyncio.TaskGroup() as group:
                # What waits for a batch file costs nothing: then all problems are begun.
                n = len(self.examples) if self.batch else min(self.run.concurrency, len(self.examples))
                workers = [group.create_task(work()) for _ in range(n)]
                if self.batch:
                    group.create_task(self.batch.send_when_all_waits(world.purse, workers))
        except* VervetError as errors:
            raise first_of(errors) from None

    async def _solve(self, world: World, example: Example) -> Outcome:
        """One problem: architecture, verdict, record."""
        problem = example.problem
        self.pool.add_problem(self.task.name, example)
        llm = LLM.at_desk(world, problem, self.run.budget)
        reason, failed = "", False
        try:
            candidates = await self.operator(problem, Candidates(), llm)
        except LimitReached as error:
            candidates, reason = Candidates(), str(error)
            llm.desk.ended = llm.desk.ended or ("wallet" if "wallet" in reason else "budget")
        except InBatch as error:
            candidates, reason, llm.desk.ended = Candidates(), str(error), "batch"
            self.in_batch = True
        except OverContext as error:
            candidates, reason = Candidates(), str(error)
        except NothingDrawn as error:
            candidates, reason, failed = Candidates(), str(error), not error.refused
        self._expect_some(llm.desk, reason if failed else "")
        if llm.desk.ended == "wallet":
            self.limit = "wallet"
        return await self._judged(world, example, llm.desk, candidates.answer, reason, failed)

    async def _judged(
        self, world: World, example: Example, desk: Desk, final: Candidate | None, reason: str, failed: bool
    ) -> Outcome:
        """The verdict of the final answer, and of every answer that was drawn: recorded unless a limit ended it."""
        problem, limited = example.problem, desk.ended in ("wallet", "batch")
        texts = {} if limited else answers_of(desk, READERS)
        if final is not None:
            texts[text_digest(final.text)] = final
        rows = await graded(self.task.grader, example, texts, LLM.at_desk(world, problem))
        if final is not None:
            answer, verdict = rows[text_digest(final.text)]
        elif failed or limited:
            answer, verdict = None, Verdict("not_judged", reason or "a limit ended the run before an answer")
        else:
            answer, verdict = None, Verdict("incorrect", reason or "no answer")
        if not limited:
            self.pool.add_uses(world.run, [use for use, _ in desk.uses])
            self.pool.add_verdicts(problem.id, rows)
            self.pool.note_grader(problem.id, None)
            self.pool.add_answer(world.run, problem.id, final.text if final else None, answer, verdict)
            await verify_all(self.operator, texts, LLM.at_desk(world, problem))
        return Outcome(problem.id, final.text if final else None, final.answer if final else None, verdict, limited)

    def _expect_some(self, desk: Desk, failed: str) -> None:
        """Where the first problems got no sample at all, nobody answers: end the run instead of failing all of it."""
        self.n_barren = self.n_barren + bool(failed) if not desk.uses and self.n_barren >= 0 else -1
        if self.n_barren >= min(_BARREN, len(self.examples)):
            raise ModelError(f"no sample came for the first {self.n_barren} problems: {failed}")

    def _result(self, run_id: str, before: Spent) -> Result:
        done = [self.outcomes[i] for i in sorted(self.outcomes)]
        right = [o.verdict.correct if o.verdict.judged else None for o in done]
        right += [None] * (len(self.examples) - len(done))
        found = accuracy(right, self.run.seed)
        spent = self.pool.spent(run_id)
        # A wallet that ended it may have room again when the draws that are out come in cheaper than they might.
        in_batch = self.in_batch or (self.limit is not None and self.pool.reserved(run_id).tokens > 0)
        row = RunRow(run_id, self.identity, spent.seconds)
        return Result(
            task=self.run.task, model=self.models[""].name, architecture=repr(self.operator),
            problems=found.n_problems, accuracy=found.value, interval=(found.low, found.high),
            not_judged=found.n_not_judged, bounds=(found.least, found.most), spent=self._spent(run_id, spent),
            pool=self.run.pool, run=run_id, fresh_now=spent.fresh_samples - before.fresh_samples,
            ended="batch" if in_batch else self.limit, waiting=tuple(self.pool.batches()) if in_batch else (),
            verifiers=verifier_figures(self.pool, row),
            totals=self.task.totals([(self.examples[i], self.outcomes[i].text) for i in sorted(self.outcomes)]),
            skipped=tuple(self.task.skipped), outcomes=tuple(done),
            forecasts=() if in_batch or self.limit else tuple(foretell(self.pool, row)),
        )  # fmt: skip

    def _spent(self, run_id: str, spent: Spent) -> dict[str, float | None]:
        return {
            "fresh_samples": spent.fresh_samples,
            "replayed_samples": self.pool.replayed(run_id),
            "prompt_tokens": spent.bill.prompt_tokens,
            "completion_tokens": spent.bill.completion_tokens,
            "cached_prompt_tokens": spent.bill.cached_prompt_tokens,
            "reasoning_tokens": spent.bill.reasoning_tokens,
            "calls": spent.calls,
            "seconds": round(spent.seconds, 3),
            "unsettled_tokens": spent.bill.unsettled_tokens,
            "usd": spent.bill.usd if any(m.supports.prices for m in self.models.values()) else None,
        }
