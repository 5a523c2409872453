"""Greedy texts of ``transformers`` and of the engine on the shipped folder, both in fp32: how many are equal.

python -m bench.transformers_agree --prompts 50
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile

from bench.standard import ROOT
from vervet.llm import LLM, World
from vervet.models.local import LocalModel
from vervet.pool import open_pool
from vervet.tasks import TASKS
from vervet.types import Problem

MAX_TOKENS = 256


def problems(n: int) -> list[Problem]:
    """Test problems, the tasks in turn."""
    each = [task.examples("test", -(-n // len(TASKS)), seed=1) for task in TASKS.values()]
    return [example.problem for row in zip(*each, strict=True) for example in row][:n]


def ours(folder: str, asked: list[Problem]) -> list[list[int]]:
    """The engine's greedy token ids."""
    model = LocalModel(folder, dtype="float32")

    async def draw(problem: Problem, world: World) -> list[int]:
        llm = LLM.at_desk(world, problem)
        drawn = await llm.draw(llm.ask("answer", problem, temperature=0.0, max_tokens=MAX_TOKENS).request, 1)
        return list(drawn[0].trace.ids)

    async def draw_all() -> list[list[int]]:
        with tempfile.TemporaryDirectory() as place, open_pool(f"{place}/p.sqlite") as pool:
            world = World(pool, {"": model}, run=pool.start_run({"bench": "transformers"}))
            return await asyncio.gather(*(draw(problem, world) for problem in asked))

    return asyncio.run(draw_all())


def theirs(folder: str, asked: list[Problem]) -> list[list[int]]:
    """The greedy token ids of ``transformers``, one prompt at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found = []
    for problem in asked:
        text = tokenizer.apply_chat_template(list(problem.messages), add_generation_prompt=True, tokenize=False)
        prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        out = model.generate(**prompt, max_new_tokens=MAX_TOKENS, do_sample=False)
        found.append(out[0, prompt["input_ids"].shape[1] :].tolist())
    return found


def main() -> None:
    """Compare, and print one object."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--prompts", type=int, default=50)
    options.add_argument("--model", default=str(ROOT / "src/vervet/models/embedded"))
    args = options.parse_args()
    asked = problems(args.prompts)
    pairs = list(zip(ours(args.model, asked), theirs(args.model, asked), strict=True))
    print(json.dumps({"prompts": len(pairs), "equal": sum(a == b for a, b in pairs), "max_tokens": MAX_TOKENS}))


if __name__ == "__main__":
    main()
