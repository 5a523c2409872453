"""Continuous batching: sequences join and leave at every step, and those beyond the slots wait in a queue.

A prompt is run once and its keys and values are copied into the slots of all its samples; the last few prompts are
kept. Known tokens of a sequence that is followed further go through the very steps that drew them, taken instead of
sampled: so what comes after them is what an uncut draw gives. Knows no strings: what ends a text beyond ``stop_ids``
and ``limit`` is asked of the sequence's ``watch``.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import torch

from .llama import ROWS, Cache, Llama, Prefilled, round_up
from .sampling import Sampling, choose, figures, likeliest, uniforms

_KEPT_PROMPTS = 32


@dataclass(slots=True, eq=False)
class Sequence:
    """One sample on its way. What is asked: ``prompt`` ids (at least one), ``seed`` (64 bits), ``sampling``, at most
    ``limit`` completion tokens, ``known`` first completion tokens, ``k`` of the top-k mean; ``stop_ids`` end it, but
    are masked before ``min_tokens`` tokens. ``watch`` is called after each token; True ends the sequence. ``top``: how
    many of the likeliest tokens to note with each token.

    What comes: one entry per completion token in ``ids``, ``logprob``, ``topk``, ``entropy`` and, with ``top``,
    ``likeliest`` (ids and logprobs); ``stopped`` says that the last one is a stop id.
    """

    prompt: tuple[int, ...]
    seed: int
    limit: int
    sampling: Sampling = Sampling()
    stop_ids: frozenset[int] = frozenset()
    min_tokens: int = 0
    known: tuple[int, ...] = ()
    k: int = 20
    top: int = 0
    watch: Callable[[Sequence], bool] | None = None
    ids: array[int] = field(default_factory=lambda: array("i"))
    logprob: array[float] = field(default_factory=lambda: array("f"))
    topk: array[float] = field(default_factory=lambda: array("f"))
    entropy: array[float] = field(default_factory=lambda: array("f"))
    likeliest: list[tuple[tuple[int, float], ...]] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        """Whether the last token is a stop id."""
        return bool(self.ids) and self.ids[-1] in self.stop_ids

    @property
    def length(self) -> int:
        """Prompt and completion tokens so far."""
        return len(self.prompt) + len(self.ids)

    @property
    def forced(self) -> int | None:
        """The token that comes next, where it is known."""
        return self.known[len(self.ids)] if len(self.ids) < len(self.known) else None

    def ends(self) -> bool:
        """Whether the last token ended the sequence; asks ``watch`` exactly once per token."""
        watched = self.watch is not None and self.watch(self)
        return watched or self.stopped or len(self.ids) >= self.limit


class Engine:
    """Runs sequences over a network; for one thread at a time.

    >>> engine = Engine(llama, slots=256)                    # doctest: +SKIP
    >>> engine.add(Sequence(prompt=(1, 7), seed=3, limit=20))  # doctest: +SKIP
    >>> while engine.busy: done = engine.step()               # doctest: +SKIP
    """

    def __init__(self, llama: Llama, slots: int = 256) -> None:
        self.llama, self.slots = llama, slots
        self.n_generated = 0  # tokens drawn since the start, those that were taken as known left out
        self._waiting: deque[Sequence] = deque()
        self._live: list[Sequence] = []  # the sequence in each row
        rows = round_up(slots, ROWS)
        self._cache = Cache(llama.config, rows, llama.dtype)
        self._logits = torch.zeros(rows, llama.config.vocab)  # of the token that comes next in each row
        self._prompts: OrderedDict[tuple[int, ...], Prefilled] = OrderedDict()

    @property
    def busy(self) -> bool:
        """Whether any sequence runs or waits."""
        return bool(self._live or self._waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; it joins at the next step that has a slot for it."""
        self._waiting.append(sequence)

    @torch.inference_mode()
    def remove(self, sequences: Collection[Sequence]) -> None:
        """Drop sequences, running or waiting, at once; one that has ended already is no error."""
        gone = {id(s) for s in sequences}
        self._waiting = deque(s for s in self._waiting if id(s) not in gone)
        self._free([row for row, s in enumerate(self._live) if id(s) in gone])

    @torch.inference_mode()
    def step(self) -> list[Sequence]:
        """One token for every running sequence; those that it ended."""
        self._admit()
        if not self._live:
            return []
        self._draw()
        ended = [(row, s) for row, s in enumerate(self._live) if s.ends()]
        self._free([row for row, _ in ended])
        self._advance()
        return [s for _, s in ended]

    def _admit(self) -> None:
        while self._waiting and len(self._live) < self.slots:
            sequence = self._waiting.popleft()
            prompt, row = self._prefilled(sequence.prompt), len(self._live)
            self._cache.put(row, prompt.kv)
            self._logits[row] = prompt.logits
            self._live.append(sequence)

    def _prefilled(self, prompt: tuple[int, ...]) -> Prefilled:
        if prompt not in self._prompts:
            self._prompts[prompt] = self.llama.prefill(prompt)
            if len(self._prompts) > _KEPT_PROMPTS:
                self._prompts.popitem(last=False)
        self._prompts.move_to_end(prompt)
        return self._prompts[prompt]

    def _draw(self) -> None:
        """Append to every running sequence its next token and the figures."""
        live, raw = self._live, self._padded()
        n_extra = len(raw) - len(live)
        scored = raw
        for row, s in enumerate(live):
            if len(s.ids) < s.min_tokens and s.stop_ids:
                scored = raw.clone() if scored is raw else scored
                scored[row, list(s.stop_ids)] = float("-inf")
        self.n_generated += sum(s.forced is None for s in live)
        u = uniforms([s.seed for s in live] + [0] * n_extra, [len(s.ids) for s in live] + [0] * n_extra)
        ids = choose(scored, [s.sampling for s in live] + [Sampling()] * n_extra, u)
        for row, s in enumerate(live):
            if s.forced is not None:
                ids[row] = s.forced
        f = figures(raw, ids, [s.k for s in live] + [1] * n_extra)
        rows = zip(live, ids.tolist(), f.logprob, f.topk, f.entropy, strict=False)
        for s, token, logprob, topk, entropy in rows:
            s.ids.append(token)
            s.logprob.append(logprob)
            s.topk.append(topk)
            s.entropy.append(entropy)
        if (top := max(s.top for s in live)) > 0:
            for s, best in zip(live, likeliest(raw, top), strict=False):
                s.likeliest.append(best[: s.top])

    def _padded(self) -> torch.Tensor:
        return self._logits[: round_up(len(self._live), ROWS)]  # (rows, vocab); rows that nobody owns come last

    def _advance(self) -> None:
        if self._live:
            last = [s.ids[-1] for s in self._live]
            self._logits[: len(self._live)] = self.llama.decode(last, [s.length - 1 for s in self._live], self._cache)

    def _free(self, rows: list[int]) -> None:
        """Let go of rows; the last rows take their places, so that the running ones are always the first."""
        for row in sorted(rows, reverse=True):
            last = len(self._live) - 1
            if row != last:
                self._cache.move(last, row, self._live[last].length)
                self._logits[row] = self._logits[last]
                self._live[row] = self._live[last]
            self._live.pop()
