"""What is in a pool: counts, sizes, models, runs; or merge pools, prune one, give up draws that wait in a batch file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict

from ..errors import Mistake
from ..pool import open_pool
from ..pool.merge import merge
from ..pool.prune import prune
from ..run import wait
from .common import existing, print_columns, print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb: an action each."""
    actions = verb.add_subparsers(dest="what", required=True, metavar="ACTION")
    one = _action(actions, "info", _info, "Counts, sizes, models, runs, batch files.")
    one.add_argument("pool", metavar="POOL", help="a pool file")
    one.add_argument("--check", action="store_true", help="read the whole file and name every damaged place")
    one = _action(actions, "merge", _merge, "Make a new pool of several.")
    one.add_argument("pool", metavar="NEW", help="the new pool file")
    one.add_argument("more", metavar="POOL", nargs="+", help="the pools that go into it, which stay as they are")
    one = _action(actions, "prune", _prune, "Make a smaller copy of a pool.")
    one.add_argument("pool", metavar="POOL", help="a pool file, which stays as it is")
    one.add_argument("--into", metavar="NEW", required=True, help="the new pool file")
    one.add_argument("--run", action="append", default=[], metavar="ID", help="keep what this run used (the beginning of its "
                     "id is enough); again for another one (default: all runs)")  # fmt: skip
    one.add_argument("--no-figures", action="store_true", help="leave out what is kept per token; cut rules and confidence "
                     "cannot be replayed then")  # fmt: skip
    one = _action(actions, "release", _release, "Give up draws that wait in a batch file.")
    one.add_argument("pool", metavar="POOL", help="a pool file")
    one.add_argument("batch", metavar="BATCH", help="the number of a batch file; what it may have cost is booked, and blocks "
                     "that it leaves broken are void")  # fmt: skip
    one.add_argument("--unsent", action="store_true", help="the file was never sent, so book nothing")


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    do: Callable[[argparse.Namespace], int],
    about: str,
) -> argparse.ArgumentParser:
    one = actions.add_parser(name, help=about.rstrip("."), description=about)
    one.add_argument("--json", action="store_true", help="print one object and nothing else")
    one.set_defaults(do=do)
    return one


def main(args: argparse.Namespace) -> int:
    """Do it and print what is there; 1 where ``--check`` found damage."""
    do: Callable[[argparse.Namespace], int] = args.do
    return do(args)


def _info(args: argparse.Namespace) -> int:
    """What is in a pool."""
    with open_pool(existing(args.pool)) as pool:
        info = pool.info()
        runs, batches = pool.runs(), pool.batches()
        damage = pool.check() if args.check else []
    if args.json:
        print_json(
            {
                **asdict(info),
                "runs": [asdict(r) for r in runs],
                "batches": [b.data for b in batches],
                **({"damage": damage} if args.check else {}),
            }
        )
        return 1 if damage else 0
    print(f"{info.path}: schema {info.schema_version}, {info.n_bytes:,} bytes, {info.n_open_calls} open calls")
    print_columns([[name, f"{count:,}"] for name, count in info.counts.items() if count])
    for model, count in info.models.items():
        print(f"model {model}: {count:,} samples paid for")
    for batch in batches:
        print(f"batch {batch.number}: {batch.n_draws:,} draws wait for the results of {batch.file}")
    for one in runs:
        print(f"run {one.id[:12]}  {one.identity['task']}  {one.identity['architecture']}  {one.seconds:.1f} s")
    if args.check:
        print("\n".join(damage) if damage else "no damage found")
    return 1 if damage else 0


def _merge(args: argparse.Namespace) -> int:
    """One new pool of several."""
    found = merge(args.pool, [existing(source) for source in args.more])
    if args.json:
        print_json(asdict(found))
    else:
        print(f"{found.path}: {found.samples:,} samples, {found.problems:,} problems, {found.runs:,} runs of {found.pools} "
              f"pools, {found.n_bytes:,} bytes")  # fmt: skip
        print(f"{found.shared:,} draws were in more than one of them; what was paid adds up")
    return 0


def _prune(args: argparse.Namespace) -> int:
    """A smaller copy of a pool."""
    found = prune(existing(args.pool), args.into, args.run, figures=not args.no_figures)
    if args.json:
        print_json(asdict(found))
    else:
        print(f"{found.path}: {found.samples:,} samples, {found.problems:,} problems, {found.runs:,} runs, "
              f"{found.n_bytes:,} bytes of {found.bytes_before:,}")  # fmt: skip
        print(f"left out {found.left_out:,} samples; {args.pool} still holds them and stays as it was")
    return 0


def _release(args: argparse.Namespace) -> int:
    """Give up a batch; its results, should they come, are foreign from now on."""
    with open_pool(existing(args.pool)) as pool:
        waiting = {str(b.number): b for b in pool.batches()}
        if args.batch not in waiting:
            known = ", ".join(waiting) or "none has draws that wait"
            raise Mistake(f"expected the number of a batch file of {args.pool} ({known}), got {args.batch}")
        batch = waiting[args.batch]
        n = wait(pool.release(batch.number, sent=not args.unsent))
    booked = 0 if args.unsent else batch.reserve.tokens
    if args.json:
        print_json({"batch": batch.number, "released": n, "booked_tokens": booked})
    else:
        print(f"gave up {n:,} draws, booked as unsettled: {booked:,} tokens; do not send {batch.file} any more")
    return 0
