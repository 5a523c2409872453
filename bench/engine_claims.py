"""What the engine promises beside its speed: memory, forks, conservation, the demo.

python -m bench.engine_claims NAME [--quick] [--threads N]

measures one of them in this process and prints its numbers as one JSON line.
"""

from __future__ import annotations

import io
import json
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.engine_machine import answer, numbers, peak_bytes, tell
from bench.engine_steps import batch_of, run
from bench.engine_systems import Shape, folder_of, prompt_ids
from bench.standard import QUICK, ROOT, Figure, Size

if TYPE_CHECKING:
    from vervet.engine import Engine, Sequence

DEMO_CORES = 2  # what the engine before took at most


# --- memory ----------------------------------------------------------------------------------------------------


def kept_bytes(quick: bool) -> dict[str, float]:
    """Bytes of keys and values that are owned just before 512 samples of a 4k prompt end."""
    from vervet.engine import Engine, load

    batch, prefix, new = (32, 256, 32) if quick else (512, 4096, 128)
    with folder_of("10M", prefix + new) as folder:
        engine = Engine(load(folder, "bfloat16"), slots=batch)
    before = peak_bytes()
    for s in batch_of(prompt_ids(prefix, engine.llama.config.vocab, 0), batch, new):
        engine.add(s)
    for _ in range(new - 1):  # the last token of a sample is drawn, but not run
        engine.step()
    exact = (prefix + batch * (new - 1)) * Shape.of("10M").kv_bytes
    apart = batch * (prefix + new - 1) * Shape.of("10M").kv_bytes
    engine.check()
    return {"used": engine.bytes_used, "exact": exact, "apart": apart, "rss": peak_bytes() - before,
            "batch": batch, "prefix": prefix}  # fmt: skip


def memory(size: Size) -> Figure:
    """One prefix and 512 suffixes."""
    n = numbers(__name__, "kept_bytes", size)
    ratio = n["used"] / n["exact"]
    text = (
        f"{n['batch']} samples of {n['prefix']:,} tokens: {n['used'] / 2**20:,.1f} MiB owned : {n['exact'] / 2**20:,.1f} "
        f"MiB exactly = {ratio:.3f}; a cache for each would take {n['apart'] / 2**20:,.0f} MiB; the process grew by "
        f"{n['rss'] / 2**20:,.0f} MiB at most, working memory included"
    )
    return Figure(text, 1 <= ratio <= 1.1, f"{ratio - 1:.1%} more")


# --- forks -----------------------------------------------------------------------------------------------------


def mean_logprob(sequence: Sequence) -> float:
    """By which beams are chosen."""
    return statistics.fmean(sequence.logprob)


def _best(sequences: list[Sequence], width: int) -> list[Sequence]:
    return sorted(sequences, key=lambda s: -mean_logprob(s))[:width]


def _forked(engine: Engine, prompt: tuple[int, ...], n: int, depth: int, span: int) -> list[list[Sequence]]:
    """A step search in one engine: beams that run are forked, and all others are dropped. The branches of each step."""
    most = depth * span + 1  # so that a branch still runs when it is judged
    branches, steps = batch_of(prompt, n * n, most), []
    for s in branches:
        engine.add(s)
    for step in range(1, depth + 1):
        while any(len(s.ids) < step * span for s in branches):
            engine.step()
        steps.append(branches)
        if step < depth:
            heirs = [[beam.heir(seed=step * n * n + i * n + j, limit=most) for j in range(n)]
                     for i, beam in enumerate(_best(branches, n))]  # fmt: skip
            for beam, some in zip(_best(branches, n), heirs, strict=True):
                engine.fork(beam, some)
            engine.remove(branches)
            branches = [heir for some in heirs for heir in some]
    engine.remove(branches)
    engine.check()
    return steps


def again_from(sequence: Sequence, n_tokens: int, more: int) -> Sequence:
    """The same sample, sent with its first tokens and their figures, to be followed further."""
    s, n = sequence, n_tokens
    return replace(s, limit=n + more, ids=s.ids[:n], logprob=s.logprob[:n], topk=s.topk[:n], entropy=s.entropy[:n])


def step_search(quick: bool) -> dict[str, Any]:
    """16 steps, 16 beams, 16 branches of each: forked in one engine, and sent again, the text so far included."""
    from vervet.engine import Engine, load

    n, depth, span, length = (4, 3, 8, 32) if quick else (16, 16, 16, 256)
    with folder_of("embedded", 1024) as folder:
        llama = load(folder, "bfloat16")
    prompt = prompt_ids(length, llama.config.vocab, 0)
    engine = Engine(llama, slots=n * n)
    begun = time.perf_counter()
    steps = _forked(engine, prompt, n, depth, span)
    ours_s = time.perf_counter() - begun
    again, alone, equal, equal_alone, n_alone, again_s = 0, 0, 0, 0, 0, 0.0
    for step, branches in enumerate(steps):
        so_far, each = step * span, Engine(llama, slots=n * n)
        sent = [again_from(s, so_far, span) for s in branches]
        again_s += run(each, sent)
        again += each.n_computed
        equal += sum(s.ids[: so_far + span] == a.ids for s, a in zip(branches, sent, strict=True))
        for s in branches[step % n :: n]:  # one branch of each beam
            one, single = Engine(llama, slots=1), again_from(s, so_far, span)
            run(one, [single])
            assert one.n_computed == length + so_far + span - 1, (
                "it computes its text, and all that it draws but the last"
            )
            equal_alone, n_alone = equal_alone + (s.ids[: so_far + span] == single.ids), n_alone + 1
        alone += n * n * (length + so_far + span - 1)
    return {"ours": engine.n_computed, "again": again, "alone": alone, "equal": equal, "texts": n * n * depth,
            "equal_alone": equal_alone, "n_alone": n_alone, "ours_s": ours_s, "again_s": again_s,
            "n": n, "depth": depth, "span": span, "length": length}  # fmt: skip


def fork(size: Size) -> Figure:
    """Forks against sending texts again."""
    n = numbers(__name__, "step_search", size)
    ratio = n["ours"] / n["alone"]
    text = (
        f"{n['depth']} steps x {n['n']} beams x {n['n']} branches of {n['span']} tokens, prompt of {n['length']}: "
        f"{n['ours']:,} tokens computed; where each branch sends its text again {n['alone']:,} = {ratio:.3f}; where a step "
        f"is sent to an engine that is new, but shares what its texts begin with, {n['again']:,} = "
        f"{n['ours'] / n['again']:.3f} ({n['ours_s']:.1f} : {n['again_s']:.1f} s); texts equal in bf16: "
        f"{n['equal_alone']:,} of {n['n_alone']:,} sent alone, {n['equal']:,} of {n['texts']:,} by step"
    )
    differ = n["texts"] - n["equal"] + n["n_alone"] - n["equal_alone"]
    return Figure(text, ratio <= 0.2 and not differ, f"{ratio:.3f} of the tokens, {differ} texts differ")


# --- conservation ----------------------------------------------------------------------------------------------


def hectic(quick: bool) -> dict[str, Any]:
    """Random admissions, forks, cuts and cancellations under a tight limit; the law after each, and what is owned last."""
    from vervet.engine import Engine, Sequence, load
    from vervet.errors import Mistake
    from vervet.rules import LowConfidence

    n_events, most = (200 if quick else 10_000), 40 * 64
    with folder_of("embedded", 4096) as folder:
        engine = Engine(load(folder, "bfloat16"), slots=12, max_tokens_kept=most)
    rng, counts, asked = random.Random(0), Counter[str](), list[Sequence]()
    prompts = [prompt_ids(rng.choice([1, 30, 64, 65, 150, 700]), 448, i) for i in range(12)]
    idle = n_most = 0

    def new(prompt: tuple[int, ...]) -> Sequence:
        rule = LowConfidence(window=rng.randint(1, 32), below=rng.uniform(4, 9)) if rng.random() < 0.3 else None
        return Sequence(prompt=prompt, seed=rng.getrandbits(64), limit=rng.randint(1, 190), cut=rule,
                        keep=rng.random() < 0.3)  # fmt: skip

    while sum(counts[k] for k in ("admitted", "forked", "cancelled")) + counts["cut or ended"] < n_events:
        running = [s for s in asked if len(s.ids) > s.n_known]
        what = rng.choices(["admitted", "forked", "cancelled", "step"], [2, 3, 1, 10])[0]
        if what == "admitted" and len(asked) - len(running) < 4:
            asked.append(new(rng.choice(prompts)))
            engine.add(asked[-1])
        elif what == "forked" and running and len(asked) - len(running) < 4:
            parent = rng.choice(running)
            limit = min(400, len(parent.ids) + rng.randint(1, 60))
            heirs = [parent.heir(seed=rng.getrandbits(64), limit=limit) for _ in range(rng.randint(1, 5))]
            engine.fork(parent, heirs)
            asked += heirs
        elif what == "cancelled" and asked:
            gone = asked.pop(rng.randrange(len(asked)))
            engine.remove([gone])
        elif what == "step" and engine.busy:
            before = engine.n_computed
            done = {id(s) for s in engine.step()}
            asked = [s for s in asked if id(s) not in done]
            counts["cut or ended"] += len(done)
            idle = 0 if done or engine.n_computed > before else idle + 1
            assert idle < 3, "sequences wait, and none runs"
        else:
            continue
        counts[what] += 1
        engine.check()
        n_most = max(n_most, engine.bytes_used)
    while engine.busy:
        engine.step()
        engine.check()
    # What is kept of earlier texts makes room: the largest sample that is taken at all needs that nobody owns any.
    for asked_of_all in range(most, 0, -1):
        whole = Sequence(prompt=prompt_ids(64, 448, 99), seed=0, limit=asked_of_all)
        try:
            engine.add(whole)
            break
        except Mistake:
            continue
    for _ in range(2 * most):
        engine.step()
    engine.check()
    return {**counts, "whole": len(whole.ids), "asked": asked_of_all, "most": n_most / Shape.of("embedded").kv_bytes,
            "limit": most}  # fmt: skip


def random_events(size: Size) -> Figure:
    """Ten thousand things that happen."""
    n = numbers(__name__, "hectic", size)
    text = (
        f"{n['admitted']:,} admitted, {n['forked']:,} forks, {n['cancelled']:,} cancelled, {n['cut or ended']:,} cut or at "
        f"their end, in {n['step']:,} steps: the law held after each; at most {n['most']:,.0f} of {n['limit']:,} tokens "
        f"owned; then one sample that needs all that one may have drew {n['whole']:,} of {n['asked']:,} tokens"
    )
    return Figure(text, n["whole"] == n["asked"] and n["most"] <= n["limit"], "memory is not free at the end")


# --- the demo --------------------------------------------------------------------------------------------------


def _git(*args: str) -> bytes:
    return subprocess.run(["git", *args], cwd=ROOT, check=True, capture_output=True).stdout


def _source_before(folder: Path) -> str:
    """Write the source as it was before the engine had a tree; the commit. Raises ``LookupError`` without the history."""
    try:
        found = _git("log", "--diff-filter=A", "--format=%H", "--", "src/vervet/engine/tree.py").split()
        commit = _git("rev-parse", f"{found[-1].decode()}^").decode().strip()
        data = _git("archive", "--format=tar", commit, "src")
    except (subprocess.CalledProcessError, FileNotFoundError, IndexError) as error:
        raise LookupError("git has no commit before src/vervet/engine/tree.py") from error
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(folder, filter="data")
    return commit


def _drawing(tree: Path, problems: int, folder: str) -> dict[str, float]:
    """Draw the demo's samples with a tree's code on ``DEMO_CORES`` cores: seconds of the drawing, and its tokens."""
    cores = sorted(os.sched_getaffinity(0))[:DEMO_CORES]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        command = [sys.executable, "-m", "vervet", "run", "words", "--model", "embedded", "--with",
                   "generate(n=64) | vote()", "--problems", str(problems), "--split", "test", "--pool",
                   f"{place}/demo.sqlite", "--seed", "0", "--json"]  # fmt: skip
        env = {**os.environ, "PYTHONPATH": str(tree / "src")}
        done = subprocess.run(command, cwd=place, env=env, check=True, capture_output=True, text=True,
                              preexec_fn=lambda: os.sched_setaffinity(0, cores))  # fmt: skip
    spent = json.loads(done.stdout)["spent"]
    return {"seconds": spent["seconds"], "tokens": spent["completion_tokens"]}


def demo(size: Size) -> Figure:
    """``make demo``'s drawing with this engine and with the one before the tree, in turns."""
    problems, turns = (2, 1) if size is QUICK else (100, 3)
    found: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
    with tempfile.TemporaryDirectory() as folder:
        trees = {"before": Path(folder, "before"), "now": ROOT}
        try:
            before = _source_before(trees["before"])
        except LookupError as error:
            return Figure(f"not measured: {error}", False, "no history")
        for _ in range(turns):
            for name, tree in trees.items():
                tell(f"the demo's drawing, {name}")
                found[name].append(_drawing(tree, problems, folder))
    s = {name: statistics.median(r["seconds"] for r in runs) for name, runs in found.items()}
    rate = {name: statistics.median(r["tokens"] / r["seconds"] for r in runs) for name, runs in found.items()}
    text = (
        f"{problems} problems x 64 on {DEMO_CORES} cores, median of {turns} in turns: {s['now']:.1f} s, {s['before']:.1f} s "
        f"with the engine of {before[:8]} = {s['before'] / s['now']:.2f} times as fast "
        f"({rate['now']:,.0f} : {rate['before']:,.0f} tokens/s)"
    )
    return Figure(text, s["now"] < s["before"], "not faster")


MEASURES: dict[str, Callable[[Size], Figure]] = {
    "engine-memory": memory,
    "engine-fork": fork,
    "engine-random": random_events,
    "engine-demo": demo,
}

if __name__ == "__main__":
    answer(__doc__, kept_bytes, step_search, hectic)
