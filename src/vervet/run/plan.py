"""A run: one architecture on one declared set of problems, seed and replicate; that is its identity.

The same run again goes on where it stopped, because its draws are in the pool.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import sandbox
from ..batch import BatchFolder
from ..budget import Budget, Wallet, expect_prices
from ..errors import Mistake, Unsupported
from ..estimate import Estimate, estimate
from ..models import load
from ..models.imported import Imported
from ..models.rating import Rating
from ..operators import Operator, parse
from ..pool import open_pool
from ..tasks import TaskOptions, task_of
from ..tasks.stored import pool_of
from ..types import Example, Json, Model, Task
from ..verify import EXECUTING, GRADERS, READERS, SCORERS
from .loop import Listener, Loop, silent
from .results import Result
from .waiting import wait

_DEFAULT_PROBLEMS = 100  # of a task whose problems have no end


@dataclass(frozen=True, slots=True)
class Run:
    """One architecture on one declared set of problems. ``start()`` runs it from plain code, ``go()`` from async code.

    ``seed`` chooses the problems and the resampling, ``replicate`` the draws. ``pool`` is a path (default: FILE of a task
    ``pool:FILE``, else ``vervet.sqlite``). ``wallet`` limits what is paid over all restarts, ``budget`` what is used per
    problem. ``replay`` draws nothing: a wallet of zero tokens.
    ``concurrency``: problems at once. ``base_url``: where an ``openai/NAME`` is served.
    ``batch``: a folder: what is missing is written there as batch files instead of being asked for. ``problems``: how many
    (default: 100, or all of a file); ``split``: the task's first where None. ``judge`` plays the other roles, ``reward``
    gives texts a value; ``options`` say where problems come from and how they are asked. Raises ``Mistake`` before anything
    is spent.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = Run("words", "generate(n=4) | vote()", model="fake/iid", problems=3, pool=f"{folder}/p.sqlite")
    ...     result = run.start()
    >>> result.spent["fresh_samples"]
    12
    """

    task: str
    architecture: str | Operator
    model: str | Model | None = None
    judge: str | Model | None = None
    problems: int | None = None
    split: str | None = None
    level: int | None = None
    seed: int = 0
    replicate: int = 0
    pool: str = ""
    wallet: Wallet = Wallet()
    budget: Budget = Budget()
    replay: bool = False
    retry_failed: bool = False
    concurrency: int = 16
    base_url: str | None = None
    batch: str | None = None
    reward: str | Model | None = None
    options: TaskOptions = TaskOptions()

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.replicate < 0 or self.seed < 0:
            raise Mistake(
                f"expected concurrency >= 1, replicate >= 0 and seed >= 0, got {self.concurrency=}, {self.replicate=}, {self.seed=}"
            )
        object.__setattr__(self, "pool", self.pool or pool_of(self.task) or "vervet.sqlite")

    def start(self, listen: Listener | None = None) -> Result:
        """Run it and wait for the result. ``listen`` is told of samples and problems as they come."""
        return wait(self.go(listen))

    async def go(self, listen: Listener | None = None) -> Result:
        """Run it in the running event loop."""
        operator, task, examples = self._prepared()
        models = self._models(task)
        self._check(operator, task, examples, models)
        identity = self.identity(operator, models, task, examples)
        try:
            with open_pool(self.pool) as pool:
                batch = BatchFolder(self.batch, pool, models) if self.batch else None
                shown = batch.models if batch else models
                return await Loop(self, identity, task, operator, examples, shown, pool, listen or silent, batch).go()
        finally:
            for model in models.values():
                await model.close()

    def estimate(self) -> Estimate:
        """What the run costs at the most, and by what this pool's samples cost so far; nothing is spent."""
        operator, task, examples = self._prepared()
        models = self._models(task)
        self._check(operator, task, examples, models)
        paid = {}
        if Path(self.pool).is_file():
            with open_pool(self.pool) as pool:
                paid = {name: pool.paid(model.name) for name, model in models.items()}
        return estimate(operator, [e.problem for e in examples], models, paid, in_batch=self.batch is not None)

    def _prepared(self) -> tuple[Operator, Task, list[Example]]:
        operator = parse(self.architecture) if isinstance(self.architecture, str) else self.architecture
        task = task_of(self.task, self.options)
        n = _DEFAULT_PROBLEMS if self.problems is None and task.size is None else self.problems
        return operator, task, task.examples(self.split or task.splits[0], n, self.seed, self.level)

    def _check(self, operator: Operator, task: Task, examples: Sequence[Example], models: Mapping[str, Model]) -> None:
        check(operator, examples[0], models, task.grader)
        if EXECUTING & {task.grader, str(examples[0].problem.verifier), *operator.scorers}:
            sandbox.expect()
        for model in models.values():
            expect_prices(model.name, model.supports.prices, self.wallet)
            expect_prices(model.name, model.supports.prices, self.budget)

    def _models(self, task: Task) -> dict[str, Model]:
        model = self.model or getattr(task, "model", None) or "embedded"
        models = {"": load(model, self.base_url) if isinstance(model, str) else model}
        if self.judge:
            models["judge"] = load(self.judge) if isinstance(self.judge, str) else self.judge
        if self.reward:
            models["reward"] = Rating(load(self.reward) if isinstance(self.reward, str) else self.reward)
        return models

    def identity(
        self, operator: Operator, models: Mapping[str, Model], task: Task, examples: Sequence[Example]
    ) -> dict[str, Json]:
        """What makes it this run and no other."""
        identity: dict[str, Json] = {
            "task": task.name, "problems": len(examples), "split": self.split or task.splits[0], "level": self.level,
            "seed": self.seed, "replicate": self.replicate,
        }  # fmt: skip
        if task.identity:
            identity["data"] = dict(task.identity)
        budget = {k: v for k, v in asdict(self.budget).items() if v is not None}
        named = {name or "model": model.name for name, model in models.items()}
        return {**identity, "architecture": repr(operator), "budget": budget, "models": named}


def check(operator: Operator, example: Example, models: Mapping[str, Model], grader: str | None = None) -> None:
    """Refuse, before anything is spent, names that are not there and roles that a model does not play."""
    problem = example.problem
    named: list[tuple[str, str | None, Collection[str]]] = [
        ("reader", problem.reader, READERS), ("verifier", problem.verifier, SCORERS), ("grader", grader, GRADERS),
    ]  # fmt: skip
    for kind, name, known in named:
        if name is not None and name not in known:
            raise Mistake(f"expected the {kind} of {problem.id} to be one of {', '.join(sorted(known))}, got {name!r}")
    asking: list[object] = [GRADERS[grader]] if grader else []
    for name in sorted(operator.scorers):
        if name == "verifier" and problem.verifier is None:
            raise Mistake(f"the task of {problem.id} has no verifier: select with vote() or best(by='mean_logprob')")
        if name != "verifier" and name not in SCORERS:
            raise Mistake(f"expected a scorer (verifier, {', '.join(sorted(SCORERS))}), but got {name!r}")
        asking.append(SCORERS[str(problem.verifier) if name == "verifier" else name])
    for one in asking:
        _expect_asked(one, models)
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
        model = models[name]
        if isinstance(model, Imported) and getattr(part, "max_tokens", None) is not None:
            raise model.unknown(["max_tokens"])


def _expect_asked(asking: object, models: Mapping[str, Model]) -> None:
    """Refuse a scorer or grader whose model is not there or does not play its roles."""
    asks: str | None = getattr(asking, "asks", None)
    if asks is None:
        return
    if asks not in models and asks != "judge" and asks not in models[""].supports.roles:
        raise Mistake(f"{type(asking).__name__} asks a model {asks!r}, which this run has not: give --{asks} MODEL")
    model = models.get(asks, models[""])
    roles: frozenset[str] = getattr(asking, "roles", frozenset())
    if missing := roles - model.supports.roles:
        known = ", ".join(sorted(model.supports.roles))
        raise Unsupported(f"{model.name} plays the roles {known}, but {', '.join(sorted(missing))} is asked of it: "
                          "give --judge MODEL")  # fmt: skip
