"""Limits and meters: what may be paid, what may be used, and what was.

A *wallet* limits what is freshly paid over all restarts of a run; a *budget* limits what is used for one problem,
replayed or not, so that no result depends on what the pool held. This room counts and compares; it reads no clock.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from .errors import Mistake
from .types import Bill, Prices, Spent

_SUFFIX = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def parse_limits(text: str, names: Mapping[str, type], what: str) -> dict[str, float]:
    """Limits written as ``tokens=2M,calls=500``; suffixes k, M and G.

    >>> parse_limits("tokens=2.5k", {"tokens": int}, "wallet")
    {'tokens': 2500}
    """
    limits: dict[str, float] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        match = re.fullmatch(r"(\w+)=([0-9.]+)([kMG]?)", part)
        if not match or match[1] not in names:
            raise Mistake(f"{what}: expected {', '.join(f'{n}=NUMBER' for n in names)}, but got {part!r}")
        try:
            limits[match[1]] = names[match[1]](float(match[2]) * _SUFFIX[match[3]])
        except ValueError:
            raise Mistake(f"{what}: expected a number, but got {part!r}") from None
    return limits


def _check_limits(limits: Wallet | Budget) -> None:
    for f in fields(limits):
        value = getattr(limits, f.name)
        if value is not None and value < 0:
            raise Mistake(f"{type(limits).__name__}: {f.name} must be 0 or more, but got {f.name}={value!r}")


@dataclass(frozen=True, slots=True)
class Wallet:
    """What may be freshly paid by a run, all restarts together; None is no limit. ``seconds`` is wall time.

    ``usd``: US dollars, by the prices of the models; a model whose price is unknown is refused under such a limit.

    >>> Wallet.parse("tokens=2M").tokens
    2000000
    """

    tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None
    usd: float | None = None

    def __post_init__(self) -> None:
        _check_limits(self)

    @classmethod
    def parse(cls, text: str) -> Wallet:
        """A wallet from ``tokens=2M,calls=500,seconds=60,usd=0.5``."""
        names = {"tokens": int, "calls": int, "seconds": float, "usd": float}
        return cls(**parse_limits(text, names, "wallet"))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be used for one problem, fresh or replayed; None is no limit.

    ``tokens``: prompt and completion, a prompt once per question; ``draws``: samples; ``calls``: questions asked;
    ``usd``: US dollars for these tokens at their dearest, whatever caches saved.

    >>> Budget.parse("tokens=20k/problem")
    Budget(draws=None, tokens=20000, calls=None, usd=None)
    """

    draws: int | None = None
    tokens: int | None = None
    calls: int | None = None
    usd: float | None = None

    def __post_init__(self) -> None:
        _check_limits(self)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget from ``tokens=20k/problem,usd=0.01/problem`` (the unit may be left out)."""
        plain = text.replace("/problem", "")
        names = {"draws": int, "tokens": int, "calls": int, "usd": float}
        return cls(**parse_limits(plain, names, "budget"))  # type: ignore[arg-type]


def expect_prices(name: str, prices: Prices | None, limits: Wallet | Budget) -> None:
    """Refuse a limit in dollars for a model whose price is unknown: an unknown price is not zero."""
    if limits.usd is not None and prices is None:
        raise Mistake(
            f"a limit in usd needs the price of {name}, which is unknown: give it in vervet.toml "
            "(prices = {prompt = ..., completion = ...}, in usd per million tokens), or limit tokens instead"
        )


@dataclass(slots=True)
class Meter:
    """Counts what was used against one budget."""

    budget: Budget = Budget()
    draws: int = 0
    tokens: int = 0
    calls: int = 0
    usd: float = 0.0

    def left(self, name: str) -> float:
        """What is left of one limit; infinite where there is none."""
        limit = getattr(self.budget, name)
        return float("inf") if limit is None else limit - getattr(self, name)

    def tokens_left(self, prices: Prices | None, prompt_tokens: int) -> float:
        """Completion tokens that are still allowed behind a prompt, by tokens and by dollars."""
        left = self.left("tokens") - prompt_tokens
        if self.budget.usd is None or prices is None:
            return left
        return min(left, _affordable(self.left("usd"), prices, prompt_tokens))

    def add(self, draws: int = 0, tokens: int = 0, calls: int = 0, usd: float = 0.0) -> None:
        """Count what was used."""
        self.draws += draws
        self.tokens += tokens
        self.calls += calls
        self.usd += usd


def _affordable(usd: float, prices: Prices, prompt_tokens: int) -> float:
    """Completion tokens that so many dollars pay behind a prompt at its dearest."""
    left = usd - prices.worst(prompt_tokens, 0)
    each = prices.worst(0, 1)
    if each <= 0:
        return float("inf") if left >= 0 else -1.0
    return math.floor(left / each)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a purse reserved for one call: how many samples, each of at most how many tokens; ``usd`` for all of it."""

    n: int
    max_tokens: int
    prompt_tokens: int
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        """The worst case of the call."""
        return self.prompt_tokens + self.n * self.max_tokens


class Purse:
    """A wallet with what was spent from it and what is reserved: spent + reserved never exceeds the wallet.

    ``parked`` is what open calls of earlier starts may still cost (batch files that are out).

    >>> purse = Purse(Wallet(tokens=100))
    >>> purse.reserve(n=4, max_tokens=40, prompt_tokens=10, cut=False)
    Grant(n=2, max_tokens=40, prompt_tokens=10, usd=0.0)
    >>> purse.left_tokens
    10.0
    """

    def __init__(self, wallet: Wallet, spent: Spent | None = None, parked: Bill = Bill()) -> None:
        spent = spent or Spent()
        self.wallet = wallet
        self.spent_tokens = spent.bill.tokens
        self.spent_calls = spent.calls
        self.spent_seconds = spent.seconds
        self.spent_usd = spent.bill.usd
        self.reserved_tokens = parked.tokens
        self.reserved_usd = parked.usd
        self.n_open = 0

    @property
    def left_tokens(self) -> float:
        """Tokens that are neither spent nor reserved."""
        limit = float("inf") if self.wallet.tokens is None else float(self.wallet.tokens)
        return limit - self.spent_tokens - self.reserved_tokens

    @property
    def left_calls(self) -> float:
        """Calls that are neither made nor under way."""
        limit = float("inf") if self.wallet.calls is None else float(self.wallet.calls)
        return limit - self.spent_calls - self.n_open

    @property
    def left_usd(self) -> float:
        """Dollars that are neither spent nor reserved."""
        limit = float("inf") if self.wallet.usd is None else self.wallet.usd
        return limit - self.spent_usd - self.reserved_usd

    def reserve(
        self, n: int, max_tokens: int, prompt_tokens: int, cut: bool, prices: Prices | None = None
    ) -> Grant | None:
        """Reserve the worst case of as many of ``n`` samples as fit; None where not one fits now.

        With ``cut`` and nothing else under way, one sample may be given fewer tokens than asked. Raises ``Mistake``
        where the wallet limits dollars and ``prices`` is None.
        """
        room = self.left_tokens - prompt_tokens
        if self.wallet.usd is not None:
            expect_prices("the model", prices, self.wallet)
            assert prices is not None
            room = min(room, _affordable(self.left_usd, prices, prompt_tokens))
        n_fit = min(n, int(room // max_tokens) if room != float("inf") else n)
        if self.left_calls < 1:
            return None
        if n_fit < 1 and cut and self.n_open == 0 and room >= 1:
            n_fit, max_tokens = 1, int(room)
        if n_fit < 1:
            return None
        usd = 0.0 if prices is None else prices.worst(prompt_tokens, n_fit * max_tokens)
        grant = Grant(n_fit, max_tokens, prompt_tokens, usd)
        self.reserved_tokens += grant.tokens
        self.reserved_usd += grant.usd
        self.n_open += 1
        return grant

    def settle(self, grant: Grant, bill: Bill, n_calls: int = 1) -> None:
        """Replace a reserve by what the call cost (``n_calls`` 0: the call was never made)."""
        self.n_open -= 1
        self.reserved_tokens -= grant.tokens
        self.reserved_usd -= grant.usd
        self.spent_tokens += bill.tokens
        self.spent_usd += bill.usd
        self.spent_calls += n_calls
