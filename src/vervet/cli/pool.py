"""What is in a pool: counts, sizes, models, runs; with --check, every damaged place."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..pool import open_pool
from .common import existing, print_columns, print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("what", choices=["info"], help="info: counts, sizes, models, runs")
    verb.add_argument("pool", metavar="POOL", help="a pool file")
    verb.add_argument("--check", action="store_true", help="read the whole file and name every damaged place")
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Print what is there; 1 where ``--check`` found damage."""
    with open_pool(existing(args.pool)) as pool:
        info = pool.info()
        runs = pool.runs()
        damage = pool.check() if args.check else []
    if args.json:
        print_json({**asdict(info), "runs": [asdict(r) for r in runs], **({"damage": damage} if args.check else {})})
        return 1 if damage else 0
    print(f"{info.path}: schema {info.schema_version}, {info.n_bytes:,} bytes, {info.n_open_calls} open calls")
    print_columns([[name, f"{count:,}"] for name, count in info.counts.items() if count])
    for model, count in info.models.items():
        print(f"model {model}: {count:,} samples")
    for one in runs:
        print(f"run {one.id[:12]}  {one.identity['task']}  {one.identity['architecture']}  {one.seconds:.1f} s")
    if args.check:
        print("\n".join(damage) if damage else "no damage found")
    return 1 if damage else 0
