"""How fast the pool is: samples appended a second, bytes a sample, addresses looked up a second.

Samples of 100 tokens with a full trace (ids, ends, logprob, top-k mean, entropy) go through claim, record and settle
in calls of 64, under the durability that every run has. The lookup decodes whole samples, in blocks of 64.

    python bench/pool.py --samples 200000 --lookups 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

from vervet.pool import SqlitePool, open_pool
from vervet.types import Bill, Sample, Stream, Trace

N_TOKENS, BLOCK, BLOCKS_A_STREAM, TOKEN_CHARS = 100, 64, 4, 3


def make_texts(rng: random.Random, n: int) -> list[tuple[str, Trace]]:
    """Texts of 100 tokens with their figures, unlike one another."""
    words = ["so", "then", "12", "+", "7", "=", "19", "apples", "left", "the"]
    return [(" ".join(rng.choices(words, k=N_TOKENS)), make_trace(rng)) for _ in range(n)]


def make_trace(rng: random.Random) -> Trace:
    """100 ids, ends and three figures each."""
    ids = array("i", (rng.randrange(448) for _ in range(N_TOKENS)))
    ends = array("i", (TOKEN_CHARS * (i + 1) for i in range(N_TOKENS)))
    logprob, topk, entropy = (array("f", (sign * rng.random() * 3 for _ in range(N_TOKENS))) for sign in (-1, -1, 1))
    return Trace(ids, ends, logprob, topk, entropy, k=8)


async def append(pool: SqlitePool, n: int, texts: list[tuple[str, Trace]]) -> None:
    """Draw n samples, until the last is on disk."""
    run = pool.start_run({"bench": "pool"})
    bill = Bill(completion_tokens=N_TOKENS)
    for first in range(0, n, BLOCK):
        stream = stream_of(first)
        offset = first // BLOCK % BLOCKS_A_STREAM * BLOCK
        claim = await pool.claim(run, stream, range(offset, offset + BLOCK), Bill(50, N_TOKENS), True)
        assert claim.call is not None
        for i in claim.granted:
            text, trace = texts[(first + i) % len(texts)]
            pool.record(claim.call, i, Sample(stream.at(i), text, "eos", N_TOKENS, 50, trace=trace), bill)
        pool.settle(claim.call, Bill(prompt_tokens=50), 0.1)
    await pool.flush()


def stream_of(first: int) -> Stream:
    """The stream of the block that begins with the sample of this number."""
    return Stream("embedded@bench", f"{first // (BLOCK * BLOCKS_A_STREAM):032x}")


def look_up(pool: SqlitePool, n_samples: int, n: int, rng: random.Random) -> None:
    """Find n addresses, in blocks at random places."""
    n_blocks = n_samples // BLOCK
    for _ in range(n // BLOCK):
        block = rng.randrange(n_blocks)
        offset = block % BLOCKS_A_STREAM * BLOCK
        assert len(pool.find(stream_of(block * BLOCK), range(offset, offset + BLOCK))) == BLOCK


class Watch:
    """Seconds that passed, and seconds of this process's CPU: they differ where other work shares the core."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def rates(self, name: str, n: int) -> dict[str, int]:
        """How many a second since the watch was made."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {f"{name}_per_s": round(n / wall), f"{name}_per_cpu_s": round(n / cpu)}


def measure(n_samples: int, n_lookups: int, folder: str) -> dict[str, Any]:
    """All figures, as one object."""
    rng = random.Random(0)
    texts = make_texts(rng, 1021)
    path = str(Path(folder) / "bench.pool")
    n_samples -= n_samples % BLOCK
    with open_pool(path) as pool:
        watch = Watch()
        asyncio.run(append(pool, n_samples, texts))
        appended = watch.rates("appended", n_samples)
    n_bytes = Path(path).stat().st_size
    start = time.perf_counter()
    with open_pool(path) as pool:
        open_s = time.perf_counter() - start
        watch = Watch()
        look_up(pool, n_samples, n_lookups, rng)
        found = watch.rates("found", n_lookups)
    return {
        "samples": n_samples,
        **appended,
        "bytes_per_sample": round(n_bytes / n_samples),
        "text_bytes": round(sum(len(text) for text, _ in texts) / len(texts)),
        "open_s": round(open_s, 4),
        "lookups": n_lookups,
        **found,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--lookups", type=int, default=1_000_000)
    parser.add_argument("--folder", help="where to put the pool while it is measured (default: a temporary folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(options.samples, options.lookups, folder)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:18} {value:>12,}")


if __name__ == "__main__":
    main()
