"""From samples and tokens to the bodies that OpenAI's clients read, whole or as chunks. Knows no HTTP.

``Reply`` writes one answer: give it everything that ``drawing.draw`` puts. A text that may turn out to be the beginning of
a stop string is held back until it cannot.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..models.live import Token
from ..types import Bill, Delivery, Failure, Sample
from .asked import Order

Body = dict[str, Any]


@dataclass(slots=True)
class _Choice:
    """What is known of one sample: its tokens, its whole text so far, and how much of both was sent."""

    tokens: list[Token] = field(default_factory=list)
    reasoning: str = ""
    text: str = ""
    n_reasoning_sent: int = 0
    n_text_sent: int = 0
    n_tokens_sent: int = 0
    offset: int = 0
    begun: bool = False
    sample: Sample | None = None


class Reply:
    """One answer under way. ``bytes_of`` tells the bytes of a token id, None where its text says all."""

    def __init__(
        self, order: Order, name: str, fingerprint: str, bytes_of: Callable[[int], bytes | None] = lambda token: None
    ) -> None:
        self._order, self._bytes_of = order, bytes_of
        self._choices = [_Choice() for _ in range(order.n)]
        self.failures: list[Failure] = []
        self._bill = Bill()
        kind = "chat.completion" if order.chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if order.chat else 'cmpl'}-{secrets.token_hex(12)}",
            "object": f"{kind}.chunk" if order.chat and order.stream else kind,
            "created": int(time.time()),
            "model": name,
            "system_fingerprint": fingerprint,
        }

    @property
    def empty(self) -> bool:
        """Whether nothing came but failures."""
        return all(c.sample is None and not c.tokens for c in self._choices)

    def take(self, item: Delivery | list[Token]) -> list[int]:
        """Note what came; the indices of the choices that it changed."""
        if isinstance(item, list):
            for token in item:
                choice = self._choices[token.index]
                choice.tokens.append(token)
                if token.thinking:
                    choice.reasoning += token.text
                else:
                    choice.text += token.text
            return sorted({token.index for token in item})
        self._bill += item.bill
        if isinstance(item.outcome, Failure):
            self.failures.append(item.outcome)
            return []
        choice = self._choices[item.index]
        choice.sample = item.outcome
        choice.reasoning, choice.text = item.outcome.reasoning, item.outcome.text
        if not choice.tokens:
            choice.tokens = list(_tokens_of(item.index, item.outcome))
        return [item.index]

    # --- whole ---

    def whole(self) -> Body:
        """The answer, once all has come; a sample that failed is not among its choices."""
        choices = [self._whole(i, c, c.sample) for i, c in enumerate(self._choices) if c.sample is not None]
        return self._head | {"choices": choices, "usage": self._usage}

    def _whole(self, index: int, choice: _Choice, sample: Sample) -> Body:
        said: Body = {"text": sample.text}
        if self._order.chat:
            thought = {"reasoning_content": sample.reasoning} if sample.reasoning else {}
            said = {"message": {"role": "assistant", "content": sample.text, **thought, "refusal": None}}
        return {"index": index, **said, "logprobs": self._logprobs(choice, choice.tokens), **_end(sample)}

    # --- chunks ---

    def chunks(self, item: Delivery | list[Token]) -> Iterator[Body]:
        """What to send when this came."""
        for index in self.take(item):
            choice = self._choices[index]
            if self._order.chat and not choice.begun:
                yield self._chunk(index, {"role": "assistant", "content": ""})
            choice.begun = True
            yield from self._said(index, choice)
            if choice.sample is not None:
                yield self._chunk(index, {}, None, _end(choice.sample))

    def last_chunk(self) -> Iterator[Body]:
        """What the answer cost, where it was asked for."""
        if self._order.usage:
            yield self._head | {"choices": [], "usage": self._usage}

    def _said(self, index: int, choice: _Choice) -> Iterator[Body]:
        """What was not sent yet and may be: text up to where a stop string may begin, and new tokens' logprobs."""
        stops = self._order.request.endings.stop
        n_text = len(choice.text) if choice.sample is not None else _settled(choice.text, stops, choice.n_text_sent)
        text = choice.text[choice.n_text_sent : n_text]
        thought = choice.reasoning[choice.n_reasoning_sent :]
        tokens = choice.tokens[choice.n_tokens_sent :]
        choice.n_text_sent, choice.n_reasoning_sent = n_text, len(choice.reasoning)
        choice.n_tokens_sent = len(choice.tokens)
        if text or thought or (tokens and self._order.logprobs):
            delta = {"reasoning_content": thought} if thought else {}
            yield self._chunk(index, delta | ({"content": text} if text else {}), self._logprobs(choice, tokens))

    def _chunk(self, index: int, delta: Body, logprobs: Body | None = None, end: Body | None = None) -> Body:
        said: Body = {"delta": delta} if self._order.chat else {"text": delta.get("content", "")}
        choice = {"index": index, **said, "logprobs": logprobs, **(end or {"finish_reason": None})}
        return self._head | {"choices": [choice]} | ({"usage": None} if self._order.usage else {})

    # --- parts ---

    @property
    def _usage(self) -> Body:
        bill = self._bill
        completion = bill.completion_tokens + bill.unsettled_tokens
        usage: Body = {
            "prompt_tokens": bill.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": bill.prompt_tokens + completion,
        }
        if bill.cached_prompt_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": bill.cached_prompt_tokens}
        if bill.reasoning_tokens:
            usage["completion_tokens_details"] = {"reasoning_tokens": bill.reasoning_tokens}
        return usage

    def _logprobs(self, choice: _Choice, tokens: Sequence[Token]) -> Body | None:
        """The logprobs of some tokens in the shape of chat or of completions; None where they were not asked for."""
        if not self._order.logprobs:
            return None
        if self._order.chat:
            return {"content": [self._row(token) for token in tokens], "refusal": None}
        offsets = []
        for token in tokens:
            offsets.append(choice.offset)
            choice.offset += 0 if token.thinking else len(token.text)
        return {
            "tokens": [_spelled(self._data(token)) for token in tokens],
            "token_logprobs": [_finite(token.logprob) for token in tokens],
            "top_logprobs": [self._names(token) for token in tokens] if self._order.top else None,
            "text_offset": offsets,
            "ids": [token.id for token in tokens],
        }

    def _row(self, token: Token) -> Body:
        likeliest = [self._told(i, logprob, self._likely(token, i)) for i, logprob in token.likeliest]
        return self._told(token.id, token.logprob, self._data(token)) | {"top_logprobs": likeliest}

    @staticmethod
    def _told(token: int, logprob: float, data: bytes) -> Body:
        return {"id": token, "token": data.decode("utf-8", "replace"), "bytes": list(data), "logprob": _finite(logprob)}

    def _names(self, token: Token) -> dict[str, float]:
        """The likeliest tokens as keys, one for each: what has no text of its own is named by its id."""
        spelled = ((_spelled(self._likely(token, i)) or f"token_id:{i}", p) for i, p in token.likeliest)
        return {name: _finite(logprob) for name, logprob in spelled}

    def _data(self, token: Token) -> bytes:
        data = self._bytes_of(token.id)
        return token.text.encode() if data is None else data

    def _likely(self, token: Token, other: int) -> bytes:
        return self._data(token) if other == token.id else self._bytes_of(other) or b""


def _tokens_of(index: int, sample: Sample) -> Iterator[Token]:
    """The tokens of a sample that came in one piece; none where its figures are not known."""
    trace, n_before = sample.trace, len(sample.reasoning)
    if trace is None or trace.ends is None or trace.logprob is None:
        return
    whole, start = sample.reasoning + sample.text, 0
    for token, end, logprob in zip(trace.ids, trace.ends, trace.logprob, strict=True):
        yield Token(index, token, logprob, whole[start:end], start < n_before)
        start = end


def _settled(text: str, stops: Sequence[str], n_sent: int) -> int:
    """How much of a text can be sent: up to where a stop string stands, or may begin.

    >>> _settled("so: ab", ("abc", "b!"), 0)
    4
    """
    found = [at for stop in stops if (at := text.find(stop, n_sent)) >= 0]
    if found:
        return min(found)
    longest = min(max((len(stop) for stop in stops), default=1) - 1, len(text) - n_sent)
    beginnings = (n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in stops))
    return len(text) - next(beginnings, 0)


def _end(sample: Sample) -> Body:
    """Why a choice ended, in OpenAI's words, and which stop string it was."""
    kind, _, which = (sample.ended or "length").partition(":")
    reason = {"length": "length", "refused": "content_filter"}.get(kind, "stop")
    return {"finish_reason": reason, "stop_reason": which if kind == "stop" else None}


def _spelled(data: bytes) -> str:
    """A token as text; bytes that are none are written as OpenAI writes them."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{b:02x}" for b in data)


def _finite(logprob: float) -> float:
    return max(logprob, -9999.0)
