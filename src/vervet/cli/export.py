"""Write the samples of a pool as training data: supervised texts, preference pairs, step values, groups with rewards."""

from __future__ import annotations

import argparse

from ..exchange.export import Exported, export
from ..exchange.forms import FORMS
from ..report.table import counted
from .common import existing, outputs, print_json

_ABOUT = (
    "samples: every draw with all that is known of it; sft: right texts as prompt and completion; pairs: chosen over "
    "rejected of one prompt; steps: texts in steps with their values; groups: all draws of a question with rewards"
)


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("pool", metavar="POOL", help="a pool file")
    verb.add_argument("--as", dest="form", choices=list(FORMS), required=True, help=_ABOUT)
    verb.add_argument(
        "--out", required=True, metavar="FILE", help="where it goes: a name that ends in .parquet or .jsonl"
    )
    verb.add_argument("--run", metavar="ID", help="only draws that this run used (the beginning of its id is enough)")
    verb.add_argument("--task", metavar="NAME", help="only problems of this task")
    verb.add_argument("--exclude-split", action="append", default=[], metavar="SPLIT", help="no problem that a run took from "
                      "this split, whoever else used it; again for another one")  # fmt: skip
    verb.add_argument("--scorer", metavar="NAME", help="whose word counts in the place of the grader's: what a verifier "
                      "accepted, what a reward model valued higher; of steps: whose values")  # fmt: skip
    verb.add_argument("--limit", type=int, metavar="N", help="rows a problem at the most, the first by index (pairs: drawn by "
                      "the seed; groups: responses a group)")  # fmt: skip
    verb.add_argument("--margin", type=float, default=0.0, metavar="X", help="pairs: how far two scores must lie apart "
                      "(default: any difference)")  # fmt: skip
    verb.add_argument("--threshold", type=float, default=0.5, metavar="X", help="steps: from this value on a step is labelled "
                      "right (default: %(default)s)")  # fmt: skip
    verb.add_argument("--seed", type=int, default=0, help="which texts meet in pairs (default: 0)")
    verb.add_argument("--force", action="store_true", help="write over an existing file")
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Write the file and say what is in it and what is not."""
    outputs([args.pool], out=args.out)
    found = export(
        existing(args.pool), args.out, args.form, run=args.run, task=args.task, scorer=args.scorer, limit=args.limit,
        exclude=args.exclude_split, margin=args.margin, threshold=args.threshold, seed=args.seed, force=args.force,
    )  # fmt: skip
    if args.json:
        print_json(found.data)
    else:
        _print(found)
    return 0


def _print(found: Exported) -> None:
    print(
        f"{found.path}: {counted(found.rows, 'row')} ({found.form}) of {counted(found.problems, 'problem')}, "
        f"from {counted(found.draws, 'draw')}"
    )
    for why, count in found.left_out.items():
        print(f"left out: {count:,}  {why}")
