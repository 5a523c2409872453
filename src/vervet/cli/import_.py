"""Bring samples that were recorded elsewhere into a pool and grade them: nothing is drawn, replays work as on drawn pools."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from ..exchange import FORMATS, Fields, Imported, OfModel, import_file
from ..report.table import counted
from .common import print_json, unsafe
from .data import add_row_options, options_of
from .progress import Progress

_FIELDS = ("problem", "text", "answer", "correct", "reward", "confidence", "tokens", "model", "group")


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("file", metavar="FILE", help="JSON lines, CSV or Parquet of texts or answers; a YAML file or folder of "
                      "large_language_monkeys; samples_*.jsonl of lm-eval; a log of inspect_ai")  # fmt: skip
    verb.add_argument(
        "--pool", default="vervet.sqlite", metavar="FILE", help="where samples are kept (default: %(default)s)"
    )
    verb.add_argument("--format", choices=FORMATS, help="what the file is (default: what it looks like)")
    verb.add_argument(
        "--model", metavar="NAME", help="who wrote the samples, where the file does not say (default: its name)"
    )
    verb.add_argument("--task", metavar="NAME", help="what the problems are called together (default: the file's name)")
    verb.add_argument("--n", type=int, metavar="N", help="draws of each problem that are declared (default: as many as every "
                      "problem has)")  # fmt: skip
    verb.add_argument("--reader", metavar="NAME", help="who finds the answers for votes where the file itself says what is "
                      "right (default: exact, the whole text)")  # fmt: skip
    add_row_options(verb)
    names = verb.add_argument_group("names of fields, where they are not the usual ones")
    for name in _FIELDS:
        about = {"group": "rows of different groups were not drawn alike: each becomes a model of its own",
                 "correct": "whether a sample is right; the metric of lm-eval, the score of inspect_ai"}  # fmt: skip
        names.add_argument(f"--{name}-field", metavar="FIELD", help=about.get(name, f"the {name} of a sample"))
    verb.add_argument("--unsafe-sandbox", action="store_true", help="run code without isolation where there is none")
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")
    verb.add_argument("--quiet", action="store_true", help="no progress")


def main(args: argparse.Namespace) -> int:
    """Import it and say what came."""
    unsafe(args)
    writes = False
    fields = Fields(**{name: getattr(args, f"{name}_field") for name in _FIELDS})
    try:
        with Progress(shown=not (args.json or args.quiet) and sys.stderr.isatty()) as progress:

            def listen(kind: str, facts: Mapping[str, Any]) -> None:
                nonlocal writes
                writes = True  # it is told of the first write and of what comes behind it
                if kind == "run":  # one after another, a model each
                    progress.n_done = progress.n_right = 0
                progress(kind, facts)

            found = import_file(
                args.file, args.pool, model=args.model, task=args.task, format=args.format, n=args.n, reader=args.reader,
                fields=fields, options=options_of(args), listen=listen,
            )  # fmt: skip
    except KeyboardInterrupt:
        stays = "what was imported stays, the same command goes on from there" if writes else "nothing was imported yet"
        print(f"vervet: interrupted; {stays}", file=sys.stderr)
        return 130
    if args.json:
        print_json(found.data)
    else:
        _print(found)
    return 0


def _print(found: Imported) -> None:
    for line in found.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    print(
        f"{counted(found.problems, 'problem')}, {counted(found.samples, 'sample')}, {found.new:,} of them new in {found.pool}"
    )
    for one in found.models:
        _print_model(one, found.grader)
    words = ["vervet", "run", f"pool:{found.pool}#{found.task}", "--replay"]
    if len(found.models) > 1:
        words += ["--model", one.model, "--where", f"model={one.model}"]
    print(f"next: {shlex.join([*words, '--with', f'generate(n={one.n}) | vote()'])}")


def _print_model(one: OfModel, grader: str) -> None:
    print(
        f"{one.model}: {counted(one.problems, 'problem')} x {counted(one.n, 'draw')}, {100 * one.accuracy:.2f} % right as "
        f"{grader} grades them"
    )
    if one.beyond:
        has = "draw that every problem has" if one.n == 1 else f"{one.n:,} draws that every problem has"
        print(f"  {counted(one.beyond, 'sample')} beyond the {has}: kept, not graded")
    if one.not_judged:
        print(f"  not judged: {counted(one.not_judged, 'draw')}")
    if one.disagree:
        print(f"  graded otherwise than the file says: {counted(one.disagree, 'draw')}, first at {one.first}")
