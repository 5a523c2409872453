"""What is shown, as one JSON object: ``curves``, ``fits``, ``forecasts``, and the runs they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vervet.report.figures import Figures
from vervet.scaling.curves import Curve


def data(figures: Sequence[Figures]) -> dict[str, Any]:
    """Everything as plain data; a row of ``fits`` and ``forecasts`` names its curve.

    ``curves``: name, k, coverage with its ``interval`` over new problems and ``same_problems`` (new draws; null where k is
    over a quarter of the draws), what k draws cost by axis, and ``others``: the same figures of every selector.
    """
    return {
        "curves": [_curve(one) for one in figures],
        "fits": [row for one in figures for row in _fits(one)],
        "forecasts": [row for one in figures for row in _forecasts(one)],
        "runs": [_run(one) for one in figures],
    }


def name_of(figures: Figures) -> str:
    """What the curve of a set of draws is called: its run, or its model."""
    words = (str(figures.facts[key]) for key in ("task", "model", "architecture") if key in figures.facts)
    run = str(figures.facts.get("run", ""))[:12]
    return " ".join([*words, *([run] if run else [])])


def _curve(figures: Figures) -> dict[str, Any]:
    curve = figures.coverage
    return {
        "name": name_of(figures),
        "k": curve.k,
        "coverage": curve.value,
        **_intervals(curve),
        "n_problems": curve.n_problems,
        "n_draws": curve.n_draws,
        "n_not_judged": curve.n_not_judged,
        "cost": {
            axis: {"unit": cost.unit, "at": [cost.at(k) for k in curve.k]} for axis, cost in figures.costs.items()
        },
        "others": [
            {"name": one.name, "unit": one.unit, "value": one.value, **_intervals(one)}
            for one in figures.curves
            if one is not curve
        ],
    }


def _intervals(curve: Curve) -> dict[str, Any]:
    draws = zip(curve.draws_low, curve.draws_high, strict=True)
    return {
        "interval": list(zip(curve.low, curve.high, strict=True)),
        "same_problems": [None if low is None else (low, high) for low, high in draws],
    }


def _fits(figures: Figures) -> list[dict[str, Any]]:
    return [
        {
            "curve": name_of(figures),
            "law": one.law.name,
            "parameters": dict(one.law.parameters),
            "intervals": {name: (found.low, found.high) for name, found in one.intervals.items()},
            "induced": asdict(one.induced) if one.induced else None,
            "max_error": one.law.max_error,
            "nll": one.law.nll,
            "undefined": one.law.undefined or None,
        }
        for one in figures.laws
    ]


def _forecasts(figures: Figures) -> list[dict[str, Any]]:
    return [
        {"curve": name_of(figures), **asdict(one.forecast), "truth": one.truth, "held": one.held}
        for one in figures.forecasts
    ]


def _run(figures: Figures) -> dict[str, Any]:
    return {
        **figures.facts,
        "name": name_of(figures),
        "verdict": figures.verdict or None,
        "verifiers": {name: asdict(one) for name, one in figures.verifiers.items()},
        "resampling": {name: asdict(one) for name, one in figures.resampling.items()},
        "points": [asdict(point) for point in figures.points],
        "notes": list(figures.notes),
    }
