"""Logprobs as servers write them, read into a ``Trace`` as they arrive.

Both shapes are read: that of chat (``content``: token, logprob, bytes, top_logprobs) and that of completions
(``tokens``, ``token_logprobs``, ``top_logprobs``, ``text_offset``). Token ids are known where a server tells them
(``token_id:7`` as the token, or a field ``id``), else -1, which means unknown. A column that one token lacks is None;
entropy is never known. Figures are in stored precision, so that a cut rule sees live what a replay sees.
"""

from __future__ import annotations

import codecs
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

from ...types import Json, Trace
from ..endings import stored_precision
from ..text import THINK, UNTHINK

_ID = re.compile(r"token_id:(\d+)")
_BYTES = re.compile(r"bytes:((?:\\x[0-9a-fA-F]{2})+)")
_MINUS_INFINITY = -9999.0  # as servers write it
_LARGEST_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Token:
    """One token as a server tells it; ``data`` None: its text is not known."""

    data: bytes | None
    id: int
    logprob: float | None
    top: Sequence[float]


class Figures:
    """The figures of one sample so far; ``k``: the logprobs that were asked for, 0 for the chosen token alone."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.trace = Trace(array("i"), None, array("f"), array("f") if k else None, None, k)
        self.pieces: list[str | None] = []
        self._offsets: list[int] | None = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __len__(self) -> int:
        return len(self.trace)

    def add(self, logprobs: Json) -> None:
        """Read one more piece of the logprobs of a choice; what is not in a known shape is passed over."""
        if not isinstance(logprobs, Mapping):
            return
        if isinstance(logprobs.get("content"), list):
            tokens = list(_chat_tokens(logprobs["content"]))
            self._offsets = None
        elif isinstance(logprobs.get("tokens"), list):
            tokens = list(_completion_tokens(logprobs))
            offsets = _ints(logprobs.get("text_offset"))
            self._offsets = None if self._offsets is None or offsets is None else self._offsets + offsets
        else:
            return
        self.pieces += [self._piece(token.data) for token in tokens]
        self._grow(tokens)

    def _piece(self, data: bytes | None) -> str | None:
        return None if data is None else self._decoder.decode(data)

    def _grow(self, tokens: list[_Token]) -> None:
        """Add to the columns; a column that a token lacks is given up."""
        if not tokens:
            return
        tops = [_mean_of_top(token.top, self.k) for token in tokens] if self.k else None
        new = stored_precision(
            Trace(
                array("i", [token.id for token in tokens]),
                logprob=_column([token.logprob for token in tokens]),
                topk=None if tops is None else _column(tops),
            )
        )
        if not self.trace.ids and self.k:
            self.k = min(self.k, max(1, len(tokens[0].top)))
        self.trace.ids.extend(new.ids)
        self.trace = Trace(
            self.trace.ids,
            None,
            _joined(self.trace.logprob, new.logprob),
            _joined(self.trace.topk, new.topk),
            None,
            self.k,
        )

    def ends(self, text: str, beyond: bool) -> array[int] | None:
        """Where each token's text ends in ``text``, or None where the tokens do not spell it.

        ``beyond``: the tokens may go on beyond the text (a stop string that it does not show).
        """
        if all(piece is not None for piece in self.pieces):
            found = _aligned([piece or "" for piece in self.pieces], text, beyond)
            if found is not None:
                return found
        offsets = self._offsets
        if not offsets or len(offsets) != len(self.pieces):
            return None
        ends = [offset - offsets[0] for offset in offsets[1:]] + [len(text)]
        sound = all(a <= b for a, b in pairwise(ends)) and ends[0] >= 0
        return array("i", ends) if sound else None


def _ints(value: Json) -> list[int] | None:
    return value if isinstance(value, list) and all(type(i) is int for i in value) else None


def _column(values: Sequence[float | None]) -> array[float] | None:
    known = [v for v in values if v is not None]
    return array("f", known) if len(known) == len(values) else None


def _joined(old: array[float] | None, new: array[float] | None) -> array[float] | None:
    if old is None or new is None:
        return None
    old.extend(new)
    return old


def _number(value: Json) -> float | None:
    """A finite number, else None: null, NaN and text are tolerated as unknown."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        return None
    return float(value)


def _mean_of_top(top: Sequence[float], k: int) -> float | None:
    if not top:
        return None
    kept = sorted(top, reverse=True)[:k]
    return sum(kept) / len(kept)


def _top(values: Iterator[Json]) -> list[float]:
    """The likeliest tokens' logprobs, those that stand for minus infinity left out."""
    numbers = (_number(value) for value in values)
    return [number for number in numbers if number is not None and number > _MINUS_INFINITY]


# --- the two shapes ------------------------------------------------------------------------------------


def _chat_tokens(content: list[Json]) -> Iterator[_Token]:
    for row in content:
        if not isinstance(row, Mapping):
            continue
        top = row.get("top_logprobs")
        rows = top if isinstance(top, list) else []
        data, token_id = _text_and_id(row.get("token"))
        raw = row.get("bytes")
        if isinstance(raw, list) and all(type(b) is int and 0 <= b < 256 for b in raw):
            data = bytes(raw)
        told = row.get("id")
        if type(told) is int and 0 <= told <= _LARGEST_ID:
            token_id = told
        yield _Token(
            data, token_id, _number(row.get("logprob")), _top(t.get("logprob") for t in rows if isinstance(t, Mapping))
        )


def _completion_tokens(logprobs: Mapping[str, Json]) -> Iterator[_Token]:
    tokens = logprobs["tokens"]
    chosen, tops = (_padded(logprobs.get(name), len(tokens)) for name in ("token_logprobs", "top_logprobs"))
    for token, logprob, top in zip(tokens, chosen, tops, strict=True):
        data, token_id = _text_and_id(token)
        yield _Token(data, token_id, _number(logprob), _top(iter(top.values())) if isinstance(top, Mapping) else [])


def _padded(values: Json, n: int) -> list[Json]:
    known = values if isinstance(values, list) else []
    return [*known, *[None] * n][:n]


def _text_and_id(token: Json) -> tuple[bytes | None, int]:
    if not isinstance(token, str):
        return None, -1
    if found := _ID.fullmatch(token):
        return None, int(found[1]) if int(found[1]) <= _LARGEST_ID else -1
    if found := _BYTES.fullmatch(token):
        return bytes.fromhex(found[1].replace("\\x", "")), -1
    return token.encode("utf-8", "replace"), -1


# --- where tokens end ----------------------------------------------------------------------------------


def _aligned(pieces: Sequence[str], text: str, beyond: bool) -> array[int] | None:
    """Where each piece ends in a text that they spell, but for thinking marks, trimmed blanks and broken characters."""
    ends, at, n_open = array("i"), 0, 0
    for piece in pieces:
        if at >= len(text):  # past its end: a stop string, an end token that has a name
            at += len(piece) if beyond else 0
        elif "\ufffd" in piece and not text.startswith(piece, at):
            n_open += 1  # part of a character: the next piece that is whole says where it ended
        else:
            step = _step(piece, text, at, n_open, beyond)
            if step is None:
                return None
            start, at = step
            ends[len(ends) - n_open :] = array("i", [start] * n_open)
            n_open = 0
        ends.append(at)
    if n_open and at < len(text):
        ends[-n_open:] = array("i", [*[at] * (n_open - 1), len(text)])
    return ends


def _step(piece: str, text: str, at: int, n_open: int, beyond: bool) -> tuple[int, int] | None:
    """Where a piece starts and ends, looked for at ``at``, and a little further where characters are open."""
    for shown in (piece, piece.lstrip(), piece.rstrip(), piece.strip()):
        if shown or not piece:
            start = text.find(shown, at, at + n_open + len(shown)) if n_open else at
            if start >= 0 and text.startswith(shown, start):
                return start, start + len(shown)
    if not piece.strip() or piece.strip() in (THINK, UNTHINK):
        return at, at
    if piece.startswith(text[at:]):
        return at, at + len(piece) if beyond else len(text)
    return None
