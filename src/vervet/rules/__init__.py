"""Rules decide from what they are shown: when to stop drawing (``until``), when to end one sample (``cut``).

To add a rule: write it in one file here and add its name to ``RULES``; expressions, command line and docs follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .cut import LowConfidence
from .until import Accepted, Agree, Tokens, UntilRule

RULES: dict[str, Callable[..., Any]] = {
    "accepted": Accepted,
    "agree": Agree,
    "low_confidence": LowConfidence,
    "tokens": Tokens,
}

accepted, agree, low_confidence, tokens = Accepted, Agree, LowConfidence, Tokens

__all__ = [
    "RULES",
    "Accepted",
    "Agree",
    "LowConfidence",
    "Tokens",
    "UntilRule",
    "accepted",
    "agree",
    "low_confidence",
    "tokens",
]
