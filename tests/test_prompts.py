"""Roles as data: versions, filling in, what is not there."""

from __future__ import annotations

import pytest

from vervet.errors import Unsupported
from vervet.prompts import role, roles

ASKED = ({"role": "user", "content": "Make 5."},)


def test_a_role_appends_its_messages_behind_the_problem() -> None:
    repair = role("embedded", "repair")
    assert repair.name == "embedded/repair.1"
    messages = repair.messages(ASKED, candidate="Answer: 4", evidence="The expression gives 4, not 5.")
    assert messages[0] == ASKED[0]
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert messages[2]["content"] == "The expression gives 4, not 5. Try again."


def test_what_is_filled_in_is_not_filled_in_again() -> None:
    messages = role("embedded", "repair").messages(ASKED, candidate="{evidence}", evidence="E")
    assert messages[1]["content"] == "{evidence}"


@pytest.mark.parametrize("dialect", ["english", "embedded"])
def test_every_dialect_knows_the_roles_of_the_operators(dialect: str) -> None:
    assert "repair" in roles(dialect)
    assert roles(dialect)["repair"].answer


def test_an_unknown_role_names_those_that_there_are() -> None:
    with pytest.raises(Unsupported, match=r"repair.*'judge'"):
        role("embedded", "judge")
    assert roles("klingon") == {}
