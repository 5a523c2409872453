"""Doubts about what a server sends: answers that are equal more often than chance, and a model that changes.

Looks only; nothing is dropped. Keeps digests of texts, of the latest questions alone.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...types import Question, Request, Sample, canonical_json, text_digest

__all__ = ["Guard", "SamplingWarning"]

_MOST_QUESTIONS, _MOST_TEXTS = 10_000, 200_000
_UNLIKELY = 1e-6
_LEAST_TOKENS, _LEAST_SAMPLES = 20, 3  # without logprobs
_WHAT_TO_DO = (
    "A caching gateway in between may answer twice with one sample, or the server ignores temperature and seed: "
    "ask the server itself, or let each request have a seed of its own."
)


class SamplingWarning(UserWarning):
    """The server's samples are not what independent draws of one model would be."""


@dataclass(slots=True)
class _Text:
    """How often a text came, its tokens, and its own log-probability (nats) where it is known."""

    n: int = 0
    n_tokens: int = 0
    logprob: float | None = None


@dataclass(slots=True)
class _Row:
    """What is known of one question: its texts by digest, and the revision that answered first."""

    n: int = 0
    texts: dict[int, _Text] = field(default_factory=dict)
    revision: str | None = None
    is_doubted: bool = False


class Guard:
    """Watches the samples of a server, question by question, and warns with ``SamplingWarning``.

    *Equal answers*, once per question. That ``r`` given samples are all one text of a probability of ``p`` at most has
    probability ``sum p(x)^r <= p^(r-1)`` over all such texts x; so, by the union bound over the choices of ``r`` among
    ``m`` samples (for r = 2 the pairs), that any such text comes ``r`` times has at most ``C(m, r) p^(r-1)``. It warns
    where that is below 1e-6. ``p`` is the product of the token probabilities that the server sent. Nucleus sampling
    raises each by ``1 / top_p`` at most, which is granted; figures from before a temperature below 1 understate likely
    texts, so the log-probability is then taken times the temperature (a rule of thumb, no bound). Where no logprobs
    came, it warns when all samples, 3 or more of at least 20 tokens, are equal. Greedy samples (temperature 0, top_k
    1) are equal by right: it says so, once.

    *A model that changes*, once: another revision answers a question than the one that answered it first.

    >>> Guard().see(Request(Question(({"role": "user", "content": "2 + 2?"},))), [], "fp_0")
    """

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, str], _Row] = OrderedDict()
        self._n_texts = 0
        self._said_greedy = self._said_changed = False

    def see(self, request: Request, samples: Sequence[Sample], revision: str | None) -> None:
        """Look at samples of one question, all that one reply brought; more of them may come in later calls."""
        if not samples:
            return
        stream = samples[0].address.stream
        row = self._row(stream.model, stream.question)
        name = f"{stream.model}, question {stream.question[:8]}"
        touched = [self._note(row, sample, request.question) for sample in samples if _is_whole(sample)]
        self._check_revision(row, name, revision)
        if request.question.temperature == 0 or request.question.top_k == 1:
            self._check_greedy(row, name)
        elif not row.is_doubted:
            self._check_equal(row, name, touched)

    def _row(self, model: str, question: str) -> _Row:
        """The row of a question; where there are too many, the oldest go first."""
        is_new = (model, question) not in self._rows
        while len(self._rows) >= _MOST_QUESTIONS + (not is_new) or self._n_texts > _MOST_TEXTS:
            self._n_texts -= len(self._rows.popitem(last=False)[1].texts)
        return self._rows.setdefault((model, question), _Row())

    def _note(self, row: _Row, sample: Sample, question: Question) -> _Text:
        key = text_digest(canonical_json([sample.reasoning, sample.text, list(sample.tool_calls)]))
        if key not in row.texts:
            row.texts[key] = _Text()
            self._n_texts += 1
        text, logprob = row.texts[key], _own_logprob(sample, question)
        row.n, text.n, text.n_tokens = row.n + 1, text.n + 1, sample.n_tokens
        if logprob is not None:
            text.logprob = logprob if text.logprob is None else max(text.logprob, logprob)
        return text

    def _check_revision(self, row: _Row, name: str, revision: str | None) -> None:
        row.revision = row.revision or revision
        if revision and revision != row.revision and not self._said_changed:
            self._said_changed = True
            _warn(
                f"{name}: expected all samples from {row.revision!r}, which answered first, but {revision!r} answers "
                "now: these are draws of two models under one address. Pin the revision in vervet.toml, and draw "
                "this question again with another replicate."
            )

    def _check_greedy(self, row: _Row, name: str) -> None:
        if row.n > 1 and not self._said_greedy:
            self._said_greedy = True
            _warn(
                f"{name}: {row.n} samples were drawn greedily (temperature 0 or top_k 1), so equal ones are what was "
                "asked for: draw one sample, or set a temperature above 0."
            )

    def _check_equal(self, row: _Row, name: str, touched: Sequence[_Text]) -> None:
        for text in touched:
            if text.logprob is not None:
                row.is_doubted = _log_chance(row.n, text.n, text.logprob) < math.log(_UNLIKELY)
                why = f"by its own logprobs that has a probability below {_UNLIKELY:g}"
            else:
                row.is_doubted = text.n == row.n >= _LEAST_SAMPLES and text.n_tokens >= _LEAST_TOKENS
                why = "and no logprobs say how likely that is"
            if row.is_doubted:
                _warn(
                    f"{name}: expected {row.n} independent samples, but {text.n} of them are one text of "
                    f"{text.n_tokens} tokens, {why}. {_WHAT_TO_DO}"
                )
                return


def _is_whole(sample: Sample) -> bool:
    """Whether a sample is a text that was drawn to an end of its own or to one that was asked for."""
    return sample.ended not in (None, "refused") and sample.n_tokens > 0


def _own_logprob(sample: Sample, question: Question) -> float | None:
    """The log-probability of a sample's text (nats), at the sampling that was asked for; None where it is unknown."""
    trace = sample.trace
    if trace is None or not trace.logprob:
        return None
    granted = -math.log(question.top_p) * len(trace) if question.top_p else 0.0
    total = min(0.0, math.fsum(trace.logprob) + granted)
    temperature = 1.0 if question.temperature is None or trace.source == "scaled" else question.temperature
    return total * min(1.0, temperature)


def _log_chance(m: int, r: int, logprob: float) -> float:
    """The logarithm of ``C(m, r) p^(r-1)``."""
    choices = math.lgamma(m + 1) - math.lgamma(r + 1) - math.lgamma(m - r + 1)
    return choices + (r - 1) * logprob


def _warn(message: str) -> None:
    warnings.warn(message, SamplingWarning, stacklevel=4)
