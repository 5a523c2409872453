"""What is sent: everything that a request says and nothing else, by the written table below.

A field that is None is absent. What a server cannot be told is ``Unsupported``, before anything is sent. Messages go
as they are: several turns, images, tool messages. Reasoning of earlier replies is no part of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import MissingFigures, Mistake, Unsupported
from ...types import Cut, Endings, Json, Question, Request, Sample, Stream, Supports
from ..text import THINK, UNTHINK
from .config import Entry

UNBOUNDED_TOKENS = 131_072  # the bound of a completion where max_tokens is not set
_IMAGE_TOKENS, _MESSAGE_TOKENS, _PROMPT_TOKENS = 2_048, 16, 64
_SEED_MASK = 0x7FFF_FFFF


@dataclass(frozen=True, slots=True)
class Row:
    """A field of ``Question`` or ``Endings``, and the body's key for it; None: refused; "": never sent."""

    field: str
    chat: str | None
    completions: str | None
    note: str = ""


TABLE = (
    Row("messages", "messages", "prompt", "completions take one message: its content is the prompt"),
    Row("temperature", "temperature", "temperature", "a reasoning model takes 1 alone, and then it is absent"),
    Row("top_p", "top_p", "top_p"),
    Row("top_k", "top_k", "top_k"),
    Row("min_p", "min_p", "min_p"),
    Row("presence_penalty", "presence_penalty", "presence_penalty"),
    Row("frequency_penalty", "frequency_penalty", "frequency_penalty"),
    Row("tools", "tools", None, 'tools need api = "chat"'),
    Row("response_format", "response_format", None, 'a response format needs api = "chat"'),
    Row("reasoning_effort", "reasoning_effort", None, 'reasoning effort needs api = "chat"'),
    Row("prefill", "messages", "prompt", 'chat needs continuation = "final-message"'),
    Row("role", "", "", "part of the identity alone: its text is in the messages"),
    Row("max_tokens", "max_tokens or max_completion_tokens", "max_tokens", "max_tokens_field says which"),
    Row("min_tokens", None, None, "servers differ in what they mean by it"),
    Row("stop", "stop", "stop"),
    Row("cut", "stream", "stream", "needs stops_on_close; read as it is written, closed where the rule fires"),
    Row("logprobs", "logprobs, top_logprobs", "logprobs"),
)
_BY_HAND = {"messages", "temperature", "prefill", "role", "max_tokens", "min_tokens", "stop", "cut", "logprobs"}
_PLAIN = tuple(row for row in TABLE if row.field not in _BY_HAND)


@dataclass(frozen=True, slots=True)
class Plan:
    """One HTTP request: what is sent, and what its reply is read by.

    ``n_prompt``: the bound of the prompt's tokens, ``n_new`` that of one completion. ``k``: the logprobs that are asked
    for, None for none. ``known``: the sample that is followed further. ``echo``: what the reply repeats first.
    ``thinks``: the prompt ends inside an open thinking part. ``continues``: the model's samples can be followed.
    """

    body: Mapping[str, Json]
    stream: Stream
    indices: tuple[int, ...]
    n_prompt: int
    n_new: int
    stop: tuple[str, ...] = ()
    k: int | None = None
    cut: Cut | None = None
    known: Sample | None = None
    echo: str = ""
    thinks: bool = False
    continues: bool = False

    @property
    def bound_tokens(self) -> int:
        """The worst case of the request."""
        return self.n_prompt + len(self.indices) * self.n_new

    @property
    def data(self) -> bytes:
        """The body as it goes over the wire."""
        try:
            return _ENCODER.encode(self.body).encode()
        except (TypeError, ValueError) as error:
            raise Mistake(f"a request must be JSON data: {error}") from None


def _as_dict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise Mistake(f"expected JSON data in a request, but got {type(value).__name__}")


_ENCODER = json.JSONEncoder(default=_as_dict, allow_nan=False, separators=(",", ":"))


def plan_of(
    entry: Entry, supports: Supports, request: Request, stream: Stream, indices: Sequence[int], known: Sample | None
) -> Plan:
    """The request for these indices. Raises ``Unsupported`` for what the server cannot do, ``Mistake`` for bad limits."""
    q, e = request.question, request.endings
    _check(entry, supports, q, e)
    k = e.logprobs
    if known is not None and known.trace is not None:
        k = known.trace.k  # so that the figures reach over the whole sample
    elif e.cut is not None:
        if known is not None:
            raise MissingFigures(f"{known.address} has no figures for {e.cut!r}; draw others with another --replicate")
        k = supports.logprobs if k is None else k
    n_known = known.n_tokens if known else 0
    resent = (q.prefill or "") + (_text_of(entry, known) if known else "")
    body = {"model": entry.model, **_prompt(entry, q, resent), **_sampling(entry, q)}
    if e.max_tokens is not None:
        body[entry.limit_field if entry.api == "chat" else "max_tokens"] = e.max_tokens - n_known
    if e.stop:
        body["stop"] = list(e.stop)
    if entry.seed:  # further on, the same numbers must not come again
        body["seed"] = (stream.at(indices[0]).seed + n_known) & _SEED_MASK
    if len(indices) > 1:
        body["n"] = len(indices)
    body |= _logprobs(entry, k)
    if e.cut is not None:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return Plan(
        body,
        stream,
        tuple(indices),
        n_prompt=count(q),
        n_new=(e.max_tokens or UNBOUNDED_TOKENS) - n_known,
        stop=e.stop,
        k=k,
        cut=e.cut,
        known=known,
        echo=resent if entry.continuation == "echo" else "",
        thinks=resent.rfind(THINK) > resent.rfind(UNTHINK),
        continues=entry.continuation is not None,
    )


def _check(entry: Entry, supports: Supports, q: Question, e: Endings) -> None:
    """Everything that this server cannot do."""

    def refuse(what: str, remedy: str) -> None:
        raise Unsupported(f"{entry.name} does not take {what}: {remedy}")

    for row in _PLAIN:
        if getattr(row, entry.api) is None and getattr(q, row.field) is not None:
            refuse(f"{row.field}={getattr(q, row.field)!r}", row.note)
    if entry.reasons and q.temperature not in (None, 1):
        refuse(f"temperature={q.temperature!r}", "a reasoning model samples at 1; leave it out")
    if q.prefill is not None and entry.api == "chat" and entry.continuation is None:
        refuse(f"prefill={q.prefill!r}", 'a chat server needs continuation = "final-message" in vervet.toml')
    if e.max_tokens is not None and e.max_tokens < 1:
        raise Mistake(f"max_tokens must be at least 1, but got max_tokens={e.max_tokens!r}")
    if e.min_tokens:
        refuse(f"min_tokens={e.min_tokens!r}", "servers differ in what they mean by it; leave it out")
    if not all(e.stop):
        raise Mistake(f"stop strings must not be empty, but got stop={e.stop!r}")
    most = -1 if supports.logprobs is None else supports.logprobs
    if e.logprobs is not None and not 0 <= e.logprobs <= most:
        refuse(f"logprobs={e.logprobs!r}", f"the most is {most}; if the server gives more, say logprobs in vervet.toml")
    if e.cut is not None and not supports.cut:
        refuse(
            f"cut={e.cut!r}",
            f"that saves only where a closed connection ends generation; find out with vervet check-server {entry.base_url} "
            "and set stops_on_close = true in vervet.toml",
        )


def _sampling(entry: Entry, q: Question) -> dict[str, Json]:
    """The question's fields that go under their own keys."""
    chat = entry.api == "chat"
    found: dict[str, Json] = {}
    if q.temperature is not None and not entry.reasons:
        found["temperature"] = q.temperature
    for row in _PLAIN:
        value, key = getattr(q, row.field), row.chat if chat else row.completions
        if value is not None and key is not None:
            found[key] = value
    return found


def _prompt(entry: Entry, q: Question, resent: str) -> dict[str, Json]:
    """The messages, or the one text of a completion; ``resent`` is how the reply begins."""
    if entry.api == "completions":
        if len(q.messages) != 1 or not isinstance(q.messages[0].get("content"), str):
            got = f"{len(q.messages)} messages" if len(q.messages) != 1 else "content in parts"
            raise Unsupported(
                f'{entry.name} takes one message with a text as the prompt, but got {got}; use api = "chat"'
            )
        return {"prompt": q.messages[0]["content"] + resent}
    if not resent:
        return {"messages": q.messages}
    last = {"role": "assistant", "content": resent}
    return {"messages": [*q.messages, last], "continue_final_message": True, "add_generation_prompt": False}


def _text_of(entry: Entry, known: Sample) -> str:
    """A sample as it goes back to the server, with the stop string and the thinking marks that it does not show."""
    kind, _, stop = (known.ended or "").partition(":")
    if kind == "stop" and stop == "?":
        raise Unsupported(
            f"{entry.name} did not say which stop ended {known.address}, so it cannot be followed further"
        )
    text = known.text + (stop if kind == "stop" else "")
    if not known.reasoning:
        return text
    if entry.api == "chat":
        raise Unsupported(f"{entry.name} cannot follow a sample with reasoning; draw it whole, with more max_tokens")
    return f"{THINK}{known.reasoning}{UNTHINK}{text}" if text else f"{THINK}{known.reasoning}"


def _logprobs(entry: Entry, k: int | None) -> dict[str, Json]:
    if k is None:
        return {}
    if entry.api == "completions":
        return {"logprobs": max(1, k)}  # some servers take 0 for none
    return {"logprobs": True, "top_logprobs": k} if k else {"logprobs": True}


# --- counting ------------------------------------------------------------------------------------------


def count(q: Question) -> int:
    """An upper bound of the prompt's tokens without a tokenizer: its UTF-8 bytes, and marks.

    >>> count(Question(({"role": "user", "content": "é"},)))
    82
    """
    total = _PROMPT_TOKENS + len((q.prefill or "").encode("utf-8", "replace"))
    for message in q.messages:
        total += _MESSAGE_TOKENS + _n_bytes(message.get("content"))
        if len(message) > 2:
            total += sum(_n_bytes(value) for name, value in message.items() if name not in ("role", "content"))
    for extra in (q.tools, q.response_format):
        if extra is not None:
            total += _n_bytes(json.dumps(extra, default=_as_dict, ensure_ascii=False))
    return total


def _n_bytes(content: Json) -> int:
    """Bytes of a content: a text, or parts; an image counts as a fixed number of tokens."""
    if content is None:
        return 0
    if isinstance(content, str):
        return len(content.encode("utf-8", "replace"))
    if isinstance(content, (list, tuple)):
        return sum(_n_bytes_of_part(part) for part in content)
    return len(json.dumps(content, default=_as_dict, ensure_ascii=False).encode("utf-8", "replace"))


def _n_bytes_of_part(part: Json) -> int:
    if isinstance(part, Mapping) and part.get("type") == "image_url":
        return _IMAGE_TOKENS
    if isinstance(part, Mapping) and part.get("type") == "text":
        return _n_bytes(part.get("text"))
    return _n_bytes(part)
