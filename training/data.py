"""From documents to arrays: generated beforehand on all cores, read in batches of equal length.

A document is a row of uint16: the token in the low bits, and in the high bit whether the loss sees it. Documents are
grouped by length, so that a batch needs hardly any padding, no mask between documents, and has one of a few shapes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.documents import MAKERS, Difficulty, Document
from vervet.tasks.splits import Split

LENGTHS: Final = (56, 72, 96, 136, 184, 240, 312, 376, 512)
TRAINED_BIT: Final = 1 << 15
TOKEN_BITS: Final = TRAINED_BIT - 1
N_SHARDS: Final = 12


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents end to end, and where each begins: document i is `rows[starts[i] : starts[i + 1]]`."""

    rows: NDArray[np.uint16]
    starts: NDArray[np.int64]

    def save(self, folder: Path) -> None:
        """Write both arrays into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "rows.npy", self.rows)
        np.save(folder / "starts.npy", self.starts)

    @classmethod
    def load(cls, folder: Path) -> Corpus:
        """Map the arrays of a folder into memory."""
        return cls(np.load(folder / "rows.npy", mmap_mode="r"), np.load(folder / "starts.npy"))


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and targets, both (documents, length); a target of -100 is not in the loss."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    tokens: int  # of the documents, padding not counted


def encode(tokenizer: Tokenizer, documents: list[Document]) -> list[NDArray[np.uint16]]:
    """Encode documents, segment by segment, with the high bit where the loss sees the token."""
    segments = [segment for document in documents for segment in document]
    encodings = iter(tokenizer.encode_batch([segment.text for segment in segments], add_special_tokens=False))
    rows = []
    for document in documents:
        parts = [
            np.array(next(encodings).ids, dtype=np.uint16) | (TRAINED_BIT if segment.trained else 0)
            for segment in document
        ]
        rows.append(np.concatenate(parts).astype(np.uint16))
    return rows


@dataclass(frozen=True, slots=True)
class Mix:
    """What documents are drawn: how many of each kind (relative), and how hard their problems are."""

    kinds: dict[str, int]
    difficulty: Difficulty


def draw_documents(seed: str, split: Split, mix: Mix) -> Iterator[Document]:
    """Draw the documents of a mix, without end."""
    rng = Random(seed)
    names, weights = list(mix.kinds), list(mix.kinds.values())
    while True:
        yield MAKERS[rng.choices(names, weights)[0]](rng, split, mix.difficulty)


def _make_shard(tokenizer_path: str, seed: str, split: Split, mix: Mix, tokens: int) -> Corpus:
    tokenizer = Tokenizer.from_file(tokenizer_path)
    stream = draw_documents(seed, split, mix)
    rows: list[NDArray[np.uint16]] = []
    drawn = 0
    while drawn < tokens:
        encoded = encode(tokenizer, list(itertools.islice(stream, 1000)))
        rows += [row for row in encoded if len(row) <= LENGTHS[-1]]
        drawn += sum(map(len, encoded))
    return Corpus(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))


def make_corpus(tokenizer_path: Path, seed: int, mix: Mix, tokens: int, workers: int = 3) -> Corpus:
    """Make a corpus of at least `tokens` from training problems; it depends on the seed and not on the workers."""
    split: Split = "train"
    seeds = [f"{seed}/{split}/{shard}" for shard in range(N_SHARDS)]
    with ProcessPoolExecutor(workers) as pool:
        made = [pool.submit(_make_shard, str(tokenizer_path), each, split, mix, tokens // N_SHARDS) for each in seeds]
        shards = [future.result() for future in made]
    ends = np.cumsum([0, *(len(shard.rows) for shard in shards)])
    starts = [shard.starts[:-1] + end for shard, end in zip(shards, ends, strict=False)]
    return Corpus(np.concatenate([shard.rows for shard in shards]), np.append(np.concatenate(starts), ends[-1]))


def batches(corpus: Corpus, batch_tokens: int) -> Iterator[Batch]:
    """Give the corpus once, in order, as batches of documents of about equal length.

    A document waits in the queue of its length until the queue fills a batch of `batch_tokens` positions.
    """
    queues: dict[int, list[NDArray[np.uint16]]] = {length: [] for length in LENGTHS}
    for start, end in itertools.pairwise(corpus.starts):
        length = next(length for length in LENGTHS if end - start <= length)
        queues[length].append(corpus.rows[start:end])
        if len(queues[length]) == batch_tokens // length:
            yield pad(queues[length], length)
            queues[length] = []


def pad(rows: list[NDArray[np.uint16]], length: int) -> Batch:
    """Pad documents at the right and shift the targets by one."""
    table = np.full((len(rows), length + 1), 0, dtype=np.int64)  # 0 is the padding token and not trained
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    targets = np.where(table & TRAINED_BIT, table & TOKEN_BITS, -100)
    return Batch((table & TOKEN_BITS)[:, :-1].copy(), targets[:, 1:].copy(), sum(map(len, rows)))
