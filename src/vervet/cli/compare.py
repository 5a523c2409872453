"""Compare runs on the problems that both have finished: the difference, its interval, its p-value, and the costs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..report.comparison import comparison, lines
from ..report.costs import AXES
from .common import existing, print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("runs", nargs="+", metavar="RUN", help="the beginning of a run's id, or its architecture if no other "
                      "run has it; FILE:RUN for one of another pool. The first is compared with each of the others")  # fmt: skip
    verb.add_argument("--pool", action="append", metavar="FILE", help="the pool of all runs (default: vervet.sqlite), or "
                      "again for each of them, in order")  # fmt: skip
    verb.add_argument("--axis", default="tokens", choices=AXES, help="the cost at which runs with declared draws are compared, "
                      "measured time (seconds) among them (default: %(default)s)")  # fmt: skip
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Print who is better, by how much, and at what cost."""
    pools = args.pool or ["vervet.sqlite"]
    for file in (*pools, *(run.rpartition(":")[0] for run in args.runs)):
        if Path(file).is_file():
            existing(file)
    found = comparison(args.runs, pools, args.axis)
    print_json(found.data) if args.json else print("\n".join(lines(found)))
    return 0
