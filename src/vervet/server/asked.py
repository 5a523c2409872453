"""From the body of a request to an ``Order``: every field by a table, and what is not in the table is refused.

Knows no HTTP and no model beyond what it supports. ``null`` says that a field is not set. Fields that a model would have
to obey and none of ours can are accepted only with the value that asks for nothing (``_NEUTRAL``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..models.live import Live
from ..models.text import RAW
from ..types import Endings, Json, Message, Model, Question, Request
from .refusal import Refused

MAX_N = 1024
_BOTH = frozenset(
    "model n temperature top_p top_k min_p max_tokens stop seed logprobs stream stream_options user".split()
)
_CHAT = _BOTH | {"messages", "max_completion_tokens", "top_logprobs", "continue_final_message", "add_generation_prompt"}
_TEXT = _BOTH | {"prompt"}
FIELDS = _CHAT | _TEXT
_NEUTRAL: Mapping[str, tuple[Json, ...]] = {
    "presence_penalty": (0,), "frequency_penalty": (0,), "repetition_penalty": (1,), "logit_bias": ({},),
    "tools": ([],), "tool_choice": ("none",), "functions": ([],), "function_call": ("none",),
    "parallel_tool_calls": (True, False), "response_format": ({"type": "text"},), "modalities": (["text"],),
    "store": (False,), "metadata": ({},), "service_tier": ("auto", "default"), "best_of": (1,), "suffix": ("",),
    "echo": (False,), "reasoning_effort": (), "audio": (), "prediction": (), "web_search_options": (), "verbosity": (),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Order:
    """What a request asks for: ``n`` samples of a model's ``request``.

    ``seed`` None: new draws each time. ``top``: how many likeliest tokens to tell with each, where ``logprobs`` are told.
    ``chat`` says in which of the two shapes to answer; ``usage`` whether a stream ends with what it cost.
    """

    request: Request
    chat: bool
    n: int = 1
    seed: int | None = None
    logprobs: bool = False
    top: int = 0
    stream: bool = False
    usage: bool = False


def read(body: Json, chat: bool, model: Model) -> Order:
    """The order of a body. Raises ``Refused`` with the field's name for everything that cannot be obeyed."""
    if not isinstance(body, dict):
        raise Refused(f"expected a JSON object, but got {type(body).__name__}")
    given = {name: value for name, value in body.items() if value is not None}
    _refuse_what_is_not_known(given, _CHAT if chat else _TEXT)
    messages = _messages(given) if chat else _prompt(given)
    prefill = _prefill(given, messages)
    question = Question(
        messages=messages if prefill is None else messages[:-1],
        temperature=_number(given, "temperature", 0, math.inf),
        top_p=_number(given, "top_p", 0, 1),
        top_k=None if given.get("top_k") in (0, -1) else _whole(given, "top_k", 1),
        min_p=_number(given, "min_p", 0, 1),
        prefill=prefill,
    )
    logprobs, top = _logprobs(given, chat, model)
    stream = _flag(given, "stream")
    return Order(
        Request(question, Endings(_max_tokens(given), stop=_stop(given), logprobs=top if logprobs else None)),
        chat,
        n=_n(given),
        seed=_whole(given, "seed", -(2**63), 2**64 - 1),
        logprobs=logprobs,
        top=top,
        stream=stream,
        usage=_usage(given, stream),
    )


def _refuse_what_is_not_known(given: Mapping[str, Json], known: frozenset[str]) -> None:
    for name, value in given.items():
        if name in known:
            continue
        if name not in _NEUTRAL:
            raise Refused(f"unknown field {name!r}: it is not obeyed here, so leave it out", name, "unknown_parameter")
        fine = _NEUTRAL[name] if name != "best_of" else (given.get("n", 1),)
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in fine):
            raise Refused(f"{name} is not supported here: leave it out", name, "unsupported_parameter")
    if "user" in given:
        _text(given["user"], "user")


# --- what is asked ---------------------------------------------------------------------------------------


def _messages(given: Mapping[str, Json]) -> tuple[Message, ...]:
    """The messages as they came; the model refuses what its template does not know."""
    messages = given.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("messages must be a list of one message or more", "messages")
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str) or message["role"] == RAW:
            raise Refused(f"expected a message with a role, but got {message!r:.80}", f"messages[{i}]")
    _text(json.dumps(messages, ensure_ascii=False), "messages")
    return tuple(messages)


def _prompt(given: Mapping[str, Json]) -> tuple[Message, ...]:
    prompt = given.get("prompt")
    if isinstance(prompt, list):
        if not prompt or not all(type(i) is int for i in prompt):
            raise Refused("prompt must be one text or one list of token ids", "prompt")
    else:
        _text(prompt, "prompt")
    return ({"role": RAW, "content": prompt},)


def _prefill(given: Mapping[str, Json], messages: tuple[Message, ...]) -> str | None:
    """The last message, where it is to be continued."""
    goes_on = _flag(given, "continue_final_message")
    if _flag(given, "add_generation_prompt", True) == goes_on:
        raise Refused(
            "continue_final_message and add_generation_prompt must differ: the last message is continued, or answered",
            "continue_final_message" if goes_on else "add_generation_prompt",
        )
    if not goes_on:
        return None
    last = messages[-1]
    if last["role"] != "assistant" or not isinstance(last.get("content"), str) or len(last) > 2:
        raise Refused("continue_final_message needs a last message of role assistant with a text", "messages")
    if len(messages) == 1:
        raise Refused("continue_final_message needs a message before the last one", "messages")
    return str(last["content"]) or None


def _max_tokens(given: Mapping[str, Json]) -> int | None:
    old, new = _whole(given, "max_tokens", 1), _whole(given, "max_completion_tokens", 1)
    if old is not None and new is not None and old != new:
        raise Refused("max_tokens and max_completion_tokens differ: give one of them", "max_tokens")
    return new if old is None else old


def _stop(given: Mapping[str, Json]) -> tuple[str, ...]:
    stop = given.get("stop", [])
    stops = stop if isinstance(stop, list) else [stop]
    for one in stops:
        if not _text(one, "stop"):
            raise Refused("stop must be a text or a list of texts, none of them empty", "stop")
    return tuple(stops)


def _n(given: Mapping[str, Json]) -> int:
    n = _whole(given, "n", 1, MAX_N)
    return 1 if n is None else n


def _logprobs(given: Mapping[str, Json], chat: bool, model: Model) -> tuple[bool, int]:
    """Whether logprobs are told, and of how many of the likeliest tokens."""
    most = model.supports.logprobs
    field = "top_logprobs" if chat else "logprobs"
    if chat:
        told, top = _flag(given, "logprobs"), _whole(given, field, 0) or 0
        if field in given and not told:
            raise Refused("top_logprobs needs logprobs: true", field)
    else:
        told, top = field in given, _whole(given, field, 0) or 0
    if told and most is None:
        raise Refused(f"{model.name} gives no logprobs", "logprobs")
    most = (most or 0) if isinstance(model, Live) else 0
    if top > most:
        raise Refused(f"{field} must be at most {most} with {model.name}, but got {top}", field)
    return told, top


def _usage(given: Mapping[str, Json], stream: bool) -> bool:
    options = given.get("stream_options", {})
    if not isinstance(options, dict) or options.keys() - {"include_usage"}:
        raise Refused("stream_options must be an object of include_usage alone", "stream_options")
    if options and not stream:
        raise Refused("stream_options needs stream: true", "stream_options")
    return _flag({k: v for k, v in options.items() if v is not None}, "include_usage")


# --- values ----------------------------------------------------------------------------------------------


def _flag(given: Mapping[str, Json], name: str, otherwise: bool = False) -> bool:
    value = given.get(name, otherwise)
    if not isinstance(value, bool):
        raise Refused(f"{name} must be true or false, but got {value!r:.80}", name)
    return value


def _whole(given: Mapping[str, Json], name: str, least: int, most: float = math.inf) -> int | None:
    value = given.get(name)
    if value is not None and (type(value) is not int or not least <= value <= most):
        bounds = f"at least {least}" if most == math.inf else f"from {least} to {most}"
        raise Refused(f"{name} must be a whole number {bounds}, but got {value!r:.80}", name)
    return value


def _number(given: Mapping[str, Json], name: str, least: float, most: float) -> float | None:
    value: Any = given.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not least <= value <= most or value > 1e9:
        raise Refused(f"{name} must be a number from {least} to {most}, but got {value!r:.80}", name)
    return float(value)


def _text(value: Json, name: str) -> str:
    """A text that can be written as UTF-8."""
    if not isinstance(value, str):
        raise Refused(f"{name} must be a text, but got {type(value).__name__}", name)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refused(f"{name} holds half a character (a lone surrogate)", name) from None
    return value
