"""Python expressions from input-output examples: generated training data.

An item is drawn as a template of 1 to 4 operations with whole-number constants. Four examples are visible, six hidden.
Its key is how the function behaves on fixed probes, so two spellings of one function share a split.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from vervet.tasks.splits import Split, split_of

INPUTS: Final = range(-5, 21)
PROBES: Final = range(-10, 31)
VISIBLE: Final = 4
HIDDEN: Final = 6
MAX_VALUE: Final = 999

TEMPLATES: Final = (
    # one operation
    "x + a",
    "x - a",
    "a - x",
    "a * x",
    "x * x",
    "x // a",
    "x % a",
    "abs(x)",
    "max(x, a)",
    "min(x, a)",
    # two operations
    "a * x + b",
    "a * x - b",
    "a - b * x",
    "x * x + a",
    "x * x - a",
    "a * x * x",
    "x // a + b",
    "x % a + b",
    "a * (x % b)",
    "a * (x // b)",
    "abs(x - a)",
    "max(a * x, b)",
    "min(a * x, b)",
    "x * (x + a)",
    # three operations
    "x * x + a * x",
    "x * x - a * x",
    "(x + a) * (x + b)",
    "(x + a) * (x - b)",
    "a * x + x % b",
    "x // a + x % b",
    "abs(a * x - b)",
    "a * x * x + b",
    "max(a * x, x + b)",
    "min(x * x, x + b)",
    "x if x % a == 0 else b",
    "(a * x + b) % c",
    "(a * x + b) // c",
    # four operations
    "x * x + a * x + b",
    "x * x - a * x + b",
    "a * x * x + b * x",
    "(x % a) * (x + b) - c",
    "abs(x - a) + b * x",
    "max(a * x, b) - x",
    "a * x if x > b else x + c",
    "x + a if x % b == 0 else x - c",
    "a * x if x % 2 == 0 else x + b",
    "(x // a) * b + x % c",
)


@dataclass(frozen=True, slots=True)
class ProgramItem:
    """One function with its examples; `expression` is one way to write it."""

    text: str
    expression: str
    template: str
    visible: tuple[tuple[int, int], ...]
    hidden: tuple[tuple[int, int], ...]
    key: str


def compile_expression(expression: str) -> Callable[[int], int]:
    """Make a function of x from an expression that this module wrote; never call it on a model's text.

    >>> compile_expression("2 * x + 1")(3)
    7
    """
    made: Callable[[int], int] = eval(f"lambda x: {expression}", {"abs": abs, "max": max, "min": min})
    return made


def fill(rng: Random, template: str) -> str:
    """Fill the letters a, b, c of a template with constants.

    >>> fill(Random("doc"), "x + a").startswith("x + ")
    True
    """
    for letter in "abc":
        factor = any(form in template for form in (f"{letter} *", f"* {letter}", f"/ {letter}", f"% {letter}"))
        constant = rng.randint(2, 9) if factor else rng.randint(1, 20)
        template = re.sub(rf"\b{letter}\b", str(constant), template)
    return template


def draw_item(rng: Random, split: Split | None = None) -> ProgramItem:
    """Draw a function that is not constant and stays within 999 on its examples, from `split` if one is named.

    >>> item = draw_item(Random("doc"))
    >>> len(item.visible), len(item.hidden)
    (4, 6)
    """
    while True:
        template = rng.choice(TEMPLATES)
        expression = fill(rng, template)
        function = compile_expression(expression)
        pairs = [(x, function(x)) for x in rng.sample(INPUTS, VISIBLE + HIDDEN)]
        if max(abs(y) for _, y in pairs) > MAX_VALUE or len({y for _, y in pairs[:VISIBLE]}) < 2:
            continue
        key = key_of(function)
        if split is None or split_of(key) == split:
            visible = tuple(sorted(pairs[:VISIBLE]))
            return ProgramItem(prompt_text(visible), expression, template, visible, tuple(pairs[VISIBLE:]), key)


def key_of(function: Callable[[int], int]) -> str:
    """Give the key of a function: its values on the probes.

    >>> key_of(compile_expression("x + x")) == key_of(compile_expression("2 * x"))
    True
    """
    return "programs:" + ",".join(str(function(x)) for x in PROBES)


def prompt_text(visible: tuple[tuple[int, int], ...]) -> str:
    """Write the visible examples and the request.

    >>> prompt_text(((1, 3), (2, 5)))
    'f(1)=3, f(2)=5. Write f(x) in Python.'
    """
    return f"{', '.join(f'f({x})={y}' for x, y in visible)}. Write f(x) in Python."
