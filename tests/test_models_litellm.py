"""Through the real package litellm, against the scripted server."""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import replace

import pytest

from vervet.errors import MissingExtra, Unsupported
from vervet.models.litellm import LiteLLMModel
from vervet.testing import Script, ScriptedServer, llm_for
from vervet.types import Bill

is_there = importlib.util.find_spec("litellm") is not None
pytestmark = pytest.mark.filterwarnings("ignore")  # what litellm's own dependencies warn of is not ours


def test_without_the_package_the_error_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'vervet\[litellm\]'"):
        LiteLLMModel("openai/tiny")


@pytest.mark.skipif(not is_there, reason="needs litellm: pip install 'vervet[litellm]'")
def test_draws_options_and_failures() -> None:
    async def main() -> None:
        async with ScriptedServer(law="iid", script=Script(broken=(1,))) as server:
            model = LiteLLMModel("openai/tiny", api_base=server.url, api_key="none")
            llm = llm_for(model)
            request = llm.ask("answer", llm.problem, max_tokens=40, temperature=0.7, stop=("END",)).request
            drawn = await llm.draw(request, 3)
            assert len(drawn) == 3
            bodies = [seen.body for seen in server.log.requests]
            assert len(bodies) == 4, "the broken one was asked again, by us alone"
            assert all(body["temperature"] == 0.7 and body["stop"] == ["END"] for body in bodies)
            assert len({body["seed"] for body in bodies}) == 3
            bill = replace(llm.world.pool.spent(llm.world.run).bill, cached_prompt_tokens=0)
            assert bill == Bill(3 * drawn[0].prompt_tokens, sum(s.n_tokens for s in drawn))
            with pytest.raises(Unsupported, match="min_tokens"):
                await llm.draw(llm.ask("answer", llm.problem, max_tokens=40, min_tokens=3).request, 1)

    asyncio.run(main())
