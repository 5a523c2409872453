"""Models that tell of tokens while they draw: what a server needs that streams, and no more.

Others bring a sample in one piece when it ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..types import Delivery, Request, Stream


@dataclass(frozen=True, slots=True)
class Token:
    """One token of sample ``index`` as it came, and what it adds to the reasoning (``thinking``) or to the text.

    A character that spans tokens is added by the last of them; a special token adds nothing. ``likeliest``: pairs of id
    and logprob, likeliest first, as many as were asked for. All logprobs are raw (before temperature), in nats.
    """

    index: int
    id: int
    logprob: float
    text: str
    thinking: bool = False
    likeliest: tuple[tuple[int, float], ...] = ()


@runtime_checkable
class Live(Protocol):
    """A model that tells of tokens as they come; it is a ``Model`` too."""

    def draw_live(
        self, request: Request, stream: Stream, indices: Sequence[int], top: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[Delivery | list[Token]]]:
        """As ``Model.draw``, and between the deliveries one list for each step: its new tokens, of all samples.

        All tokens of a sample come before its delivery; a stop string that ends it is among them. ``top``: how many of
        the likeliest tokens to tell with each.
        """

    @property
    def n_generated(self) -> int:
        """Tokens generated since the start, those of samples that were left early too."""

    def bytes_of(self, token: int) -> bytes | None:
        """The bytes of a token's text, or None for a special token."""
