"""Roles as data: one versioned file per dialect and role (``DIALECT/ROLE.VERSION.toml``).

A file says how many candidates a call takes (``arity``: all, one, or a number for at most that many), whether the
reply is itself an answer, and which messages are appended to the problem's. The version is part of the question: a
changed text is a new version, so that recorded samples stay what they are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ..errors import Unsupported
from ..types import Message


@dataclass(frozen=True, slots=True)
class Role:
    """One role in one dialect. ``name`` is ``dialect/role.version``."""

    name: str
    arity: str | int
    answer: bool
    append: tuple[Message, ...]

    def messages(self, problem_messages: tuple[Message, ...], **parts: str) -> tuple[Message, ...]:
        """The problem's messages with the role's own behind them, each ``{part}`` filled in.

        Where the speaker stays the same, the text goes on in one message: many chat templates refuse two in a row.
        """

        def filled(message: Message) -> Message:
            text = re.sub(r"\{(\w+)\}", lambda m: parts.get(m[1], m[0]), str(message["content"]))
            return {**message, "content": text}

        own = [*map(filled, self.append)]
        last = problem_messages[-1] if problem_messages else {}
        if own and last.get("role") == own[0]["role"] and isinstance(last.get("content"), str):
            own[0] = {**last, "content": f"{last['content']}\n\n{own[0]['content']}"}
            problem_messages = problem_messages[:-1]
        return (*problem_messages, *own)


@cache
def roles(dialect: str) -> Mapping[str, Role]:
    """The roles that a dialect knows, newest version of each.

    >>> sorted(roles("embedded"))
    ['repair']
    """
    folder = resources.files(__package__).joinpath(dialect)
    found: dict[str, Role] = {}
    if not folder.is_dir():
        return found
    names = (f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))
    for name in sorted(names, key=lambda n: int(n.split(".")[1])):
        data = tomllib.loads(folder.joinpath(f"{name}.toml").read_text(encoding="utf-8"))
        role = Role(f"{dialect}/{name}", data["arity"], data["answer"], tuple(data["append"]))
        found[name.split(".")[0]] = role
    return found


def role(dialect: str, name: str) -> Role:
    """One role; ``Unsupported`` where the dialect has none of that name."""
    known = roles(dialect)
    if name not in known:
        raise Unsupported(f"expected a role of the dialect {dialect!r} ({', '.join(known)}), but got {name!r}")
    return known[name]
