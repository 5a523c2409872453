"""A scripted OpenAI-compatible server for tests and benchmarks, in this loop or as its own process.

``ScriptedServer`` answers by a law of ``vervet.models.laws``; a ``Script`` says what goes wrong. As a process:
``python -m vervet.testing.server --delay 0.02`` prints one line of JSON with its address.
"""

from __future__ import annotations

from .script import Script
from .sending import Seen
from .server import Log, ScriptedServer

__all__ = ["Log", "Script", "ScriptedServer", "Seen"]
