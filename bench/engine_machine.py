"""The machine under ``bench.engine``: processes of one setting, its rates, and the floor that they set.

python -m bench.engine_machine [--threads N]

prints the rates as one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.standard import QUICK, ROOT, Size

if TYPE_CHECKING:
    from bench.engine_systems import Point, Shape

SIDE = 2048  # of the matrices whose product is timed
COPIED = 1 << 28  # bytes
TIMEOUT_S = 3600.0  # of a measure
# The same for every Python system. By default glibc gives each large block back, and each new one is cleared by the
# kernel page by page; transformers gains from this more than we do.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}


class ChildError(RuntimeError):
    """A measuring process that broke down, or was ended."""


def threads_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def peak_bytes(pid: int | str = "self") -> int:
    """The most memory that a process has held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def child(module: str, *args: str, threads: int, timeout_s: float) -> Any:
    """What ``python -m MODULE ... --threads N`` prints as JSON, alone on the machine. Raises ``ChildError``."""
    command = [sys.executable, "-m", module, *args, "--threads", str(threads)]
    env = {**os.environ, **MALLOC, "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise ChildError(f"not done within {timeout_s:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise ChildError("the system killed it, for memory" if done.returncode == -9 else last)
    return json.loads(done.stdout.strip().splitlines()[-1])


def numbers(module: str, name: str, size: Size) -> dict[str, Any]:
    """What a measure of a module brings (see ``answer``), measured in a process of its own."""
    small = ("--quick",) if size is QUICK else ()
    tell(f"{module} {name}")
    return dict(child(module, name, *small, threads=threads_here(), timeout_s=TIMEOUT_S))


def answer(words: str | None, *measures: Callable[[bool], dict[str, Any]]) -> None:
    """The other side of ``numbers``: run the measure that the command line names, and print what it brings."""
    import torch

    named = {measure.__name__: measure for measure in measures}
    options = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("name", choices=list(named))
    options.add_argument("--quick", action="store_true")
    options.add_argument("--threads", type=int, default=threads_here())
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    print(json.dumps(named[args.name](args.quick)))


def tell(what: str) -> None:
    """Say on standard error what is measured now."""
    print(f"  {what}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Rates:
    """What this machine can do: ``flops`` a second in bfloat16, ``copied`` bytes read and written a second."""

    flops: float
    copied: float


def measured_rates(threads: int) -> Rates:
    """The best of several products of 2048 x 2048 matrices, and of several copies of 256 MiB."""
    import torch

    torch.set_num_threads(threads)
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, SIDE, SIDE, generator=g).bfloat16()
    out = torch.empty_like(a)
    source, target = torch.ones(2, COPIED // 4)

    def best_s(work: Callable[[], Any], n: int) -> float:
        times = []
        for _ in range(n):
            begun = time.perf_counter()
            work()
            times.append(time.perf_counter() - begun)
        return min(times)

    return Rates(
        2 * SIDE**3 / best_s(lambda: torch.mm(a, b, out=out), 20),
        2 * COPIED / best_s(lambda: target.copy_(source), 10),
    )


@dataclass(frozen=True)
class Floor:
    """The least time that a point can take. ``step_s``: a decode step; ``whole_s``: prefill and all steps.

    ``bound``: whether "FLOPs" or "bytes" set the floor of a step.
    """

    step_s: float
    whole_s: float
    bound: str


def floor(shape: Shape, point: Point, rates: Rates) -> Floor:
    """The floor of a point where the prefix is shared.

    A decode step multiplies every matrix with each sample's token, 2 FLOPs a parameter, and attends over the prefix and
    the suffix, half of ``new`` on average, 4 FLOPs a key and a head's dimension. It moves at least the weights, one copy
    of the prefix's keys and values, and each sample's own. The floor of the step is the larger of FLOPs over the rate
    at 2048^3 in the same dtype and threads, and bytes over the rate of a copy. The prefill is one prompt's FLOPs,
    the first token comes out of it, and ``new`` - 1 steps follow.
    """
    p, suffix = point, point.new / 2
    per_key = 4 * shape.layers * shape.heads * shape.head_dim
    parameters = shape.layer_parameters + shape.head_parameters
    flops = p.batch * (2 * parameters + per_key * (p.prefix + suffix))
    moved = 2 * parameters + shape.kv_bytes * (p.prefix + p.batch * suffix)
    step_s = max(flops / rates.flops, moved / rates.copied)
    prefill = 2 * shape.layer_parameters * p.prefix + 2 * shape.head_parameters + per_key * p.prefix**2 / 2
    bound = "FLOPs" if flops / rates.flops >= moved / rates.copied else "bytes"
    return Floor(step_s, prefill / rates.flops + (p.new - 1) * step_s, bound)


def main() -> None:
    """Measure the rates and print them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=threads_here())
    print(json.dumps(asdict(measured_rates(options.parse_args().threads))))


if __name__ == "__main__":
    main()
