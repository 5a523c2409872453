"""Curves, laws and forecasts of the draws in a pool, or of a table of success counts: tables, and a page with the figure."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import Mistake
from ..exchange.counts import parse_stopped, read_counts
from ..report import files, lab, lines, pages
from ..report.data import data
from ..report.figures import Figures
from ..report.html import write_page
from ..scaling.cost import Shape
from ..scaling.counts import Counts
from ..scaling.forecast import Reach, reach
from ..tasks.reading import ENDINGS
from ..types import Prices
from .common import existing, outputs, print_json

_POOL = "vervet.sqlite"
_WRITERS: dict[str, Callable[[str, Sequence[Figures]], object]] = {
    "html": lambda path, figures: write_page(path, *figures),
    "csv": files.write_csv,
    "parquet": files.write_parquet,
    "png": files.write_png,
}


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("what", metavar="POOL|RUN|COUNTS", help="a pool file; the id of a run of --pool; or a table of success "
                      "counts (problem, n, c, and model where there are several): .csv, .jsonl, .parquet")  # fmt: skip
    verb.add_argument("--pool", metavar="FILE", help=f"where a run is (default: {_POOL})")
    verb.add_argument("--run", metavar="ID", help="one run of a pool (default: every run whose draws can be analysed)")
    verb.add_argument("--k", metavar="K,K,...", help="numbers of draws (default: 1, 2, 5, 10, ... and all)")
    verb.add_argument("--reach", type=float, action="append", default=[], metavar="SHARE",
                      help="how many draws, tokens and dollars a coverage of .95 takes; again for another one")  # fmt: skip
    verb.add_argument("--stopped", metavar="RULE", help="of counts whose n differ: 'fixed' where n was decided before drawing, "
                      "or the rule that ended it: successes=1,cap=60")  # fmt: skip
    verb.add_argument("--axis", metavar="AXIS", help="what the figure's x is: usd, usd-cached, usd-batch, flops, eflops, tokens, "
                      "seconds or samples (default: the first of these that is known)")  # fmt: skip
    verb.add_argument(
        "--prices", metavar="PRICES", help="usd per million tokens: prompt=0.15,completion=0.6,cached_prompt=0.075"
    )
    verb.add_argument(
        "--shape", metavar="SIZES", help="of the model, for FLOPs: parameters=8e9,layers=32,width=4096,heads=32"
    )
    verb.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the resampling of counts and of --reach (default: 0; runs have their own)",
    )
    verb.add_argument("--reliability", action="store_true", help="also the chance that all, or at least half or three quarters, "
                      "of k draws are right: pass^k and G-Pass@k")  # fmt: skip
    verb.add_argument("--worth", default="", metavar="VALUES", help="beside a right answer's 1, for drawing until a verifier "
                      "accepts: wrong=-1,abstain=0,draw=0 (the default)")  # fmt: skip
    verb.add_argument("--html", metavar="FILE", help="write the report with its figures")
    verb.add_argument("--csv", metavar="FILE", help="write the curves, a row for each k")
    verb.add_argument("--parquet", metavar="FILE", help="the same as Parquet")
    verb.add_argument("--png", metavar="FILE", help="write the headline figure as a picture")
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")


def main(args: argparse.Namespace) -> int:
    """Print the tables of every set of draws, or of the one that is named."""
    if bad := [share for share in args.reach if not 0 < share < 1]:
        raise Mistake(f"--reach: expected a share of problems between 0 and 1, such as .95, but got {bad[0]}")
    if args.seed < 0:
        raise Mistake(f"--seed: expected a whole number from 0 on, but got {args.seed}")
    outputs([args.what, args.pool or _POOL], **{kind: getattr(args, kind) for kind in _WRITERS})
    figures, tables = _figures(args)
    reached = [[_reach(counts, share, args.seed) for share in args.reach] for counts in tables] if args.reach else []
    if args.json:
        _print_data(args, figures, reached)
    else:
        _print(figures, reached)
    for kind, write in _WRITERS.items():
        if path := getattr(args, kind):
            write(path, figures)
            if not args.json:
                print(f"\n{'report' if kind == 'html' else kind}: {path}")
    return 0


def _figures(args: argparse.Namespace) -> tuple[list[Figures], list[Counts]]:
    """What is shown, and the counts that it is reckoned from."""
    shape = Shape.parse(args.shape) if args.shape else None
    prices = _prices(args.prices) if args.prices else None
    asked = lab.Asked(_ks(args.k), args.axis, prices, shape, args.seed, _worth(args.worth), args.reliability)
    if Path(args.what).suffix in ENDINGS and Path(args.what).is_file():
        if args.prices or args.shape:
            raise Mistake("--prices and --shape are for a pool: a table of counts knows no tokens")
        if args.run or args.pool:
            raise Mistake("--run and --pool are for runs of a pool, not for a table of counts")
        tables = read_counts(args.what, parse_stopped(args.stopped) if args.stopped else None)
        return lab.of_counts(tables, asked), tables
    if args.stopped:
        raise Mistake("--stopped is for a table of counts: a pool knows what ended its runs")
    whole = Path(args.what).exists() or args.run
    if whole and args.pool:
        raise Mistake(
            f"expected a pool file, or the id of a run and its --pool, but got {args.what!r} and --pool {args.pool}"
        )
    path, run = (args.what, args.run) if whole else (args.pool or _POOL, args.what)
    if path != args.what and not Path(path).exists():
        raise Mistake(
            f"expected a pool file, a table of success counts, or the id of a run of --pool, but there is no file {run!r} and "
            f"no pool {path!r}"
        )
    figures = lab.of_pool(existing(path), run, asked)
    return figures, pages.counts_shown(path, figures)


def _print(figures: Sequence[Figures], reached: Sequence[Sequence[Reach]]) -> None:
    if len(figures) > 1 and "run" not in figures[0].facts:
        print("\n".join(lines.side_by_side(figures)))
        parts = [
            [one.title, *([one.verdict] if one.verdict else []), *lines.forecast_lines(one.forecasts), *one.notes]
            for one in figures
        ]
    else:
        parts = [_part(one) for one in figures]
    for i, (one, part) in enumerate(zip(figures, parts, strict=True)):
        more = [lines.reach_line(found, one.costs) for found in (reached[i] if reached else ())]
        print("\n" * (i > 0 or len(figures) > 1) + "\n".join([*part, *more]))


def _part(figures: Figures) -> list[str]:
    """One set of draws: its curves, laws, forecasts, costs, and what else must be said."""
    head = pages.table(figures) if "run" in figures.facts else f"{figures.title}\n\n{pages.curves_table(figures)}"
    more = (
        lines.resampling_lines(figures.resampling),
        lines.law_lines(figures.laws, figures.verdict), lines.forecast_lines(figures.forecasts),
        lines.cost_lines(figures.costs, figures.coverage.k), list(figures.notes),
    )  # fmt: skip
    return [head, *(line for block in more if block for line in ("", *block))]


def _print_data(args: argparse.Namespace, figures: Sequence[Figures], reached: Sequence[Sequence[Reach]]) -> None:
    found = data(figures)
    for curve, rows in zip(found["curves"], reached, strict=False):
        curve["reach"] = [{"coverage": share, **asdict(one)} for share, one in zip(args.reach, rows, strict=True)]
    print_json(found)


def _reach(counts: Counts, share: float, seed: int) -> Reach:
    """The draws that a coverage takes; in words alone where nothing is forecast from such draws."""
    if counts.adaptive:
        return Reach(None, None, None, f"coverage {share:g} cannot be forecast: {pages.how_drawn(counts)}")
    return reach(counts, share, seed=seed)


def _ks(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise Mistake(f"--k: expected whole numbers such as 1,4,16, but got {text!r}") from None


def _prices(text: str) -> Prices:
    """Prices as ``prompt=0.15,completion=0.6``."""
    try:
        given = _numbers(text)
        if min(given.values()) < 0:
            raise ValueError(text)
        return Prices(**given)
    except (TypeError, ValueError):
        raise Mistake(
            "--prices: expected prompt=USD,completion=USD and perhaps cached_prompt=, cache_write= (usd per million tokens) and "
            f"batch= (the share that a batch pays), but got {text!r}"
        ) from None


def _worth(text: str) -> lab.Worth:
    """What answers are worth, as ``wrong=-2,draw=0.01``."""
    try:
        return lab.Worth(**_numbers(text)) if text else lab.Worth()
    except (TypeError, ValueError):
        raise Mistake(f"--worth: expected wrong=NUMBER,abstain=NUMBER,draw=NUMBER, but got {text!r}") from None


def _numbers(text: str) -> dict[str, float]:
    """Names with finite numbers. Raises ValueError."""
    given = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        given[name.strip()] = float(value)
        if not math.isfinite(given[name.strip()]):
            raise ValueError(part)
    return given
