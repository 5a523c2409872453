"""The benchmark of the engine: its formulas, how it goes on, and how it judges; nothing is measured here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import engine
from bench.engine import Table
from bench.engine_machine import ChildError, Rates, floor
from bench.engine_systems import Point, Row, Shape, kv_bytes, prompt_ids
from bench.standard import QUICK, Size

RATES = Rates(flops=1e12, copied=1e10)


def test_the_random_model_has_ten_million_parameters() -> None:
    shape = Shape.of("10M")
    assert shape.layer_parameters + shape.head_parameters == 6 * 1_572_864 + 448 * 384
    assert shape.kv_bytes == 2 * 6 * 2 * 64 * 2
    assert Shape.of("embedded").layer_parameters == 5 * (192 * 64 * 8 + 3 * 192 * 512)


def test_the_floor_of_a_step_is_the_larger_of_flops_and_bytes() -> None:
    shape = Shape(hidden=4, inner=8, layers=3, heads=2, kv_heads=1, head_dim=2, vocab=10)
    matrices, per_key = 3 * (4 * 2 * 6 + 3 * 4 * 8) + 40, 4 * 3 * 2 * 2
    point = Point("shared", "made up", batch=7, prefix=100, new=20)
    flops = 7 * (2 * matrices + per_key * 110)
    moved = 2 * matrices + 24 * (100 + 7 * 10)
    assert floor(shape, point, Rates(1e3, 1e9)).step_s == pytest.approx(flops / 1e3)
    found = floor(shape, point, Rates(1e9, 1e3))
    assert (found.step_s, found.bound) == (pytest.approx(moved / 1e3), "bytes")
    prefill = (2 * (matrices - 40) * 100 + 2 * 40 + per_key * 100**2 / 2) / 1e9
    assert found.whole_s == pytest.approx(prefill + 19 * moved / 1e3)


def test_memory_that_nothing_shares() -> None:
    assert kv_bytes(Point("generate", "10M", 128, 16384)) == 128 * 16512 * 3072
    assert kv_bytes(Point("llama-server", "10M", 512, 1024)) == 64 * 1152 * 3072


def test_no_two_prompts_begin_alike() -> None:
    prompts = [prompt_ids(30, 448, seed) for seed in range(101)]
    assert len({p[0] for p in prompts}) == 101
    assert all(len(p) == 30 and max(p) < 448 for p in prompts)


def test_a_rate_of_a_run_that_was_cut_short_says_what_the_whole_would_take() -> None:
    point = Point("plain", "10M", 10, 64, 100)
    assert Row(point, done=100, total_s=5).rate == 200
    assert Row(point, done=4, total_s=3, first_s=2, step_s=0.5).rate == pytest.approx(1000 / (2 + 99 * 0.5))
    assert Row(point, done=4, total_s=8).rate == 5  # the server does not tell its steps
    assert Row(point, note="failed").rate is None


def test_a_grid_goes_on_after_a_kill(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VERVET_CACHE", str(tmp_path))
    asked: list[tuple[str, ...]] = []

    def child(module: str, *args: str, **_: Any) -> dict[str, Any]:
        asked.append((module, *args))
        if module.endswith("machine"):
            return {"flops": 1e12, "copied": 1e10}
        if args[0] == "generate":
            raise ChildError("no room")
        return {"point": dict(zip(("system", "model", "batch", "prefix", "new"),
                                  (*args[:2], *map(int, args[2:4]), int(args[5])), strict=True)),
                "done": 16, "total_s": 1.0}  # fmt: skip

    monkeypatch.setattr(engine, "child", child)
    engine.table.cache_clear()
    first = engine.table(QUICK, 3)
    assert len(asked) == 6
    path = engine.store(QUICK, 3)
    kept = path.read_text().splitlines()
    assert len(kept) == 5  # the rates and four rows; what failed is tried again
    path.write_text("\n".join([*kept[:2], kept[2][:30]]))  # two rows were not written, one only in part
    engine.table.cache_clear()
    assert engine.table(QUICK, 3).rows == first.rows
    assert len(asked) == 6 + 4
    assert len([line for line in path.read_text().splitlines() if line in kept]) == 5
    engine.table.cache_clear()


def _table(**rates: float | str) -> Table:
    """Rows at (128, 1k), (128, 16k) and (1, 64) of one model, by their rate or a note."""
    rows = []
    for batch, prefix in ((128, 1024), (128, 16384), (1, 64)):
        for system, value in rates.items():
            point = Point(system.replace("_", "-"), "10M", batch, prefix)
            told = isinstance(value, str)
            rows.append(Row(point, note=value) if told else Row(point, 128, batch * 128 / value, 0.1, batch / value))
    return Table(RATES, tuple(rows), 4)


def test_figures_of_the_grid_are_judged_by_their_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    size, rates = (
        Size("made up", 1, 1, 1),
        {"shared": 9000.0, "plain": 1000.0, "generate": 2900.0, "llama_server": 8000.0},
    )
    monkeypatch.setattr(engine.engine_steps, "breakdown", lambda _: "the rest")
    names = {"engine-generate": "generate", "engine-plain": "plain", "engine-llama-server": "llama_server"}
    for changed, broken in (({}, set()), ({"generate": 3001.0}, {"engine-generate"}), ({"plain": 1126.0}, {"engine-plain"}),
                            ({"llama_server_n": 9001.0}, {"engine-llama-server"}),
                            ({"generate": 9001.0}, {"engine-generate", "engine-batch-1"}),
                            ({"plain": "failed: no room"}, {"engine-plain", "engine-throughput"}),
                            ({"plain": "not run: 99 GiB"}, set())):  # fmt: skip
        monkeypatch.setattr(engine, "table", lambda _, changed=changed: _table(**{**rates, **changed}))
        judged = {*names, "engine-batch-1", "engine-throughput"}
        assert {name for name in judged if not engine.MEASURES[name](size).holds} == broken, changed
    assert "99 GiB" in engine.throughput(size).text


def test_claims_and_measures_of_the_engine_are_the_same() -> None:
    lines = Path(engine.ROOT, "bench/claims.jsonl").read_text().splitlines()
    assert {c["id"] for c in map(json.loads, lines) if c["issue"] == 4} == set(engine.MEASURES)
