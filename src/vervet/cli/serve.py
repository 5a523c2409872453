"""Serve a model as an OpenAI-compatible server, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress

from ..errors import Mistake
from ..models import load
from ..server import serve


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("--model", default="embedded", help="the model (default: embedded); 'vervet models' lists them")
    verb.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s, this machine alone)")
    verb.add_argument("--port", type=int, default=8000, help="the port (default: %(default)s); 0 takes a free one")
    verb.add_argument("--name", help="what clients call the model (default: as in --model)")
    verb.add_argument("--key-env", metavar="VARIABLE", help="the environment variable with the key that clients bring")


def main(args: argparse.Namespace) -> int:
    """Serve; 0 when it was ended by Ctrl-C."""
    key = os.environ.get(args.key_env) if args.key_env else None
    if args.key_env and not key:
        raise Mistake(f"expected a key in the environment variable {args.key_env}, but it is not set")
    name = args.name or args.model

    def tell(url: str) -> None:
        print(f"{name} at {url} (Ctrl-C ends it)", flush=True)

    with suppress(KeyboardInterrupt):
        serve(load(args.model), name, args.host, args.port, key, tell)
    return 0
