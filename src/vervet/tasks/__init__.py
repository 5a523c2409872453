"""Tasks: one benchmark per file. To add one, write its file and add it to ``TASKS``, or to ``LOADERS`` where it reads one."""

from __future__ import annotations

from ..errors import Mistake
from ..types import Task
from .countdown import Countdown, CountdownThinking
from .files import LOADERS, file_task
from .loading import FileTask
from .options import TaskOptions
from .programs import Programs
from .stored import PREFIX, StoredTask, stored_task
from .words import Words

TASKS: dict[str, Task] = {task.name: task for task in (Words(), Countdown(), CountdownThinking(), Programs())}


def task_of(name: str, options: TaskOptions = TaskOptions()) -> Task:
    """The task of a name, of ``LOADER:PATH``, of ``pool:PATH``, or of the path of one's own file; a mistake names those there are.

    >>> task_of("words").name
    'words'
    """
    if name.startswith(PREFIX):
        return stored_task(name, options, grader_of)
    if name not in TASKS:
        found = file_task(name, options)
        if found is None:
            loaders = ", ".join(f"{loader}:FILE" for loader in LOADERS)
            raise Mistake(
                f"expected one of the tasks {', '.join(TASKS)}, or {loaders}, or pool:FILE, or a file, but got {name!r}"
            )
        return found
    if options != TaskOptions():
        raise Mistake(
            f"{name} makes its own problems: options of files ({', '.join(options.changed)}) do not apply to it"
        )
    return TASKS[name]


def grader_of(task: str) -> str:
    """The grader of a task by the name that a pool keeps; its file is not needed.

    >>> grader_of("words"), grader_of("file:exact")
    ('number', 'exact')
    """
    task = task.removeprefix(PREFIX)
    if task in TASKS:
        return TASKS[task].grader
    loader, _, grader = task.partition(":")
    if not grader and loader in LOADERS:
        return LOADERS[loader].grader
    if not grader:
        raise Mistake(f"expected the name of a task ({', '.join([*TASKS, *LOADERS])}), but got {task!r}")
    return grader


__all__ = [
    "LOADERS", "TASKS", "Countdown", "CountdownThinking", "FileTask", "Programs", "StoredTask", "TaskOptions", "Words",
    "grader_of", "task_of",
]  # fmt: skip
