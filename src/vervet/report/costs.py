"""What the draws of a run cost per problem, on every axis that can be reckoned for it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vervet.errors import Mistake
from vervet.models.shape import shape_of
from vervet.pool.rows import RunRow
from vervet.pool.store import SqlitePool
from vervet.run.declared import FIRST
from vervet.scaling import kinetics
from vervet.scaling.cost import Cost, Shape, flops, usd, usd_cached, usd_in_batch, wall
from vervet.scaling.draws import Draws
from vervet.types import Prices

AXES = ("usd", "usd-cached", "usd-batch", "flops", "eflops", "tokens", "seconds", "samples")
"""The axes by name, the first that can be reckoned is the one that is drawn."""

SAMPLES = Cost("samples", 0.0, 1.0)


def costs_of(
    pool: SqlitePool, row: RunRow, draws: Draws, prices: Prices | None = None, shape: Shape | None = None
) -> dict[str, Cost]:
    """The cost of k draws of a problem of this run by axis, in the order of ``AXES``.

    Dollars by ``prices``, else as the run paid them, if it paid any, and for these draws alone. Operations by ``shape``, else
    by that of the model where it is known. Seconds as measured, at the concurrency that the unit names; only where the run
    itself drew. Where no tokens are known (an import), samples are all that can be said.
    """
    found: dict[str, Cost] = {"samples": SAMPLES}
    if draws.tokens is None:
        return found
    prompt = np.array([tokens for tokens, _ in pool.used(row.id, FIRST).values()], dtype=float)
    completion = np.asarray(draws.tokens, dtype=float)
    if len(prompt) != len(completion):  # problems whose draws were all refused or failed
        prompt = np.full(len(completion), prompt.mean())
    found["tokens"] = Cost("tokens", float(prompt.mean()), float(completion.mean()))
    if prices is not None:
        found["usd"] = usd(prices, prompt, completion)
        found["usd-cached"] = usd_cached(prices, prompt, completion)
        found["usd-batch"] = usd_in_batch(prices, prompt, completion)
    elif (paid := pool.spent(row.id)).bill.usd and paid.fresh_samples and pool.used(row.id) == pool.used(row.id, FIRST):
        found["usd"] = Cost("usd", 0.0, paid.bill.usd / paid.fresh_samples)
    if known := shape or shape_of(row.identity["models"]["model"]):
        found["flops"] = flops(known, prompt, completion)
        found["eflops"] = kinetics.dense(known, prompt, completion).total
    if seconds := _seconds(pool, row):
        found["seconds"] = seconds
    return {name: found[name] for name in AXES if name in found}


def chosen(costs: Mapping[str, Cost], axis: str | None) -> Cost:
    """The axis that was asked for, else the first. Raises ``Mistake`` where it cannot be reckoned."""
    if axis is None:
        return next(iter(costs.values()))
    if axis not in AXES:
        raise Mistake(f"expected an axis ({', '.join(AXES)}), but got {axis!r}")
    if axis not in costs:
        needs = {
            "usd": "draws whose tokens are known, and --prices prompt=...,completion=...",
            "flops": "draws whose tokens are known, and --shape parameters=...,layers=...,width=...,heads=...",
            "tokens": "draws whose tokens are known",
        }
        hint = next((text for name, text in needs.items() if name.rstrip("s") in axis), "a run that itself drew")
        raise Mistake(
            f"expected one of the axes that are known ({', '.join(costs)}), but got {axis!r}; it needs {hint}"
        )
    return costs[axis]


def _seconds(pool: SqlitePool, row: RunRow) -> Cost | None:
    """Wall time per draw while calls of the run were open, at the concurrency that this had."""
    measured = wall((call.started, call.started + call.seconds) for call in pool.call_times(row.id))
    n = pool.spent(row.id).fresh_samples
    if not n or not measured.seconds:
        return None
    return Cost(f"seconds at {measured.mean_concurrency:.1f} calls at once", 0.0, measured.seconds / n)
