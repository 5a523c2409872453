"""Find out what an OpenAI-compatible server really does: n, logprobs, seed, stop, continuation, caching, closing."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from ..models.http.config import Entry, entry_of
from ..models.http.memory import remember
from ..models.http.probe import Findings, probe
from ..run import wait
from .common import print_columns, print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument(
        "url", metavar="URL", help="its base URL, such as http://localhost:8000/v1, or an alias of vervet.toml"
    )
    verb.add_argument("--model", help="the name that the server knows (default: the first that it lists)")
    verb.add_argument(
        "--api", choices=("chat", "completions"), default="chat", help="which of its two ways (default: chat)"
    )
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Ask it, print the table, remember it for later runs. Costs about 14 requests and under 1,000 tokens."""
    entry = _entry(args) if "://" in args.url else entry_of(args.url)
    found = wait(probe(entry))
    remember(entry.base_url, found.model, found.revision, found.settings)
    if args.json:
        print_json(found.data)
    else:
        _print(found, entry.base_url, entry.api)
    return 0


def _entry(args: argparse.Namespace) -> Entry:
    """The server of a URL; "?" stands for the first model that it lists."""
    return replace(entry_of(f"openai/{args.model or '?'}", args.url), api=args.api)


def _print(found: Findings, base_url: str, api: str) -> None:
    print(f"{found.model} on {found.server}, revision {found.revision}\n")
    print_columns([[row.name, row.value] for row in found.rows])
    print("\nremembered for later runs, but for continuation; as an entry of vervet.toml:\n")
    print("[models.mine]")
    lines = {"model": found.model, "base_url": base_url, **({"api": api} if api != "chat" else {}), **found.settings}
    for name, value in lines.items():
        print(f"{name} = {json.dumps(value)}")
