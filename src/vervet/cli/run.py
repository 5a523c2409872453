"""Draw samples for a benchmark, verify, select, print accuracy and cost; the same command again goes on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from ..batch import Collected
from ..budget import Budget, Wallet
from ..errors import Mistake
from ..report import lab, pages
from ..report.figures import Told
from ..report.html import write_page
from ..report.lines import forecast_lines
from ..report.table import verifier_lines
from ..run import Result, Run
from .common import outputs, print_json, unsafe
from .data import add_data_options, options_of
from .progress import Progress

INTERRUPTED = "what was drawn is in the pool, the same command goes on from there"


def add(verb: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    verb.add_argument("task", metavar="TASK", help="a benchmark ('vervet tasks' lists them), gsm8k:FILE and the like, "
                      "or a file of your own: .jsonl, .csv, a data set's folder")  # fmt: skip
    verb.add_argument("--model", help="who answers (default: embedded, or who was imported into pool:FILE); 'vervet models' "
                      "lists them")  # fmt: skip
    verb.add_argument("--base-url", metavar="URL", help="where an openai/NAME is served: http://localhost:8000/v1")
    verb.add_argument(
        "--judge", help="who plays the other roles, named 'judge' in expressions (default: the same model)"
    )
    verb.add_argument("--with", dest="architecture", default="generate(n=16) | vote()", metavar="EXPRESSION",
                      help="the architecture (default: %(default)r); 'vervet operators' lists the parts")  # fmt: skip
    verb.add_argument("--reward", metavar="MODEL", help="a reward model, for best(by='reward')")
    verb.add_argument("--problems", type=int, metavar="N", help="how many problems (default: 100, or all of a file)")
    verb.add_argument(
        "--split", help="development (default), test or train; of a file: all (default), development, test"
    )
    verb.add_argument("--level", type=int, help="only problems of this level")
    verb.add_argument("--pool", metavar="FILE", help="where samples are kept (default: FILE of pool:FILE, else "
                      "vervet.sqlite)")  # fmt: skip
    verb.add_argument("--seed", type=int, default=0, help="chooses the problems and the resampling (default: 0)")
    verb.add_argument(
        "--replicate", type=int, default=0, help="chooses the draws: a disjoint block of them (default: 0)"
    )
    verb.add_argument("--wallet", default="", metavar="LIMITS",
                      help="what may be paid over all restarts: tokens=2M,usd=0.50,calls=500,seconds=60")  # fmt: skip
    verb.add_argument("--budget", default="", metavar="LIMITS",
                      help="what may be used for one problem: tokens=20k/problem,draws=64,calls=10,usd=0.01")  # fmt: skip
    verb.add_argument(
        "--dry-run", action="store_true", help="print what it costs, at the worst and likely; spend nothing"
    )
    verb.add_argument("--batch", metavar="FOLDER", help="collect what is missing as batch files for a provider, at its "
                      "batch price; the same command again reads the results and goes on")  # fmt: skip
    verb.add_argument("--replay", action="store_true", help="draw nothing: a wallet of zero tokens")
    verb.add_argument("--retry-failed", action="store_true", help="ask again what failed for causes outside the text")
    verb.add_argument("--concurrency", type=int, default=16, metavar="N", help="problems at once (default: 16)")
    verb.add_argument("--html", metavar="FILE", help="write the report with its figure")
    add_data_options(verb)
    verb.add_argument("--unsafe-sandbox", action="store_true", help="run code without isolation where there is none")
    verb.add_argument("--json", action="store_true", help="print one object and nothing else")
    verb.add_argument("--quiet", action="store_true", help="no progress")


def main(args: argparse.Namespace) -> int:
    """Run it; 3 where a limit ended it."""
    if args.replay and args.wallet:
        raise Mistake("--replay is a wallet of zero tokens: give --wallet or --replay, not both")
    outputs([args.task, args.pool or ""], html=args.html)
    unsafe(args)
    plan = Run(
        args.task, args.architecture, args.model, args.judge, args.problems, args.split, args.level, args.seed,
        args.replicate, args.pool or "", Wallet.parse(args.wallet), Budget.parse(args.budget), args.replay,
        args.retry_failed, args.concurrency, args.base_url, args.batch, args.reward, options_of(args),
    )  # fmt: skip
    if args.dry_run:
        return _dry_run(plan, args.json)
    with Progress(shown=not (args.json or args.quiet) and sys.stderr.isatty()) as progress:
        result = plan.start(progress)
    if args.json:
        print_json(result.data)
    else:
        _print(result, args.batch, args.replay)
        for (scorer, reason), n in progress.not_judged.most_common(3):
            print(f"{scorer} did not judge {n:,} texts: {reason}")
    if not result.ended:
        _report(args, result)
    return 3 if result.ended else 0


def _dry_run(plan: Run, as_json: bool) -> int:
    """What it will cost; nothing is spent."""
    found = plan.estimate()
    if as_json:
        print_json(found.data)
        return 0
    print(f"at most {found.draws:,} draws for {found.problems:,} problems, if the pool held none of them")
    for name, bill in (("worst", found.worst), ("likely", found.likely)):
        if bill is None:
            print("likely  unknown: the pool holds nothing of this model yet; run a few problems first")
            continue
        usd = f"{bill.usd:.4f} usd" if found.priced else "price unknown"
        about = f" (as its {found.n_known:,} samples in the pool)" if name == "likely" else ""
        print(f"{name:<6}  {bill.prompt_tokens:,} prompt + {bill.completion_tokens:,} completion tokens, {usd}{about}")
    return 0


def _report(args: argparse.Namespace, result: Result) -> None:
    """The curves of the run, where its draws have a declared range."""
    try:
        figures = pages.of_run(result.pool, result.run)
    except Mistake as error:
        if not args.json:
            print(f"\nno curves: {error}")
        return
    page = write_page(args.html, *lab.of_pool(result.pool, result.run)) if args.html else None
    if not args.json:
        print("\n" + pages.curves_table(figures))
        print("\n".join(["", *forecast_lines([Told(one) for one in result.forecasts])]).rstrip())
        if page:
            print(f"\nreport: {page}")


def _print(result: Result, batch: str | None, replayed: bool) -> None:
    spent: Mapping[str, Any] = result.spent
    low, high = result.interval
    print(f"{result.task}  {result.model}  {result.architecture}")
    if result.not_judged == result.problems:
        print(f"no problem of {result.problems} is judged yet")
    else:
        print(
            f"accuracy {result.accuracy:.3f}  [{low:.3f}, {high:.3f}] 95 %, new problems  ({result.problems} problems)"
        )
    if result.totals:
        print(", ".join(f"{name} {value:.3f}" for name, value in result.totals.items()))
    if 0 < result.not_judged < result.problems:
        least, most = result.bounds
        print(f"not judged {result.not_judged}: accuracy is between {least:.3f} and {most:.3f}")
    for reason, n in list(result.reasons.items())[:3]:
        print(f"  {n:,} problems: {reason}")
    for line in verifier_lines(result.verifiers):
        print(line)
    print(
        f"paid {spent['fresh_samples']:,} samples, {spent['prompt_tokens']:,} prompt and "
        f"{spent['completion_tokens']:,} completion tokens, {spent['calls']:,} calls, {spent['seconds']:.1f} s"
        f" (this time {result.fresh_now:,} samples); replayed {spent['replayed_samples']:,}"
    )
    if spent["usd"] is not None:
        print(f"paid {spent['usd']:.4f} usd")
    if spent["unsettled_tokens"]:
        print(f"unsettled: {spent['unsettled_tokens']:,} tokens of calls that broke, booked at their bound")
    if result.collected:
        _print_collected(result.collected)
    if result.ended == "batch":
        _print_waiting(result, batch)
    elif result.ended and replayed:
        print("the pool does not hold all that this needs: ask for fewer draws or problems, or leave out --replay")
    elif result.ended:
        print(f"the {result.ended} ended the run: the same command with a larger one goes on")


def _print_collected(found: Collected) -> None:
    if found.samples or found.failed or found.again:
        print(
            f"results: {found.samples:,} samples came, {found.failed:,} failures stay, {found.again:,} draws go out again"
        )
    for reason, n in sorted(found.reasons.items(), key=lambda row: -row[1])[:5]:
        print(f"  {n:,} times {reason}")
    if found.foreign:
        print(f"{found.foreign:,} lines of results answer no request of this folder")
    if found.unreadable:
        print(f"{len(found.unreadable):,} lines are no results: {'; '.join(found.unreadable[:3])}")


def _print_waiting(result: Result, batch: str | None) -> None:
    """Which files wait, what they may cost, and what to do."""
    n = sum(b.n_draws for b in result.waiting)
    prompt, completion, usd = (
        sum(getattr(b.reserve, name) for b in result.waiting) for name in ("prompt_tokens", "completion_tokens", "usd")
    )
    price = f", {usd:.4f} usd" if usd else ""
    print(f"{n:,} draws wait in batch files; at most {prompt:,} prompt + {completion:,} completion tokens{price}:")
    for one in result.waiting:
        print(f"  {one.number}  {one.file}  {one.n_draws:,} draws")
    if batch is None:
        print("to collect what came of them, give --batch and their folder; to give up one of them:")
        print(f"  vervet pool release {result.pool} NUMBER")
        return
    print("OpenAI and others: upload a file with purpose 'batch', then start a batch for the endpoint in its lines")
    file = result.waiting[-1].file
    print(f"vLLM: vllm run-batch -i {file} -o {file.replace('.requests.', '.results.')} --model NAME")
    print(f"then put the results, errors too, into {batch} as .jsonl; the same command again goes on")
