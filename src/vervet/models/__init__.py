"""Models: one file or folder per way of getting tokens. A name says which: ``embedded``, ``local/PATH``, ``fake/LAW``,
``python/FILE.py:NAME``, ``litellm/PROVIDER/MODEL``, ``openai/NAME``, ``import/NAME``, or an alias of ``vervet.toml``.

A model draws; it never retries, counts money or touches the pool.
"""

from __future__ import annotations

from functools import cache

from ..errors import Mistake
from ..types import Model

EMBEDDED = ("embedded", "embedded-small")


def load(name: str, base_url: str | None = None) -> Model:
    """The model of a name; ``base_url``: where an OpenAI-compatible server is, for ``openai/NAME`` and aliases.

    Raises ``Mistake`` for a name of no known kind, ``MissingExtra`` without the packages it needs.
    A model on this machine is loaded once per process and name: its engine serves every run.
    """
    kind, _, rest = name.partition("/")
    here = name in EMBEDDED or (kind in ("local", "fake", "python", "litellm", "import") and rest)
    if here and base_url is not None:
        raise Mistake(
            f"expected openai/NAME or an alias with base_url={base_url!r}, but got {name!r}, which needs none"
        )
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
    if kind == "litellm" and rest:
        from .litellm import LiteLLMModel

        return LiteLLMModel(rest)
    if kind == "import" and rest:
        from .imported import Imported

        return Imported(rest)
    from .http import load as load_http

    return load_http(name, base_url)


@cache
def _local(name: str) -> Model:
    from .local import load as load_local

    return load_local(name)
