"""Coverage and selection curves of the runs in a pool: a table, and a page with the figure."""

from __future__ import annotations

import argparse

from ..errors import Mistake
from ..report import pages
from ..report.html import write_page
from .common import existing, print_json


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("pool", metavar="POOL", help="a pool file")
    verb.add_argument("--run", metavar="ID", help="one run (default: every run whose draws can be analysed)")
    verb.add_argument("--k", metavar="K,K,...", help="numbers of draws (default: 1, 2, 5, 10, ... and all)")
    verb.add_argument("--html", metavar="FILE", help="write the report with its figure")
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Print the table of every run, or of the one that is named."""
    figures = pages.of_pool(existing(args.pool), args.run, _ks(args.k))
    if args.json:
        print_json([one.data for one in figures])
    else:
        print("\n\n".join(pages.table(one) for one in figures))
    if args.html:
        write_page(args.html, *figures)
        if not args.json:
            print(f"\nreport: {args.html}")
    return 0


def _ks(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise Mistake(f"--k: expected whole numbers such as 1,4,16, but got {text!r}") from None
