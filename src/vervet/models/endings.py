"""Where a trajectory ends under given endings: one pure rule for live samples and for stored ones.

An ending only says how far a trajectory was followed, so a stored sample serves every request that needs no more of
it. The one exception is ``min_tokens``: it masks the end token, so it changes the trajectory itself; whoever asks for
it keeps such draws apart (in ``scope``). Knows no model, no pool and no tokenizer.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from dataclasses import dataclass, replace

from ..types import Endings, Sample, Trace

_LARGEST_HALF = 65504.0


def stored_precision(trace: Trace) -> Trace:
    """The figures rounded as the pool keeps them (to half precision): what every cut rule sees, live too.

    >>> stored_precision(Trace(array("i", [7]), logprob=array("f", [-0.1]))).logprob
    array('f', [-0.0999755859375])
    """
    return replace(trace, logprob=_halved(trace.logprob), topk=_halved(trace.topk), entropy=_halved(trace.entropy))


def _halved(column: array[float] | None) -> array[float] | None:
    if column is None:
        return None
    bounded = (max(-_LARGEST_HALF, min(_LARGEST_HALF, x)) for x in column)
    layout = f"{len(column)}e"
    return array("f", struct.unpack(layout, struct.pack(layout, *bounded)))


@dataclass(frozen=True, slots=True)
class Ending:
    """Where and why a text ends: after ``n_tokens`` tokens; ``n_chars`` of the text are shown (None: all of theirs)."""

    n_tokens: int
    ended: str
    n_chars: int | None = None


def ending(sample: Sample, endings: Endings, checked: int = 0) -> Ending | None:
    """The first ending that fires within what is known of a trajectory, or None while it goes on.

    ``sample`` holds a trace with ``ids`` and ``ends``, and the whole text of its tokens (no stop string removed).
    On the same token the end of the text comes first, then a stop string, a cut, the length. ``checked``: so many
    tokens are known to fire no stop string.
    """
    trace = sample.trace
    assert trace is not None
    found = []
    if sample.ended == "eos":
        found.append(Ending(len(trace), "eos"))
    stop = _stop(sample, endings.stop, checked)
    if stop is not None:
        found.append(stop)
    if endings.cut is not None:
        n_tokens = endings.cut.fires_at(stored_precision(trace))
        if n_tokens is not None and n_tokens <= len(trace):
            found.append(Ending(n_tokens, f"cut:{endings.cut.name}"))
    if endings.max_tokens is not None and endings.max_tokens <= len(trace):
        found.append(Ending(endings.max_tokens, "length"))
    return min(found, key=lambda e: e.n_tokens, default=None)  # the first of equal ones: the order above


def _stop(sample: Sample, stops: tuple[str, ...], checked: int) -> Ending | None:
    """The stop string that completes first; of those that complete with one character, the longest."""
    ends, offset = _ends(sample), len(sample.reasoning)
    before = max(0, ends[checked - 1] - offset) if checked else 0
    hits = []
    for stop in filter(None, stops):
        start = sample.text.find(stop, max(0, before - len(stop) + 1))
        if start >= 0:
            hits.append((start + len(stop), start, stop))
    if not hits:
        return None
    last, start, stop = min(hits)
    n_tokens = min(bisect_left(ends, offset + last) + 1, len(ends))  # a server may leave out a stop string's tokens
    return Ending(n_tokens, f"stop:{stop}", start)


def _ends(sample: Sample) -> array[int]:
    assert sample.trace is not None and sample.trace.ends is not None
    return sample.trace.ends


def shown(sample: Sample, at: Ending) -> Sample:
    """A trajectory (as ``ending`` takes it) as it shows when it ends there."""
    assert sample.trace is not None
    n_all = _ends(sample)[at.n_tokens - 1] if at.n_tokens else 0
    n_text = max(0, n_all - len(sample.reasoning)) if at.n_chars is None else at.n_chars
    return replace(
        sample,
        text=sample.text[:n_text],
        reasoning=sample.reasoning[:n_all],
        ended=at.ended,
        n_tokens=at.n_tokens,
        trace=sample.trace.first(at.n_tokens),
    )


def truncated(sample: Sample, endings: Endings) -> Sample | None:
    """A stored sample as these endings show it, or None where more of its trajectory must be drawn.

    A sample without token ends in characters is given only whole, where it ended by one of these endings.
    Cut rules see the figures in stored precision, so that live, rerun and replay agree.

    >>> from vervet.types import Stream
    >>> trace = Trace(array("i", [5, 6, 7]), ends=array("i", [2, 4, 6]))
    >>> sample = Sample(Stream("m", "q").at(0), "aabbcc", "length", 3, trace=trace)
    >>> truncated(sample, Endings(max_tokens=2)).text, truncated(sample, Endings(stop=("bc",))).text
    ('aabb', 'aab')
    >>> truncated(sample, Endings(max_tokens=4)) is None
    True
    """
    if sample.ended == "refused":
        return sample
    if sample.ended == "eos" and sample.n_tokens < endings.min_tokens:
        return None
    if sample.trace is None or sample.trace.ends is None:
        return sample if _ended_so(sample, endings) else None
    whole = _with_stop(sample)
    at = ending(whole, endings)
    if at is None:
        return None
    text_known = _ends(whole)[-1] <= len(whole.reasoning) + len(whole.text) if len(whole.trace or ()) else True
    if at.n_tokens == sample.n_tokens and at.n_chars is None and not text_known:
        return None  # the last token's text goes on beyond the stop string that ended the sample
    return shown(whole, at)


def _with_stop(sample: Sample) -> Sample:
    """The sample with the stop string that its text does not show."""
    kind, _, stop = (sample.ended or "").partition(":")
    return replace(sample, text=sample.text + stop) if kind == "stop" else sample


def _ended_so(sample: Sample, endings: Endings) -> bool:
    """Whether a sample that cannot be truncated ended by one of these endings and before all others."""
    if endings.max_tokens is not None and sample.n_tokens > endings.max_tokens:
        return False
    if any(stop in sample.text for stop in endings.stop if stop):
        return False
    kind, _, which = (sample.ended or "").partition(":")
    if kind == "cut":
        return endings.cut is not None and endings.cut.name == which
    if endings.cut is not None:
        return False
    return {"eos": True, "stop": which in endings.stop, "length": sample.n_tokens == endings.max_tokens}.get(
        kind, False
    )
