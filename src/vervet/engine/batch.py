"""Continuous batching: sequences join and leave at every step, and those beyond the slots wait in a queue.

A prompt is run once and its keys and values are shared by all its samples; the last few prompts are kept. What a
sequence computed is shared by those that continue it (``Engine.fork``, ``Sequence.keep``). Other known tokens of a
sequence that is followed further go through the very steps that drew them, taken instead of sampled: so what comes
after them is what an uncut draw gives. Knows no strings: what ends a text beyond ``stop_ids`` and ``limit`` is asked
of the sequence's ``watch``.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

import torch

from ..errors import Mistake
from .attention import PAGE
from .llama import ROWS, Llama, round_up
from .sampling import Sampling, choose, figures, likeliest, uniforms
from .tree import Prompt, Tree, n_pages

_KEPT_PROMPTS = 32


@dataclass(slots=True, eq=False)
class Sequence:
    """One sample on its way. What is asked: ``prompt`` ids (at least one), ``seed`` (64 bits), ``sampling``, at most
    ``limit`` completion tokens, ``known`` first completion tokens, ``k`` of the top-k mean; ``stop_ids`` end it, but
    are masked before ``min_tokens`` tokens. ``watch`` is called after each token; True ends the sequence. ``top``: how
    many of the likeliest tokens to note with each token. ``keep``: what was computed stays in memory when the sequence
    has ended, while there is room, for those whose ``known`` tokens begin with it.

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
    keep: bool = False
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

    def takes(self, other: Sequence, position: int) -> bool:
        """Take over a token and its figures from another sample of the same text; whether it ends this one."""
        self.ids.append(other.ids[position])
        self.logprob.append(other.logprob[position])
        self.topk.append(other.topk[position])
        self.entropy.append(other.entropy[position])
        if self.top:
            self.likeliest.append(other.likeliest[position][: self.top])
        return self.ends()

    def ends(self) -> bool:
        """Whether the last token ended the sequence; asks ``watch`` exactly once per token."""
        watched = self.watch is not None and self.watch(self)
        return watched or self.stopped or len(self.ids) >= self.limit


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """The first ``n_tokens`` tokens of a sample, with their keys and values, and the logits of the one after them."""

    sample: Sequence
    n_tokens: int
    pages: list[int]
    logits: torch.Tensor  # (vocab), float32

    def serves(self, sequence: Sequence) -> bool:
        """Whether a sequence begins with these tokens and asks for the same figures."""
        s = self.sample
        alike = s.prompt == sequence.prompt and s.k == sequence.k and s.top >= sequence.top
        return alike and sequence.known[: self.n_tokens] == tuple(s.ids[: self.n_tokens])


class Engine:
    """Runs sequences over a network; for one thread at a time.

    ``max_tokens_kept``: at most as many tokens of keys and values are held at a time, in pages of ``PAGE``, those of
    prompts included (None: as many as come). A sequence joins when all that it may still need fits; prompts and kept
    sequences that nobody uses make room, the one that was used longest ago first.

    >>> engine = Engine(llama, slots=256)                    # doctest: +SKIP
    >>> engine.add(Sequence(prompt=(1, 7), seed=3, limit=20))  # doctest: +SKIP
    >>> while engine.busy: done = engine.step()               # doctest: +SKIP
    """

    def __init__(self, llama: Llama, slots: int = 256, max_tokens_kept: int | None = None) -> None:
        self.llama, self.slots = llama, slots
        self.n_generated = 0  # tokens drawn since the start, those that were taken as known left out
        self.n_computed = 0  # tokens that went through the network, those of prompts included
        self._waiting: deque[Sequence] = deque()
        self._live: list[Sequence] = []  # the sequence in each row
        self._cache = Tree(llama.config, llama.dtype, None if max_tokens_kept is None else max_tokens_kept // PAGE)
        self._logits = torch.zeros(
            round_up(slots, ROWS), llama.config.vocab
        )  # of the token that comes next in each row
        self._prompts: OrderedDict[tuple[int, ...], Prompt] = OrderedDict()
        self._kept: deque[_Kept] = deque()  # the oldest first

    @property
    def busy(self) -> bool:
        """Whether any sequence runs or waits."""
        return bool(self._live or self._waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; it joins at the next step that has a slot and the memory for it.

        Raises ``Mistake`` where it could never fit.
        """
        most, need = self._cache.pages.most, n_pages(len(sequence.prompt)) + n_pages(self._most(sequence))
        if most is not None and need > most:
            raise Mistake(
                f"expected at most {most * PAGE} tokens in memory, but a prompt of {len(sequence.prompt)} with up to"
                f" {sequence.limit} more takes {need} pages of {PAGE}, {need * PAGE} tokens; allow more or ask for fewer"
            )
        self._waiting.append(sequence)

    def fork(self, sequence: Sequence, heirs: Iterable[Sequence]) -> None:
        """Queue sequences that continue a running one: their ``known`` tokens begin with those that it has so far.

        They come out as if each had run alone, but what is in memory is shared instead of computed again.
        """
        self._keep(self._live.index(sequence), len(sequence.ids))
        for heir in heirs:
            self.add(heir)

    @torch.inference_mode()
    def remove(self, sequences: Collection[Sequence]) -> None:
        """Drop sequences, running or waiting, at once; one that has ended already is no error."""
        gone = {id(s) for s in sequences}
        self._waiting = deque(s for s in self._waiting if id(s) not in gone)
        self._free([row for row, s in enumerate(self._live) if id(s) in gone])

    @torch.inference_mode()
    def step(self) -> list[Sequence]:
        """One token for every running sequence; those that it ended."""
        done = self._admit()
        if not self._live:
            return done
        self._draw()
        ended = [(row, s) for row, s in enumerate(self._live) if s.ends()]
        for row, s in ended:
            if s.keep:
                self._keep(row, len(s.ids) - 1)  # the last token was not run
        self._free([row for row, _ in ended])
        self._advance()
        return done + [s for _, s in ended]

    def check(self) -> None:
        """Raise ``AssertionError`` unless every page of the memory is owned by those who use it, or free."""
        self._cache.check(self._prompts.values(), [k.pages for k in self._kept])

    # --- joining and leaving

    def _admit(self) -> list[Sequence]:
        """Start what waits, first come first served; those that ended within the tokens that others had computed."""
        done: list[Sequence] = []
        while self._waiting and len(self._live) < self.slots and self._make_room(self._waiting[0]):
            sequence = self._waiting.popleft()
            kept = self._like(sequence)
            if kept is not None and any(sequence.takes(kept.sample, t) for t in range(kept.n_tokens)):
                done.append(sequence)
            else:
                self._start(sequence, kept)
        return done

    def _start(self, sequence: Sequence, kept: _Kept | None) -> None:
        prompt = self._prefilled(sequence.prompt)
        self._logits[len(self._live)] = prompt.logits if kept is None else kept.logits
        leaf, n_shared = ([], 0) if kept is None else (kept.pages, kept.n_tokens)
        self._cache.add(prompt, self._most(sequence), leaf, n_shared)
        self._live.append(sequence)

    def _most(self, sequence: Sequence) -> int:
        """How many tokens a sequence may add to the memory; the last one is never run."""
        return max(0, min(sequence.limit, self.llama.config.context - len(sequence.prompt)) - 1)

    def _make_room(self, sequence: Sequence) -> bool:
        """See to it that all that a sequence may need fits; False where others must end first."""
        while True:
            prompt, kept = self._prompts.get(sequence.prompt), self._like(sequence)
            need = n_pages(len(sequence.prompt)) if prompt is None else 0
            need += n_pages(self._most(sequence)) - (0 if kept is None else kept.n_tokens // PAGE)
            if self._cache.fits(need):
                return True
            if not self._forget(prompt, kept):
                return False

    def _forget(self, prompt: Prompt | None, kept: _Kept | None) -> bool:
        """Let go of what was used longest ago, ``kept`` last and ``prompt`` never; whether there was anything."""
        old = next((k for k in self._kept if k is not kept), None)
        unused = next((i for i, p in self._prompts.items() if p.users == 0 and p is not prompt), None)
        if old is None and unused is not None:
            self._cache.fell(self._prompts.pop(unused))
            return True
        old = kept if old is None else old
        if old is not None:
            self._kept.remove(old)
            self._cache.pages.drop(old.pages)
        return old is not None

    def _like(self, sequence: Sequence) -> _Kept | None:
        """The longest of what is kept that the known tokens of a sequence begin with."""
        fit = [k for k in self._kept if k.serves(sequence)] if sequence.known else []
        return max(fit, key=lambda k: k.n_tokens, default=None)

    def _keep(self, row: int, n_tokens: int) -> None:
        """Keep what a row computed of its sequence, ``n_tokens``, for those that continue it."""
        if n_tokens == 0:
            return
        s = self._live[row]
        sample = replace(s, ids=s.ids[:], logprob=s.logprob[:], topk=s.topk[:], entropy=s.entropy[:], watch=None)
        sample.likeliest = s.likeliest[:]
        self._kept.append(_Kept(sample, n_tokens, self._cache.hold(row, n_tokens), self._logits[row].clone()))
        if len(self._kept) > self.slots:
            self._cache.pages.drop(self._kept.popleft().pages)

    def _prefilled(self, ids: tuple[int, ...]) -> Prompt:
        if ids not in self._prompts:
            unused = [i for i, p in self._prompts.items() if p.users == 0]
            for i in unused[: max(0, len(unused) + 1 - _KEPT_PROMPTS)]:
                self._cache.fell(self._prompts.pop(i))
            done = self.llama.prefill(ids)
            self._prompts[ids] = self._cache.plant(done.kv, done.logits)
            self.n_computed += len(ids)
        self._prompts.move_to_end(ids)
        return self._prompts[ids]

    def _free(self, rows: list[int]) -> None:
        """Let go of rows; the last rows take their places, so that the running ones are always the first."""
        for row in sorted(rows, reverse=True):
            last = len(self._live) - 1
            self._cache.remove(row)
            if row != last:
                self._logits[row] = self._logits[last]
                self._live[row] = self._live[last]
            self._live.pop()

    # --- a step

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
            self.n_computed += len(last)
            self._logits[: len(self._live)] = self.llama.decode(last, [s.length - 1 for s in self._live], self._cache)
