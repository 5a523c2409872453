"""Every promised figure in one table: line, command, figure, goal, holds or not, minutes.

``bench/claims.jsonl`` lists the claims; ``bench/results.jsonl`` keeps what was measured last, with a fingerprint of the
checkpoint, the data and the code that it rests on. Without ``--only`` the table is printed and nothing is measured;
``--only ISSUE|ID|stale|all`` measures anew; ``--quick`` measures everything small (50 problems x 16 draws), judges no
goal and keeps nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bench import (
    backtest,
    engine,
    equivalence,
    faults,
    http,
    lab,
    limits,
    programs,
    sandbox,
    scaling,
    spine,
)
from bench.standard import FULL, QUICK, ROOT, Size, checkpoint_digest

CLAIMS = ROOT / "bench" / "claims.jsonl"
RESULTS = ROOT / "bench" / "results.jsonl"
ROOMS = (spine, http, faults, limits, engine, sandbox, equivalence, programs, lab, scaling, backtest)
MEASURES = {name: measure for room in ROOMS for name, measure in room.MEASURES.items()}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()] if path.exists() else []


def fingerprint(claim: dict[str, Any]) -> str:
    """What a figure rests on: checkpoint, size of the standard pool, its own code and the paths that the claim names."""
    state = blake2b(digest_size=8)
    state.update(repr(FULL).encode())
    if claim.get("checkpoint", True):
        state.update(checkpoint_digest().encode())
    for name in sorted(claim["code"]):
        for file in sorted((ROOT / name).rglob("*.py")) if (ROOT / name).is_dir() else [ROOT / name]:
            state.update(file.read_bytes())
    return state.hexdigest()


def measure(claim: dict[str, Any], size: Size) -> dict[str, Any]:
    """Measure one claim: figure, whether the goal holds, minutes."""
    begun = time.monotonic()
    figure = MEASURES[claim["id"]](size)
    minutes = round((time.monotonic() - begun) / 60, 2)
    return {"id": claim["id"], "figure": figure.text, "holds": figure.holds, "minutes": minutes, "why": figure.why}


def chosen(claims: Sequence[dict[str, Any]], results: dict[str, Any], only: str) -> list[dict[str, Any]]:
    """The claims that ``--only`` names."""
    if only == "all":
        return list(claims)
    if only == "stale":
        return [c for c in claims if is_stale(c, results.get(c["id"]))]
    found = [c for c in claims if only in (c["id"], str(c["issue"]))]
    if not found:
        known = ", ".join(c["id"] for c in claims)
        sys.exit(f"prove: expected stale, all, an issue or one of {known}, but got {only!r}")
    return found


def is_stale(claim: dict[str, Any], result: dict[str, Any] | None) -> bool:
    """True where a figure was never measured, or what it rests on has changed since."""
    return result is None or result["fingerprint"] != fingerprint(claim)


def state_of(claim: dict[str, Any], result: dict[str, Any] | None, judged: bool) -> str:
    """Holds, does not hold, not judged, stale, not measured."""
    if result is None:
        return "not measured"
    if not judged:
        return "not judged"
    if is_stale(claim, result):
        return "stale"
    return "holds" if result["holds"] else f"does not hold: {result['why']}"


def print_table(claims: Sequence[dict[str, Any]], results: dict[str, Any], judged: bool) -> None:
    """The table, one claim after another; long figures take lines of their own."""
    for claim in claims:
        result = results.get(claim["id"])
        minutes = f"{result['minutes']:.2f} min" if result else "-"
        print(f"{claim['id']:<22} {state_of(claim, result, judged):<14} {minutes}")
        print(f"  claim    {claim['line']}")
        print(f"  goal     {claim['goal']}")
        print(f"  figure   {(result['figure'] if result else '-').replace(chr(10), chr(10) + '           ')}")
        print(f"  command  make prove ONLY={claim['id']}\n")
    states = [state_of(c, results.get(c["id"]), judged) for c in claims]
    n_hold = sum(s == "holds" for s in states)
    print(f"{len(claims)} claims: {n_hold} hold, {sum(s.startswith('does') for s in states)} do not, "
          f"{sum(s == 'stale' for s in states)} stale, {sum(s == 'not measured' for s in states)} not measured")  # fmt: skip


def keep(results: dict[str, Any]) -> None:
    """Write what is known, one result a line."""
    RESULTS.write_text("".join(json.dumps(results[name], ensure_ascii=False) + "\n" for name in sorted(results)))


def main() -> None:
    """Measure what is asked for, then print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", metavar="ISSUE|ID|stale|all", help="measure these anew")
    options.add_argument("--quick", action="store_true", help="measure small, judge nothing, keep nothing")
    args = options.parse_args()
    claims = read_lines(CLAIMS)
    results = {result["id"]: result for result in read_lines(RESULTS)}
    size = QUICK if args.quick else FULL
    only = args.only or ("all" if args.quick else None)
    for claim in chosen(claims, results, only) if only else []:
        if args.quick and not claim.get("quick", True):
            continue
        print(f"measuring {claim['id']} ...", file=sys.stderr, flush=True)
        results[claim["id"]] = {**measure(claim, size), "fingerprint": fingerprint(claim)}
        if not args.quick:
            keep(results)
    shown = [c for c in claims if not args.quick or c.get("quick", True)]
    print_table(shown, results, judged=not args.quick)


if __name__ == "__main__":
    main()
