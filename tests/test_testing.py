"""The suites themselves: what breaks its promise is caught."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest

from vervet.models.fake import FakeModel
from vervet.models.laws import Iid
from vervet.rules import Agree, UntilRule
from vervet.testing import MODEL_CHECKS, RULE_CHECKS, problem_for, target_of, variants_of
from vervet.types import Candidates, Request, Sample, Stop, Stream


class Restless(FakeModel):
    """A model whose samples depend on how often it was asked."""

    def draw(
        self, request: Request, stream: Stream, indices: Sequence[int], so_far: Mapping[int, Sample] | None = None
    ):
        self.law = replace(self.law, p=0.9 / (1 + self.log.calls), mu_right=-0.1 * self.log.calls)
        return super().draw(request, stream, indices, so_far)


def test_a_model_that_forgets_its_address_is_caught() -> None:
    check = next(c for c in MODEL_CHECKS if c.__name__ == "same_address_same_sample")
    asyncio.run(check(FakeModel(Iid())))
    with pytest.raises(AssertionError):
        asyncio.run(check(Restless(Iid())))


@dataclass(repr=False)
class Forgetful(UntilRule):
    """A rule that counts its calls."""

    n: int = 0

    def __call__(self, candidates: Candidates) -> Stop | None:
        self.n += 1
        return Stop("enough") if self.n % 2 else None


def test_a_rule_that_is_not_pure_is_caught() -> None:
    for name in ("decides_the_same_again", "is_frozen", "names_its_reference"):
        check = next(c for c in RULE_CHECKS if c.__name__ == name)
        check(Agree())
        with pytest.raises((AssertionError, TypeError)):  # without a hash it is not frozen either
            check(Forgetful())


def test_variants_change_one_setting_each() -> None:
    assert [repr(v) for v in variants_of(Agree)] == ["agree()", "agree(share=0.75)", "agree(at_least=5)"]


def test_the_target_is_a_function_of_the_problem() -> None:
    assert target_of(problem_for(3)) == target_of(problem_for(3))
    assert len({target_of(problem_for(i)) for i in range(50)}) > 40
