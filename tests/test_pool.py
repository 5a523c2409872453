"""The pool in one process: what is written is read, the first write wins, every call is billed."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vervet.errors import Mistake
from vervet.pool import SqlitePool, open_pool, stored_precision
from vervet.pool.coding import decode, encode
from vervet.types import (
    Answer,
    Bill,
    Claim,
    Example,
    Failure,
    Pool,
    Problem,
    Question,
    Sample,
    Score,
    Stream,
    Trace,
    Use,
    Verdict,
    Void,
    text_digest,
)

STREAM = Stream("embedded@1", "9f" * 16)
RESERVE = Bill(prompt_tokens=11, completion_tokens=101)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[SqlitePool]:
    with open_pool(str(tmp_path / "a.pool")) as opened:
        yield opened


def claim(
    pool: SqlitePool, indices: Sequence[int], continues: bool = True, stream: Stream = STREAM, run: str = "a"
) -> Claim:
    return asyncio.run(pool.claim(pool.start_run({"name": run}), stream, indices, RESERVE, continues))


def make_sample(index: int, n_tokens: int = 7, ended: str | None = "eos", stream: Stream = STREAM) -> Sample:
    ids = array("i", (13 * (i + 1) for i in range(n_tokens)))
    ends = array("i", range(2, 2 * n_tokens + 2, 2))
    figures = array("f", (-0.25 * (i + 1) for i in range(n_tokens)))
    trace = Trace(ids, ends, figures, figures, figures, k=5, source="scaled")
    return Sample(stream.at(index), "ab" * n_tokens, ended, n_tokens, 11, trace=trace)


SEVEN = Bill(completion_tokens=7)


def put(pool: SqlitePool, *samples: Sample, bill: Bill = SEVEN) -> int:
    call = claim(pool, [s.address.index for s in samples]).call
    assert call is not None
    for sample in samples:
        pool.record(call, sample.address.index, sample, bill)
    pool.settle(call, Bill(prompt_tokens=11), 0.5)
    return call


def reopened(pool: SqlitePool) -> SqlitePool:
    pool.close()
    return open_pool(pool.path)


# --- stored precision ----------------------------------------------------------------------------------

INT32 = st.integers(-(2**31), 2**31 - 1)
FIGURE = st.floats(width=32, allow_nan=False)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    n = draw(st.integers(0, 17))
    ids = draw(st.sampled_from([st.integers(0, 65535), INT32]))
    ends = draw(st.sampled_from([st.integers(0, 255), st.integers(0, 70000), INT32]))

    def column(code: str, numbers: Any) -> Any:
        known = draw(st.booleans())
        return array(code, draw(st.lists(numbers, min_size=n, max_size=n))) if known else None

    id_column = array("i", draw(st.lists(ids, min_size=n, max_size=n)))
    logprob, topk, entropy = (column("f", FIGURE) for _ in range(3))
    k, source = draw(st.integers(0, 20)), draw(st.sampled_from(["raw", "scaled"]))
    return Trace(id_column, column("i", ends), logprob, topk, entropy, k, source)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    text = st.text(st.characters(), max_size=19)
    ended = draw(st.sampled_from([None, "eos", "stop:\n\n", "length", "cut:tokens(3)", "refused"]))
    calls = draw(st.lists(st.dictionaries(st.text(max_size=3), st.integers()), max_size=2))
    trace = draw(st.none() | traces())
    return Sample(STREAM.at(3), draw(text), ended, draw(st.integers(0, 999)), 11, draw(text), tuple(calls), trace)


@given(st.lists(samples(), min_size=1, max_size=5))
@settings(deadline=None, max_examples=150)
def test_encoding_many_and_decoding_gives_stored_precision_of_each(batch: list[Sample]) -> None:
    rows = encode([(i, None, s) for i, s in enumerate(batch)])
    stored = [decode(row, STREAM, 3) for row in rows]
    assert stored == [stored_precision(s) for s in batch]


@given(samples())
@settings(deadline=None)
def test_stored_precision_is_idempotent_and_near(sample: Sample) -> None:
    once = stored_precision(sample)
    assert stored_precision(once) == once
    if sample.trace is None:
        assert once.trace is None
        return
    assert once.trace is not None
    assert (once.trace.ids, once.trace.ends) == (sample.trace.ids, sample.trace.ends)
    for before, after in zip(sample.trace.logprob or [], once.trace.logprob or [], strict=True):
        assert math.isclose(max(-6e4, min(6e4, before)), after, rel_tol=1e-3, abs_tol=1e-7)


def test_a_trace_that_cannot_be_stored_is_your_mistake() -> None:
    nan = Trace(array("i", [1]), logprob=array("f", [math.nan]))
    with pytest.raises(Mistake, match="got NaN"):
        stored_precision(Sample(STREAM.at(0), "x", trace=nan))
    short = Trace(array("i", [1, 2]), entropy=array("f", [1.0]))
    with pytest.raises(Mistake, match=r"trace.entropy as 2 numbers of array type 'f', got 1"):
        stored_precision(Sample(STREAM.at(0), "x", trace=short))


# --- samples -------------------------------------------------------------------------------------------


def test_the_pool_is_a_pool(pool: SqlitePool) -> None:
    def accepts(_: Pool) -> None: ...

    accepts(pool)


def test_what_is_recorded_is_found_at_once_and_after_reopening(pool: SqlitePool) -> None:
    written = [make_sample(i, 5 + i) for i in (0, 1, 2, 71)]
    put(pool, *written)
    wanted = {s.address.index: stored_precision(s) for s in written}
    assert pool.find(STREAM, range(97)) == wanted
    with reopened(pool) as again:
        assert again.find(STREAM, range(97)) == wanted
        assert again.find(STREAM, [71, 5, 0, 999_999]) == {i: wanted[i] for i in (0, 71)}
        assert again.find(Stream("other", "q"), [0]) == {}
        assert again.check() == []


def test_the_overlay_forgets_what_is_on_disk(pool: SqlitePool) -> None:
    put(pool, *(make_sample(i) for i in range(31)))
    asyncio.run(pool.flush())
    assert pool._overlay._streams == {}
    assert len(pool.find(STREAM, range(31))) == 31


def test_a_sample_is_on_disk_within_a_second_without_flush(pool: SqlitePool) -> None:
    call = claim(pool, [0]).call
    assert call is not None
    pool.record(call, 0, make_sample(0), Bill())
    other = sqlite3.connect(pool.path)
    give_up = time.monotonic() + 1
    while not other.execute("SELECT count(*) FROM samples").fetchone()[0]:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    other.close()


@pytest.mark.parametrize("flushed", [False, True])
def test_the_first_write_wins_but_an_open_sample_may_be_followed(pool: SqlitePool, flushed: bool) -> None:
    def write(*written: Sample) -> None:
        call = claim(pool, [0]).call
        if call is None:
            return
        for sample in written:
            pool.record(call, 0, sample, Bill())
        pool.settle(call)
        if flushed:
            asyncio.run(pool.flush())

    def stored() -> Sample:
        found = pool.find(STREAM, [0])[0]
        assert isinstance(found, Sample)
        return found

    write(make_sample(0, 7, "length"))
    write(make_sample(0, 5, "length"), replace(make_sample(0, 11, "eos"), trace=None, text="another"))
    assert (stored().n_tokens, stored().ended) == (7, "length")
    write(make_sample(0, 11, None))
    assert stored().n_tokens == 11
    write(make_sample(0, 11, "eos"))
    assert stored().ended == "eos"
    assert claim(pool, [0]) == Claim(None, (), ())
    assert pool.spent(pool.start_run({"name": "a"})).fresh_samples == 1


def test_failures_of_the_text_stay_with_the_address_others_with_the_call(pool: SqlitePool) -> None:
    call = claim(pool, range(3)).call
    assert call is not None
    kinds = ["transient", "failed", "refused"]
    for i, kind in enumerate(kinds):
        pool.record(call, i, Failure(kind, f"why {i}", 3.0), Bill())  # type: ignore[arg-type]
    expected = {1: Failure("failed", "why 1"), 2: Failure("refused", "why 2")}
    assert pool.find(STREAM, range(3)) == expected
    pool.settle(call)
    with reopened(pool) as again:
        assert again.find(STREAM, range(3)) == expected
        assert claim(again, range(3)).granted == (0,)
        assert again.info().counts["failures"] == 1


def test_void_takes_out_of_use_for_ever_and_uncounts(pool: SqlitePool) -> None:
    put(pool, make_sample(0), make_sample(1))
    run = pool.start_run({"name": "a"})
    before = pool.spent(run)
    pool.void(STREAM, [1, 2])
    found = pool.find(STREAM, range(3))
    assert [type(found[i]) for i in range(3)] == [Sample, Void, Void]
    with reopened(pool) as again:
        assert [type(v) for v in again.find(STREAM, range(3)).values()] == [Sample, Void, Void]
        assert again.spent(run) == replace(before, fresh_samples=1)
        assert claim(again, range(3)) == Claim(None, (), ())


# --- claims and bills ----------------------------------------------------------------------------------


def test_claim_grants_the_vacant_and_names_the_busy(pool: SqlitePool) -> None:
    put(pool, make_sample(0), make_sample(1, ended="length"))
    held = claim(pool, [3])
    assert held.granted == (3,)
    assert claim(pool, [0, 1, 2, 3], continues=False) == Claim(held.call and held.call + 1, (2,), (3,))
    assert claim(pool, [0, 1, 2, 3], continues=True).granted == (1,)


def test_bills_add_up_over_calls(pool: SqlitePool) -> None:
    put(pool, make_sample(0), make_sample(1), bill=Bill(completion_tokens=7, usd=0.25, reasoning_tokens=3))
    put(pool, make_sample(2))
    run = pool.start_run({"name": "a"})
    pool.add_seconds(run, 1.5)
    pool.add_seconds(run, 2.0)
    spent = pool.spent(run)
    assert spent.bill == Bill(prompt_tokens=22, completion_tokens=21, reasoning_tokens=6, usd=0.5)
    assert (spent.calls, spent.fresh_samples, spent.seconds) == (2, 3, 3.5)
    assert pool.spent(pool.start_run({"name": "b"})).calls == 0


def test_a_settled_or_foreign_call_takes_nothing_more(pool: SqlitePool) -> None:
    call = put(pool, make_sample(0))
    with pytest.raises(Mistake, match="expected an open call"):
        pool.record(call, 0, make_sample(0), Bill())
    open_call = claim(pool, [1]).call
    assert open_call is not None
    with pytest.raises(Mistake, match="indices of call"):
        pool.record(open_call, 2, make_sample(2), Bill())
    with pytest.raises(Mistake, match="expected a sample of"):
        pool.record(open_call, 1, make_sample(2), Bill())
    with pytest.raises(Mistake, match="expected the id of a run"):
        asyncio.run(pool.claim("nobody", STREAM, [0], RESERVE, True))
    with pytest.raises(Mistake, match="expected indices from 0"):
        claim(pool, [-1])


def test_a_cancelled_claim_holds_nothing(pool: SqlitePool) -> None:
    run = pool.start_run({"name": "a"})

    async def leave_early() -> None:
        asking = asyncio.create_task(pool.claim(run, STREAM, [0], RESERVE, True))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await pool.flush()

    asyncio.run(leave_early())
    asyncio.run(pool.flush())
    assert claim(pool, [0]).granted == (0,)


def test_many_threads_write_and_read_one_pool(pool: SqlitePool) -> None:
    def work(number: int) -> None:
        for i in range(number, 97, 5):
            put(pool, make_sample(i))
            assert i in pool.find(STREAM, [i])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pool.find(STREAM, range(97))) == 97


# --- notes and reports ---------------------------------------------------------------------------------


def test_notes_come_back(pool: SqlitePool) -> None:
    run = pool.start_run({"name": "a"})
    example = Example(Problem("p1", ({"role": "user", "content": "é?"},), "number", hints={"n": [1]}), 42, 3)
    question = Question(example.problem.messages, temperature=0.5, tools=({"name": "t"},))
    pool.add_problem("words", example)
    assert pool.add_question(question) == question.digest
    failures = {STREAM.at(4): Failure("transient", "429")}
    pool.keep_failures(run, "p1", failures)
    score = Score(0.5, True, (0.1, 0.2), "evidence")
    pool.add_scores("judge", "p1", {-5: Score(not_judged="timeout"), 7: score}, 0)
    pool.add_scores("judge", "p1", {-5: score, 7: Score(0.9)}, 0)
    pool.add_answer(run, "p1", "x", Answer("41", "41"), Verdict("incorrect"))
    pool.add_answer(run, "p1", "x", Answer("42", "42"), Verdict("correct"))
    with reopened(pool) as again:
        assert again.problem("p1") == example
        assert again.problem("p2") is None
        assert again.problems() == ["p1"]
        assert again.question(question.digest) == question
        assert again.kept_failures(run) == failures
        assert again.scores("judge", "p1", [-5, 7, 8], 0) == {-5: score, 7: score}
        assert again.scores("judge", "p1", [-5], 1) == {}
        assert [(r.id, r.identity) for r in again.runs()] == [(run, {"name": "a"})]
        (answer,) = again.answers(run)
        assert (answer.problem, answer.key, answer.outcome) == ("p1", "42", "correct")


def test_answer_uses_join_verdicts_and_samples(pool: SqlitePool) -> None:
    drawn = [make_sample(i, 4) for i in range(3)]
    put(pool, *drawn)
    run = pool.start_run({"name": "a"})
    text = text_digest(drawn[0].text)
    uses = [Use("p1", "generate", s.address, i, "answer", 4 - i, text) for i, s in enumerate(drawn)]
    pool.add_uses(run, [*uses, Use("p1", "judge", STREAM.at(0), 0, "judge", 4, 5)])
    pool.add_uses(run, uses)
    pool.add_verdicts("p1", {text: (Answer("8", "8"), Verdict("correct"))})
    rows = list(pool.answer_uses(run))
    assert [(r.problem, r.order, r.key, r.outcome, r.n_tokens) for r in rows] == [
        ("p1", i, "8", "correct", 4 - i) for i in range(3)
    ]
    # Figures are -.25, -.5, -.75, -1: the mean is over the tokens that were used.
    assert [r.mean_logprob for r in rows] == [-0.625, -0.5, -0.375]
    assert [r.text_length for r in rows] == [8, 8, 8]
    assert pool.samples_of("p1", 2) == [stored_precision(s) for s in drawn[:2]]
    assert pool.samples_of(STREAM.question) == [stored_precision(s) for s in drawn]
    info = pool.info()
    assert (info.models, info.counts["uses"], info.n_open_calls) == ({"embedded@1": 3}, 4, 0)
