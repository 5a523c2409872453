"""The scripted server as a process: one line of JSON with its address, and at the end one with what it counted.

It serves until its standard input closes or SIGTERM comes. Every field of ``Script`` is an option.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from .script import Script
from .server import ScriptedServer


def _say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="python -m vervet.testing.server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each good reply")
    parser.add_argument("--law", default="iid", help="as in fake/LAW: iid?p=0.3")
    kinds: dict[str, Callable[[str], Any]] = {"int | None": int, "int": int, "bool": lambda text: text != "0"}
    for f in fields(Script):
        kind = kinds.get(str(f.type), float)
        parser.add_argument(f"--{f.name.replace('_', '-')}", type=kind, default=f.default)
    return vars(parser.parse_args(arguments))


async def _serve(options: dict[str, Any]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def wait_for_the_end_of_input() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    port, delay_s, law = options.pop("port"), options.pop("delay"), options.pop("law")
    async with ScriptedServer(law, Script(**options), delay_s, port) as server:
        threading.Thread(target=wait_for_the_end_of_input, daemon=True).start()
        _say(url=server.url, port=server.port)
        await stop.wait()
    log = server.log
    _say(requests=log.n_requests, outcomes=log.outcomes, tokens=log.tokens, prompt_tokens=log.prompt_tokens)


if __name__ == "__main__":
    asyncio.run(_serve(_options(None)))
