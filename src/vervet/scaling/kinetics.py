"""Equivalent operations (eFLOPs): arithmetic, and memory traffic counted as the arithmetic that fits in its time.

Reading keys and values, not arithmetic, limits long generations. The reading of weights is left out: it is shared by
many sequences in a large batch. Numbers of keys and values count as their bytes do in bfloat16, as the authors count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling.cost import Cost, Shape, tables
from vervet.scaling.draws import Floats

INTENSITY = 562.5
"""Operations that a B200 does while it reads one byte. Reference: Sadhukhan et al. 2025, arXiv 2506.05333."""


@dataclass(frozen=True)
class EFlops:
    """What k draws of a problem cost, in eFLOPs: ``compute``, and ``memory`` (bytes x intensity)."""

    compute: Cost
    memory: Cost

    @property
    def total(self) -> Cost:
        """Both together."""
        return Cost("eFLOPs", self.compute.fixed + self.memory.fixed, self.compute.each + self.memory.each)


def dense(shape: Shape, prompt_tokens: ArrayLike, completion_tokens: ArrayLike, intensity: float = INTENSITY) -> EFlops:
    """Full attention. The keys and values of the prompt are read once for all draws; the prompt's own run is not counted.

    Reference: Sadhukhan et al. 2025, Kinetics, arXiv 2506.05333 (N our k, L our completion tokens, c our prompt tokens,
    H our heads, G our kv_heads, D our head_dim x layers, I our intensity): compute N (2PL + 2(2c + L)L H D), memory
    I 2(2c + N L)L G D.

    >>> qwen = Shape(8.19e9, 36, 4096, 32, 8, 128)
    >>> cost = dense(qwen, 256, 1024)
    >>> round(cost.compute.at(1) / 1e12, 4), round(cost.memory.at(1) / 1e12, 4)
    (17.237, 65.2298)
    """
    prompt, completion = tables(prompt_tokens, completion_tokens)
    pairs = (2 * prompt + completion) * completion
    once, each = 4 * prompt * completion, 2 * completion**2
    return _eflops(shape, intensity, completion, 2 * pairs, once, each)


def top_k(
    shape: Shape, prompt_tokens: ArrayLike, completion_tokens: ArrayLike, kept: int, intensity: float = INTENSITY
) -> EFlops:
    """Attention over the ``kept`` best keys of each token, found for nothing; every draw reads its own.

    The authors' code adds half the square of kept - prompt where it must be taken off; ours is the exact sum (see ``attended``).

    Reference: Sadhukhan et al. 2025, arXiv 2506.05333, zero-overhead sparse attention (b our kept, S our attended):
    compute N (2PL + 4 S H D), memory I 4 S G D N.

    >>> qwen = Shape(8.19e9, 36, 4096, 32, 8, 128)
    >>> round(top_k(qwen, 256, 16384, kept=1024).total.at(1) / 1e12, 1)
    1645.2
    """
    prompt, completion = tables(prompt_tokens, completion_tokens)
    keys = attended(prompt, completion, kept)
    return _eflops(shape, intensity, completion, 4 * keys, 0 * keys, 4 * keys)


def block_top_k(
    shape: Shape,
    prompt_tokens: ArrayLike,
    completion_tokens: ArrayLike,
    blocks: int,
    block: int = 16,
    local: int = 64,
    intensity: float = INTENSITY,
) -> EFlops:
    """Attention over the best ``blocks`` pages of ``block`` tokens and the last ``local`` tokens, with the search for them.

    Pages are counted in fractions, so that the cost stays linear in k: less than one page a draw apart from whole pages.

    Reference: Sadhukhan et al. 2025, arXiv 2506.05333, block top-k: as top-k with kept = local + block x blocks; the
    search adds (2c + L) / block L H D to compute and I (2c + N L) / block L G D to memory.

    >>> qwen = Shape(8.19e9, 36, 4096, 32, 8, 128)
    >>> round(block_top_k(qwen, 256, 16384, blocks=60).compute.at(1) / 1e12, 3)
    280.643
    """
    if block < 1:
        raise Mistake(f"expected pages of at least one token, but got {block=}")
    prompt, completion = tables(prompt_tokens, completion_tokens)
    keys = attended(prompt, completion, local + block * blocks)
    found = (2 * prompt + completion) * completion / block
    once, each = 2 * prompt * completion / block, 4 * keys + completion**2 / block
    return _eflops(shape, intensity, completion, 4 * keys + found, once, each)


def attended(prompt_tokens: ArrayLike, completion_tokens: ArrayLike, kept: int) -> Floats:
    """Keys that the tokens of a completion attend to in all, at most ``kept`` each: sum over t < L of min(kept, prompt + t).

    Raises Mistake for ``kept`` below 1.

    >>> float(attended(256, 16384, 1024))
    16481920.0
    """
    if kept < 1:
        raise Mistake(f"expected attention to at least one key, but got {kept=}")
    prompt, completion = np.asarray(prompt_tokens, dtype=float), np.asarray(completion_tokens, dtype=float)
    growing = np.clip(kept - prompt, 0, completion)  # tokens that still see fewer than kept
    return np.asarray(growing * prompt + growing * (growing - 1) / 2 + (completion - growing) * kept)


def _eflops(
    shape: Shape, intensity: float, completion: Floats, compute_keys: Floats, memory_once: Floats, memory_each: Floats
) -> EFlops:
    """Costs from operations per query head and numbers read per key-value head, each (problems, n), one dimension of a head."""
    depth = shape.head_dim * shape.layers
    compute = np.mean(2 * shape.parameters * completion + compute_keys * (shape.heads * depth))
    once, each = (float(np.mean(read)) * shape.kv_heads * depth * intensity for read in (memory_once, memory_each))
    return EFlops(Cost("eFLOPs", 0.0, float(compute)), Cost("eFLOPs", once, each))
