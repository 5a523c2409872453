"""What prints as the expression that rebuilds it: ``agree(share=0.8)``."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from typing import Any


def list_name(cls: type) -> str:
    """The name of a class in expressions.

    >>> list_name(type("LowConfidence", (), {}))
    'low_confidence'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


class Expression:
    """A frozen dataclass of configuration whose ``repr`` is the expression that rebuilds it; defaults are left out."""

    def __repr__(self) -> str:
        def is_default(f: Any) -> bool:
            return f.default is not MISSING and getattr(self, f.name) == f.default

        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if not is_default(f))  # type: ignore[arg-type]
        return f"{list_name(type(self))}({', '.join(shown)})"
