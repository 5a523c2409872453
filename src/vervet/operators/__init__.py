"""Operators: one idea per file. To add one, write its file and add its class to ``OPERATORS``.

An expression such as ``generate(n=64, until=agree(0.95)) | vote()`` is made of the names listed here and in
``vervet.rules``; the command line, the docs and the conformance suite follow from the list.
"""

from __future__ import annotations

from ..rules.expression import list_name
from .base import Chain, Operator
from .best import Best
from .filter import Filter
from .first import First
from .generate import Generate
from .grammar import parse
from .repair import Repair
from .vote import Vote

OPERATORS: dict[str, type[Operator]] = {
    list_name(operator): operator for operator in (Generate, Vote, First, Filter, Best, Repair)
}

__all__ = ["OPERATORS", "Best", "Chain", "Filter", "First", "Generate", "Operator", "Repair", "Vote", "parse"]
