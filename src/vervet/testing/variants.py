"""Settings of an operator or a rule to check it with: one example, and one variant for each setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import Any

from ..errors import Mistake
from ..rules import Agree, LowConfidence

_BY_TYPE = (("float", 0.75), ("int", 5), ("str", "exact"), ("UntilRule", Agree(0.6)), ("tuple[str", ("END",)))
_BY_NAME = {"cut": LowConfidence(3, 1.25)}


def _value(field: Field[Any]) -> Any:
    """A legal value of a setting, by its name or its type; None where there is no telling."""
    if field.name in _BY_NAME:
        return _BY_NAME[field.name]
    return next((value for kind, value in _BY_TYPE if kind in str(field.type)), None)


def example_of(cls: type) -> Any:
    """One of this class with its defaults; what has none is filled in by its type.

    >>> from vervet.rules import Tokens
    >>> example_of(Tokens)
    tokens(n=5)
    """
    return cls(**{f.name: _value(f) for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING})


def variants_of(cls: type) -> Iterator[Any]:
    """The example, and for each setting the example with that setting changed, where the value is legal.

    >>> from vervet.operators import Repair
    >>> [repr(r) for r in variants_of(Repair)][:3]
    ['repair()', 'repair(rounds=5)', "repair(by='exact')"]
    """
    example = example_of(cls) if is_dataclass(cls) else cls()
    yield example
    for field in fields(cls) if is_dataclass(cls) else ():
        value = _value(field)
        if value is not None and value != getattr(example, field.name):
            try:
                yield replace(example, **{field.name: value})
            except Mistake:
                continue
