"""What was found out about servers, kept in the user's cache directory. ``vervet.toml`` wins over it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...types import Json

KEPT = ("n", "logprobs", "stops_on_close", "overrun_tokens")  # not continuation: it would change addresses in silence


def remember(base_url: str, model: str, revision: str, settings: Mapping[str, Json]) -> None:
    """Keep what was found."""
    path = _memory()
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in settings.items() if name in KEPT}
    everything = {**_read_memory(), _key(base_url, model): {"revision": revision, "settings": kept}}
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(everything, indent=1), encoding="utf-8")
    new.replace(path)


def remembered(base_url: str, model: str) -> dict[str, Json]:
    """The settings that were found for this model on this server; empty where it was never checked."""
    row = _read_memory().get(_key(base_url, model), {})
    settings = row.get("settings") if isinstance(row, dict) else None
    return {k: v for k, v in settings.items() if k in KEPT} if isinstance(settings, dict) else {}


def _key(base_url: str, model: str) -> str:
    return f"{base_url.rstrip('/')} {model}"


def _memory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "vervet", "servers.json")


def _read_memory() -> dict[str, Any]:
    try:
        data = json.loads(_memory().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
