"""What stands for a prompt that a file does not have: one text for each problem, which training data leaves out."""

from __future__ import annotations

import re
from typing import Final

_TEXT: Final = "(What was asked in problem {} of {} is not known: its samples were imported.)"
_ANY: Final = re.compile(".*".join(map(re.escape, _TEXT.split("{}"))), re.DOTALL)


def unknown(problem: str, task: str) -> str:
    """The text in the place of the prompt of a problem.

    >>> unknown("17", "mine")
    '(What was asked in problem 17 of mine is not known: its samples were imported.)'
    """
    return _TEXT.format(problem, task)


def is_unknown(text: str) -> bool:
    """Whether a text is such a one.

    >>> is_unknown(unknown("17", "mine")), is_unknown("2 + 2?")
    (True, False)
    """
    return _ANY.fullmatch(text) is not None
