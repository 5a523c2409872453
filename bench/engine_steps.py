"""Where the time of a decode step goes, what cuts save, and what a cut rule costs.

python -m bench.engine_steps NAME [--quick] [--threads N]

measures one of them in this process and prints its numbers as one JSON line.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from bench.engine_machine import answer, numbers
from bench.engine_systems import folder_of, prompt_ids
from bench.standard import Figure, Size

if TYPE_CHECKING:
    from vervet.engine import Engine, Sequence


def batch_of(prompt: tuple[int, ...], n: int, limit: int, **options: Any) -> list[Sequence]:
    """Samples of one prompt, their seeds from 0."""
    from vervet.engine import Sequence

    return [Sequence(prompt=prompt, seed=i, limit=limit, **options) for i in range(n)]


def run(engine: Engine, sequences: Iterable[Sequence]) -> float:
    """Run them to their ends; seconds."""
    begun = time.perf_counter()
    for sequence in sequences:
        engine.add(sequence)
    while engine.busy:
        engine.step()
    return time.perf_counter() - begun


# --- where the time of a step goes -----------------------------------------------------------------------------

PRODUCTS = ("aten::mm", "aten::addmm", "aten::linear", "mkldnn::_linear_pointwise", "aten::mkldnn_linear")
LABELS = ("attention", "sampling")


def kind_of(names: list[str]) -> str:
    """What an operation belongs to, by its name and those that called it, its own first.

    >>> kind_of(["aten::bmm", "aten::matmul", "attention"]), kind_of(["aten::addmm", "aten::linear"]), kind_of(["aten::add"])
    ('attention', 'matrix products', 'other operations')
    """
    label = next((name for name in names if name in LABELS), None)
    return label or ("matrix products" if any(name in PRODUCTS for name in names) else "other operations")


def labelled(function: Callable[..., Any], label: str) -> Callable[..., Any]:
    """The function, and a function that it returns, under a label that the profiler shows."""
    import torch

    def call(*args: Any, **options: Any) -> Any:
        with torch.profiler.record_function(label):
            found = function(*args, **options)
        return labelled(found, label) if callable(found) else found

    return call


def shares(quick: bool) -> dict[str, float]:
    """Of a profiled decode step at (128, 1k), 10M: the share of each kind of operation.

    "attention" is all that is done between queries and their outcome, the storing of keys and values included; "sampling"
    all between logits and tokens, the figures included. The wall time beyond operations is Python's, and the
    profiler's own; ``plain_s`` is a step that is not profiled, ``profiled_s`` one that is.
    """
    import torch

    from vervet.engine import Engine, load
    from vervet.engine.rows import Rows
    from vervet.engine.tree import Tree

    batch, prefix, n_steps = (16, 64, 5) if quick else (128, 1024, 30)
    with folder_of("10M", 2048) as folder:
        engine = Engine(load(folder, "bfloat16"), slots=batch)
    for s in batch_of(prompt_ids(prefix, engine.llama.config.vocab, 0), batch, 4 * n_steps + 8):
        engine.add(s)

    def steps(n: int) -> float:
        begun = time.perf_counter()
        for _ in range(n):
            engine.step()
        return time.perf_counter() - begun

    spent: Counter[str] = Counter()
    plain_s = profiled_s = 0.0
    steps(4)
    for _ in range(2):  # in turns, for suffixes as long
        plain_s += steps(n_steps)
        with (
            patch.object(Tree, "attend", labelled(Tree.attend, "attention")),
            patch.object(Rows, "draw", labelled(Rows.draw, "sampling")),
            torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile,
        ):
            profiled_s += steps(n_steps)
        for event in profile.events():
            names, at = [], event
            while at is not None:
                names.append(at.name)
                at = at.cpu_parent
            if event.name not in LABELS:
                spent[kind_of(names)] += event.self_cpu_time_total / 1e6
    found = {kind: seconds / profiled_s for kind, seconds in spent.items()}
    return {**found, "Python": 1 - sum(found.values()), "plain_s": plain_s / (2 * n_steps),
            "profiled_s": profiled_s / (2 * n_steps), "batch": batch, "prefix": prefix}  # fmt: skip


def breakdown(size: Size) -> str:
    """One line: what takes the time of a step at (128, 1k)."""
    n = numbers(__name__, "shares", size)
    kinds = ("matrix products", *LABELS, "other operations", "Python")
    cells = ", ".join(f"{kind} {n[kind]:.0%}" for kind in sorted(kinds, key=lambda kind: -n[kind]))
    return (
        f"a step at ({n['batch']}, {n['prefix']:,}), 10M, {1000 * n['plain_s']:.1f} ms ({1000 * n['profiled_s']:.1f} under the "
        f"profiler): {cells}"
    )


# --- cuts ------------------------------------------------------------------------------------------------------


def cut_times(quick: bool) -> dict[str, Any]:
    """Seconds for a batch of 128 at 1k, uncut and with four of five cut at a quarter, in turns; and four times as many."""
    from vervet.engine import Engine, load

    batch, prefix, new, turns = (10, 64, 32, 1) if quick else (128, 1024, 128, 5)
    with folder_of("10M", prefix + new) as folder:
        llama = load(folder, "bfloat16")
    prompt = prompt_ids(prefix, llama.config.vocab, 0)

    def once(n: int, cut: bool) -> float:
        sequences = batch_of(prompt, n, new)
        for i, s in enumerate(sequences):
            if cut and i % 5:
                s.watch = lambda s: len(s.ids) >= new // 4
        return run(Engine(llama, slots=batch), sequences)

    once(batch, False)
    found: dict[str, list[float]] = {name: [] for name in ("whole", "cut", "whole_4", "cut_4")}
    for turn in range(turns):
        found["whole"].append(once(batch, False))
        found["cut"].append(once(batch, True))
        if turn < 2:
            found["whole_4"].append(once(4 * batch, False))
            found["cut_4"].append(once(4 * batch, True))
    return {name: statistics.median(times) for name, times in found.items()} | {"batch": batch}


def cut(size: Size) -> Figure:
    """What cuts save."""
    n = numbers(__name__, "cut_times", size)
    share, share_4 = n["cut"] / n["whole"], n["cut_4"] / n["whole_4"]
    text = (
        f"four of five cut at a quarter: {n['cut']:.2f} : {n['whole']:.2f} s = {share:.2f} with a batch of {n['batch']}; "
        f"{n['cut_4']:.2f} : {n['whole_4']:.2f} s = {share_4:.2f} where {4 * n['batch']} pass through as many slots"
    )
    return Figure(text, share <= 0.5, f"{share:.2f} of the time")


def rule_times(quick: bool) -> dict[str, Any]:
    """Seconds of a step with a rule on every row and without, two engines that step in turns."""
    from vervet.engine import Engine, load
    from vervet.rules import LowConfidence

    batch, prefix, new, turns = (10, 64, 40, 1) if quick else (128, 1024, 128, 4)
    with folder_of("10M", prefix + new) as folder:
        llama = load(folder, "bfloat16")
    prompt = prompt_ids(prefix, llama.config.vocab, 0)
    never = LowConfidence(window=32, below=-1e30)
    pairs: list[tuple[float, float]] = []
    for turn in range(turns):
        engines = Engine(llama, slots=batch), Engine(llama, slots=batch)
        for engine, rule in zip(engines, (None, never), strict=True):
            for s in batch_of(prompt, batch, new, cut=rule):
                engine.add(s)
            engine.step()
        for step in range(new - 2):
            times = [0.0, 0.0]
            for at in (0, 1) if (step + turn) % 2 else (1, 0):
                begun = time.perf_counter()
                engines[at].step()
                times[at] = time.perf_counter() - begun
            pairs.append((times[0], times[1]))
    without, with_rule = (statistics.median(side) for side in zip(*pairs, strict=True))
    added = statistics.median(b - a for a, b in pairs)
    return {"without": without, "with": with_rule, "added": added, "pairs": len(pairs), "batch": batch}


def cut_cost(size: Size) -> Figure:
    """What a rule adds to a step."""
    n = numbers(__name__, "rule_times", size)
    share = n["added"] / n["without"]
    text = (
        f"a rule over 32 tokens on each of {n['batch']} rows: median step {1000 * n['with']:.2f} : "
        f"{1000 * n['without']:.2f} ms, median of {n['pairs']} paired differences {1e6 * n['added']:,.0f} us = {share:.2%}"
    )
    return Figure(text, share < 0.02, f"{share:.2%} of a step")


MEASURES: dict[str, Callable[[Size], Figure]] = {"engine-cut": cut, "engine-cut-cost": cut_cost}

if __name__ == "__main__":
    answer(__doc__, shares, cut_times, rule_times)
