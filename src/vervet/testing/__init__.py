"""For tests and examples: fake surroundings, and the conformance suites that every variant of a kind must pass.

A suite is a list of checks; a check takes what it checks and raises ``AssertionError``. Operators and rules join by
being in ``OPERATORS`` and ``RULES``; models and pools by a call that makes one.

>>> import asyncio
>>> from vervet.operators import Vote
>>> for check in OPERATOR_CHECKS[:2]:
...     asyncio.run(check(Vote()))
"""

from __future__ import annotations

from .models import MODEL_CHECKS
from .operators import OPERATOR_CHECKS
from .pools import POOL_CHECKS
from .rules import RULE_CHECKS
from .server import Script, ScriptedServer
from .surroundings import llm_for, model_for, pool_for, problem_for, target_of, world_for
from .variants import example_of, variants_of

__all__ = [
    "MODEL_CHECKS",
    "OPERATOR_CHECKS",
    "POOL_CHECKS",
    "RULE_CHECKS",
    "Script",
    "ScriptedServer",
    "example_of",
    "llm_for",
    "model_for",
    "pool_for",
    "problem_for",
    "target_of",
    "variants_of",
    "world_for",
]
