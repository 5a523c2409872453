"""An OpenAI-compatible server over one model: chat, completions, the list of models, health.

``asked`` reads a body into an ``Order``, ``drawing`` has it drawn, ``reply`` writes what comes; ``app`` joins them over
HTTP. A field is obeyed or refused by name, never ignored. The web framework is imported when a server starts.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from ..errors import MissingExtra
from ..types import Model

__all__ = ["serve"]


def serve(
    model: Model,
    name: str,
    host: str,
    port: int,
    key: str | None = None,
    told: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve ``model`` under ``name`` until the process is interrupted; ``told`` gets the base URL once it listens.

    Port 0 takes a free one. With ``key`` every request but health must bring it (``Authorization: Bearer KEY``).
    Raises ``MissingExtra`` without the extra ``serve``, ``Mistake`` where the address cannot be had.
    """
    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "serve")
    from .app import app_for, bound, prepared, url_of

    with bound(host, port) as socket:
        told(url_of(socket))
        prepared(app_for(model, name, key)).run(sockets=[socket])
