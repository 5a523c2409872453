"""From logits to tokens and figures, for many rows at once; each row is a function of itself alone.

Randomness is one uniform per (64-bit seed, position), by an integer hash: no generator, no state. A token is the
inverse of the cumulated probabilities, in vocabulary order and float64, at that uniform. So a sample is the same
alone and in any batch, and it can be cut and followed later. Knows nothing of the network or of what ends a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..errors import Mistake

_GAMMA, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1
_NO_TOP_K = 1 << 62


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1), a multiple of 2^-53: the plain twin of ``uniforms``.

    The output of splitmix64 number ``position`` (from 0), started at ``seed``.
    Reference: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 16.

    >>> uniform(0, 0)
    0.8833108082136426
    """
    z = (seed + (position + 1) * _GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def uniforms(seeds: ArrayLike, positions: ArrayLike) -> NDArray[np.float64]:
    """``uniform`` for many pairs at once."""
    z = np.asarray(seeds, np.uint64) + (np.asarray(positions, np.uint64) + np.uint64(1)) * np.uint64(_GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_2)
    result: NDArray[np.float64] = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return result


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. Temperature 0 takes the likeliest token, the lowest id where several are.

    Masks apply after the temperature: the ``top_k`` likeliest (None: all), then of these the fewest that reach the
    mass ``top_p`` (of all), then those of at least ``min_p`` times the likeliest one's probability.
    Raises ``Mistake`` out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise Mistake(f"temperature must be at least 0, but got temperature={self.temperature!r}")
        if not 0 < self.top_p <= 1:
            raise Mistake(f"top_p must be above 0 and at most 1, but got top_p={self.top_p!r}")
        if self.top_k is not None and self.top_k < 1:
            raise Mistake(f"top_k must be at least 1, but got top_k={self.top_k!r}")
        if not 0 <= self.min_p <= 1:
            raise Mistake(f"min_p must be between 0 and 1, but got min_p={self.min_p!r}")

    @property
    def filters(self) -> bool:
        """Whether any mask is set."""
        return self.top_p < 1 or self.top_k is not None or self.min_p > 0


@dataclass(frozen=True, slots=True)
class How:
    """The sampling of many rows, (rows, 1) each."""

    temperature: Tensor  # float64, 1 where a row is cold
    top_p: Tensor  # float64
    top_k: Tensor  # int64, more than any vocabulary where there is none
    min_p: Tensor  # float64
    cold: Tensor | None  # where the temperature is 0; None where it is 0 nowhere
    filters: bool  # whether any mask is set

    @classmethod
    def of(cls, rows: Sequence[Sampling], device: torch.device | str = "cpu") -> How:
        """The columns of some rows."""

        def column(values: Sequence[Any], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)[:, None]

        return cls(
            column([r.temperature or 1.0 for r in rows], torch.float64),
            column([r.top_p for r in rows], torch.float64),
            column([r.top_k or _NO_TOP_K for r in rows], torch.int64),
            column([r.min_p for r in rows], torch.float64),
            column([r.temperature == 0 for r in rows], torch.bool) if any(r.temperature == 0 for r in rows) else None,
            any(r.filters for r in rows),
        )


def filtered(probs: Tensor, how: How) -> Tensor:
    """Probabilities (rows, vocab), float64, with what each row's masks exclude set to 0; not normalised.

    Ties go to the lower id. A row without masks is left as it is.
    """
    ranked, order = probs.sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(-1) - ranked  # the mass of the likelier ones
    keep = (before < how.top_p) | (how.top_p >= 1)
    keep &= torch.arange(probs.shape[-1], device=probs.device) < how.top_k
    keep &= ranked >= how.min_p * ranked[:, :1]
    return torch.zeros_like(probs).scatter_(-1, order, ranked * keep)


def choose(logits: Tensor, how: How, u: NDArray[np.float64]) -> Tensor:
    """One token id per row, (rows), from logits (rows, vocab), float32, and a uniform per row."""
    probs = (logits.double() / how.temperature).softmax(-1)
    if how.filters:
        probs = filtered(probs, how)
    below = probs.cumsum(-1)
    ids = torch.searchsorted(below, torch.from_numpy(u).to(logits.device)[:, None] * below[:, -1:], right=True)[:, 0]
    return ids if how.cold is None else torch.where(how.cold[:, 0], logits.argmax(-1), ids)


class Figures(NamedTuple):
    """Per row, from raw logits (before temperature and masks), in nats; float32."""

    logprob: NDArray[np.float32]
    topk: NDArray[np.float32]
    entropy: NDArray[np.float32]


def figures(logits: Tensor, ids: Tensor, k: Tensor) -> Figures:
    """Logprob of the chosen token, mean logprob of the k likeliest, entropy: logits (rows, vocab), ids (rows), k (rows, 1)."""
    if len(ids) == 1:  # a single row would be summed in another order than one of many
        both = figures(logits.expand(2, -1), ids.expand(2), k.expand(2, 1))
        return Figures(*(x[:1] for x in both))
    logp = logits.log_softmax(-1)
    best = logp.topk(int(k.max()), dim=-1).values.cumsum(-1)  # each row's k is read off, so the largest changes nothing
    three = (
        logp.gather(-1, ids[:, None])[:, 0],
        (best.gather(-1, k - 1) / k)[:, 0],
        -(logp.exp() * logp).sum(-1),
    )
    return Figures(*torch.stack(three).cpu().numpy())


def likeliest(logits: Tensor, k: int) -> list[tuple[tuple[int, float], ...]]:
    """Per row of logits (rows, vocab) the ``k`` likeliest tokens: id and raw logprob, likeliest first."""
    best = logits.log_softmax(-1).topk(k, dim=-1)
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [tuple(zip(ids, values, strict=True)) for ids, values in rows]
