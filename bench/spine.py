"""Figures of the spine: the embedded model on its tasks, and what the store and the run promise."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.standard import ROOT, TASKS, Figure, Size, draws, pool_path, standard_run, start
from vervet.scaling.compare import discrimination, lengths, paired_difference
from vervet.scaling.curves import curves
from vervet.scaling.passk import pass_at_k
from vervet.scaling.vote import tally, vote_at_k

SEED = 0


def _per_problem(size: Size, task: str, **which: Any) -> dict[str, np.ndarray[Any, Any]]:
    """pass@1, coverage and vote at all draws, coverage at a quarter of them: one value per problem."""
    d = draws(size, task, **which)
    counts, n = d.right.sum(axis=1), d.n
    first, quarter, last = pass_at_k(n, counts, [1, n // 4, n]).T
    vote = vote_at_k([tally(k, r) for k, r in zip(d.keys, d.right, strict=True)], [n])[:, 0]
    return {"pass": first, "quarter": quarter, "coverage": last, "vote": vote}


def _pass1(size: Size, task: str) -> str:
    curve = curves(draws(size, task), [1], seed=SEED)[0]
    return f"{curve.value[0]:.3f} [{curve.low[0]:.3f}, {curve.high[0]:.3f}]"


def words_pass1(size: Size) -> Figure:
    """pass@1 of words."""
    value = float(_per_problem(size, "words")["pass"].mean())
    return Figure(f"words pass@1 {_pass1(size, 'words')}", 0.3 <= value <= 0.8, f"pass@1 is {value:.3f}")


def words_vote(size: Size) -> Figure:
    """The vote lies between pass@1 and coverage, by paired intervals."""
    v = _per_problem(size, "words")
    gain = paired_difference(v["vote"], v["pass"], SEED)
    gap = paired_difference(v["coverage"], v["vote"], SEED)
    text = (
        f"words at {size.draws}: pass@1 {v['pass'].mean():.3f}, vote {v['vote'].mean():.3f}, coverage "
        f"{v['coverage'].mean():.3f}; vote - pass@1 {gain}, coverage - vote {gap}"
    )
    return Figure(text, gain.low > 0 and gap.low > 0, "a paired interval reaches 0")


def countdown_pass1(size: Size) -> Figure:
    """pass@1 of countdown, direct and thinking."""
    values = [float(_per_problem(size, task)["pass"].mean()) for task in TASKS[1:]]
    text = f"countdown direct {_pass1(size, TASKS[1])}, thinking {_pass1(size, TASKS[2])}"
    return Figure(text, all(0.15 <= v <= 0.6 for v in values), f"pass@1 are {values}")


def countdown_coverage(size: Size) -> Figure:
    """Coverage still rises over the last two doublings."""
    lines, holds = [], True
    for task in TASKS[1:]:
        v = _per_problem(size, task)
        rise = paired_difference(v["coverage"], v["quarter"], SEED)
        lines.append(f"{task}: {v['quarter'].mean():.3f} -> {v['coverage'].mean():.3f}, rise {rise}")
        holds &= rise.value >= 0.02 and rise.low > 0
    return Figure(f"coverage at {size.draws // 4} -> {size.draws}; " + "; ".join(lines), holds, "the rise is smaller")


def discriminates(size: Size) -> Figure:
    """Mean token logprob separates right from wrong samples of one problem."""
    lines, holds = [], True
    for task in TASKS:
        d = draws(size, task)
        found = discrimination(d.right, d.scores, SEED)
        lines.append(f"{task} within {found.within} (pooled {found.pooled}, {found.n_mixed} mixed problems)")
        holds &= found.within is not None and found.within.value > 0.6
    return Figure("AUROC of mean logprob: " + "; ".join(lines), holds, "an AUROC is .6 or less")


def temperatures(size: Size) -> Figure:
    """Coverage and vote at temperatures .7, 1 and 1.3: do the curves cross?"""
    lines = []
    for task in TASKS:
        cells, order = [], []
        for temperature in (0.7, 1.0, 1.3):
            v = _per_problem(size, task, temperature=temperature, problems=size.n_few)
            cells.append(
                f"T {temperature}: {v['pass'].mean():.3f} / {v['vote'].mean():.3f} / {v['coverage'].mean():.3f}"
            )
            order.append((v["pass"].mean(), v["coverage"].mean()))
        crossed = np.argmax([p for p, _ in order]) != np.argmax([c for _, c in order])
        lines.append(f"{task} {', '.join(cells)}: {'cross' if crossed else 'do not cross'}")
    text = f"pass@1 / vote / coverage at {size.draws} on {size.n_few} problems\n" + "\n".join(lines)
    return Figure(text, True)


def thinking_lengths(size: Size) -> Figure:
    """Tokens of right and of wrong thinking samples."""
    d = draws(size, "countdown-thinking")
    assert d.tokens is not None
    found = lengths(d.right, d.tokens, SEED)
    text = f"right {found.right} tokens, wrong {found.wrong}; right - wrong within a problem {found.difference}"
    return Figure(text, True)


def transformers_agree(size: Size) -> Figure:
    """Greedy texts of ``transformers`` and of the engine on the shipped folder, both fp32."""
    command = [sys.executable, "-m", "bench.transformers_agree", "--prompts", "50"]
    data = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    return Figure(
        f"{data['equal']} of {data['prompts']} greedy texts equal", data["equal"] == data["prompts"], "texts differ"
    )


def _vervet(*args: str, **popen: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vervet", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen)


def _run_json(*args: str) -> dict[str, Any]:
    process = _vervet("run", *args, "--json")
    out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"vervet run {' '.join(args)} ended with {process.returncode}: {err}")
    return dict(json.loads(out))


def _texts(path: str) -> dict[tuple[Any, ...], str]:
    """Every stored sample's text by its address, straight from the file."""
    db = sqlite3.connect(path)
    rows = db.execute(
        "SELECT t.model, t.question, t.replicate, t.scope, s.address & 4294967295, s.text, s.ids FROM samples s "
        "JOIN streams t ON t.id = s.address >> 32"
    ).fetchall()
    db.close()
    assert len({row[:5] for row in rows}) == len(rows), "an address stands in two rows"
    return {row[:5]: row[5:] for row in rows}


def _finished(path: str) -> tuple[int, int]:
    """Samples that calls delivered, counted by the calls, and rows that are stored."""
    db = sqlite3.connect(path)
    delivered, stored = (db.execute(q).fetchone()[0] for q in (
        "SELECT coalesce(sum(n_samples), 0) FROM calls", "SELECT count(*) FROM samples WHERE state = 0"))  # fmt: skip
    db.close()
    return int(delivered), int(stored)


def kills(size: Size) -> Figure:
    """Kill -9 at random moments and start again: the same object in the end, the same texts, nothing drawn twice."""
    problems, n, kills_wanted = ("60", 32, 10) if size.name == "standard" else ("8", 8, 2)
    arguments = ["countdown", "--with", f"generate(n={n}) | first()", "--problems", problems, "--split", "test"]
    with tempfile.TemporaryDirectory() as folder:
        whole = _run_json(*arguments, "--pool", f"{folder}/whole.sqlite")
        pool = f"{folder}/killed.sqlite"
        rng, n_killed = random.Random(SEED), 0
        longest_s = max(2.0, 1.5 * whole["spent"]["seconds"] / kills_wanted + 1.5)
        while n_killed < kills_wanted:
            process = _vervet("run", *arguments, "--pool", pool, "--json")
            try:
                process.communicate(timeout=rng.uniform(1.0, longest_s))
                if n_killed < kills_wanted:  # it finished first: begin anew with an empty pool
                    for file in Path(folder).glob("killed.sqlite*"):
                        file.unlink()
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                n_killed += 1
        last = _run_json(*arguments, "--pool", pool)
        same = all(whole[k] == last[k] for k in whole if k not in ("spent", "pool", "fresh_now"))
        texts = _texts(f"{folder}/whole.sqlite") == _texts(pool)
        delivered, stored = _finished(pool)
    text = (
        f"{n_killed} kills: final object {'equal' if same else 'different'}, texts and token ids "
        f"{'equal' if texts else 'different'}, {stored:,} rows, {delivered:,} delivered, "
        f"{last['spent']['unsettled_tokens']:,} tokens booked as unsettled"
    )
    return Figure(text, same and texts and delivered == stored, "a restart changed something")


def shares(size: Size) -> Figure:
    """n from 16 to 64 draws 48 more; again and replay draw 0; architectures share; two runs at once write no row twice."""
    problems = 20 if size.name == "standard" else 4
    with tempfile.TemporaryDirectory() as folder:
        base = ["countdown", "--problems", str(problems), "--split", "test", "--pool", f"{folder}/p.sqlite"]
        first = _run_json(*base, "--with", "generate(n=16) | first()")
        more = _run_json(*base, "--with", "generate(n=64) | first()")
        again = _run_json(*base, "--with", "generate(n=64) | first()")
        replay = _run_json(*base, "--with", "generate(n=64) | first()", "--replay")
        other = _run_json(*base, "--with", "generate(n=64) | vote()")
        two = ["countdown", "--problems", str(problems), "--split", "test", "--pool", f"{folder}/two.sqlite", "--json"]
        at_once = [_vervet("run", *two, "--with", f"generate(n=32) | {last}") for last in ("vote()", "first()")]
        outputs = [json.loads(process.communicate()[0]) for process in at_once]
        n_rows = len(_texts(f"{folder}/two.sqlite"))
    fresh = [r["fresh_now"] for r in (first, more, again, replay, other)]
    paid = sum(r["fresh_now"] for r in outputs)
    text = (
        f"{problems} problems: n=16 draws {fresh[0]}, then n=64 {fresh[1]}, again {fresh[2]}, replay {fresh[3]}, another "
        f"architecture {fresh[4]}; two runs at once: {paid} drawn together, {n_rows} rows"
    )
    holds = fresh == [16 * problems, 48 * problems, 0, 0, 0] and paid == n_rows == 32 * problems
    return Figure(text, holds, "a draw was paid for twice")


def until_replays(size: Size) -> Figure:
    """generate(until=...): live = rerun = replay on a fuller pool."""
    few = min(size.n_few, 40)
    expression = f"generate(n={size.draws}, until=agree(0.8) & tokens(2000), temperature=1.0) | vote()"
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"architecture": expression, "problems": few}
        live = start(standard_run(size, "words", **settings, pool=f"{folder}/live.sqlite"))
        rerun = start(standard_run(size, "words", **settings, pool=f"{folder}/live.sqlite"))
        full = {"problems": few, "pool": f"{folder}/full.sqlite"}
        start(standard_run(size, "words", **full))
        fuller = start(standard_run(size, "words", architecture=expression, **full, replay=True))
    same = live.outcomes == rerun.outcomes == fuller.outcomes
    text = f"{few} problems: outcomes {'equal' if same else 'different'}; drawn {live.fresh_now}, {rerun.fresh_now}, {fuller.fresh_now}"
    return Figure(text, same and rerun.fresh_now == fuller.fresh_now == 0, "a replay differs")


def import_time(size: Size) -> Figure:
    """``import vervet`` in a fresh interpreter, beside an empty interpreter: best of 15."""

    def best(code: str) -> float:
        times = []
        for _ in range(15):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - begun)
        return min(times)

    bare, full = best("pass"), best("import vervet")
    return Figure(
        f"import vervet {full - bare:.3f} s over an empty interpreter ({full:.3f} s whole)", full < 0.3, "slower"
    )


def pool_speed(size: Size) -> Figure:
    """Samples of 100 tokens appended, bytes a sample, lookups."""
    small = [] if size.name == "standard" else ["--samples", "20000", "--lookups", "20000"]
    command = [sys.executable, "-m", "bench.pool", "--json", *small]
    data = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    text = (
        f"{data['appended_per_s']:,.0f} samples/s appended, {data['bytes_per_sample']:,.0f} bytes a sample, "
        f"{data['found_per_s']:,.0f} of {data['lookups']:,} addresses looked up a second"
    )
    return Figure(text, data["appended_per_s"] > 20_000, "slower")


def standard_pool(size: Size) -> Figure:
    """How much the standard pool holds."""
    n_tokens = n_samples = 0
    for task in TASKS:
        d = draws(size, task)
        assert d.tokens is not None
        n_samples += d.n * d.n_problems
        n_tokens += sum(map(sum, d.tokens))
    n_bytes = Path(pool_path(size)).stat().st_size
    text = f"{n_samples:,} samples, {n_tokens:,} completion tokens, {n_bytes / 1e6:,.0f} MB"
    return Figure(text, n_samples == 3 * size.problems * size.draws, "samples are missing")


def demo(size: Size) -> Figure:
    """A bare clone, an empty cache: ``make demo`` after its installs."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "-q", str(ROOT), f"{folder}/clone"], check=True)
        env = {k: v for k, v in os.environ.items() if k != "VERVET_CACHE"} | {"XDG_CACHE_HOME": folder}
        subprocess.run(["make", ".venv/.demo"], cwd=f"{folder}/clone", check=True, env=env, stdout=subprocess.DEVNULL)
        begun = time.monotonic()
        done = subprocess.run(
            ["make", "demo"], cwd=f"{folder}/clone", check=True, env=env, capture_output=True, text=True
        )
        minutes = (time.monotonic() - begun) / 60
    checked = re.findall(r"(\d+) of (\d+) that can be checked lie in their interval", done.stdout)
    told = ", ".join(f"{held} of {n} stored forecasts that can be checked lie in their interval" for held, n in checked)
    text = f"{minutes:.1f} minutes after the installs; {told or 'no forecast could be checked'}"
    return Figure(text, minutes < 5 and bool(checked), "slower, or no stored forecast was checked")


MEASURES: dict[str, Callable[[Size], Figure]] = {
    "standard-pool": standard_pool,
    "words-pass1": words_pass1,
    "words-vote": words_vote,
    "countdown-pass1": countdown_pass1,
    "countdown-coverage": countdown_coverage,
    "auroc": discriminates,
    "temperatures": temperatures,
    "thinking-lengths": thinking_lengths,
    "transformers": transformers_agree,
    "kills": kills,
    "shares": shares,
    "until-replays": until_replays,
    "import-time": import_time,
    "pool-speed": pool_speed,
    "demo": demo,
}
