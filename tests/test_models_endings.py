"""Truncation is one rule: what is shown of a trajectory does not depend on how far it was followed before."""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left
from dataclasses import dataclass, replace

import pytest

from vervet.models.endings import ending, shown, stored_precision, truncated
from vervet.types import Endings, Sample, Stream, Trace

ADDRESS = Stream("m", "q").at(3)


@dataclass(frozen=True)
class Below:
    """A cut after the first token whose logprob is below a bound."""

    bound: float
    name: str = "below"

    def fires_at(self, trace: Trace) -> int | None:
        assert trace.logprob is not None
        return next((i + 1 for i, x in enumerate(trace.logprob) if x < self.bound), None)


def trajectory(rng: random.Random, eos: bool = True) -> Sample:
    """A whole trajectory of a few letters, some of them reasoning; marks and the end token have no text."""
    pieces = ["".join(rng.choices("ab.", k=rng.choice([0, 1, 1, 2, 3]))) for _ in range(rng.randint(1, 23))]
    n_reasoning = rng.randrange(len(pieces))
    pieces += [""] * eos
    ends = array("i", (len("".join(pieces[: i + 1])) for i in range(len(pieces))))
    figures = [array("f", (-rng.random() * 3 for _ in pieces)) for _ in range(3)]
    trace = Trace(array("i", range(len(pieces))), ends, *figures, k=5)
    reasoning, text = "".join(pieces[:n_reasoning]), "".join(pieces[n_reasoning:])
    return Sample(ADDRESS, text, "eos" if eos else None, len(pieces), 7, reasoning, trace=trace)


def endings_of(rng: random.Random) -> Endings:
    return Endings(
        max_tokens=rng.choice([None, rng.randint(1, 25)]),
        stop=tuple("".join(rng.choices("ab.", k=rng.randint(1, 3))) for _ in range(rng.randrange(3))),
        cut=rng.choice([None, Below(-2.9 + rng.random())]),
    )


def by_hand(whole: Sample, e: Endings) -> tuple[int, str] | None:
    """The plain twin: token by token, all rules asked in their order."""
    assert whole.trace is not None and whole.trace.ends is not None
    for n in range(1, len(whole.trace) + 1):
        text = whole.text[: max(0, whole.trace.ends[n - 1] - len(whole.reasoning))]
        if whole.ended == "eos" and n == len(whole.trace):
            return n, "eos"
        hits = [(text.find(s) + len(s), text.find(s), s) for s in e.stop if s in text]
        if hits:
            return n, f"stop:{min(hits)[2]}"
        if e.cut is not None and e.cut.fires_at(stored_precision(whole.trace.first(n))) is not None:
            return n, f"cut:{e.cut.name}"
        if e.max_tokens is not None and n >= e.max_tokens:
            return n, "length"
    return None


def test_the_ending_is_that_of_asking_all_rules_at_every_token() -> None:
    rng = random.Random(1)
    seen = set()
    for _ in range(3000):
        whole, e = trajectory(rng, eos=rng.random() < 0.7), endings_of(rng)
        at = ending(whole, e)
        assert (None if at is None else (at.n_tokens, at.ended)) == by_hand(whole, e)
        seen.add(at and at.ended.partition(":")[0])
    assert seen == {None, "eos", "stop", "cut", "length"}


def test_live_is_replay() -> None:
    """Token by token with ``checked``, as a model does it, gives what truncating the whole trajectory gives."""
    rng = random.Random(2)
    for _ in range(1000):
        whole, e = trajectory(rng), endings_of(rng)
        assert whole.trace is not None and whole.trace.ends is not None
        for n in range(1, len(whole.trace) + 1):
            n_text = max(0, whole.trace.ends[n - 1] - len(whole.reasoning))
            known = replace(whole, text=whole.text[:n_text], reasoning=whole.reasoning[: whole.trace.ends[n - 1]],
                            ended="eos" if n == len(whole.trace) else None, trace=whole.trace.first(n))  # fmt: skip
            at = ending(known, e, checked=n - 1)
            if at is not None:
                assert shown(known, at) == truncated(whole, e)
                break


def test_what_was_stored_under_other_endings_gives_the_same_or_asks_for_more() -> None:
    rng = random.Random(3)
    served = 0
    for _ in range(5000):
        whole, first, second = trajectory(rng), endings_of(rng), endings_of(rng)
        stored = truncated(whole, first)
        assert stored is not None
        again = truncated(stored, second)
        want = truncated(whole, second)
        assert want is not None
        if again is not None:
            assert again == want
            served += 1
        else:
            hidden = (stored.ended or "").startswith("stop:") and want.n_tokens == stored.n_tokens
            assert hidden or want.n_tokens > stored.n_tokens
        assert truncated(stored, first) == stored
    assert served > 2000


def test_shown_text_never_holds_a_stop_string_and_ends_belong_to_tokens() -> None:
    rng = random.Random(4)
    for _ in range(1000):
        e = endings_of(rng)
        s = truncated(trajectory(rng), e)
        assert s is not None and s.trace is not None and s.trace.ends is not None
        assert not any(stop in s.text for stop in e.stop)
        assert s.n_tokens == len(s.trace)
        if not (s.ended or "").startswith("stop"):
            assert len(s.reasoning) + len(s.text) == s.trace.ends[-1]
        else:
            assert bisect_left(s.trace.ends, len(s.reasoning) + len(s.text)) < s.n_tokens


def test_an_end_masked_by_min_tokens_asks_for_more() -> None:
    whole = trajectory(random.Random(5))
    assert truncated(whole, Endings(min_tokens=whole.n_tokens)) == whole
    assert truncated(whole, Endings(min_tokens=whole.n_tokens + 1)) is None


@pytest.mark.parametrize(
    ("ended", "endings", "given"),
    [
        ("eos", Endings(), True),
        ("eos", Endings(max_tokens=4), False),
        ("length", Endings(max_tokens=5), True),
        ("length", Endings(max_tokens=6), False),
        ("stop:x", Endings(stop=("x",)), True),
        ("stop:x", Endings(), False),
        ("cut:below", Endings(cut=Below(-1)), True),
        ("cut:other", Endings(cut=Below(-1)), False),
        ("refused", Endings(max_tokens=1), True),
        (None, Endings(), False),
    ],
)
def test_a_sample_without_a_trace_is_given_whole_or_not(ended: str | None, endings: Endings, given: bool) -> None:
    sample = Sample(ADDRESS, "abc", ended, n_tokens=5)
    assert truncated(sample, endings) == (sample if given else None)


def test_figures_in_stored_precision_are_stable_and_bounded() -> None:
    trace = Trace(array("i", [1, 2]), logprob=array("f", [-0.1, -1e6]), entropy=array("f", [0.3, 0.0]))
    once = stored_precision(trace)
    assert once == stored_precision(once)
    assert once.logprob == array("f", [-0.0999755859375, -65504.0])
    assert once.topk is None


def test_a_stop_beyond_the_known_tokens_ends_with_the_last_of_them() -> None:
    trace = Trace(array("i", [5, 6]), ends=array("i", [2, 4]))
    sample = Sample(Stream("m", "q").at(0), "aabb", "stop:END", 3, trace=trace)
    shown = truncated(sample, Endings(max_tokens=9, stop=("END",)))
    assert shown is not None
    assert (shown.text, shown.ended) == ("aabb", "stop:END")
