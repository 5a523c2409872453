"""Vervet spends inference compute to get better answers out of any language model, and proves what each token bought.

>>> import vervet
>>> vervet.parse("generate(n=64) | vote()")
generate(n=64) | vote()
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Budget": "budget",
    "Wallet": "budget",
    "parse": "operators",
    "open_pool": "pool",
    "Run": "run",
    "Result": "run",
}

__all__ = ["Budget", "Result", "Run", "Wallet", "__version__", "open_pool", "parse"]


def __getattr__(name: str) -> Any:
    """Public names are imported where they are first used, so that ``import vervet`` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vervet' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
