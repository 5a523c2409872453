"""Have an order drawn: all its samples at once, token by token where the model tells them. Knows no HTTP.

Sample i of an order with a seed is a function of the question, the seed and i; without a seed each order draws anew.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from ..errors import ModelError
from ..models.live import Live, Token
from ..types import Delivery, Model, Stream
from .asked import Order

Put = Callable[[Delivery | list[Token]], Awaitable[None]]


async def draw(model: Model, order: Order, put: Put) -> None:
    """Draw every sample; ``put`` is awaited with all that comes: the tokens of a step, a sample that ended, a failure.

    Cancelling it ends the generation. Raises what the model raises.
    """
    scope = secrets.token_hex(16) if order.seed is None else f"seed={order.seed}"
    row = Stream(model.name, order.request.question.digest, scope=scope)
    size = model.supports.n
    parts = [range(i, min(i + size, order.n)) for i in range(0, order.n, size)]
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(_part(model, order, row, part, put))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _part(model: Model, order: Order, row: Stream, indices: Sequence[int], put: Put) -> None:
    """As many samples as the model brings at once; what a call left out is asked for anew."""
    missing = list(indices)
    while missing:
        n_before = len(missing)
        async with _opened(model, order, row, tuple(missing)) as items:
            async for item in items:
                if isinstance(item, Delivery):
                    missing.remove(item.index)
                await put(item)
        if len(missing) == n_before:
            raise ModelError(f"{model.name} brought none of the {n_before} samples that were asked for")


def _opened(model: Model, order: Order, row: Stream, indices: Sequence[int]) -> AbstractAsyncContextManager[Any]:
    if isinstance(model, Live) and (order.stream or order.top):
        return model.draw_live(order.request, row, indices, order.top)
    return model.draw(order.request, row, indices)
