"""Rules that end one sample while it is generated: frozen data and a pure stepper over the figures so far.

A rule sees figures in stored precision, live as in replay, so that both end a sample at the same token.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import MissingFigures, Mistake
from ..types import Trace
from .expression import Expression


@dataclass(frozen=True, repr=False)
class LowConfidence(Expression):
    """End a sample when the mean confidence of its last ``window`` tokens falls below ``below``.

    The confidence of a token is minus the mean log-probability of its ``k`` likeliest tokens (nats); high is sure. The
    window must be full before the rule can fire, so that a sample shorter than the window is never cut.

    Reference: Fu et al. 2025, arXiv 2508.15260, section 3 (group confidence C_G = mean of C_i over a window; the
    threshold s is ``below``). The paper's window is 2,048 tokens.
    """

    window: int
    below: float

    def __post_init__(self) -> None:
        if self.window < 1:
            raise Mistake(f"low_confidence: window must be 1 or more, but got window={self.window!r}")

    @property
    def name(self) -> str:
        """What a sample that it cut says of its end."""
        return "low_confidence"

    def fires_at(self, trace: Trace) -> int | None:
        """The first full window whose mean lies below the threshold ends the sample at its last token."""
        if trace.topk is None:
            raise MissingFigures(
                "low_confidence needs the top-k mean of each token, which these samples lack; draw others with another --replicate"
            )
        total = 0.0
        for i, value in enumerate(trace.topk):
            total -= value
            if i >= self.window:
                total += trace.topk[i - self.window]
            if i + 1 >= self.window and total / self.window < self.below:
                return i + 1
        return None
