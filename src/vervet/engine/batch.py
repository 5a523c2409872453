"""Continuous batching: sequences join and leave at every step, and those beyond the slots or the memory wait in a queue.

What a sequence begins with is run once and shared by all that begin so: its prompt, and what is known of the sample.
Knows no strings: what ends a text beyond ``stop_ids``, ``cut`` and ``limit`` is asked of the sequence's ``watch``.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable

import torch
from torch import Tensor

from ..errors import Mistake
from .attention import PAGE, WIDE
from .llama import Llama
from .prefill import prefill
from .rows import Rows
from .sequence import Sequence
from .tree import Node, Stem, Tree

_TOKENS_KEPT = 1 << 18  # where nothing is said
_STEMS = 32  # paths that are kept beyond one for each slot

_Key = tuple[int, tuple[int, ...]]  # how many wide pieces a text begins with, and its ids


def _path(s: Sequence) -> _Key:
    return len(s.prompt) // WIDE, (*s.prompt, *s.ids)


class Engine:
    """Runs sequences over a network; for one thread at a time.

    ``max_tokens_kept``: at most as many tokens of keys and values are held at a time, in pages of ``PAGE``; what holds
    them is set aside at once, but touched only as it is used. A sequence joins when all that it may still need fits;
    what was kept and nobody runs on makes room, that which was used longest ago first. ``plain``: each sequence
    attends on its own, the plain twin.

    >>> engine = Engine(llama, slots=256)                    # doctest: +SKIP
    >>> engine.add(Sequence(prompt=(1, 7), seed=3, limit=20))  # doctest: +SKIP
    >>> while engine.busy: done = engine.step()               # doctest: +SKIP
    """

    def __init__(
        self, llama: Llama, slots: int = 256, max_tokens_kept: int = _TOKENS_KEPT, plain: bool = False
    ) -> None:
        n_pages = max_tokens_kept // PAGE
        self.llama, self.slots = llama, min(slots, max(1, n_pages // 2))  # each running sequence has a page of its own
        self.n_generated = 0  # tokens drawn since the start, those that were known left out
        self.n_computed = 0  # tokens that went through the network, those of prompts included
        self._waiting: deque[Sequence] = deque()
        self._rows = Rows(self.slots, llama.config.vocab, llama.device)
        self._tree = Tree(llama.config, llama.dtype, self.slots, n_pages - self.slots, llama.device, not plain)
        self._logits: list[Tensor] = []  # of the token that comes next in each row: parts of (rows, vocab)
        self._stems: OrderedDict[_Key, Stem] = OrderedDict()  # that which was used longest ago first

    @property
    def busy(self) -> bool:
        """Whether any sequence runs or waits."""
        return bool(self._rows.live or self._waiting)

    @property
    def bytes_used(self) -> int:
        """Bytes of keys and values that somebody holds, by whole pages."""
        return self._tree.bytes_used

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; it joins at the next step that has a slot and the memory for it.

        Raises ``Mistake`` where it could never fit.
        """
        if self.llama.config.valued:
            raise Mistake("expected a network that gives logits, but this one gives values and draws nothing")
        context, asked = self.llama.config.context, len(sequence.prompt) + sequence.limit
        if not sequence.prompt or asked > context:
            raise Mistake(
                f"expected a prompt of at least one token and at most {context} tokens in all, the context, but got a"
                f" prompt of {len(sequence.prompt)} with up to {sequence.limit} more"
            )
        most, total = self._tree.n_pages, self._most(sequence)
        if (need := total // PAGE + 1) > most:
            raise Mistake(
                f"expected at most {most} pages of {PAGE} tokens beside those of the {self.slots} slots, but a text of"
                f" {sequence.length} tokens with up to {sequence.limit - len(sequence.ids)} more takes {need} of them;"
                " allow more tokens or ask for fewer"
            )
        self._waiting.append(sequence)

    def fork(self, sequence: Sequence, heirs: Iterable[Sequence]) -> None:
        """Queue sequences that continue a running one: they begin with the ids that it has so far (``Sequence.heir``).

        They come out as if each had run alone, but what is in memory is shared instead of computed again.
        Raises ``Mistake`` where the sequence does not run.
        """
        if sequence not in self._rows.live:
            raise Mistake("expected a sequence that runs, but this one waits, has ended or was never added")
        self._keep(self._rows.live.index(sequence), _path(sequence), torch.cat(self._logits))
        for heir in heirs:
            self.add(heir)

    @torch.inference_mode()
    def remove(self, sequences: Collection[Sequence]) -> None:
        """Drop sequences, running or waiting, at once; one that has ended already is no error."""
        gone = {id(s) for s in sequences}
        self._waiting = deque(s for s in self._waiting if id(s) not in gone)
        rows = [row for row, s in enumerate(self._rows.live) if id(s) in gone]
        if rows:
            logits = torch.cat(self._logits)
            for row in reversed(rows):
                logits[row] = logits[len(self._rows) - 1]  # as the rows move
                self._free(row)
            self._logits = [logits[: len(self._rows)]]

    @torch.inference_mode()
    def step(self) -> list[Sequence]:
        """One token for every running sequence; those that it ended."""
        done = self._admit()
        rows = self._rows
        if not rows.live:
            return done
        logits = torch.cat(self._logits)
        self.n_generated += len(rows)
        ended = rows.draw(logits)
        for row in reversed(ended):
            s = rows.live[row]
            done.append(s)
            if s.keep and not s.stopped:
                n_wide, ids = _path(s)
                self._keep(row, (n_wide, ids[:-1]), logits)  # the last token was not run
        for row in reversed(ended):
            self._free(row)
        self._logits = [self._advance()] if rows.live else []
        return done

    def check(self) -> None:
        """Raise ``AssertionError`` unless every page of the memory is owned by one who needs it, or free."""
        self._tree.check(self._stems.values())

    # --- joining and leaving

    def _most(self, s: Sequence) -> int:
        """How many tokens of a sequence may come to be in memory; the last one is never run."""
        return max(s.length, len(s.prompt) + s.limit - 1)

    def _admit(self) -> list[Sequence]:
        """Start what waits, first come first served; those that came with nothing left to draw."""
        done: list[Sequence] = []
        while self._waiting and len(self._rows) < self.slots:
            s = self._waiting[0]
            if s.over:
                done.append(self._waiting.popleft())
                continue
            path = _path(s)
            if not self._make_room(s, path):
                break
            self._waiting.popleft()
            stem = self._stem(s, path)
            self._tree.add(stem, path[0], self._most(s))
            self._rows.add(s)
            self._logits.append(stem.logits[None])
        return done

    def _make_room(self, s: Sequence, path: _Key) -> bool:
        """See to it that all that a sequence may need fits; False where others must end first."""
        while True:
            stem = self._stems.get(path)
            at = stem.node.depth if stem else self._tree.find(path[1][:-1], path[0]).depth
            need = self._most(s) // PAGE - at + (0 if stem else bool(len(path[1]) % PAGE))
            if self._tree.fits(need):
                return True
            old = next((p for p in self._stems if p != path), path if stem else None)
            if old is None:
                return False
            self._tree.drop(self._stems.pop(old))

    def _stem(self, s: Sequence, path: _Key) -> Stem:
        """The stem of what a sequence begins with: that which is there, or a new one."""
        told = len(s.logprob) == len(s.ids)
        stem = self._stems.get(path) if told else None
        if stem is None:
            stem = self._run(s, path, told)
            if path in self._stems:
                self._tree.drop(self._stems[path])
        self._stems[path] = stem
        self._stems.move_to_end(path)
        self._crop()
        return stem

    def _run(self, s: Sequence, path: _Key, told: bool) -> Stem:
        """Run what a sequence begins with, as far as it is not in memory; figures too, where it came without them."""
        n_wide, ids = path
        n_known = len(ids) if told else len(s.prompt)
        node = self._tree.find(ids[: n_known - 1], n_wide)
        start: Stem | Node = node
        at = node.depth * PAGE
        for (wide, known), stem in self._stems.items():
            if wide == n_wide and stem.node is node and at < len(known) < n_known and known == ids[: len(known)]:
                start, at = stem, len(known)
        stem, found = prefill(self.llama, self._tree, start, ids, n_wide, n_known, s.k)
        self.n_computed += len(ids) - at
        for f in found:
            s.logprob.extend(f.logprob.tolist())
            s.topk.extend(f.topk.tolist())
            s.entropy.extend(f.entropy.tolist())
        return stem

    def _keep(self, row: int, path: _Key, logits: Tensor) -> None:
        """Put a row's path aside for those that continue it, where there is room for that."""
        if path in self._stems:
            return
        while not self._tree.fits(1):
            if not self._stems:
                return
            self._tree.drop(self._stems.popitem(last=False)[1])
        self._stems[path] = self._tree.aside(row, logits[row].clone())
        self._crop()

    def _crop(self) -> None:
        while len(self._stems) > self.slots + _STEMS:
            self._tree.drop(self._stems.popitem(last=False)[1])

    def _free(self, row: int) -> None:
        """Let go of a row; the last row takes its place."""
        self._tree.remove(row)
        self._rows.remove(row)

    def _advance(self) -> Tensor:
        """Run the last token of every sequence; the logits of the next ones, (rows, vocab)."""
        live = self._rows.live
        ids = [s.ids[-1] for s in live]
        self.n_computed += len(ids)
        hidden = self.llama.hidden(ids, [s.length - 1 for s in live], self._tree.attend(ids))
        return self.llama.head(hidden)
