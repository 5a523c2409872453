"""The engine beside its plain twin, ``transformers.generate`` and llama.cpp's server: tokens per second over a grid.

python -m bench.engine [--quick] [--json FILE] [--threads N] [--limit 20]

Eight points of (batch, shared prefix), 128 new tokens a sample at temperature 1 and no early end, for a random Llama
of 9.6 million parameters and for the embedded model, in bfloat16. Every row is measured in a process of its own
(``bench.engine_systems``), one after another, after a warm-up; its time runs from the first request to the last
token, the prefill included. Each row is written down as soon as it is measured, in the cache directory under a name
that holds the fingerprint of the code: an interrupted grid goes on, and the figures that read it measure it once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bench import engine_claims, engine_steps
from bench.engine_machine import ChildError, Floor, Rates, child, floor, memory_bytes, tell, threads_here
from bench.engine_systems import LLAMAS, MODELS, SYSTEMS, Point, Row, Shape, kv_bytes
from bench.standard import FULL, QUICK, ROOT, Figure, Size, pool_path

POINTS = ((1, 64), (32, 64), (32, 1024), (128, 1024), (128, 4096), (512, 1024), (32, 16384), (128, 16384))
LIMIT_S = 20.0
MEMORY_SHARE = 0.6
CODE = (
    "src/vervet/engine",
    "bench/engine_systems.py",
    "bench/engine_machine.py",
    "bench/servers.py",
    "training/gguf.py",
)


@dataclass(frozen=True)
class Table:
    """A measured grid."""

    rates: Rates
    rows: tuple[Row, ...]
    threads: int

    def row(self, system: str, model: str, batch: int, prefix: int) -> Row | None:
        """One cell, where it belongs to the grid."""
        found = (r for r in self.rows if r.point.system == system and r.point.model == model)
        return next((r for r in found if (r.point.batch, r.point.prefix) == (batch, prefix)), None)

    def floor(self, row: Row) -> Floor:
        """The floor beside a row."""
        return floor(Shape.of(row.point.model), row.point, self.rates)

    def cells(self) -> list[tuple[str, int, int]]:
        """Model, batch and prefix of every point, in the order of measuring."""
        return list(dict.fromkeys((r.point.model, r.point.batch, r.point.prefix) for r in self.rows))


def points(size: Size) -> Iterator[Point]:
    """Every point of the grid, or of a small one, for every system: those that belong together one after another."""
    models, grid, new = (MODELS, POINTS, 128) if size is not QUICK else (MODELS[:1], POINTS[1:2], 16)
    for model in models:
        for batch, prefix in grid:
            for system in SYSTEMS:
                if batch > 1 or system != "llama-server-n":
                    yield Point(system, model, batch, prefix, new)


# --- measuring -----------------------------------------------------------------------------------------------


def store(size: Size, threads: int) -> Path:
    """Where the rows of this code lie."""
    state = blake2b(digest_size=6)
    for name in CODE:
        for file in sorted((ROOT / name).rglob("*.py")) if (ROOT / name).is_dir() else [ROOT / name]:
            state.update(file.read_bytes())
    return Path(pool_path(size)).with_name(f"engine-{size.name}-{state.hexdigest()}-{threads}.jsonl")


def read_rows(path: Path) -> dict[Point, Row]:
    """The rows of a file; a line that a kill tore is left out."""
    rows: dict[Point, Row] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if "point" in data:
            row = Row(**{**data, "point": Point(**data["point"])})
            rows[row.point] = row
    return rows


def _rates(path: Path, threads: int) -> Rates:
    """The rates of the machine, measured when the grid began."""
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith('{"rates"') and line.endswith("}}"):
            return Rates(**json.loads(line)["rates"])
    rates = Rates(**child("bench.engine_machine", threads=threads, timeout_s=300))
    _append(path, {"rates": asdict(rates)})
    return rates


def _append(path: Path, data: dict[str, Any]) -> None:
    torn = path.exists() and not path.read_text().endswith("\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if torn else "") + json.dumps(data) + "\n")


def measure(point: Point, threads: int, limit_s: float) -> Row:
    """One row, or why there is none."""
    need = kv_bytes(point)
    if point.system not in ("shared", "plain") and need > MEMORY_SHARE * memory_bytes():
        of = f"{need / 2**30:.1f} of {memory_bytes() / 2**30:.1f} GiB"
        return Row(point, note=f"not run: its keys and values take {of}, over {MEMORY_SHARE:.0%}")
    args = (point.system, point.model, str(point.batch), str(point.prefix), "--new", str(point.new))
    try:
        found = child(
            "bench.engine_systems", *args, "--limit", str(limit_s), threads=threads, timeout_s=3 * limit_s + 300
        )
    except ChildError as error:
        return Row(point, note=f"failed: {error}")
    return Row(**{**found, "point": Point(**found["point"])})


@cache
def table(size: Size, threads: int | None = None, limit_s: float = LIMIT_S) -> Table:
    """The grid, each row measured now if it is not there."""
    threads = threads or threads_here()
    path = store(size, threads)
    rates, rows = _rates(path, threads), read_rows(path)
    for point in points(size):
        if point not in rows:
            tell(f"{point.model} {point.batch} x {point.prefix}: {point.system}")
            row = rows[point] = measure(point, threads, limit_s)
            if row.done or row.note.startswith("not run"):
                _append(path, asdict(row))
    return Table(rates, tuple(rows[point] for point in points(size)), threads)


# --- the table in words --------------------------------------------------------------------------------------


def name_of(cell: tuple[str, int, int]) -> str:
    """A point as people write it.

    >>> name_of(("10M", 128, 4096))
    '10M (128, 4k)'
    """
    model, batch, prefix = cell
    return f"{model} ({batch}, {prefix if prefix < 1024 else f'{prefix // 1024}k'})"


def head(t: Table) -> str:
    """What holds for all rows."""
    return (
        f"{t.threads} threads, bfloat16; product of 2048 x 2048 {t.rates.flops / 1e9:,.0f} GFLOP/s, copy "
        f"{t.rates.copied / 1e9:,.1f} GB/s; tokens/s with the prefill; the context of the embedded model (1,024) is raised "
        "to prefix + new tokens in a copy of its config.json, for every system"
    )


def lines(t: Table) -> Iterator[str]:
    """The whole table."""
    yield head(t)
    for cell in t.cells():
        some = [row for system in SYSTEMS if (row := t.row(system, *cell))]
        least, p = t.floor(some[0]), some[0].point
        yield (
            f"\n{name_of(cell)}, {p.new} new: floor {p.batch * p.new / least.whole_s:,.0f} tokens/s, decode "
            f"{p.batch / least.step_s:,.0f}, a step {1000 * least.step_s:.2f} ms ({least.bound})"
        )
        yield "  system          tokens/s    decode  x floor     first     total  peak MiB"
        yield from (_line(t, row) for row in some)


def _line(t: Table, r: Row) -> str:
    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    partial = f"; {r.done:.4g} of {r.point.new} new tokens within the limit" if 0 < r.done < r.point.new else ""
    if partial and r.step_s is not None:
        partial += ", the rest taken at the same rate"
    over = r.step_s / t.floor(r).step_s if r.step_s else None
    if r.rate is None:
        return f"  {r.point.system:14}  {r.note or 'no token within the limit'}"
    return (
        f"  {r.point.system:14}  {cell(r.rate, ',.0f'):>8}  {cell(r.decode_rate, ',.0f'):>8}  {cell(over, '.2f'):>7}  "
        f"{cell(r.first_s, ',.2f'):>6} s  {r.total_s:6,.2f} s  {r.rss_bytes / 2**20:8,.0f}  {r.note}{partial}"
    )


# --- figures -------------------------------------------------------------------------------------------------


def throughput(size: Size) -> Figure:
    """Every row."""
    t = table(size)
    missing = [r for r in t.rows if r.rate is None and not r.note.startswith("not run")]
    why = "; ".join(f"{r.point.system} {name_of((r.point.model, r.point.batch, r.point.prefix))}" for r in missing)
    return Figure("\n".join(line.strip("\n") for line in lines(t)), not missing, f"no figure: {why}")


def _beside(t: Table, others: Sequence[str], at: Callable[[int, int], bool], goal: float) -> Figure:
    """Ours over the best of other systems, at every chosen point: at least ``goal``, the prefill included."""
    parts, behind = [], []
    for cell in filter(lambda cell: at(*cell[1:]), t.cells()):
        ours, rows = t.row("shared", *cell), [row for name in others if (row := t.row(name, *cell))]
        best = max((r for r in rows if r.rate), key=lambda r: r.rate or 0, default=None)
        if ours is None or not ours.rate:
            parts.append(f"{name_of(cell)}: no figure of ours")
            behind.append(name_of(cell))
        elif best is None or not best.rate:
            notes = sorted({r.note or "no token within the limit" for r in rows})
            parts.append(f"{name_of(cell)} {ours.rate:,.0f} : {'; '.join(notes)}")
            behind += [] if all(note.startswith(("not run", "no token")) for note in notes) else [name_of(cell)]
        else:
            shown = f" {best.point.system}" if len(others) > 1 else ""
            part = "" if best.done >= best.point.new else f" ({best.done:.4g} of {best.point.new} tokens)"
            decode = f" (decode alone {best.step_s / ours.step_s:.2f})" if best.step_s and ours.step_s else ""
            parts.append(
                f"{name_of(cell)} {ours.rate:,.0f} :{shown} {best.rate:,.0f}{part} = {ours.rate / best.rate:.2f}{decode}"
            )
            behind += [name_of(cell)] if ours.rate < goal * best.rate else []
    text = ", ".join(parts) or "not in the small grid"
    return Figure(f"tokens/s, ours : theirs; {text}", not behind and bool(parts), f"not at {', '.join(behind)}")


def beside_generate(size: Size) -> Figure:
    """Three times ``transformers.generate`` at (128, 1k)."""
    return _beside(table(size), ["generate"], lambda batch, prefix: (batch, prefix) == (128, 1024), 3)


def beside_llama(size: Size) -> Figure:
    """Ahead of llama.cpp's server from 32 samples up, asked in the better of two ways."""
    return _beside(table(size), LLAMAS, lambda batch, prefix: batch >= 32, 1)


def beside_plain(size: Size) -> Figure:
    """Eight times the plain twin at (128, 16k)."""
    return _beside(table(size), ["plain"], lambda batch, prefix: (batch, prefix) == (128, 16384), 8)


def batch_1(size: Size) -> Figure:
    """One sample: not slower than ``transformers.generate``."""
    return _beside(table(size), ["generate"], lambda batch, prefix: batch == 1, 1)


def beside_floor(size: Size) -> Figure:
    """A decode step over its floor at 10M parameters and a batch of 128 or more, and what takes the rest."""
    t, parts, over = table(size), [], []
    for row in t.rows:
        p = row.point
        if (p.system, p.model) != ("shared", "10M") or (p.batch < 128 and size is not QUICK) or row.step_s is None:
            continue
        least = t.floor(row)
        ratio, whole = row.step_s / least.step_s, p.batch * p.new / (row.rate or 1) / least.whole_s
        cell = name_of((p.model, p.batch, p.prefix))
        parts.append(f"{cell} {1000 * row.step_s:.1f} : {1000 * least.step_s:.1f} ms = {ratio:.2f} (whole {whole:.2f})")
        over += [cell] if ratio > 2.5 else []
    rest = engine_steps.breakdown(size)
    text = f"decode step : its floor, {', '.join(parts)}; {rest}"
    return Figure(text, bool(parts) and not over, f"over 2.5 at {', '.join(over)}")


MEASURES: dict[str, Callable[[Size], Figure]] = {
    "engine-throughput": throughput,
    "engine-generate": beside_generate,
    "engine-llama-server": beside_llama,
    "engine-plain": beside_plain,
    "engine-batch-1": batch_1,
    "engine-floor": beside_floor,
    **engine_claims.MEASURES,
    **engine_steps.MEASURES,
}


def main() -> None:
    """Measure the grid and print it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="one model, one point, 16 new tokens")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the rows as one JSON object, too")
    options.add_argument("--threads", type=int, default=threads_here())
    options.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for a run of a row")
    args = options.parse_args()
    t = table(QUICK if args.quick else FULL, args.threads, args.limit)
    print("\n".join(lines(t)))
    if args.json:
        rows = [
            {**asdict(r), "rate": r.rate, "decode_rate": r.decode_rate, "floor": asdict(t.floor(r))} for r in t.rows
        ]
        args.json.write_text(json.dumps({"threads": t.threads, "rates": asdict(t.rates), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
