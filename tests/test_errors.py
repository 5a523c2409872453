"""The tree of exceptions: one root, and the exit status of each branch."""

from __future__ import annotations

import doctest
import inspect

from vervet import errors


def test_every_exception_is_in_the_tree_that_is_drawn() -> None:
    kinds = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    assert all(issubclass(kind, errors.VervetError) for kind in kinds)
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in kinds)


def test_the_exit_status_of_each_branch() -> None:
    assert errors.Mistake.status == 2
    assert errors.Unsupported.status == 2
    assert errors.ModelError.status == errors.PoolDamaged.status == errors.PoolFull.status == 1
    assert errors.LimitReached.status == 3


def test_a_missing_extra_is_the_command_that_installs_it() -> None:
    assert "pip install 'vervet[local]'" in str(errors.MissingExtra("torch", "local"))


def test_the_first_of_a_group_is_our_own_before_others() -> None:
    assert doctest.testmod(errors).failed == 0
    theirs = ExceptionGroup("tasks", [ExceptionGroup("inner", [ValueError("first")]), KeyError("second")])
    assert repr(errors.first_of(theirs)) == "ValueError('first')"
