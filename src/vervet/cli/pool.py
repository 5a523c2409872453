"""What is in a pool: counts, sizes, models, runs; or merge pools, prune one, give up draws that wait in a batch file."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..errors import Mistake
from ..pool import open_pool
from ..pool.merge import merge
from ..pool.prune import prune
from ..run import wait
from .common import existing, print_columns, print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("what", choices=["info", "merge", "prune", "release"],
                      help="info: counts, sizes, models, runs, batch files; merge: make a new pool of several; prune: make a "
                      "smaller copy of one; release: give up a batch")  # fmt: skip
    verb.add_argument("pool", metavar="POOL", help="a pool file; for merge: the new one")
    verb.add_argument("more", metavar="POOL|BATCH", nargs="*", help="for merge: the pools that go into it, which stay as they "
                      "are; for release: the number of a batch file; what it may have cost is booked, and blocks that it "
                      "leaves broken are void")  # fmt: skip
    verb.add_argument("--into", metavar="NEW", help="for prune: the new pool; the old one stays as it is")
    verb.add_argument("--run", action="append", default=[], metavar="ID", help="for prune: keep what this run used (the "
                      "beginning of its id is enough); again for another one (default: all runs)")  # fmt: skip
    verb.add_argument("--no-figures", action="store_true", help="for prune: leave out what is kept per token; cut rules and "
                      "confidence cannot be replayed then")  # fmt: skip
    verb.add_argument("--unsent", action="store_true", help="for release: the file was never sent, so book nothing")
    verb.add_argument("--check", action="store_true", help="for info: read the whole file and name every damaged place")
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Do it and print what is there; 1 where ``--check`` found damage."""
    if args.what != "prune" and (args.into or args.run or args.no_figures):
        raise Mistake(f"--into, --run and --no-figures are for prune, not for {args.what}")
    return {"info": _info, "merge": _merge, "prune": _prune, "release": _release}[args.what](args)


def _info(args: argparse.Namespace) -> int:
    if args.more:
        raise Mistake(f"expected one pool, got {len(args.more) + 1}")
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


def _merge(args: argparse.Namespace) -> int:
    """One new pool of several."""
    if not args.more:
        raise Mistake("expected the new pool and the pools that go into it: vervet pool merge NEW POOL POOL ...")
    found = merge(args.pool, args.more)
    if args.json:
        print_json(asdict(found))
    else:
        print(f"{found.path}: {found.samples:,} samples, {found.problems:,} problems, {found.runs:,} runs of {found.pools} "
              f"pools, {found.n_bytes:,} bytes")  # fmt: skip
        print(f"{found.shared:,} draws were in more than one of them; what was paid adds up")
    return 0


def _prune(args: argparse.Namespace) -> int:
    """A smaller copy of a pool."""
    if args.more or not args.into:
        raise Mistake("expected one pool and where its smaller copy goes: vervet pool prune POOL --into NEW")
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
        asked = args.more[0] if len(args.more) == 1 else None
        if asked not in waiting:
            known = ", ".join(waiting) or "none has draws that wait"
            raise Mistake(f"expected the number of a batch file of {args.pool} ({known}), got {asked}")
        batch = waiting[asked]
        n = wait(pool.release(batch.number, sent=not args.unsent))
    booked = 0 if args.unsent else batch.reserve.tokens
    if args.json:
        print_json({"batch": batch.number, "released": n, "booked_tokens": booked})
    else:
        print(f"gave up {n:,} draws, booked as unsettled: {booked:,} tokens; do not send {batch.file} any more")
    return 0
