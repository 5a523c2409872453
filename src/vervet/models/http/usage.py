"""What a reply cost: the server's own figures where they can be true, else what arrived, else the bound.

Prompt tokens are billed with the first sample of a call. Where a server tells the completion tokens of several samples
in one sum, they are shared out so that the sum stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...types import Json


@dataclass(frozen=True, slots=True)
class Usage:
    """The figures of one reply; all are counts of tokens."""

    prompt: int
    completion: int
    cached: int = 0
    written: int = 0
    reasoning: int = 0


def read_usage(data: Json, least: int, most: int) -> Usage | None:
    """The usage of a reply, or None where it cannot be true: ``least`` and ``most`` completion tokens can be.

    >>> read_usage({"prompt_tokens": 7, "completion_tokens": 5}, 1, 10)
    Usage(prompt=7, completion=5, cached=0, written=0, reasoning=0)
    >>> read_usage({"prompt_tokens": 7, "completion_tokens": 50}, 1, 10) is None
    True
    """
    if not isinstance(data, Mapping):
        return None
    prompt, completion = data.get("prompt_tokens"), data.get("completion_tokens")
    if type(prompt) is not int or type(completion) is not int or prompt < 0 or not least <= completion <= most:
        return None
    written = _detail(data, "cache_creation_input_tokens")
    read = _detail(data, "cache_read_input_tokens")
    reasoning = _detail(data.get("completion_tokens_details"), "reasoning_tokens")
    if read + written > prompt:  # told beside the prompt, not as a part of it
        prompt += read + written
    cached = min(_detail(data.get("prompt_tokens_details"), "cached_tokens") or read, prompt - written)
    return Usage(prompt, completion, cached, written, min(reasoning, completion))


def _detail(data: Json, name: str) -> int:
    value = data.get(name) if isinstance(data, Mapping) else None
    return value if type(value) is int and value >= 0 else 0


def apportion(total: int, weights: Sequence[int], most: Sequence[int]) -> list[int]:
    """``total`` shared out by weight (largest remainder first), no share above its ``most``; the sum is ``total``.

    >>> apportion(10, [3, 1, 1], [10, 10, 10]), apportion(10, [3, 1, 1], [4, 9, 9])
    ([6, 2, 2], [4, 3, 3])
    """
    weights = [max(1, weight) for weight in weights]
    shares, rest = [0] * len(weights), list(range(len(weights)))
    while rest:
        whole = sum(weights[i] for i in rest)
        full = [i for i in rest if total * weights[i] >= most[i] * whole]
        if not full:
            break
        for i in full:
            shares[i] = most[i]
        total -= sum(most[i] for i in full)
        rest = [i for i in rest if i not in full]
    if rest:
        parts = {i: divmod(total * weights[i], whole) for i in rest}
        n_over = total - sum(part for part, _ in parts.values())
        for rank, i in enumerate(sorted(rest, key=lambda i: (-parts[i][1], i))):
            shares[i] = parts[i][0] + (rank < n_over)
    return shares
