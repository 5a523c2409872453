"""Models: one file per way of getting tokens. A name says which: ``embedded``, ``local/PATH``, ``fake/LAW``.

A model draws; it never retries, counts money or touches the pool.
"""

from __future__ import annotations

from functools import cache

from ..errors import Mistake
from ..types import Model

EMBEDDED = ("embedded", "embedded-small")


def load(name: str, base_url: str | None = None) -> Model:
    """The model of a name. Raises ``Mistake`` for a name of no known kind, ``MissingExtra`` without the packages it needs.

    A model on this machine is loaded once per process and name: its engine serves every run.
    """
    kind, _, rest = name.partition("/")
    if name in EMBEDDED:
        return _local(name)
    if kind == "local" and rest:
        return _local(rest)
    if kind == "fake" and rest:
        from .fake import load as load_fake

        return load_fake(rest)
    if kind == "python" and rest:
        from .function import load as load_function

        return load_function(rest)
    raise Mistake(f"expected a model ({', '.join(EMBEDDED)}, local/PATH, fake/LAW), but got {name!r}")


@cache
def _local(name: str) -> Model:
    from .local import load as load_local

    return load_local(name)
