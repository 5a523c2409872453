"""Coverage at more draws than were made, with an interval, and how many draws an accuracy takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Target = Literal["same problems", "new problems"]


@dataclass(frozen=True)
class Forecast:
    """What a law says of coverage at ``k``, made from ``n`` draws a problem; ``low`` and ``high`` at ``level`` (.9 = 90 %).

    ``target``: whom it speaks of, the problems that were drawn ("same problems") or others like them ("new problems").
    """

    law: str
    target: Target
    n: int
    k: int
    value: float
    low: float
    high: float
    level: float = 0.9
