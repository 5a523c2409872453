"""What is asked of a model: options become a request, and what the asker fixed is merged into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..errors import Mistake
from ..prompts import Role
from ..types import Endings, Problem, Question, Request

QUESTION_FIELDS = {f.name for f in fields(Question)} - {"messages", "role"}
ENDING_FIELDS = {f.name for f in fields(Endings)}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request in a role, and whether its text is an answer."""

    request: Request
    role: Role | None = None

    @property
    def is_answer(self) -> bool:
        """True where the reply is read as an answer to the problem."""
        return self.role is None or self.role.answer


def build_request(messages: Sequence[Any], options: Mapping[str, Any], role: str | None = None) -> Request:
    """A request from messages and options; an option that is neither of the question nor of the endings is a mistake."""
    options = {k: v for k, v in options.items() if v is not None}
    unknown = set(options) - QUESTION_FIELDS - ENDING_FIELDS
    if unknown:
        known = ", ".join(sorted(QUESTION_FIELDS | ENDING_FIELDS))
        raise Mistake(f"expected options of a request ({known}), but got {', '.join(sorted(unknown))}")
    question = Question(tuple(messages), role=role, **{k: v for k, v in options.items() if k in QUESTION_FIELDS})
    ends: dict[str, Any] = {k: tuple(v) if k == "stop" else v for k, v in options.items() if k in ENDING_FIELDS}
    return Request(question, Endings(**ends))


def merged(options: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """What the asker fixed wins over the operator's options; of two limits the smaller counts."""
    merged = {**options, **problem.fixed}
    limits = [o["max_tokens"] for o in (options, problem.fixed) if o.get("max_tokens") is not None]
    return {**merged, "max_tokens": min(limits, default=None)}


def is_long(question: Question) -> bool:
    """Whether a prompt has more than about 1,024 tokens (at four characters a token): a cached prefix then pays."""
    return sum(len(str(message.get("content"))) for message in question.messages) > 4 * 1024
