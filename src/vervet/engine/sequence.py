"""What the engine is asked for and what it tells: one sample on its way."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..rules.cut import LowConfidence
from .sampling import Sampling


def _ids() -> array[int]:
    return array("i")


def _figures() -> array[float]:
    return array("f")


@dataclass(slots=True, eq=False)
class Sequence:
    """One sample. What is asked: ``prompt`` ids (at least one), ``seed`` (64 bits), ``sampling``, at most ``limit``
    completion tokens, ``k`` of the top-k mean; ``stop_ids`` end it, but are masked before ``min_tokens`` tokens; ``cut``
    ends it too. ``watch`` is called after each token that is drawn; True ends the sequence. ``top``: how many of the
    likeliest tokens to note with each token that is drawn. ``keep``: what was computed stays in memory when the
    sequence has ended, while there is room, for those that go on from there.

    What comes: one entry per completion token in ``ids``, ``logprob``, ``topk``, ``entropy`` and, with ``top``,
    ``likeliest`` (ids and logprobs). A sequence that comes with ``ids`` is followed further from there; where it comes
    without their figures, the engine works them out.
    """

    prompt: tuple[int, ...]
    seed: int
    limit: int
    sampling: Sampling = Sampling()
    stop_ids: frozenset[int] = frozenset()
    min_tokens: int = 0
    k: int = 20
    top: int = 0
    keep: bool = False
    cut: LowConfidence | None = None
    watch: Callable[[Sequence], bool] | None = None
    ids: array[int] = field(default_factory=_ids)
    logprob: array[float] = field(default_factory=_figures)
    topk: array[float] = field(default_factory=_figures)
    entropy: array[float] = field(default_factory=_figures)
    likeliest: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    n_known: int = field(init=False)  # tokens that it came with

    def __post_init__(self) -> None:
        self.n_known = len(self.ids)

    @property
    def stopped(self) -> bool:
        """Whether the last token is a stop id."""
        return bool(self.ids) and self.ids[-1] in self.stop_ids

    @property
    def over(self) -> bool:
        """Whether nothing is left to draw."""
        return self.stopped or len(self.ids) >= self.limit

    @property
    def length(self) -> int:
        """Prompt and completion tokens so far."""
        return len(self.prompt) + len(self.ids)

    def heir(self, seed: int, limit: int) -> Sequence:
        """A sequence that goes on from what this one has so far, as another sample: not more than ``limit`` tokens in all."""
        return replace(
            self, seed=seed, limit=limit, watch=None, likeliest=[],
            ids=self.ids[:], logprob=self.logprob[:], topk=self.topk[:], entropy=self.entropy[:],
        )  # fmt: skip
