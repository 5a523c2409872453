"""A model that asks nobody: what it is asked for is noted as a line of a batch file, and waits there.

``BatchModel`` stands in for a model that can write its requests as lines and read their replies. Its draws never
deliver: they wait in a ``Waiting`` that the run's models share, until what they want is written down and the waiting
is ended, which ends them with ``InBatch``. Knows no file and no pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from ..errors import InBatch, Unsupported
from ..types import Address, Delivery, Json, Model, Question, Request, Sample, Score, Stream

__all__ = ["BatchCall", "BatchModel", "Line", "Lines", "Waiting", "Wanted"]


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch file: the path of the endpoint (``/v1/chat/completions``) and the body to be posted."""

    url: str
    body: Mapping[str, Json]


@runtime_checkable
class Lines(Model, Protocol):
    """A model whose requests can be written down, one sample each, and whose replies can be read later."""

    def to_line(self, request: Request, stream: Stream, index: int, so_far: Sample | None) -> Line:
        """The request of one index, further on from ``so_far``. Raises ``Unsupported`` for what the model cannot do."""

    def from_line(
        self, request: Request, stream: Stream, index: int, so_far: Sample | None, status: int, body: Json
    ) -> Delivery:
        """What an HTTP status and the body of a reply (parsed, or its text) bring for an index: a sample or a failure."""


@dataclass(slots=True, eq=False)
class Wanted:
    """A draw for the next batch file; ``sent`` from when that is being written. ``over`` wakes its call."""

    model: str
    address: Address
    request: Request
    line: Line
    sent: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Waiting:
    """The draws of one run that nobody draws now: those for the next file, and those that wait in earlier ones."""

    def __init__(self) -> None:
        self.wanted: dict[Address, Wanted] = {}
        self.parked: set[Address] = set()
        self.is_over = False

    def __len__(self) -> int:
        return len(self.wanted) + len(self.parked)

    def end(self) -> None:
        """Wake all that wait, and let nobody wait again: the run ends here."""
        self.is_over = True
        for wanted in self.wanted.values():
            wanted.over.set()


class BatchModel:
    """The model ``inner`` under its own name, as far as batch files allow: no cut, and one sample a call."""

    def __init__(self, inner: Lines, waiting: Waiting) -> None:
        self.inner, self.waiting = inner, waiting
        self.name, self.dialect = inner.name, inner.dialect
        self.supports = replace(inner.supports, n=1, cut=False)

    def count(self, question: Question) -> int:
        """An upper bound of the prompt's tokens."""
        return self.inner.count(question)

    @asynccontextmanager
    async def draw(
        self, request: Request, stream: Stream, indices: Sequence[int], so_far: Mapping[int, Sample] | None = None
    ) -> AsyncIterator[BatchCall]:
        """Want one sample. Raises ``Unsupported`` for several, and for a cut."""
        refused = [f"{len(indices)} samples in one line"] if len(indices) != 1 else []
        refused += ["cut"] if request.endings.cut is not None else []
        if refused:
            raise Unsupported(f"a batch file knows no {', no '.join(refused)}: draw without --batch")
        index = indices[0]
        line = self.inner.to_line(request, stream, index, (so_far or {}).get(index))
        wanted = Wanted(self.name, stream.at(index), request, line)
        if not self.waiting.is_over:
            self.waiting.wanted[wanted.address] = wanted
        call = BatchCall(self.waiting, wanted)
        try:
            yield call
        finally:
            if not wanted.sent:
                self.waiting.wanted.pop(wanted.address, None)

    async def rate(self, texts: Sequence[str]) -> list[Score]:
        """Not supported."""
        raise Unsupported(f"{self.name} rates no texts in a batch file: draw without --batch")

    async def close(self) -> None:
        """Let go of what the inner model holds."""
        await self.inner.close()


class BatchCall:
    """Waits for the batch file, and ends with ``InBatch`` when that is written, or when it is left before."""

    def __init__(self, waiting: Waiting, wanted: Wanted) -> None:
        self._waiting, self._wanted = waiting, wanted

    def __aiter__(self) -> BatchCall:
        return self

    async def __anext__(self) -> Delivery:
        """Never a delivery."""
        if not self._waiting.is_over:
            await self._wanted.over.wait()
        raise InBatch(f"{self._wanted.address} waits for a batch file")

    def stop(self) -> None:
        """Want nothing any more, unless it is being written."""
        if not self._wanted.sent:
            self._wanted.over.set()
