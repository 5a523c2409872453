"""Tasks: one benchmark per file. To add one, write its file and add it to ``TASKS``."""

from __future__ import annotations

from ..errors import Mistake
from ..types import Task
from .countdown import Countdown, CountdownThinking
from .words import Words

TASKS: dict[str, Task] = {task.name: task for task in (Words(), Countdown(), CountdownThinking())}


def task_of(name: str) -> Task:
    """The task of a name; a mistake names those that there are.

    >>> task_of("words").name
    'words'
    """
    if name not in TASKS:
        raise Mistake(f"expected one of the tasks {', '.join(TASKS)}, but got {name!r}")
    return TASKS[name]


__all__ = ["TASKS", "Countdown", "CountdownThinking", "Words", "task_of"]
