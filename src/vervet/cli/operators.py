"""The parts of an architecture: operators, joined by '|', and the rules that they take."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..operators import OPERATORS
from ..rules import RULES
from .common import print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Print every operator and rule with its arguments and what it does."""
    rows = {"operators": _rows(OPERATORS), "rules": _rows(RULES)}
    if args.json:
        print_json(rows)
        return 0
    for kind, listed in rows.items():
        print(f"{kind}\n")
        for row in listed:
            print(f"  {row['name']}{row['arguments']}\n      {row['about']}\n")
    print("example: generate(n=64, until=agree(0.95) & tokens(4000)) | vote()")
    return 0


def _rows(listed: Mapping[str, Callable[..., Any]]) -> list[dict[str, str]]:
    return [{"name": n, "arguments": _arguments(c), "about": _about(c)} for n, c in sorted(listed.items())]


def _arguments(listed: Callable[..., Any]) -> str:
    empty = inspect.Parameter.empty
    parameters = [p.replace(annotation=empty) for p in inspect.signature(listed).parameters.values()]
    return str(inspect.Signature(parameters))


def _about(listed: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(listed) or "").split("\n\n")[0].split()).replace("``", "'")
