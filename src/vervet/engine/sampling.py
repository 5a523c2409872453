"""From logits to tokens and figures, for many rows at once; each row is a function of itself alone.

Randomness is one uniform per (64-bit seed, position), by an integer hash: no generator, no state. A token is the
inverse of the cumulated probabilities, in vocabulary order and float64, at that uniform. So a sample is the same
alone and in any batch, and it can be cut and followed later. Knows nothing of the network or of what ends a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import Mistake

_GAMMA, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


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


def uniforms(seeds: Sequence[int], positions: Sequence[int]) -> NDArray[np.float64]:
    """``uniform`` for many pairs at once."""
    z = np.array(seeds, np.uint64) + (np.array(positions, np.uint64) + np.uint64(1)) * np.uint64(_GAMMA)
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


def _column(values: Sequence[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]  # (rows, 1)


def filtered(probs: Tensor, how: Sequence[Sampling]) -> Tensor:
    """Probabilities (rows, vocab), float64, with what each row's masks exclude set to 0; not normalised.

    Ties go to the lower id. A row without masks is left as it is.
    """
    ranked, order = probs.sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(-1) - ranked  # the mass of the likelier ones
    top_p = _column([h.top_p for h in how])
    keep = (before < top_p) | (top_p >= 1)
    keep &= torch.arange(probs.shape[-1]) < _column([h.top_k or probs.shape[-1] for h in how])
    keep &= ranked >= _column([h.min_p for h in how]) * ranked[:, :1]
    return torch.zeros_like(probs).scatter_(-1, order, ranked * keep)


def choose(logits: Tensor, how: Sequence[Sampling], u: NDArray[np.float64]) -> Tensor:
    """One token id per row, (rows), from logits (rows, vocab), float32, and a uniform per row."""
    hot = _column([h.temperature or 1.0 for h in how])
    probs = (logits.double() / hot).softmax(-1)
    if any(h.filters for h in how):
        probs = filtered(probs, how)
    below = probs.cumsum(-1)
    ids = torch.searchsorted(below, torch.from_numpy(u)[:, None] * below[:, -1:], right=True)[:, 0]
    if any(h.temperature == 0 for h in how):
        cold = torch.tensor([h.temperature == 0 for h in how])
        ids = torch.where(cold, logits.argmax(-1), ids)
    return ids


@dataclass(frozen=True, slots=True)
class Figures:
    """Per row, from raw logits (before temperature and masks), in nats."""

    logprob: list[float]
    topk: list[float]
    entropy: list[float]


def figures(logits: Tensor, ids: Tensor, ks: Sequence[int]) -> Figures:
    """Logprob of the chosen token, mean logprob of the k likeliest, entropy: logits (rows, vocab), ids (rows)."""
    logp = logits.log_softmax(-1)
    best = logp.topk(max(ks), dim=-1).values.cumsum(
        -1
    )  # each row's k is read off, so that the largest k changes nothing
    k = torch.tensor(ks)[:, None]
    return Figures(
        logprob=logp.gather(-1, ids[:, None])[:, 0].tolist(),
        topk=(best.gather(-1, k - 1) / k)[:, 0].tolist(),
        entropy=(-(logp.exp() * logp).sum(-1)).tolist(),
    )


def likeliest(logits: Tensor, k: int) -> list[tuple[tuple[int, float], ...]]:
    """Per row of logits (rows, vocab) the ``k`` likeliest tokens: id and raw logprob, likeliest first."""
    best = logits.log_softmax(-1).topk(k, dim=-1)
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [tuple(zip(ids, values, strict=True)) for ids, values in rows]
