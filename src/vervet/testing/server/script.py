"""What goes wrong at a scripted server, how often, and what each fault answers."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, fields

__all__ = ["ERRORS", "Error", "Script", "When"]

When = float | Collection[int]


@dataclass(frozen=True, slots=True)
class Error:
    """What is answered instead of samples; ``message`` may name the {key} that was sent."""

    status: int
    kind: str
    message: str


_BUSY = Error(429, "rate_limit_exceeded", "Rate limit reached for requests.")
_CONTEXT = "This model's maximum context length is 4096 tokens, but your messages resulted in 5000 tokens."
ERRORS = {
    "busy": _BUSY,
    "busy_until": _BUSY,
    "unavailable": Error(503, "overloaded", "The engine is overloaded."),
    "broken": Error(500, "server_error", "The server had an error while processing your request."),
    "unauthorized": Error(401, "invalid_api_key", "Incorrect API key provided: {key}."),
    "unknown_model": Error(404, "model_not_found", "The model does not exist."),
    "over_context": Error(400, "context_length_exceeded", _CONTEXT),
}


@dataclass(frozen=True, slots=True)
class Script:
    """The faults of a scripted server. Each is a probability per request, or the numbers of the requests it strikes.

    Requests that ask for samples are numbered from 0 as they arrive. Of the faults that end a request the first in
    the order below strikes; those that only change a reply strike together. Chance is a function of ``seed``, the
    fault and the number. Instead of a reply: ``busy`` (429 without Retry-After), ``busy_until`` (429 with it),
    ``unavailable`` (503 with it), ``broken`` (500), ``unauthorized`` (401, and the message holds the key that was
    sent), ``unknown_model`` (404), ``over_context`` (400), ``reset_before`` (a reset connection). Inside a reply, at
    about its half: ``reset`` (a reset), ``truncated`` (the connection ends in good order, without ``[DONE]``),
    ``half_json`` (a body or an event that is half a JSON, else all in order). In a whole reply: ``stall`` (``stall_s``
    before a reply, or after the first token of a streamed one), ``drip`` (``drip_s`` per token), ``chunked`` (a body
    in small chunks, ``drip_s`` apart), ``ignore_n`` (one choice only), ``drop_logprobs``, ``content_filter`` (one of
    the choices is cut by the filter), ``wrong_usage`` (too few or too many), ``no_usage``, ``equal_answers`` (a text
    is a function of the question). The fingerprint changes after ``revision_after`` requests. Without
    ``stops_on_close`` a request that the client left is generated to its end.

    >>> script = Script(busy=(0, 2), ignore_n=1.0)
    >>> sorted(script.strikes(0)), sorted(script.strikes(1))
    (['busy', 'ignore_n'], ['ignore_n'])
    """

    busy: When = 0.0
    busy_until: When = 0.0
    unavailable: When = 0.0
    broken: When = 0.0
    unauthorized: When = 0.0
    unknown_model: When = 0.0
    over_context: When = 0.0
    reset_before: When = 0.0
    reset: When = 0.0
    truncated: When = 0.0
    half_json: When = 0.0
    stall: When = 0.0
    drip: When = 0.0
    chunked: When = 0.0
    ignore_n: When = 0.0
    drop_logprobs: When = 0.0
    content_filter: When = 0.0
    wrong_usage: When = 0.0
    no_usage: When = 0.0
    equal_answers: When = 0.0
    revision_after: int | None = None
    retry_after_s: float = 1.0
    stall_s: float = 30.0
    drip_s: float = 0.01
    seed: int = 0
    stops_on_close: bool = True

    @property
    def faults(self) -> dict[str, When]:
        """The faults that can strike, in their order."""
        rows = {f.name: getattr(self, f.name) for f in fields(self) if f.type == "When"}
        return {name: when for name, when in rows.items() if when}

    def strikes(self, number: int) -> frozenset[str]:
        """The faults that strike the request with this number."""
        return frozenset(name for name, when in self.faults.items() if self._strikes(name, when, number))

    def _strikes(self, name: str, when: When, number: int) -> bool:
        if isinstance(when, Collection):
            return number in when
        return when >= 1 or random.Random(f"{self.seed}/{name}/{number}").random() < when
