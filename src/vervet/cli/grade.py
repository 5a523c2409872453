"""Grade answers that were written anywhere: pairs of a target and an answer, or programs, one verdict per line."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import Mistake, VervetError, first_of
from ..llm import LLM
from ..models import load
from ..pool import open_pool
from ..run.regrade import judging_world
from ..run.waiting import wait
from ..scaling.intervals import accuracy
from ..tasks.pairs import Graded, Pair, Pairs, grade_pairs, read_pairs
from ..types import Spent
from ..verify import GRADERS
from .common import print_json, unsafe
from .data import add_row_options, options_of

_SHOWN = 160  # characters of the evidence in a line
_WIDEST = 40  # characters of the column that says where
_OUTCOMES = ("correct", "incorrect", "not_judged")


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("file", metavar="FILE", help="JSON lines, CSV or a data set's folder: gold and answer, or prompt, "
                      "completion, test and entry_point")  # fmt: skip
    add_row_options(verb)
    verb.add_argument("--answer-field", metavar="FIELD", help="the field of the text that is graded")
    verb.add_argument("--judge", metavar="MODEL", help="the model of a grader that asks one; its calls are counted")
    verb.add_argument("--pool", default="vervet.sqlite", metavar="FILE", help="where a judge's replies are kept")
    verb.add_argument("--concurrency", type=int, default=16, metavar="N", help="answers at once (default: 16)")
    verb.add_argument("--unsafe-sandbox", action="store_true", help="run code without isolation where there is none")
    verb.add_argument("--json", action="store_true", help="print one object a line, the last one with the totals")
    verb.add_argument("--quiet", action="store_true", help="no progress")


def main(args: argparse.Namespace) -> int:
    """Grade it; the status says whether that could be done, not what the verdicts are."""
    try:
        return _graded(args)
    except KeyboardInterrupt:
        kept = f"what the judge said is in {args.pool}, the verdicts are not kept" if args.judge else "nothing is kept"
        print(f"vervet: interrupted; {kept}: start again", file=sys.stderr)
        return 130


def _graded(args: argparse.Namespace) -> int:
    unsafe(args)
    pairs = read_pairs(args.file, options_of(args), args.answer_field)
    if getattr(GRADERS[pairs.grader], "asks", None) and not args.judge:
        raise Mistake(f"the grader {pairs.grader!r} asks a model: say which one with --judge MODEL")
    for line in pairs.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    told: list[Graded] = []
    place_of = _places(pairs)
    shown = not (args.json or args.quiet or sys.stdout.isatty()) and sys.stderr.isatty()
    with _bar(len(pairs.rows), shown) as advance:

        def tell(graded: Graded) -> None:
            told.append(graded)
            advance()
            if args.json:
                print_json(_data(graded))
            else:
                print(_line(graded, place_of))

        judge = wait(_grade(pairs, args, tell))
    _print_totals(args.json, pairs, told, judge)
    sys.stdout.flush()  # whoever reads may have gone, which is said here or not at all
    return 0


async def _grade(pairs: Pairs, args: argparse.Namespace, tell: Callable[[Graded], None]) -> dict[str, int] | None:
    """Grade every pair; what the judge took this time, where there is one."""
    try:
        if not args.judge:
            await grade_pairs(pairs, tell, concurrency=args.concurrency)
            return None
        judge = load(args.judge)
        try:
            with open_pool(args.pool) as pool:
                world = judging_world(pool, judge, "grade")
                before = _taken(pool.spent(world.run))
                await grade_pairs(pairs, tell, lambda problem: LLM.at_desk(world, problem), args.concurrency)
                await pool.flush()
                return {name: n - before[name] for name, n in _taken(pool.spent(world.run)).items()}
        finally:
            await judge.close()
    except* (VervetError, BrokenPipeError) as errors:
        raise first_of(errors) from None


def _taken(spent: Spent) -> dict[str, int]:
    bill = spent.bill
    return {
        "calls": spent.calls,
        "prompt_tokens": bill.prompt_tokens,
        "completion_tokens": bill.completion_tokens,
        "unsettled_tokens": bill.unsettled_tokens,
    }


@contextlib.contextmanager
def _bar(n_rows: int, shown: bool) -> Iterator[Callable[[], None]]:
    """A bar on standard error that moves by one at each call, or nothing."""
    if not shown:
        yield lambda: None
        return
    from rich import progress
    from rich.console import Console

    columns = (progress.BarColumn(30), progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=n_rows)
        yield lambda: bar.advance(task)


def _data(graded: Graded) -> dict[str, Any]:
    """A verdict as JSON data."""
    pair, answer, verdict = graded.pair, graded.answer, graded.verdict
    return {
        "place": pair.place,
        "id": pair.name or None,
        "outcome": verdict.outcome,
        "answer": answer.text if answer else None,
        "key": answer.key if answer else None,
        "evidence": verdict.reason,
    }


def _places(pairs: Pairs) -> Callable[[Pair], str]:
    """How a pair's place is written, in one width: the line in its file, and the file where there are several; its id."""
    several = len({pair.place.rpartition(", ")[0] for pair in pairs.rows}) > 1

    def written(pair: Pair) -> str:
        place = pair.place if several else pair.place.rpartition(", ")[2]
        return place + (f"  {pair.name}" if pair.name else "")

    width = min(max(len(written(pair)) for pair in pairs.rows), _WIDEST)
    return lambda pair: written(pair).ljust(width)


def _line(graded: Graded, place_of: Callable[[Pair], str]) -> str:
    """A verdict in one line: where, what, and why."""
    pair, answer = graded.pair, graded.answer
    why = _flat(graded.verdict.reason, _SHOWN)
    if (
        not why
        and answer is not None
        and isinstance(pair.target, str | int | float)
        and "\n" not in answer.text.strip()
    ):
        why = f"{_flat(answer.text, _SHOWN // 2)} for {_flat(str(pair.target), _SHOWN // 2)}"
    return f"{place_of(pair)}  {graded.verdict.outcome.replace('_', ' '):<10}  {why}".rstrip()


def _flat(text: str, n_shown: int) -> str:
    """The text on one line, its beginning."""
    flat = " ".join(text.split())
    return flat if len(flat) <= n_shown else f"{flat[:n_shown]} ..."


def _print_totals(as_json: bool, pairs: Pairs, told: list[Graded], judge: dict[str, int] | None) -> None:
    counts: Counter[str] = Counter(graded.verdict.outcome for graded in told)
    right = [graded.verdict.correct if graded.verdict.judged else None for graded in told]
    # Answers to one problem stand and fall together; where no problem is given, each pair is its own.
    asked = [g.pair.problem.id if g.pair.problem.messages[0]["content"] else g.pair.place for g in told]
    found = accuracy(right, 0, clusters=asked)
    if as_json:
        totals: dict[str, Any] = {outcome: counts[outcome] for outcome in _OUTCOMES}
        totals |= {"rows": len(told), "skipped": list(pairs.skipped), "accuracy": found.value}
        totals |= {"interval": [found.low, found.high], "bounds": [found.least, found.most]}
        totals |= {"judge": judge} if judge else {}
        print_json({"totals": totals})
        return
    skipped = f"; {len(pairs.skipped):,} lines skipped" if pairs.skipped else ""
    outcomes = ", ".join(f"{outcome.replace('_', ' ')} {counts[outcome]:,}" for outcome in _OUTCOMES)
    print(f"\n{outcomes} of {len(told):,}{skipped}")
    print(f"accuracy {found.value:.3f}  [{found.low:.3f}, {found.high:.3f}] 95 %, new problems")
    if counts["not_judged"]:
        print(f"not judged {counts['not_judged']:,}: accuracy is between {found.least:.3f} and {found.most:.3f}")
    if judge:
        took = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in judge.items() if n or name == "calls")
        print(f"the judge took {took}")
