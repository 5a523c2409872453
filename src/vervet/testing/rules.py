"""What holds for every rule: pure, frozen, printed as the expression that rebuilds it, decided on the prefix alone."""

from __future__ import annotations

import random
import re
from array import array
from collections.abc import Callable
from typing import Any

from ..operators import Generate, parse
from ..types import Answer, Candidate, Candidates, Sample, Score, Stream, Trace
from .variants import variants_of

Check = Callable[[Any], None]


def trace_for(n: int, seed: int = 0) -> Trace:
    """A trace of ``n`` tokens with figures between 0 and -4.

    >>> len(trace_for(5))
    5
    """
    rng = random.Random(seed)
    logprob, topk = [array("f", [-4 * rng.random() for _ in range(n)]) for _ in range(2)]
    entropy = array("f", [-x for x in topk])
    return Trace(array("i", range(n)), array("i", range(1, n + 1)), logprob, topk, entropy, k=8)


def candidates_for(n: int, seed: int = 0, scorers: frozenset[str] = frozenset({"verifier"})) -> Candidates:
    """``n`` candidates with two answers, samples and scores.

    >>> len(candidates_for(3))
    3
    """
    rng = random.Random(seed)
    row = Stream("fake", "0" * 32)
    items = []
    for i in range(n):
        key, trace = rng.choice(["1", "1", "2"]), trace_for(3 + i, seed + i)
        scores = {name: Score(rng.random(), rng.random() < 0.3) for name in scorers}
        sample = Sample(row.at(i), f"Answer: {key}", "eos", len(trace), trace=trace)
        items.append(Candidate(sample.text, Answer(key, key), scores, sample=sample))
    return Candidates(tuple(items))


def decides_the_same_again(rule: Any) -> None:
    """The same decision for the same candidates or figures; nothing is needed to decide on none."""
    for n in (0, 1, 5, 31):
        if hasattr(rule, "needs"):
            shown = candidates_for(n, scorers=rule.needs)
            assert rule(shown) == rule(candidates_for(n, scorers=rule.needs)) == rule(shown)
        if hasattr(rule, "fires_at"):
            assert rule.fires_at(trace_for(n)) == rule.fires_at(trace_for(n))


def cuts_on_what_it_has_seen(rule: Any) -> None:
    """A cut at token t is the same whatever follows t, and does not fire before."""
    if not hasattr(rule, "fires_at"):
        return
    assert rule.name
    for seed in range(20):
        trace = trace_for(41, seed)
        at = rule.fires_at(trace)
        for n in range(41):
            expected = None if at is None or n < at else at
            assert rule.fires_at(trace.first(n)) == expected, f"{rule!r} on {n} of 41 tokens"


def is_frozen(rule: Any) -> None:
    """Frozen and hashable."""
    hash(rule)
    try:
        rule.share = 0.1
    except (AttributeError, TypeError):
        return
    raise AssertionError(f"{rule!r}: expected a frozen dataclass")


def prints_as_the_expression_that_rebuilds_it(rule: Any) -> None:
    """Inside ``generate``, alone and, for ``until``, joined by ``&``."""
    for variant in variants_of(type(rule)):
        wholes = [Generate(cut=variant)] if hasattr(variant, "fires_at") else []
        if hasattr(variant, "needs"):
            wholes += [Generate(until=variant), Generate(until=variant & variant)]
        for whole in wholes:
            assert repr(parse(repr(whole))) == repr(whole)
            assert parse(repr(whole)) == whole


def names_its_reference(rule: Any) -> None:
    """The docstring says where the rule comes from, or that it comes from nowhere."""
    assert re.search(r"^ *Reference: \S", type(rule).__doc__ or "", re.MULTILINE), f"{rule!r}: no line 'Reference: ...'"


RULE_CHECKS: list[Check] = [
    decides_the_same_again,
    cuts_on_what_it_has_seen,
    is_frozen,
    prints_as_the_expression_that_rebuilds_it,
    names_its_reference,
]
