"""The loop: problem, architecture, grade, record. The only room that holds targets and graders.

A run is one architecture on one declared set of problems, seed and replicate; that is its identity. The same run again
goes on where it stopped, because its draws are in the pool.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from .batch import BatchFolder, Collected
from .budget import Budget, Purse, Wallet, expect_prices
from .errors import InBatch, LimitReached, Mistake, ModelError, NothingDrawn, OverContext, Unsupported, VervetError
from .estimate import Estimate, estimate
from .llm import LLM, Desk, Retry, World
from .models import load
from .operators import Operator, parse
from .pool import SqlitePool, open_pool
from .scaling.intervals import accuracy
from .tasks import task_of
from .types import Answer, Batch, Candidates, Example, Json, Model, Spent, Task, Verdict
from .verify import FORMS, READERS, SCORERS

T = TypeVar("T")
Listener = Callable[[str, Mapping[str, Any]], None]

_ANSWER_ROLES = ("answer", "repair")
_BARREN = 4  # problems without a sample after which a run that had none ends


def wait(coroutine: Awaitable[T]) -> T:
    """Run a coroutine to its end from plain code, a notebook's running event loop included.

    >>> wait(asyncio.sleep(0, "done"))
    'done'
    """

    async def main() -> T:
        return await coroutine

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    box: dict[str, Any] = {}

    def work() -> None:
        try:
            box["result"] = asyncio.run(main())
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=work, name="vervet")
    thread.start()
    thread.join()
    if "error" in box:
        raise box["error"]
    return box["result"]  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one problem: the final answer, its verdict, and why it is not a full one, if so."""

    problem: str
    text: str | None
    answer: Answer | None
    verdict: Verdict
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found and what it cost, over all its restarts.

    ``accuracy`` is the share of problems answered correctly, in [0, 1], with the 95 % ``interval`` for new problems;
    ``not_judged`` counts the problems without a verdict, and ``bounds`` takes them all wrong and all right.
    ``spent`` sums all restarts; ``fresh_now`` are the samples drawn by this start. ``ended`` names the limit that
    ended the run, or is None.
    """

    task: str
    model: str
    architecture: str
    problems: int
    accuracy: float
    interval: tuple[float, float]
    not_judged: int
    bounds: tuple[float, float]
    spent: Mapping[str, float | None]
    pool: str
    run: str
    fresh_now: int = 0
    ended: str | None = None
    collected: Collected | None = None
    waiting: tuple[Batch, ...] = ()
    outcomes: tuple[Outcome, ...] = field(default=(), repr=False)

    @property
    def data(self) -> dict[str, Json]:
        """The result as one JSON object, without the single outcomes."""
        data = asdict(self)
        del data["outcomes"], data["waiting"]
        return {**data, "files": [b.data for b in self.waiting], "requests": sum(b.n_draws for b in self.waiting)}


@dataclass(frozen=True, slots=True)
class Run:
    """One architecture on one declared set of problems. ``start()`` runs it from plain code, ``go()`` from async code.

    ``seed`` chooses the problems and the resampling, ``replicate`` the draws. ``pool`` is a path. ``wallet`` limits what is
    paid over all restarts, ``budget`` what is used per problem. ``replay`` draws nothing: a wallet of zero tokens.
    ``concurrency``: problems at once. ``base_url``: where an ``openai/NAME`` is served.
    ``batch``: a folder: what is missing is written there as batch files instead of being asked for. Raises ``Mistake``
    before anything is spent.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = Run("words", "generate(n=4) | vote()", model="fake/iid", problems=3, pool=f"{folder}/p.sqlite")
    ...     result = run.start()
    >>> result.spent["fresh_samples"]
    12
    """

    task: str
    architecture: str | Operator
    model: str | Model = "embedded"
    judge: str | Model | None = None
    problems: int = 100
    split: str = "development"
    level: int | None = None
    seed: int = 0
    replicate: int = 0
    pool: str = "vervet.sqlite"
    wallet: Wallet = Wallet()
    budget: Budget = Budget()
    replay: bool = False
    retry_failed: bool = False
    concurrency: int = 16
    base_url: str | None = None
    batch: str | None = None

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.replicate < 0:
            raise Mistake(f"expected concurrency >= 1 and replicate >= 0, got {self.concurrency=}, {self.replicate=}")

    def start(self, listen: Listener | None = None) -> Result:
        """Run it and wait for the result. ``listen`` is told of samples and problems as they come."""
        return wait(self.go(listen))

    async def go(self, listen: Listener | None = None) -> Result:
        """Run it in the running event loop."""
        operator = parse(self.architecture) if isinstance(self.architecture, str) else self.architecture
        task = task_of(self.task)
        examples = task.examples(self.split, self.problems, self.seed, self.level)
        models = self._models()
        self._check(operator, examples[0], models)
        try:
            with open_pool(self.pool) as pool:
                batch = BatchFolder(self.batch, pool, models) if self.batch else None
                shown = batch.models if batch else models
                return await Loop(self, task, operator, examples, shown, pool, listen or _silent, batch).go()
        finally:
            for model in models.values():
                await model.close()

    def estimate(self) -> Estimate:
        """What the run costs at the most, and by what this pool's samples cost so far; nothing is spent."""
        operator = parse(self.architecture) if isinstance(self.architecture, str) else self.architecture
        examples = task_of(self.task).examples(self.split, self.problems, self.seed, self.level)
        models = self._models()
        self._check(operator, examples[0], models)
        paid = {}
        if Path(self.pool).is_file():
            with open_pool(self.pool) as pool:
                paid = {name: pool.paid(model.name) for name, model in models.items()}
        return estimate(operator, [e.problem for e in examples], models, paid, in_batch=self.batch is not None)

    def _check(self, operator: Operator, example: Example, models: Mapping[str, Model]) -> None:
        check(operator, example, models)
        for model in models.values():
            expect_prices(model.name, model.supports.prices, self.wallet)
            expect_prices(model.name, model.supports.prices, self.budget)

    def _models(self) -> dict[str, Model]:
        models = {"": load(self.model, self.base_url) if isinstance(self.model, str) else self.model}
        if self.judge:
            models["judge"] = load(self.judge) if isinstance(self.judge, str) else self.judge
        return models

    def identity(self, operator: Operator, models: Mapping[str, Model]) -> dict[str, Json]:
        """What makes it this run and no other."""
        names = ("task", "problems", "split", "level", "seed", "replicate")
        identity = {name: getattr(self, name) for name in names}
        budget = {k: v for k, v in asdict(self.budget).items() if v is not None}
        named = {name or "model": model.name for name, model in models.items()}
        return {**identity, "architecture": repr(operator), "budget": budget, "models": named}


def _silent(kind: str, facts: Mapping[str, Any]) -> None:
    """Nobody listens."""


def check(operator: Operator, example: Example, models: Mapping[str, Model]) -> None:
    """Refuse, before anything is spent, scorers that are not there and roles that a model does not play."""
    for name in sorted(operator.scorers):
        if name == "verifier" and example.problem.verifier is None:
            raise Mistake(
                f"the task of {example.problem.id} has no verifier: select with vote() or best(by='mean_logprob')"
            )
        if name != "verifier" and name not in SCORERS:
            raise Mistake(f"expected a scorer (verifier, {', '.join(sorted(SCORERS))}), but got {name!r}")
    for part in operator.parts:
        name = getattr(part, "model", None) or ""
        if name not in models:
            raise Mistake(
                f"expected a model of this run ({', '.join(filter(None, models)) or 'none'}), but got {name!r}"
            )
        if missing := part.roles - models[name].supports.roles:
            known = ", ".join(sorted(models[name].supports.roles))
            raise Unsupported(
                f"{models[name].name} plays the roles {known}, but {part!r} asks for {', '.join(missing)}"
            )


@dataclass(slots=True)
class Loop:
    """One start of a run."""

    run: Run
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
        run_id = self.pool.start_run(self.run.identity(self.operator, self.models))
        before = self.pool.spent(run_id)
        collected = await self.batch.collect() if self.batch else None
        world = self._world(run_id, self.pool.spent(run_id))
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
            scorers=SCORERS, forms=FORMS, retry=Retry(), deadline=deadline, note=self.listen,
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
                self.listen("problem", {"outcome": outcome})

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
        limited = llm.desk.ended in ("wallet", "batch")
        if llm.desk.ended == "wallet":
            self.limit = "wallet"
        final = candidates.answer
        answer = None if final is None else final.answer
        verdict = self._verdict(example, answer, reason, failed or (limited and final is None))
        if not limited:
            self._record(world.run, example, llm.desk)
            self.pool.add_answer(world.run, problem.id, final.text if final else None, answer, verdict)
        return Outcome(problem.id, final.text if final else None, answer, verdict, limited)

    def _expect_some(self, desk: Desk, failed: str) -> None:
        """Where the first problems got no sample at all, nobody answers: end the run instead of failing all of it."""
        self.n_barren = self.n_barren + bool(failed) if not desk.uses and self.n_barren >= 0 else -1
        if self.n_barren >= min(_BARREN, len(self.examples)):
            raise ModelError(f"no sample came for the first {self.n_barren} problems: {failed}")

    def _verdict(self, example: Example, answer: Answer | None, reason: str, untried: bool) -> Verdict:
        """No answer is incorrect, unless a limit or a failure kept the problem from being tried; a grader may fail too."""
        if untried:
            return Verdict("not_judged", reason or "a limit ended the run before an answer")
        if answer is None:
            return Verdict("incorrect", reason or "no answer")
        try:
            return self.task.grade(example.problem, example.target, answer)
        except Exception as error:
            return Verdict("not_judged", f"the grader failed: {type(error).__name__}: {error}")

    def _record(self, run_id: str, example: Example, desk: Desk) -> None:
        """Every draw that was used, and the verdict of every one that is an answer."""
        self.pool.add_uses(run_id, [use for use, _ in desk.uses])
        verdicts: dict[int, tuple[Answer | None, Verdict]] = {}
        for use, sample in desk.uses:
            if use.role in _ANSWER_ROLES and use.text_digest not in verdicts:
                answer = READERS[example.problem.reader](example.problem, sample.text)
                verdicts[use.text_digest] = (answer, self._verdict(example, answer, "", False))
        self.pool.add_verdicts(example.problem.id, verdicts)

    def _result(self, run_id: str, before: Spent) -> Result:
        done = [self.outcomes[i] for i in sorted(self.outcomes)]
        right = [o.verdict.correct if o.verdict.judged else None for o in done]
        right += [None] * (len(self.examples) - len(done))
        found = accuracy(right, self.run.seed)
        spent = self.pool.spent(run_id)
        # A wallet that ended it may have room again when the draws that are out come in cheaper than they might.
        in_batch = self.in_batch or (self.limit is not None and self.pool.reserved(run_id).tokens > 0)
        return Result(
            task=self.run.task, model=self.models[""].name, architecture=repr(self.operator),
            problems=found.n_problems, accuracy=found.value, interval=(found.low, found.high),
            not_judged=found.n_not_judged, bounds=(found.least, found.most), spent=self._spent(run_id, spent),
            pool=self.run.pool, run=run_id, fresh_now=spent.fresh_samples - before.fresh_samples,
            ended="batch" if in_batch else self.limit, waiting=tuple(self.pool.batches()) if in_batch else (),
            outcomes=tuple(done),
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


def first_of(errors: BaseExceptionGroup[Any]) -> BaseException:
    """The first plain exception inside nested groups."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
