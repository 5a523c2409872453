"""Samples to rows and back, in stored precision.

Token ids take two bytes where all are below 65,536, else four; ends are stored as differences of one, two or four
bytes; figures are half precision, clipped to 60,000. The columns of many samples are packed together, because one
numpy call costs as much for 100 numbers as for 10,000.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any, Literal

import numpy as np

from vervet.errors import Mistake, PoolDamaged
from vervet.types import Address, Failure, FailureKind, Sample, Stored, Stream, Trace, Void, canonical_json

MAX_FIGURE = 60_000.0  # representable in half precision, whose largest number is 65,504
SAMPLE, REFUSED, FAILED, VOID = range(4)
FIGURES = ("logprob", "topk", "entropy")
COLUMNS = (
    "address, state, call, ended, n_tokens, prompt_tokens, mean_logprob, k, form, "
    "text, reasoning, tool_calls, ids, ends, logprob, topk, entropy"
)
N_COLUMNS = COLUMNS.count(",") + 1
SELECT = f"SELECT {COLUMNS} FROM samples"

_IDS_WIDE, _ENDS_SHIFT, _SCALED = 1, 1, 8  # bits of ``form``; two bits from _ENDS_SHIFT say how wide an end is
_END_TYPES = ("<u1", "<u2", "<i4")
_STATES: dict[str, int] = {"refused": REFUSED, "failed": FAILED}
_KINDS: dict[int, FailureKind] = {REFUSED: "refused", FAILED: "failed"}

Row = tuple[Any, ...]
Packed = tuple[int, bytes]


def storable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced by "?".

    >>> storable("a" + chr(0xD800) + "é")
    'a?é'
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def stored_precision(sample: Sample) -> Sample:
    """The sample as a write and a read would give it back; doing it twice changes nothing more.

    >>> stream = Stream("m", "q")
    >>> trace = Trace(array("i", [3]), logprob=array("f", [-0.1]))
    >>> stored_precision(Sample(stream.at(0), "x", "eos", 1, trace=trace)).trace.logprob[0]
    -0.0999755859375
    """
    check_sample(sample)
    if sample.trace is None:
        return _stored_plain(sample)
    (row,) = encode([(0, None, sample)])
    stored = decode(row, sample.address.stream, sample.address.index)
    assert isinstance(stored, Sample)
    return stored


def _stored_plain(sample: Sample) -> Sample:
    """``stored_precision`` of a sample without figures: its texts as they can be stored."""
    text, reasoning, calls = storable(sample.text), storable(sample.reasoning), sample.tool_calls
    if calls:
        calls = tuple(json.loads(storable(canonical_json(list(calls)))))
    elif text is sample.text and reasoning is sample.reasoning:
        return sample
    return replace(sample, text=text, reasoning=reasoning, tool_calls=calls)


def check_sample(sample: Sample) -> None:
    """Raise Mistake where a sample cannot be stored: columns of unequal length or of another type, NaN."""
    if sample.tool_calls:
        canonical_json(list(sample.tool_calls))
    trace = sample.trace
    if trace is None:
        return
    n, figures = len(trace.ids), []
    for name in ("ids", "ends", *FIGURES):
        column = getattr(trace, name)
        if column is None:
            continue
        code = "f" if name in FIGURES else "i"
        if column.typecode != code or len(column) != n:
            raise Mistake(
                f"{sample.address}: expected trace.{name} as {n} numbers of array type {code!r}, "
                f"got {len(column)} of type {column.typecode!r}"
            )
        if code == "f":
            figures.append(column)
    if figures and np.isnan(np.frombuffer(b"".join(figures), np.float32)).any():
        raise Mistake(f"{sample.address}: expected numbers in the trace, got NaN; leave an unknown column None")


# --- encode --------------------------------------------------------------------------------------------


def encode(rows: Sequence[tuple[int, int | None, Sample]]) -> list[Row]:
    """Rows of table samples for (address, call, sample) that ``check_sample`` let pass."""
    traces = [s.trace for _, _, s in rows if s.trace is not None]
    packed = iter(_encode_traces(traces))
    return [
        (
            key, SAMPLE, call, s.ended, s.n_tokens, s.prompt_tokens,
            *(next(packed) if s.trace is not None else (None,) * 3),
            storable(s.text), storable(s.reasoning),
            storable(canonical_json(list(s.tool_calls))) if s.tool_calls else None,
            *(next(packed) if s.trace is not None else (None,) * 5),
        )
        for key, call, s in rows
    ]  # fmt: skip


def _encode_traces(traces: list[Trace]) -> list[tuple[Any, ...]]:
    """Two tuples a trace, in turn: (mean logprob, k, form) and the five blobs."""
    if not traces:
        return []
    ids = _pack([t.ids for t in traces], _pack_ids)
    ends = _pack([t.ends for t in traces], _pack_ends)
    blobs = {name: _pack([getattr(t, name) for t in traces], _pack_figures) for name in FIGURES}
    means = _means(blobs["logprob"])
    out: list[tuple[Any, ...]] = []
    for i, trace in enumerate(traces):
        id_form, id_blob = ids[i] or (0, b"")
        end_form, end_blob = ends[i] or (0, None)
        form = id_form | end_form << _ENDS_SHIFT | (_SCALED if trace.source == "scaled" else 0)
        out.append((means[i], trace.k, form))
        out.append((id_blob, end_blob, *((p := blobs[name][i]) and p[1] for name in FIGURES)))
    return out


def _pack(columns: list[Any], pack: Callable[[list[Any]], list[Packed]]) -> list[Packed | None]:
    """Each known column packed; an unknown one stays None."""
    packed = iter(pack([c for c in columns if c is not None]))
    return [None if c is None else next(packed) for c in columns]


def _pack_ids(columns: list[array[int]]) -> list[Packed]:
    whole = np.frombuffer(b"".join(columns), np.int32)
    if not whole.size or (whole.min() >= 0 and whole.max() < 1 << 16):
        return _slices(0, whole.astype("<u2").tobytes(), columns, 2)
    if len(columns) > 1:
        return [_pack_ids([c])[0] for c in columns]
    return [(_IDS_WIDE, whole.astype("<i4").tobytes())]


def _pack_ends(columns: list[array[int]]) -> list[Packed]:
    whole = np.frombuffer(b"".join(columns), np.int32)
    steps = np.diff(whole, prepend=np.int32(0))
    starts = _starts(columns)
    steps[starts] = whole[starts]
    low, high = (int(steps.min()), int(steps.max())) if steps.size else (0, 0)
    if low >= 0 and high < 1 << 8:
        return _slices(0, steps.astype("<u1").tobytes(), columns, 1)
    if len(columns) > 1:
        return [_pack_ends([c])[0] for c in columns]
    width = 1 if low >= 0 and high < 1 << 16 else 2
    return [(width, steps.astype(_END_TYPES[width]).tobytes())]


def _pack_figures(columns: list[array[float]]) -> list[Packed]:
    whole = np.frombuffer(b"".join(columns), np.float32)
    return _slices(0, np.clip(whole, -MAX_FIGURE, MAX_FIGURE).astype("<f2").tobytes(), columns, 2)


def _slices(form: int, blob: bytes, columns: Sequence[Sequence[Any]], width: int) -> list[Packed]:
    cuts = [width * n for n in accumulate(map(len, columns), initial=0)]
    return [(form, blob[start:end]) for start, end in pairwise(cuts)]


def _starts(columns: Sequence[Sequence[Any]]) -> list[int]:
    """Where each column that is not empty begins in all of them joined."""
    return [start for start, end in pairwise(accumulate(map(len, columns), initial=0)) if end > start]


def _means(packed: list[Packed | None]) -> list[float | None]:
    """The mean of each column of figures as stored; None where it is unknown or empty."""
    known = [p[1] for p in packed if p and p[1]]
    if not known:
        return [None] * len(packed)
    values = np.frombuffer(b"".join(known), "<f2").astype(np.float64)
    sums = iter(np.add.reduceat(values, [s // 2 for s in _starts(known)]).tolist())
    return [next(sums) / (len(p[1]) // 2) if p and p[1] else None for p in packed]


def mean_of(blob: bytes) -> float | None:
    """The mean of a stored column of figures.

    >>> mean_of(np.array([1, 2], "<f2").tobytes())
    1.5
    """
    return float(np.frombuffer(blob, "<f2").astype(np.float64).mean()) if blob else None


# --- decode --------------------------------------------------------------------------------------------


def decode(row: Row, stream: Stream, index: int) -> Stored:
    """What a row of table samples holds; PoolDamaged with its place where its columns do not fit together."""
    try:
        return _decode(row, stream, index)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise PoolDamaged(f"table samples, rowid {row[0]} ({stream.at(index)}): {error}") from None


def _decode(row: Row, stream: Stream, index: int) -> Stored:
    state, ended, n_tokens, prompt_tokens, text, reasoning, calls = row[1], *row[3:6], *row[9:12]
    if state == VOID:
        return Void()
    if state != SAMPLE:
        return Failure(_KINDS[state], text or "")
    if type(n_tokens) is not int or type(text) is not str or type(reasoning) is not str:
        raise ValueError(f"expected n_tokens, text and reasoning, got {n_tokens!r}, {text!r}, {reasoning!r}")
    tools = tuple(json.loads(calls)) if calls else ()
    trace = None if row[12] is None else _decode_trace(row[7], row[8], row[12:17])
    return Sample(Address(stream, index), text, ended, n_tokens, prompt_tokens, reasoning, tools, trace)


def _decode_trace(k: int, form: int, blobs: Sequence[bytes | None]) -> Trace:
    ids, ends, *figures = blobs
    assert ids is not None
    width = 4 if form & _IDS_WIDE else 2
    n = len(ids) // width
    end_type = _END_TYPES[form >> _ENDS_SHIFT & 3]
    _expect(ids, n * width, "ids")
    _expect(ends, n * int(end_type[2]), "ends")
    for name, blob in zip(FIGURES, figures, strict=True):
        _expect(blob, n * 2, name)
    source: Literal["raw", "scaled"] = "scaled" if form & _SCALED else "raw"
    known = np.frombuffer(b"".join(b for b in figures if b is not None), "<f2").astype(np.float32).tobytes()
    columns: list[array[float] | None] = []
    at = 0
    for blob in figures:
        columns.append(None if blob is None else array("f", known[at : at + 4 * n]))
        at += 0 if blob is None else 4 * n
    logprob, topk, entropy = columns
    id_column = array("i", np.frombuffer(ids, "<i4" if width == 4 else "<u2").astype(np.int32).tobytes())
    end_column = None
    if ends is not None:
        end_column = array("i", np.frombuffer(ends, end_type).cumsum(dtype=np.int32).tobytes())
    return Trace(id_column, end_column, logprob, topk, entropy, k, source)


def _expect(blob: bytes | None, n_bytes: int, name: str) -> None:
    if blob is not None and len(blob) != n_bytes:
        raise ValueError(f"expected {n_bytes} bytes in column {name}, got {len(blob)}")


# --- which of two writes stays -------------------------------------------------------------------------


def failure_row(key: int, call: int | None, failure: Failure) -> Row | None:
    """The row of a failure that stays with its address, None for one that stays with its call."""
    state = _STATES.get(failure.kind)
    if state is None:
        return None
    return (key, state, call, *(None,) * 6, storable(failure.reason), *(None,) * (N_COLUMNS - 10))


def supersedes(old: Stored, new: Stored) -> bool:
    """True where ``new`` takes the place of ``old``: the first write wins, but an open sample may be followed further.

    >>> a = Stream("m", "q").at(0)
    >>> supersedes(Sample(a, "x", "length", 1), Sample(a, "xy", "eos", 3))
    True
    >>> supersedes(Sample(a, "x", "length", 1), Sample(a, "other", "eos", 3))
    False
    """
    if isinstance(new, Void):
        return not isinstance(old, Void)
    if not isinstance(old, Sample) or not old.is_open or not isinstance(new, Sample):
        return False
    return (new.n_tokens > old.n_tokens or not new.is_open) and _begins_with(new, old)


def _begins_with(new: Sample, old: Sample) -> bool:
    if new.trace is not None and old.trace is not None:
        return new.trace.ids[: len(old.trace)] == old.trace.ids
    # A text that was cut inside a character ends in the replacement mark.
    return (new.reasoning + new.text).startswith((old.reasoning + old.text).rstrip("\ufffd"))
