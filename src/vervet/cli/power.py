"""How many problems and draws an effect needs, and the best split of a budget, from the draws of a pool."""

from __future__ import annotations

import argparse

from ..budget import parse_limits
from ..errors import Mistake
from ..report.needs import lines, needs
from .common import existing, print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument(
        "pool", metavar="POOL", help="a pool file with a pilot: generate(n=...), at least 2 draws a problem"
    )
    verb.add_argument("--effect", type=float, required=True, metavar="SHARE",
                      help="the difference that matters: 0.01 is one point of accuracy")  # fmt: skip
    verb.add_argument("--run", metavar="ID", help="the run whose draws are looked at (default: the one with the most)")
    verb.add_argument("--budget", metavar="LIMIT", help="what may be spent in all, prompt and completion: tokens=2M")
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Print what is needed."""
    found = needs(existing(args.pool), args.effect, args.run, _tokens(args.budget))
    print_json(found.data) if args.json else print("\n".join(lines(found)))
    return 0


def _tokens(text: str | None) -> float | None:
    if text is None:
        return None
    limits = parse_limits(text, {"tokens": int}, "--budget")
    if "tokens" not in limits:
        raise Mistake(f"--budget: expected tokens=NUMBER, but got {text!r}")
    return limits["tokens"]
