"""The grammar of architectures: calls of listed names, literals, ``|`` and ``&``, nested; never ``eval``.

The text is read as a Python expression tree and only the listed kinds of node are built.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import Mistake
from ..rules import RULES
from .base import Operator


class _Refused(Exception):
    """A node that is not of the grammar: where, and why."""

    def __init__(self, node: ast.AST, why: str) -> None:
        super().__init__(why)
        self.column = getattr(node, "col_offset", 0)


def parse(text: str) -> Operator:
    """The architecture that an expression describes; ``repr`` of the result is the same expression, spelled one way.

    Raises ``Mistake`` with a caret under the place.

    >>> parse("generate(64)|vote()")
    generate(n=64) | vote()
    """
    from . import OPERATORS

    names: dict[str, Callable[..., Any]] = {**RULES, **OPERATORS}
    source = " ".join(text.split())
    try:
        built = _build(ast.parse(source, mode="eval").body, names)
    except SyntaxError as error:
        raise _mistake(source, (error.offset or 1) - 1, error.msg) from None
    except _Refused as error:
        raise _mistake(source, error.column, str(error)) from None
    if not isinstance(built, Operator):
        raise _mistake(source, 0, f"expected operators joined by '|' ({', '.join(OPERATORS)}), but got {built!r}")
    return built


def _mistake(source: str, column: int, why: str) -> Mistake:
    place = len(source.encode()[:column].decode(errors="ignore"))
    return Mistake(f"{why}\n  {source}\n  {' ' * place}^")


def _build(node: ast.AST, names: Mapping[str, Callable[..., Any]]) -> Any:
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, int | float | str):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return tuple(_build(item, names) for item in items)
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() as op, right=right):
            return _join(node, op, _build(left, names), _build(right, names))
        case ast.Call(func=ast.Name(id=name)):
            return _call(node, name, names)
        case ast.Name(id=name):
            raise _Refused(node, f"expected a call, {name}(...), but got the bare name {name!r}")
    raise _Refused(node, "expected a call of an operator or a rule, a literal, '|' or '&'")


def _join(node: ast.AST, op: ast.operator, left: Any, right: Any) -> Any:
    """Operators are joined by ``|``, rules by ``&``."""
    kinds = (isinstance(left, Operator), isinstance(right, Operator))
    if isinstance(op, ast.BitOr) and all(kinds):
        return left | right
    if isinstance(op, ast.BitAnd) and hasattr(left, "needs") and hasattr(right, "needs"):
        return left & right
    raise _Refused(node, f"'|' joins operators and '&' joins until rules, but got {left!r} and {right!r}")


def _call(node: ast.Call, name: str, names: Mapping[str, Callable[..., Any]]) -> Any:
    if name not in names:
        raise _Refused(node, f"expected one of {', '.join(sorted(names))}, but got {name!r}")
    positional = [_build(item, names) for item in node.args]
    named: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg in named:
            raise _Refused(node, f"{name}: expected each argument once, as name=value")
        named[keyword.arg] = _build(keyword.value, names)
    signature = inspect.signature(names[name])
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        raise _Refused(node, f"{name}{_plain(signature)}: {error}") from None
    try:
        return names[name](*positional, **named)
    except Mistake as error:
        raise _Refused(node, str(error)) from None


def _plain(signature: inspect.Signature) -> str:
    """A signature without its annotations."""
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
