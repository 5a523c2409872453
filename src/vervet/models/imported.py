"""The model of samples that were imported: replayed from the pool, never drawn. How they were drawn is not known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from ..errors import Unsupported
from ..types import Call, Question, Request, Sample, Score, Stream, Supports

PREFIX: Final = "import/"
_CONTEXT: Final = 1 << 31  # tokens: no imported text is longer, so that each is given whole


class Imported:
    """Stands for whoever wrote the imported samples of this name; ``name`` is ``import/NAME``.

    It plays the role "answer" with its samples, and "reward" with the rewards that came with them. Its dialect has no
    wordings: a problem is asked as it stands, which is the question that the samples are kept under.

    >>> Imported("mine").name
    'import/mine'
    """

    dialect = "imported"
    supports = Supports(roles=frozenset({"answer", "reward"}), n=1 << 20, continuation=True, context=_CONTEXT)

    def __init__(self, name: str) -> None:
        self.name = PREFIX + name

    def count(self, question: Question) -> int:
        """Nothing is sent, so nothing is counted. Raises ``Unsupported`` for a question with settings of its own."""
        if settings := sorted(question.data.keys() - {"messages"}):
            raise self.unknown(settings)
        return 0

    def unknown(self, settings: Sequence[str]) -> Unsupported:
        """The error that refuses settings: nobody knows with which ones the samples were drawn, or how many tokens they have."""
        return Unsupported(
            f"{self.name} was imported: with which settings its samples were drawn is not known, so {', '.join(settings)} "
            "cannot be asked of it; write generate(n=...) without them"
        )

    def draw(
        self, request: Request, stream: Stream, indices: Sequence[int], so_far: Mapping[int, Sample] | None = None
    ) -> AbstractAsyncContextManager[Call]:
        """Refused: what is not in the pool is not there."""
        raise Unsupported(
            f"{self.name} was imported: its samples are replayed, never drawn, and sample {min(indices, default=0)} of a problem "
            "is not in this pool; name the pool that was imported into (--pool), draw no more samples than a problem has, and "
            f"leave out problems that it has none of (--where model={self.name})"
        )

    async def rate(self, texts: Sequence[str]) -> list[Score]:
        """Refused: it rates nothing that came without a reward."""
        raise Unsupported(f"{self.name} was imported: it rates no text; name a reward model with --reward")

    async def close(self) -> None:
        """Nothing is open."""
