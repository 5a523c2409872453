"""The problems that a pool holds, as a task: ``pool:FILE``, or ``pool:FILE#TASK`` where they are of several tasks.

A problem is asked, read and graded as it is stored, so that what was drawn or imported for it is found. The task's name
and identity are those of the problems, not of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os.path import isfile
from typing import Final

from ..errors import Mistake
from ..pool import SqlitePool, open_pool
from ..pool.copying import expect_file
from ..types import Example, Question, Stream, digest
from .loading import HALVES, FileTask
from .options import TaskOptions

PREFIX: Final = "pool:"
IMPORT: Final = "import"  # what stands for the architecture in the run of an import


@dataclass(frozen=True, slots=True)
class StoredTask(FileTask):
    """The problems of a pool. ``models``: those whose samples of these problems were imported.

    Splits are "all" and the halves "development" and "test", in which a problem falls by its id.
    """

    models: Sequence[str] = ()

    @property
    def model(self) -> str | None:
        """Who answers where nobody is named: the one imported model; None where the samples were drawn. ``Mistake`` for several."""
        if len(self.models) > 1:
            raise Mistake(
                f"{self.name} holds samples of {len(self.models)} imported models: say which one with --model "
                f"({', '.join(self.models)})"
            )
        return self.models[0] if self.models else None


def stored_task(name: str, options: TaskOptions, grader_of: Callable[[str], str]) -> StoredTask:
    """The task of ``pool:FILE`` or ``pool:FILE#TASK``; ``grader_of`` gives the grader of a stored task's name.

    Of the options only ``where`` applies, as ``model=import/NAME``: the problems that this model has samples of. Raises
    ``Mistake`` for a file that is no pool, and for problems of several tasks where none is named.
    """
    path, wanted = _parts(name)
    model = _model(name, options)
    with open_pool(path) as pool:
        tasks = {problem: pool.task_of(problem) for problem in pool.problems()}
        task = _chosen(path, tasks, wanted)
        found = [pool.problem(problem) for problem, of in tasks.items() if of == task]
        examples = [example for example in found if example is not None]
        models = _models(pool, task)
        if model is not None:
            examples = [example for example in examples if _has(pool, model, example)]
            models = [one for one in models if one == model]
            if not examples:
                known = ", ".join(_models(pool, task)) or "none"
                raise Mistake(f"{name}: no problem has a sample of the model {model!r}; those imported: {known}")
    content = sorted([e.problem.id, asdict(e.problem), e.target, e.level] for e in examples)
    rows = tuple((_half(e.problem.id), digest(e.problem.id), e) for e in examples)
    full = task if task.startswith(PREFIX) else PREFIX + task
    return StoredTask(full, grader_of(task), HALVES, {"problems": digest(content)}, rows, models=tuple(models))


def pool_of(task: str) -> str | None:
    """The path of the pool whose problems a task of this name has; None for other tasks. Raises ``Mistake`` where there is none.

    >>> pool_of("words")
    """
    return _parts(task)[0] if task.startswith(PREFIX) else None


def _parts(name: str) -> tuple[str, str | None]:
    """The path of ``pool:FILE`` and the task behind ``#``, if any."""
    rest = name.removeprefix(PREFIX)
    path, mark, task = rest.rpartition("#")
    if isfile(rest) or not mark:
        path, task = rest, ""
    if not isfile(path):
        raise Mistake(f"expected pool:FILE, a pool file, but there is no file {path!r}")
    expect_file(path)
    return path, task or None


def _model(name: str, options: TaskOptions) -> str | None:
    """The model that ``where`` names; any other option is refused."""
    others = [option for option in options.changed if option != "where"]
    others += [f"where {field}" for field, _ in options.where if field != "model"]
    if others or len(options.where) > 1:
        raise Mistake(
            f"{name} takes its problems as they are stored: only --where model=import/NAME applies, "
            f"not {', '.join(others) or 'several of them'}"
        )
    return options.where[0][1] if options.where else None


def _chosen(path: str, tasks: Mapping[str, str], wanted: str | None) -> str:
    """The one task of the problems, or the one that is named: in full, or without its grader."""
    counts = Counter(tasks.values())
    if not counts:
        raise Mistake(f"expected a pool with problems, but {path} holds none")
    near = [task for task in counts if wanted in (None, task)] or [
        task for task in counts if task.partition(":")[0] == wanted
    ]
    if len(near) != 1:
        listed = ", ".join(f"pool:{path}#{task} ({n:,} problems)" for task, n in counts.items())
        what = f"got #{wanted}" if wanted else "its problems are of several"
        raise Mistake(f"expected one task of the pool {path}, but {what}; there are: {listed}")
    return near[0]


def _models(pool: SqlitePool, task: str) -> list[str]:
    runs = [row.identity for row in pool.runs() if row.identity.get("architecture") == IMPORT]
    return list(dict.fromkeys(str(run["models"]["model"]) for run in runs if run["task"] == task))


def _has(pool: SqlitePool, model: str, example: Example) -> bool:
    return bool(pool.find(Stream(model, Question(example.problem.messages).digest), [0]))


def _half(problem: str) -> str:
    return HALVES[1 + int(digest(problem), 16) % 2]
