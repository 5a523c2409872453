"""What an OpenAI-compatible server reads and writes: a body into an order, samples into replies, whole and in events.

Knows no connection and no fault. Two shapes: chat and completions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...types import Endings, Question, Sample

__all__ = ["Choice", "Order", "encoded", "order_of"]

_MOST_CHOICES, _MOST_LOGPROBS = 128, 20


@dataclass(frozen=True, slots=True)
class Order:
    """What a body asks for. ``top`` is the number of top logprobs, None for no logprobs at all.

    ``prefix`` is the last assistant message where the body asks to continue it.
    """

    chat: bool
    model: str
    question: Question
    endings: Endings
    n: int
    seed: int | None
    top: int | None
    stream: bool
    usage_in_stream: bool
    prefix: str


def encoded(data: Any) -> bytes:
    """JSON without blanks."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def order_of(body: Any, chat: bool) -> Order:
    """The order of a body. Raises ``ValueError``."""
    try:
        return _order(body, chat)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"expected data of another shape: {error!r}") from None


def _order(body: Any, chat: bool) -> Order:
    if not isinstance(body, dict):
        raise ValueError("expected a JSON object")
    messages = _messages(body.get("messages")) if chat else [_prompt(body.get("prompt"))]
    prefix = ""
    if body.get("continue_final_message") and messages[-1]["role"] == "assistant":
        prefix = messages.pop()["content"]
    n, stop = body.get("n", 1), body.get("stop") or ()
    if not isinstance(n, int) or not 1 <= n <= _MOST_CHOICES:
        raise ValueError(f"expected n from 1 to {_MOST_CHOICES}, but got {n!r}")
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    if most is not None and (not isinstance(most, int) or most < 1):
        raise ValueError(f"expected max_tokens of 1 or more, but got {most!r}")
    endings = Endings(most, stop=(stop,) if isinstance(stop, str) else tuple(stop))
    top = (body.get("top_logprobs", 0) if body.get("logprobs") else None) if chat else body.get("logprobs")
    if top is not None and not 0 <= top <= _MOST_LOGPROBS:
        raise ValueError(f"expected at most {_MOST_LOGPROBS} logprobs, but got {top}")
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    stream, model = bool(body.get("stream")), str(body.get("model", ""))
    question = Question(tuple(messages))
    return Order(chat, model, question, endings, n, body.get("seed"), top, stream, wants_usage, prefix)


def _messages(messages: Any) -> list[dict[str, str]]:
    if not isinstance(messages, list) or not any(m.get("role") == "user" for m in messages):
        raise ValueError("expected messages with one of the user")
    return [{"role": str(m["role"]), "content": _text(m.get("content"))} for m in messages]


def _text(content: Any) -> str:
    """The text of a message: a string, nothing, or parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return str(content or "")


def _prompt(prompt: Any) -> dict[str, str]:
    if not isinstance(prompt, str):
        raise ValueError(f"expected a prompt of text, but got {type(prompt).__name__}")
    return {"role": "user", "content": prompt}


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of a reply: what its sample shows, the pieces of its tokens, and why it ended."""

    index: int
    sample: Sample
    pieces: tuple[str, ...]
    finish: str
    stopped_by: str | None = None

    @classmethod
    def of(cls, index: int, whole: Sample, shown: Sample, filtered: bool) -> Choice:
        """A choice from a whole trajectory and what it shows; pieces only of tokens whose text shows."""
        trace = shown.trace
        assert trace is not None and trace.ends is not None
        starts = [0, *trace.ends][:-1]
        pieces = tuple(whole.text[a:b] for a, b in zip(starts, trace.ends, strict=True) if a < min(b, len(shown.text)))
        kind, _, which = (shown.ended or "").partition(":")
        if filtered:
            return cls(index, shown, pieces, "content_filter")
        return cls(index, shown, pieces, "length" if kind == "length" else "stop", which or None)

    def shown_piece(self, i: int) -> str:
        """The text of a token as far as it shows: a stop string may end inside it."""
        assert self.sample.trace is not None and self.sample.trace.ends is not None
        start = self.sample.trace.ends[i - 1] if i else 0
        return self.sample.text[start : start + len(self.pieces[i])]

    def logprobs(self, order: Order, first: int, last: int) -> dict[str, Any]:
        """The figures of the tokens from ``first`` up to ``last``, in the shape that was asked for."""
        rows = range(first, min(last, len(self.pieces)))
        if order.chat:
            return {"content": [self._entry(i, order.top or 0) for i in rows]}
        ends = self.sample.trace.ends if self.sample.trace else None
        assert ends is not None
        return {
            "tokens": [self.pieces[i] for i in rows],
            "token_logprobs": [self._likely(i, 1)[0][1] for i in rows],
            "top_logprobs": [dict(self._likely(i, order.top)) for i in rows] if order.top else None,
            "text_offset": [ends[i - 1] if i else 0 for i in rows],
        }

    def _entry(self, i: int, top: int) -> dict[str, Any]:
        likely = [_figure(token, logprob) for token, logprob in self._likely(i, max(1, top))]
        return {**likely[0], "top_logprobs": likely[:top]}

    def _likely(self, i: int, k: int | None) -> list[tuple[str, float]]:
        """The chosen token and made-up others, so that the mean of k > 1 is that of the fake model's trace."""
        trace = self.sample.trace
        assert trace is not None and trace.logprob is not None and trace.topk is not None
        chosen, k = trace.logprob[i], k or 1
        if k == 1:
            return [(self.pieces[i], chosen)]
        rest, middle = (k * trace.topk[i] - chosen) / (k - 1), (k - 2) / 2
        return [(self.pieces[i], chosen), *((f" other{j}", rest + 0.01 * (middle - j)) for j in range(k - 1))]

    def whole(self, order: Order) -> dict[str, Any]:
        """The choice in a whole reply."""
        text = self.sample.text
        said = {"message": {"role": "assistant", "content": text}} if order.chat else {"text": text}
        figures = None if order.top is None else self.logprobs(order, 0, len(self.pieces))
        return {"index": self.index, **said, "logprobs": figures} | self._end()

    def part(self, order: Order, i: int) -> dict[str, Any]:
        """The choice in the event of its token ``i``."""
        piece = self.shown_piece(i)
        said = {"delta": {"content": piece}} if order.chat else {"text": piece}
        figures = None if order.top is None else self.logprobs(order, i, i + 1)
        return {"index": self.index, **said, "logprobs": figures, "finish_reason": None}

    def last(self, order: Order) -> dict[str, Any]:
        """The choice in its last event."""
        said: dict[str, Any] = {"delta": {}} if order.chat else {"text": ""}
        return {"index": self.index, **said, "logprobs": None} | self._end()

    def _end(self) -> dict[str, Any]:
        return {"finish_reason": self.finish, "stop_reason": self.stopped_by}


def _figure(token: str, logprob: float) -> dict[str, Mapping[str, Any] | Sequence[int] | str | float]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
