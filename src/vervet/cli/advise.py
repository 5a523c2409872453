"""Where accuracy and money are lost, and what the next budget should buy: the gap report of a task or a pool."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import Mistake
from ..report.advice import PILOT, advice, lines
from .common import existing, print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("what", metavar="TASK|POOL", help="a pool file, or the name of a task whose draws are in --pool")
    verb.add_argument("--pool", metavar="FILE", help="where the draws of a task are (default: vervet.sqlite)")
    verb.add_argument("--run", metavar="ID", help="the run whose draws are looked at (default: the one with the most)")
    verb.add_argument("--epsilon", type=float, default=0.01, metavar="SHARE",
                      help="the accuracy that a cheaper way may lose (default: %(default)s, one point)")  # fmt: skip
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Print the gaps and the purchases."""
    path, task = _place(args.what, args.pool)
    found = advice(path, task, args.run, args.epsilon)
    print_json(found.data) if args.json else print("\n".join(lines(found)))
    return 0


def _place(what: str, pool: str | None) -> tuple[str, str | None]:
    """The pool file and the task, where one was named. Raises ``Mistake`` where there is no file to look at."""
    if pool is None and Path(what).is_file():
        return existing(what), None
    path = pool or "vervet.sqlite"
    if not Path(path).is_file():
        raise Mistake(
            f"expected a pool file, or a task with draws in a pool, but neither {what!r} nor {path!r} is a file; a pilot: "
            f"{PILOT.format(task=what, path=path)}"
        )
    return existing(path), what
