"""Into a pool: recorded samples of any known format become draws that are replayed like drawn ones.

Everything is read and checked before the first write. A sample lies at the address (import/NAME, the question that a plain
``generate(n=...)`` asks of its problem, index in the order of the file), so that importing a file again adds nothing, and a
file that contradicts what is stored is refused. It ends with a replay of ``generate(n=...)`` for each model, which grades.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from .. import sandbox
from ..errors import Mistake, VervetError, first_of
from ..models.imported import PREFIX
from ..models.imported import Imported as Replayed
from ..pool import SqlitePool, open_pool
from ..run import Listener, Result, Run, wait
from ..tasks import TaskOptions
from ..tasks.loading import kept
from ..tasks.reading import BadRow, read_rows
from ..tasks.stored import IMPORT
from ..types import Bill, Failure, Json, Question, Sample, Score, Stored, Stream, text_digest
from ..verify import EXECUTING
from ..verify.recorded import VERDICTS
from .counts import has_counts
from .inspect import is_inspect, read_inspect
from .lm_eval import is_lm_eval, read_lm_eval
from .monkeys import is_monkeys, read_monkeys
from .planning import RECORDED, Draw, Plan, Planned, expect_names, plan, told_apart
from .rows import USUAL, Entry, Fields, entry_of, expect_one_group

FORMATS: Final = ("rows", "monkeys", "lm_eval", "inspect")
_AT_ONCE: Final = 64  # calls that wait for the disk together


@dataclass(frozen=True, slots=True)
class OfModel:
    """What was imported of one model, and what its samples are worth.

    ``new`` of its ``samples`` were not in the pool before. ``n`` draws of each problem were declared and graded, ``beyond``
    lie behind them in problems that have more. ``accuracy`` is the share of right ones among the declared draws, in [0, 1],
    with ``not_judged`` draws left out. ``disagree``: draws of which the file says otherwise than the grader, ``first`` the place
    of the first of them. ``run``: the replay that graded them.
    """

    model: str
    problems: int
    samples: int
    new: int
    n: int
    beyond: int
    accuracy: float
    not_judged: int
    disagree: int
    first: str
    run: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought. ``task`` is ``NAME:GRADER``, as ``pool:FILE#TASK`` names it; ``skipped`` names lines left out."""

    pool: str
    task: str
    grader: str
    problems: int
    models: tuple[OfModel, ...]
    skipped: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """How many samples the file holds."""
        return sum(one.samples for one in self.models)

    @property
    def new(self) -> int:
        """How many of them were not in the pool before."""
        return sum(one.new for one in self.models)

    @property
    def data(self) -> dict[str, Json]:
        """As one JSON object."""
        return {**asdict(self), "samples": self.samples, "new": self.new}


def import_file(
    path: str, pool: str, *, grader: str | None = None, model: str | None = None, task: str | None = None,
    format: str | None = None, n: int | None = None, reader: str | None = None, fields: Fields = USUAL,
    options: TaskOptions = TaskOptions(), listen: Listener | None = None,
) -> Imported:  # fmt: skip
    """Import a file or folder of recorded samples into a pool, and grade them. Nothing is drawn.

    ``grader`` compares answers with the targets; None: the file says itself what is right. ``model``, ``task``: their names
    where the file has none (default: the file's). ``format``: one of ``FORMATS`` (default: what it looks like). ``n``: how many
    draws of each problem are declared (default: as many as every problem has). ``reader``: where verdicts are the file's own,
    who finds the answers for votes. ``options``: grader, rows (``where``), fields of prompt and target. Raises ``Mistake`` with
    the place of what is wrong, before anything is written; ``MissingExtra``. ``listen`` is told "import" before the first write,
    then what a run tells.
    """
    if n is not None and n < 1:
        raise Mistake(f"expected n, the draws of each problem that are declared, of at least 1, but got {n}")
    expect_names(model, task)
    if grader is not None:
        options = replace(options, grader=grader)
    entries, skipped = read_entries(path, format, fields, options)
    found = plan(entries, task or entries[0].task or Path(path).stem, options, model, reader, fields.group is not None)
    del entries  # with their rows the larger part of what is held; the plan has what is needed of them
    ns = {one: found.n(one, n) for one in found.models}
    if found.grader in EXECUTING:
        sandbox.expect()
    return wait(_Importing(pool, found, ns, options, listen).go(tuple(skipped)))


def read_entries(
    path: str, format: str | None = None, fields: Fields = USUAL, options: TaskOptions = TaskOptions()
) -> tuple[list[Entry], list[str]]:
    """The entries of a file or folder of any known format, and a message for each line left out. Raises ``Mistake``."""
    if format not in (None, *FORMATS):
        raise Mistake(f"expected a format ({', '.join(FORMATS)}), but got {format!r}")
    named = replace(fields, prompt=fields.prompt or options.prompt_field, gold=fields.gold or options.target_field)
    if format == "monkeys" or (format is None and is_monkeys(path)):
        return [*_whole(read_monkeys(path), options)], []
    if format == "inspect" or (format is None and is_inspect(path)):
        return [*_whole(read_inspect(path, named), options)], []
    read = read_rows(path, options.malformed)
    if format is None and has_counts(read.rows[0]):
        raise Mistake(f"{path} holds success counts, which need no pool: vervet scale {path}")
    rows, skipped = kept(read.rows, options.where), list(read.skipped)
    if format == "lm_eval" or (format is None and is_lm_eval(rows[0])):
        return read_lm_eval(path, rows, named), skipped
    entries = []
    for row in rows:
        try:
            entries.append(entry_of(row, named))
        except BadRow as error:
            if options.malformed == "refuse":
                raise Mistake(str(error)) from None
            skipped.append(str(error))
    if not entries:
        raise Mistake(f"no row can be used: {skipped[0]}")
    expect_one_group(entries, fields.group)
    return entries, skipped


def _whole(entries: Sequence[Entry], options: TaskOptions) -> Sequence[Entry]:
    if options.where:
        raise Mistake("--where chooses among the rows of a table; this format has none: choose among the files")
    return entries


@dataclass(frozen=True, slots=True)
class _Row:
    """The draws of one model for one problem as they will lie in the pool, and those indices that are not there yet."""

    planned: Planned
    stream: Stream
    draws: list[Draw]
    missing: list[int]


@dataclass(slots=True)
class _Importing:
    """One import into one pool."""

    path: str
    plan: Plan
    ns: Mapping[str, int]
    options: TaskOptions
    listen: Listener | None
    rows: list[_Row] = field(default_factory=list)

    async def go(self, skipped: tuple[str, ...]) -> Imported:
        """Check all of it, write it, then replay each model."""
        with open_pool(self.path) as pool:
            for planned in self.plan.problems.values():
                self._check(pool, planned)
            await self._write(pool)
        results = {model: await self._replay(model, n) for model, n in self.ns.items()}
        with open_pool(self.path) as pool:
            models = tuple(self._of_model(pool, model, result) for model, result in results.items())
        return Imported(self.path, self.plan.task, self.plan.grader, len(self.plan.problems), models, skipped)

    # --- before the first write ---

    def _check(self, pool: SqlitePool, planned: Planned) -> None:
        """Note what is missing of a problem's draws. Raises ``Mistake`` where the pool knows otherwise."""
        problem, example = planned.example.problem, planned.example
        stored = pool.problem(problem.id)
        if stored is not None and (stored != example or pool.task_of(problem.id) != self.plan.task):
            raise Mistake(
                f"{planned.place}: problem {problem.id} is in {self.path} already, of {pool.task_of(problem.id)}, with another "
                "prompt, target or grader: give this import a name of its own with --task, or grade what is there anew: "
                f"vervet regrade {self.path}"
            )
        recorded, known = self.plan.grader == RECORDED, dict[int, bool | None]()
        if stored is not None and recorded:
            texts = [text_digest(draw.text) for draws in planned.draws.values() for draw in draws]
            known = {of: score.accepted for of, score in pool.scores(VERDICTS, problem.id, texts, 0).items()}
        for model, draws in planned.draws.items():
            stream = Stream(model, Question(problem.messages).digest)
            told = told_apart(draws, planned.name, model, known, recorded)
            found = pool.find(stream, range(len(told)))
            for i, outcome in found.items():
                self._expect_equal(pool, problem.id, stream, i, told[i], outcome)
            missing = [i for i in range(len(told)) if i not in found]
            self.rows.append(_Row(planned, stream, told, missing))

    def _expect_equal(self, pool: SqlitePool, problem: str, stream: Stream, i: int, draw: Draw, stored: Stored) -> None:
        said = _outcome(stream, i, draw)
        names = draw.scores(stream.model)
        of = text_digest(draw.text)
        kept_scores = {name: pool.scores(name, problem, [of], 0).get(of) for name in names}
        if said == stored and all(s is None or s.value == names[name] for name, s in kept_scores.items()):
            return
        raise Mistake(
            f"{draw.place}: sample {i} of problem {problem} is in {self.path} already as another one of {stream.model}: a sample "
            "stays what it is; for others give a model's name of its own with --model"
        )

    # --- writing ---

    async def _write(self, pool: SqlitePool) -> None:
        if self.listen is not None:
            self.listen("import", {"samples": sum(len(row.missing) for row in self.rows)})
        for planned in self.plan.problems.values():
            pool.add_problem(self.plan.task, planned.example)
        runs = {model: pool.start_run(self._identity(model)) for model in self.plan.models}
        try:
            for some in _batches(self.rows, _AT_ONCE):
                async with asyncio.TaskGroup() as group:
                    for row in some:
                        group.create_task(self._keep(pool, runs[row.stream.model], row))
        except* VervetError as errors:
            raise first_of(errors) from None
        await pool.flush()

    def _identity(self, model: str) -> dict[str, Json]:
        return {"task": self.plan.task, "architecture": IMPORT, "models": {"model": model}, "seed": 0}

    async def _keep(self, pool: SqlitePool, run: str, row: _Row) -> None:
        """One call, settled at once: it cost what the file says, nobody was asked."""
        problem = row.planned.example.problem
        pool.add_question(Question(problem.messages))
        self._keep_notes(pool, problem.id, row)
        if not row.missing:
            return
        claim = await pool.claim(run, row.stream, row.missing, Bill(), continues=True)
        if claim.call is not None:
            for i in claim.granted:
                draw = row.draws[i]
                pool.record(claim.call, i, _outcome(row.stream, i, draw), Bill(completion_tokens=draw.tokens))
            pool.settle(claim.call)
        if claim.busy:
            raise Mistake(f"{self.path}: another program imports the same samples now; start again when it has ended")

    def _keep_notes(self, pool: SqlitePool, problem: str, row: _Row) -> None:
        """Scores and verdicts of the file, by text."""
        notes: dict[str, dict[int, Score]] = {}
        for draw in row.draws:
            of = text_digest(draw.text)
            for name, value in draw.scores(row.stream.model).items():
                notes.setdefault(name, {})[of] = Score(value)
            if self.plan.grader == RECORDED and draw.correct is not None:
                notes.setdefault(VERDICTS, {})[of] = Score(None, draw.correct)
        for name, scores in notes.items():
            pool.add_scores(name, problem, scores, 0)

    # --- grading ---

    async def _replay(self, model: str, n: int) -> Result:
        """The declared draws of one model as a run, so that uses, verdicts and answers are there."""
        only = TaskOptions(where=(("model", model),))
        replayed = Replayed(model.removeprefix(PREFIX))
        run = Run(
            f"pool:{self.path}#{self.plan.task}",
            f"generate(n={n})",
            replayed,
            pool=self.path,
            replay=True,
            options=only,
        )
        return await run.go(self.listen)

    def _of_model(self, pool: SqlitePool, model: str, result: Result) -> OfModel:
        """What the grader says of the declared draws, beside what the file said."""
        rows, n = [row for row in self.rows if row.stream.model == model], self.ns[model]
        n_right = n_judged = n_other = 0
        first = ""
        for row in rows:
            verdicts = pool.verdicts(row.planned.example.problem.id)
            for draw in row.draws[:n]:
                verdict = None if draw.failure else verdicts.get(text_digest(draw.text))
                if not draw.failure and (verdict is None or not verdict.judged):
                    continue
                right = verdict is not None and verdict.correct
                n_judged += 1
                n_right += right
                if draw.correct not in (None, right):
                    n_other += 1
                    first = first or draw.place
        n_samples = sum(len(row.draws) for row in rows)
        return OfModel(
            model, len(rows), n_samples, sum(len(row.missing) for row in rows), n, n_samples - n * len(rows),
            n_right / n_judged if n_judged else 0.0, n * len(rows) - n_judged, n_other, first, result.run,
        )  # fmt: skip


def _outcome(stream: Stream, i: int, draw: Draw) -> Sample | Failure:
    if draw.failure:
        return Failure("failed", draw.failure)
    return Sample(stream.at(i), draw.text, "eos", draw.tokens)


def _batches(rows: Sequence[_Row], size: int) -> list[Sequence[_Row]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
