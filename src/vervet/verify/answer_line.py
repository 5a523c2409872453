"""Find the answer line: the last line that begins with ``Answer:``."""

from __future__ import annotations

import re

_LINE = re.compile(r"^\s*(?:\*\*)?answer(?:\*\*)?\s*:\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)


def answer_line(text: str) -> str | None:
    r"""What stands on the last answer line, or None where there is none.

    >>> answer_line("2 + 3 = 5\nAnswer: 5")
    '5'
    """
    found = _LINE.findall(text)
    return found[-1].strip().strip("*$ ").rstrip(".") if found else None
