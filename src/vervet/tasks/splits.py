"""Which split a problem belongs to: a pure function of its key, so that no list has to be kept.

A key says what two problems must share to count as the same problem (its numbers, say, and not its names).
Problems with one key always fall into one split; so training never sees a held-out key.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, Literal

Split = Literal["train", "development", "test"]

SPLITS: Final[tuple[Split, ...]] = ("train", "development", "test")
TEST_PERCENT: Final = 10
DEVELOPMENT_PERCENT: Final = 10


def split_of(key: str) -> Split:
    """Give the split of a problem from the hash of its key: 10 % test, 10 % development, the rest train.

    >>> split_of("3 5 7 25")
    'train'
    >>> {split_of(str(n)) for n in range(100)} == set(SPLITS)
    True
    """
    bucket = int.from_bytes(sha256(key.encode()).digest(), "big") % 100
    if bucket < TEST_PERCENT:
        return "test"
    if bucket < TEST_PERCENT + DEVELOPMENT_PERCENT:
        return "development"
    return "train"
