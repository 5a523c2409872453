"""From plain code into async code and back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


def wait(coroutine: Awaitable[T]) -> T:
    """Run a coroutine to its end from plain code, a notebook's running event loop included.

    >>> wait(asyncio.sleep(0, "done"))
    'done'
    """

    async def main() -> T:
        return await coroutine

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    box: dict[str, Any] = {}

    def work() -> None:
        try:
            box["result"] = asyncio.run(main())
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=work, name="vervet")
    thread.start()
    thread.join()
    if "error" in box:
        raise box["error"]
    return box["result"]  # type: ignore[no-any-return]
