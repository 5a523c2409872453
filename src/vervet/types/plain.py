"""Plain data and its digests: one spelling for equal data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Json = Any
Message = Mapping[str, Json]


def canonical_json(value: Json) -> str:
    """One spelling for equal data: sorted keys, no blanks, UTF-8 kept.

    >>> canonical_json({"b": 1, "a": [1.0, "é"]})
    '{"a":[1.0,"é"],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Json) -> str:
    """32 hexadecimal digits that stand for the data (BLAKE2b of its canonical JSON).

    >>> digest({"a": 1}) == digest({"a": 1})
    True
    """
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


def text_digest(text: str) -> int:
    """A signed 64-bit number that stands for a text inside one problem."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
