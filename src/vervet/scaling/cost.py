"""What k draws of a problem cost: floating-point operations, dollars, time. Axes for every curve against k.

All but the time are linear in k: ``Cost(unit, fixed, each)``, with what is paid once a problem and what every draw adds.
Costs are means over problems. Token counts are given as one number, or as tables of a declared range: prompts (problems,)
and completions (problems, n); where operations grow with the square of a length, only the tables give the exact mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike

from vervet.errors import Mistake
from vervet.scaling.draws import Floats
from vervet.types import Prices


@dataclass(frozen=True)
class Cost:
    """What k >= 1 draws of a problem cost: ``fixed`` + k x ``each``, in ``unit`` ("FLOPs", "eFLOPs", "usd", "tokens" ...)."""

    unit: str
    fixed: float
    each: float

    def at(self, k: float) -> float:
        """The cost of k draws of one problem, in the unit.

        >>> Cost("usd", fixed=0.5, each=0.25).at(4)
        1.5
        """
        return self.fixed + k * self.each


@dataclass(frozen=True)
class Shape:
    """The sizes of a dense decoder that say what a token costs.

    ``parameters``: all of them; ``width``: of the residual stream; ``heads``: of the queries, ``kv_heads``: of keys and
    values, each of ``head_dim``. Raises Mistake where a size is not positive.
    """

    parameters: float
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isfinite(value) and value > 0):
                raise Mistake(f"expected {field.name} of a model's shape above 0, but got {field.name}={value!r}")

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read ``parameters=8.03e9,layers=32,width=4096,heads=32,kv_heads=8,head_dim=128``.

        Without ``kv_heads`` there are as many as heads; without ``head_dim`` it is width / heads. Raises Mistake.

        >>> Shape.parse("parameters=8.03e9, layers=32, width=4096, heads=32").head_dim
        128
        """
        given: dict[str, float] = {}
        names = [field.name for field in fields(cls)]
        for part in text.split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or name not in names or name in given:
                raise Mistake(f"expected {'=..,'.join(names)}=.. (each once), but got {part.strip()!r} in {text!r}")
            given[name] = _number(name, value)
        if missing := [name for name in names[:4] if name not in given]:
            raise Mistake(f"expected a shape with {', '.join(names[:4])}, but got no {missing[0]} in {text!r}")
        heads = given["heads"]
        sizes = {"kv_heads": heads, "head_dim": given["width"] // heads, **given}
        parameters = sizes.pop("parameters")
        return cls(parameters, **{name: int(value) for name, value in sizes.items()})

    def flops_per_token(self, context: float) -> float:
        """Operations of one token with ``context`` tokens before it: 2 (parameters + 2 layers width context).

        Reference: Brown et al. 2024, Large Language Monkeys, arXiv 2407.21787, section on the cost of sampling (P our
        parameters, L our layers, d our width).

        >>> Shape(8.03e9, 32, 4096, 32, 8, 128).flops_per_token(1024) / 1e9
        16.596870912
        """
        return 2 * (self.parameters + 2 * self.layers * self.width * context)


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    whole = name == "parameters" or number == number // 1
    if not (isfinite(number) and number > 0 and whole):
        kind = "a number" if name == "parameters" else "a whole number"
        raise Mistake(f"expected {kind} above 0 for {name}, but got {value!r}")
    return number


def flops(shape: Shape, prompt_tokens: ArrayLike, completion_tokens: ArrayLike, context: float | None = None) -> Cost:
    """Operations of k draws, the prompt run once: ``fixed`` is the prompt, ``each`` one completion.

    ``context``: one length that stands for what every token has before it, as the paper has it; None: what each token
    really has before it. Raises Mistake for counts below 0 and tables that do not fit each other.

    Reference: Brown et al. 2024, arXiv 2407.21787: FLOPs per token x (prompt tokens + decoded tokens x completions).

    >>> shape = Shape(8.03e9, 32, 4096, 32, 8, 128)
    >>> flops(shape, 100, 200, context=1024).at(10) == 2100 * shape.flops_per_token(1024)
    True
    """
    prompt, completion = tables(prompt_tokens, completion_tokens)
    if context is not None:
        each = shape.flops_per_token(context)
        return Cost("FLOPs", float(prompt.mean() * each), float(completion.mean() * each))
    before_prompt = prompt * (prompt - 1) / 2  # tokens before each token, summed
    before_completion = completion * prompt + completion * (completion - 1) / 2
    return Cost("FLOPs", _flops(shape, prompt, before_prompt), _flops(shape, completion, before_completion))


def _flops(shape: Shape, tokens: Floats, before: Floats) -> float:
    return float(np.mean(2 * shape.parameters * tokens + 4 * shape.layers * shape.width * before))


def usd(prices: Prices, prompt_tokens: ArrayLike, completion_tokens: ArrayLike) -> Cost:
    """Dollars where every draw pays its prompt. A call that brings n draws pays it once: hand in prompt tokens / n.

    >>> usd(Prices(prompt=2.0, completion=8.0), 1000, 500).at(10)
    0.06
    """
    prompt, completion = tables(prompt_tokens, completion_tokens)
    each = prompt.mean() * prices.prompt + completion.mean() * prices.completion
    return Cost("usd", 0.0, float(each / 1e6))


def usd_cached(prices: Prices, prompt_tokens: ArrayLike, completion_tokens: ArrayLike) -> Cost:
    """Dollars with prefix caching: the first draw writes the prompt to the cache, each other one reads it.

    Prompt written + (k - 1) prompt read + k completions. What has no price of its own costs what a prompt token costs.

    >>> usd_cached(Prices(2.0, 8.0, cached_prompt=0.2, cache_write=2.5), 1000, 500).at(10).__round__(6)
    0.0443
    """
    prompt, completion = tables(prompt_tokens, completion_tokens)
    read = prices.prompt if prices.cached_prompt is None else prices.cached_prompt
    written = prices.prompt if prices.cache_write is None else prices.cache_write
    each = prompt.mean() * read + completion.mean() * prices.completion
    return Cost("usd", float(prompt.mean() * (written - read) / 1e6), float(each / 1e6))


def usd_in_batch(prices: Prices, prompt_tokens: ArrayLike, completion_tokens: ArrayLike) -> Cost:
    """Dollars by batch files: the share ``prices.batch`` of what every draw with its own prompt costs.

    >>> usd_in_batch(Prices(prompt=2.0, completion=8.0), 1000, 500).at(10)
    0.03
    """
    return Cost("usd", 0.0, prices.batch * usd(prices, prompt_tokens, completion_tokens).each)


def tables(prompt_tokens: ArrayLike, completion_tokens: ArrayLike) -> tuple[Floats, Floats]:
    """Token counts as tables: prompts (problems, 1), completions (problems, n). Raises Mistake where they are none."""
    prompt, completion = np.asarray(prompt_tokens, dtype=float), np.asarray(completion_tokens, dtype=float)
    fit = prompt.ndim <= 1 and completion.ndim in (0, 2) and prompt.size and completion.size
    if not fit or (prompt.ndim and completion.ndim and len(prompt) != len(completion)):
        raise Mistake(
            "expected prompt tokens as a number or (problems,) and completion tokens as a number or (problems, n), got "
            f"shapes {prompt.shape} and {completion.shape}"
        )
    for name, counts in (("prompt", prompt), ("completion", completion)):
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise Mistake(f"expected {name} tokens to be counts of at least 0, got {counts.min()} to {counts.max()}")
    return prompt.reshape(-1, 1), np.atleast_2d(completion)


# --- time ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wall:
    """Measured time of calls: ``seconds`` while at least one was open, ``busy_seconds`` of all calls added up.

    ``mean_concurrency``: the calls that were open at once, on average over ``seconds``; 0 where no time passed.
    """

    seconds: float
    busy_seconds: float
    mean_concurrency: float


def wall(intervals: Iterable[tuple[float, float]]) -> Wall:
    """The time that calls took, from their (start, end) in seconds of one clock; breaks without any call do not count.

    A time per draw speaks only of the concurrency it was measured at. No call at all took no time. Raises Mistake for a
    call that ends before it starts.

    >>> wall([(0.0, 4.0), (1.0, 3.0), (6.0, 8.0)])
    Wall(seconds=6.0, busy_seconds=8.0, mean_concurrency=1.3333333333333333)
    """
    spans = sorted((float(start), float(end)) for start, end in intervals)
    for start, end in spans:
        if not (isfinite(start) and isfinite(end) and start <= end):
            raise Mistake(f"expected a call that starts before it ends, but got ({start}, {end})")
    seconds, reached = 0.0, -np.inf
    for start, end in spans:
        seconds += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    busy = sum(end - start for start, end in spans)
    return Wall(seconds, busy, busy / seconds if seconds else 0.0)
