"""Confidence: one number per sample from the figures that its trace holds. Pure; knows no model and no answer.

A trace whose column is unknown raises MissingFigures, which names the column. A sample without tokens has no
confidence: the answer is None, which ``select.best`` puts last. All figures depend on the trace's ``source`` (raw or
scaled logits), those of ``topk`` on its ``k`` too: compare only like with like.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vervet.errors import MissingFigures, Mistake
from vervet.types import Trace

Column = Literal["logprob", "topk", "entropy"]
WINDOW_TOKENS = 2048  # Fu et al. 2025: "sliding window of 2048 tokens"
BOTTOM_SHARE = 0.1  # Fu et al. 2025: bottom 10 % of the groups


def mean_logprob(trace: Trace) -> float | None:
    """Mean natural log probability of the chosen tokens: 0 or less, higher is surer. None without tokens.

    >>> from array import array
    >>> mean_logprob(Trace(array("i", [7, 8]), logprob=array("f", [-0.5, -1.5])))
    -1.0
    """
    return _mean(_column(trace, "logprob"))


def perplexity(trace: Trace) -> float | None:
    """exp(-mean logprob): 1 or more, lower is surer. None without tokens."""
    mean = mean_logprob(trace)
    return None if mean is None else math.exp(-mean)


def mean_entropy(trace: Trace) -> float | None:
    """Mean entropy per token in nats: 0 or more, lower is surer. None without tokens."""
    return _mean(_column(trace, "entropy"))


def token_confidence(trace: Trace) -> NDArray[np.float64]:
    """Per token, minus the mean logprob of the k likeliest tokens, shape (tokens,): higher is more peaked.

    Reference: Fu, Wang, Tian, Zhao 2025, DeepConf, arXiv 2508.15260, equation 2 (C_i; k = 20 there, ``trace.k`` here).

    >>> from array import array
    >>> token_confidence(Trace(array("i", [7]), topk=array("f", [-2.5]), k=3)).tolist()
    [2.5]
    """
    return -_column(trace, "topk")


def group_means(confidences: ArrayLike, window_tokens: int = WINDOW_TOKENS) -> NDArray[np.float64]:
    """Means over a sliding window, stride 1, shape (max(1, tokens - window + 1),).

    Fewer tokens than the window make one group, their plain mean; no tokens make no group, shape (0,).
    Raises Mistake where the window is below 1.

    Reference: Fu et al. 2025, arXiv 2508.15260, equation 4 (group confidence).

    >>> group_means([5, 4, 3, 2, 1, 6, 7, 8, 9, 10], window_tokens=4).tolist()
    [3.5, 2.5, 3.0, 4.0, 5.5, 7.5, 8.5]
    """
    if window_tokens < 1:
        raise Mistake(f"a window needs at least 1 token, got {window_tokens=}")
    values = np.asarray(confidences, dtype=np.float64)
    if len(values) == 0:
        return values
    window = min(window_tokens, len(values))
    sums = np.concatenate(([0.0], np.cumsum(values)))
    return (sums[window:] - sums[:-window]) / window


def mean_confidence(trace: Trace) -> float | None:
    """Mean token confidence of the whole sample. None without tokens."""
    return _mean(token_confidence(trace))


def tail_confidence(trace: Trace, n_tokens: int = WINDOW_TOKENS) -> float | None:
    """Mean token confidence of the last ``n_tokens`` tokens. None without tokens.

    Reference: Fu et al. 2025, arXiv 2508.15260, section 3.1 (tail confidence).
    """
    if n_tokens < 1:
        raise Mistake(f"a tail needs at least 1 token, got {n_tokens=}")
    return _mean(token_confidence(trace)[-n_tokens:])


def lowest_group(trace: Trace, window_tokens: int = WINDOW_TOKENS) -> float | None:
    """The least confident group of the sample. None without tokens.

    Reference: Fu et al. 2025, arXiv 2508.15260, section 3.1 (lowest group confidence).
    """
    groups = group_means(token_confidence(trace), window_tokens)
    return float(groups.min()) if len(groups) else None


def bottom_groups(trace: Trace, window_tokens: int = WINDOW_TOKENS, share: float = BOTTOM_SHARE) -> float | None:
    """Mean of the least confident ``share`` of the groups (at least one group). None without tokens.

    Reference: Fu et al. 2025, arXiv 2508.15260, section 3.1 (bottom 10 % group confidence); the number of groups is
    max(1, int(share x groups)), as in the authors' code.
    """
    if not 0 < share <= 1:
        raise Mistake(f"share must lie above 0 and at most at 1, got {share=}")
    groups = np.sort(group_means(token_confidence(trace), window_tokens))
    return _mean(groups[: max(1, int(share * len(groups)))])


#: The figures by which a sample can be preferred, by name: higher is surer in all of them.
FIGURES: Mapping[str, Callable[[Trace], float | None]] = MappingProxyType(
    {
        "mean_logprob": mean_logprob,
        "mean_confidence": mean_confidence,
        "tail_confidence": tail_confidence,
        "lowest_group": lowest_group,
        "bottom_groups": bottom_groups,
    }
)


def _column(trace: Trace, name: Column) -> NDArray[np.float64]:
    column = getattr(trace, name)
    if column is None:
        raise MissingFigures(
            f"expected the column {name!r} in the sample's trace, but it was not stored; draw others with another --replicate"
        )
    return np.asarray(column, dtype=np.float64)


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
