"""What is in a pool: counts, sizes, models, runs; or give up the draws that wait in one of its batch files."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..errors import Mistake
from ..pool import open_pool
from ..run import wait
from .common import existing, print_columns, print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("what", choices=["info", "release"],
                      help="info: counts, sizes, models, runs, batch files; release: give up a batch")  # fmt: skip
    verb.add_argument("pool", metavar="POOL", help="a pool file")
    verb.add_argument("batch", metavar="BATCH", nargs="?", type=int, help="for release: the number of a batch file; "
                      "what it may have cost is booked, and blocks that it leaves broken are void")  # fmt: skip
    verb.add_argument("--unsent", action="store_true", help="for release: the file was never sent, so book nothing")
    verb.add_argument("--check", action="store_true", help="read the whole file and name every damaged place")
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Print what is there; 1 where ``--check`` found damage."""
    if args.what == "release":
        return _release(args)
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
        print(f"model {model}: {count:,} samples")
    for batch in batches:
        print(f"batch {batch.number}: {batch.n_draws:,} draws wait for the results of {batch.file}")
    for one in runs:
        print(f"run {one.id[:12]}  {one.identity['task']}  {one.identity['architecture']}  {one.seconds:.1f} s")
    if args.check:
        print("\n".join(damage) if damage else "no damage found")
    return 1 if damage else 0


def _release(args: argparse.Namespace) -> int:
    """Give up a batch; its results, should they come, are foreign from now on."""
    with open_pool(existing(args.pool)) as pool:
        waiting = {b.number: b for b in pool.batches()}
        if args.batch not in waiting:
            known = ", ".join(map(str, waiting)) or "none has draws that wait"
            raise Mistake(f"expected the number of a batch file of {args.pool} ({known}), got {args.batch}")
        batch = waiting[args.batch]
        n = wait(pool.release(batch.number, sent=not args.unsent))
    booked = 0 if args.unsent else batch.reserve.tokens
    if args.json:
        print_json({"batch": batch.number, "released": n, "booked_tokens": booked})
    else:
        print(f"gave up {n:,} draws, booked as unsettled: {booked:,} tokens; do not send {batch.file} any more")
    return 0
