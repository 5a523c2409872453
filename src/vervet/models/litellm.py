"""What the package litellm reaches: ``litellm/PROVIDER/MODEL``, with the bodies and replies of ``http``.

litellm is imported with the first request (extra ``litellm``) and finds its keys itself. Its retries are off: retrying is
decided elsewhere, once.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ..errors import MissingExtra
from ..types import Address, Bill, Delivery, Failure, Question, Request, Sample, Score, Stream
from .function import TaskCall
from .http import Entry, HttpModel, failures
from .http.body import Plan, plan_of
from .http.reading import read_whole


class LiteLLMModel:
    """A ``Model`` through litellm. ``name`` is ``PROVIDER/MODEL@litellm``; one sample a request; prices are unknown.

    ``options`` go to every request as they are (``api_base``, ``api_key``, ``custom_llm_provider`` ...).
    Raises ``MissingExtra`` without the extra.
    """

    dialect = "english"

    def __init__(self, model: str, **options: Any) -> None:
        if importlib.util.find_spec("litellm") is None:
            raise MissingExtra("litellm", "litellm")
        self._options = options
        self._plain = HttpModel(Entry(model, "https://litellm", revision="litellm", n=1))
        self.name, self.supports = self._plain.name, self._plain.supports

    def count(self, question: Question) -> int:
        """An upper bound of the prompt's tokens, without a tokenizer."""
        return self._plain.count(question)

    @asynccontextmanager
    async def draw(
        self, request: Request, stream: Stream, indices: Sequence[int], so_far: Mapping[int, Sample] | None = None
    ) -> AsyncIterator[TaskCall]:
        """One request for the first index. Raises ``Unsupported`` for what the body's table refuses."""
        address = stream.at(indices[0])
        plan = plan_of(self._plain.entry, self.supports, request, stream, indices[:1], None)
        bound = Bill(unsettled_tokens=plan.bound_tokens)
        async with TaskCall(self._deliver(request, plan, address, bound), address, bound).held() as call:
            yield call

    async def _deliver(self, request: Request, plan: Plan, address: Address, bound: Bill) -> Delivery:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import fetches a list from the network
        import litellm

        litellm.suppress_debug_info = True  # it prints on standard output
        async with self._plain.pace.permit(plan.bound_tokens):
            try:
                reply = await litellm.acompletion(**{**plan.body, **self._options}, num_retries=0, max_retries=0)
            except Exception as error:
                return Delivery(address.index, *self._failure(error, bound))
        (delivery,) = read_whole(self._plain, request, plan, reply.model_dump())
        return delivery

    def _failure(self, error: Exception, bound: Bill) -> tuple[Failure, Bill]:
        status = getattr(error, "status_code", None)
        told = f"{type(error).__name__}: {error}"
        if not isinstance(status, int) or type(error).__name__ in ("Timeout", "APIConnectionError"):
            return Failure("failed", f"{self.name}: {told[:500]}"), bound
        return failures.of_status(self._plain.entry, status, {}, told.encode()), Bill()

    async def rate(self, texts: Sequence[str]) -> list[Score]:
        """Not supported."""
        return await self._plain.rate(texts)

    async def close(self) -> None:
        """Nothing to let go of: litellm keeps its own connections."""
