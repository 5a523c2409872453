"""The model over HTTP passes the suite for models against real servers: ``vervet serve`` and llama.cpp's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vervet.models.http import Entry, HttpModel
from vervet.testing import MODEL_CHECKS

pytestmark = [
    pytest.mark.local,
    pytest.mark.filterwarnings("ignore:.*usage counts one sample of several"),  # llama.cpp's does
]

COMPLETIONS = {"api": "completions", "continuation": "completions"}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "vervet": ("vervet_server", {}),
    "vervet, figures": ("vervet_server", {"logprobs": 8}),
    "vervet, final message": ("vervet_server", {"continuation": "final-message"}),
    "vervet, completions": ("vervet_server", COMPLETIONS),
    "llama.cpp": ("llama_server", {}),
    "llama.cpp, echo": ("llama_server", {"continuation": "echo"}),
    "llama.cpp, figures": ("llama_server", {"logprobs": 8}),
    "llama.cpp, completions": ("llama_server", COMPLETIONS),
}


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("way", WAYS)
def test_http_model(way: str, check: Any, request: pytest.FixtureRequest) -> None:
    server, options = WAYS[way]
    model = HttpModel(Entry("embedded", request.getfixturevalue(server), **options))

    async def main() -> None:
        try:
            await check(model)
        finally:
            await model.close()

    asyncio.run(main())
