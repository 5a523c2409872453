"""The tree of keys and values: shared attention agrees with its plain twin, forks change nothing, memory is conserved."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.local

from tests.test_engine import columns, fresh, prompts_of, random_llama, run, two_threads  # noqa: E402, F401
from vervet.engine import Engine, Llama, Sampling, Sequence  # noqa: E402
from vervet.engine.attention import PAGE, WIDE, Keys, Plan, Wide, piece, plain, shared  # noqa: E402
from vervet.errors import Mistake  # noqa: E402

# --- attention -------------------------------------------------------------------------------------------


def test_pieces_join_to_full_attention() -> None:
    # Juravsky et al., arXiv 2402.05099: softmax over parts of the keys, joined by their log-sum-exp
    q, k = torch.tensor([[[1.0, 0.0]]]) / 2**0.5, torch.tensor([[[1.0, 0], [0, 1]], [[1, 1], [-1, 0]]])
    v = torch.tensor([[[1.0, 0], [0, 1]], [[2, 2], [3, -1]]])
    o, lse = piece(q.expand(2, 1, 2), k, v)
    assert o[:, 0].tolist() == pytest.approx(
        [pytest.approx([0.669762, 0.330238], abs=1e-6), pytest.approx([2.195570, 1.413289], abs=1e-6)]
    )
    assert lse[:, 0].tolist() == pytest.approx([1.107940, 0.924729], abs=1e-6)
    # the same through a page and a tail: what does not count is far from the rest
    keys, tails = (Keys(*torch.zeros(2, 1, 1, PAGE, 2)) for _ in "pt")
    tails.k[0, 0, :2], tails.v[0, 0, :2], bias = k[1], v[1], torch.full((1, 1, 1, PAGE), float("-inf"))
    bias[..., :2] = 0
    keys.k[0, 0], keys.v[0, 0] = k[0].repeat(PAGE // 2, 1), v[0].repeat(PAGE // 2, 1)
    got = shared(q[:, None], keys, tails, bias, Plan.of([], np.array([[0]])))[0]
    all_k, all_v = torch.cat([k[0]] * (PAGE // 2) + [k[1]]), torch.cat([v[0]] * (PAGE // 2) + [v[1]])
    assert got.tolist() == pytest.approx(((q[0] @ all_k.T).softmax(-1) @ all_v)[0].tolist(), abs=1e-6)


Rows = list[tuple[list[list[int]], list[int]]]  # of each row: its wide pieces, its other pages


def random_rows(rng: random.Random, n_rows: int) -> tuple[Rows, int]:
    """Rows under nodes of one to four levels, of ragged lengths, some in wide pieces; some rows end at a node."""
    rows: Rows = [([], []) for _ in range(n_rows)]
    n_pages = 0

    def node(some: list[int], levels: int, wide: bool) -> None:
        nonlocal n_pages
        for _ in range(rng.choice([0, 1, 2]) if wide else 0):
            at = rng.choice([0, 1]) + n_pages  # a gap makes the next piece one that does not follow in memory
            for row in some:
                rows[row][0].append(list(range(at, at + WIDE // PAGE)))
            n_pages = at + WIDE // PAGE
        wide = wide and rng.random() < 0.5
        for _ in range(0 if wide else rng.randint(0, 3)):
            for row in some:
                rows[row][1].append(n_pages)
            n_pages += 1
        while levels > 1 and some:
            first, some = some[: (cut := rng.randint(1, len(some)))], some[cut:]
            if rng.random() < 0.9:  # else the suffix is empty
                node(first, levels - 1, wide)

    node(rng.sample(range(n_rows), n_rows), rng.randint(1, 4), True)
    return rows, n_pages


def plan_of(rows: Rows) -> Plan:
    """The plan of some rows: wide pieces that begin at the root come first."""
    ends: dict[tuple[int, ...], list[int]] = {}
    for i, (wides, _) in enumerate(rows):
        for n in range(len(wides)):
            ends.setdefault(tuple(p for w in wides[: n + 1] for p in w), []).append(i)
    n_per = WIDE // PAGE
    ordered = sorted(ends.items(), key=lambda e: len(e[0]))
    wide = [Wide.of(path[-n_per:], None if len(some) == len(rows) else some) for path, some in ordered]
    table = np.full((len(rows), max((len(p) for _, p in rows), default=0)), -1, np.int64)
    for i, (_, pages) in enumerate(rows):
        table[i, : len(pages)] = pages
    return Plan.of(wide, table)


def random_work(
    rng: random.Random, g: Any, sizes: tuple[int, int, int], n_rows: int, dtype: torch.dtype
) -> tuple[Rows, torch.Tensor, Keys, Keys, torch.Tensor]:
    """Rows, their queries, keys and values in pages, their tails, and what of the tails does not count."""
    heads, group, dim = sizes
    rows, n_pages = random_rows(rng, n_rows)
    q = (torch.randn(n_rows, heads, group, dim, generator=g) * 2 / dim**0.5).to(dtype)
    keys = Keys(*torch.randn(2, heads, max(1, n_pages), PAGE, dim, generator=g).to(dtype))
    tails = Keys(*torch.randn(2, n_rows, heads, PAGE, dim, generator=g).to(dtype))
    ahead = torch.arange(PAGE) >= torch.tensor([rng.randint(1, PAGE) for _ in range(n_rows)])[:, None]
    return rows, q, keys, tails, torch.zeros(n_rows, PAGE).masked_fill_(ahead, float("-inf"))[:, None, None]


@pytest.mark.parametrize("sizes", [(1, 3, 64), (2, 1, 16), (3, 4, 32)])
def test_shared_attention_agrees_with_its_plain_twin(sizes: tuple[int, int, int]) -> None:
    rng, g = random.Random(0), torch.Generator().manual_seed(0)
    for _ in range(15):
        rows, q, keys, tails, bias = random_work(rng, g, sizes, rng.randint(1, 70), torch.float32)
        plan = plan_of(rows)
        assert [plan.pages(i) for i in range(len(rows))] == [
            [*(p for w in wides for p in w), *pages] for wides, pages in rows
        ]
        assert (shared(q, keys, tails, bias, plan) - plain(q, keys, tails, bias, plan)).abs().max() < 1e-5


@pytest.mark.parametrize("sizes", [(1, 3, 64), (2, 1, 16), (2, 4, 128)])
def test_shared_attention_of_a_row_does_not_depend_on_other_rows(sizes: tuple[int, int, int]) -> None:
    rng, g = random.Random(1), torch.Generator().manual_seed(1)
    for _ in range(10):
        n_rows = rng.randint(2, 100)
        rows, q, keys, tails, bias = random_work(rng, g, sizes, n_rows, torch.bfloat16)
        want = shared(q, keys, tails, bias, plan_of(rows))
        for n_some in (1, rng.randint(1, n_rows), rng.randint(1, n_rows)):
            some = rng.sample(range(n_rows), n_some)
            fewer = plan_of([rows[i] for i in some])
            assert torch.equal(shared(q[some], keys, Keys(*(t[some] for t in tails)), bias[some], fewer), want[some])


# --- samples ---------------------------------------------------------------------------------------------


def test_greedy_texts_are_those_of_plain_attention() -> None:
    llama = random_llama(torch.float32, max_position_embeddings=1500)
    long = tuple(random.Random(2).randrange(101) for _ in range(1100))
    asked = [Sequence(p, 0, 90, Sampling(0)) for p in [*prompts_of(llama, 5, random.Random(3)), long, long[:700]]]
    ours = run(Engine(llama), (fresh(s) for s in asked))
    theirs = run(Engine(llama, plain=True), (fresh(s) for s in asked))
    assert [s.ids for s in ours] == [s.ids for s in theirs]
    for s, t in zip(ours, theirs, strict=True):
        assert max(abs(a - b) for a, b in zip(s.logprob, t.logprob, strict=True)) < 1e-4


def test_samples_of_long_prompts_are_bit_equal_alone_and_in_company() -> None:
    llama, rng = random_llama(max_position_embeddings=1500), random.Random(4)
    long = tuple(rng.randrange(101) for _ in range(1200))
    prompts = [long, long[:512], long[:511], long[:600], *prompts_of(llama, 3, rng)]
    asked = [Sequence(rng.choice(prompts), i, rng.randint(1, 150)) for i in range(60)]
    alone = [columns(run(Engine(llama, 1), [fresh(s)])[0]) for s in asked[:12]]
    done = run(Engine(llama, 60), (fresh(s) for s in asked))
    assert [columns(s) for s in done[:12]] == alone


@pytest.mark.parametrize("n_prompt", [3, 128, 500, 700])
def test_what_was_drawn_is_bit_equal_when_it_is_run_as_known_text(n_prompt: int) -> None:
    llama, rng = random_llama(max_position_embeddings=2000), random.Random(n_prompt)
    prompt = tuple(rng.randrange(101) for _ in range(n_prompt))
    (whole,) = run(Engine(llama), [Sequence(prompt, 1, 900)])
    for n in (1, 125, 300, 899):
        first, untold = Sequence(prompt, 1, n), Sequence(prompt, 1, 900, ids=whole.ids[:n])
        run(Engine(llama), [first])
        run(Engine(llama, 3), [after := first.heir(1, 900), untold])  # without figures: they are worked out
        assert columns(after) == columns(untold) == columns(whole)


def test_forks_are_bit_equal_to_samples_that_run_alone_and_compute_nothing_again() -> None:
    llama = random_llama()
    for n_before in (1, 124, 125, 126, 190):
        engine, parent = Engine(llama, 40), Sequence((3, 1, 4), 99, 200)
        engine.add(parent)
        for _ in range(n_before):
            engine.step()
        before, heirs = engine.n_computed, [parent.heir(i, n_before + 30) for i in range(20)]
        alone = [replace(s, ids=s.ids[:], logprob=array("f"), topk=array("f"), entropy=array("f")) for s in heirs]
        engine.fork(parent, heirs)
        run(engine, [])
        engine.check()
        assert engine.n_computed - before == 20 * 29 + 199 - n_before  # the last token of each is not run
        assert [columns(s) for s in heirs] == [columns(s) for s in run(Engine(llama), alone)]
        assert columns(parent) == columns(run(Engine(llama), [fresh(parent)])[0])


def test_only_what_runs_can_be_forked() -> None:
    engine, waiting = Engine(random_llama(), 1), Sequence((7,), 5, 9)
    engine.add(waiting)
    with pytest.raises(Mistake, match="expected a sequence that runs"):
        engine.fork(waiting, [waiting.heir(0, 9)])
    run(engine, [])
    with pytest.raises(Mistake, match="expected a sequence that runs"):
        engine.fork(waiting, [waiting.heir(0, 9)])


def test_what_ended_and_was_kept_is_continued_without_computing_it_again() -> None:
    llama, seen = random_llama(), []
    engine = Engine(llama, 8)
    (first,) = run(engine, [Sequence((7, 7), 5, 70, keep=True)])
    before, heirs = engine.n_computed, [first.heir(i, 80) for i in range(3)]
    for s in heirs:
        s.watch = lambda s: seen.append(len(s.ids)) is not None
    run(engine, heirs)
    assert engine.n_computed - before == 1 + 3 * 9  # the last known token, and nine of each of its own
    assert sorted(seen) == sorted(3 * list(range(71, 81)))  # each watch was asked once per token that was drawn
    alone = [fresh(s, ids=first.ids[:], watch=None) for s in heirs]
    assert [columns(s) for s in heirs] == [columns(s) for s in run(Engine(llama), alone)]


def test_a_prompt_that_begins_with_what_is_in_memory_is_run_from_there() -> None:
    llama, rng = random_llama(), random.Random(8)
    long = tuple(rng.randrange(101) for _ in range(200))
    engine = Engine(llama, 4)
    first, second = Sequence(long[:150], 0, 5), Sequence(long, 0, 5)
    run(engine, [first])
    before = engine.n_computed
    run(engine, [second])
    assert engine.n_computed - before == 50 + 4  # from the end of the first prompt on
    other = Sequence((*long[:130], 1, 2, 3), 0, 5)
    before = engine.n_computed
    run(engine, [other])
    assert engine.n_computed - before == 5 + 4  # from the last page that is the same on
    for s in (second, other):
        assert columns(s) == columns(run(Engine(llama), [fresh(s)])[0])
    # an answer that was drawn is a part of the next prompt, as in a talk
    (answer,) = run(engine, [Sequence(long[:100], 3, 90, keep=True)])
    before = engine.n_computed
    talk = Sequence((*answer.prompt, *answer.ids, 9, 9), 4, 5)
    run(engine, [talk])
    assert engine.n_computed - before == 3 + 4
    assert columns(talk) == columns(run(Engine(llama), [fresh(talk)])[0])


def test_a_sequence_with_nothing_left_to_draw_ends_at_once() -> None:
    engine = Engine(random_llama(), 4)
    (first,) = run(engine, [Sequence((7,), 5, 40)])
    short = first.heir(6, 10)
    engine.add(short)
    assert engine.step() == [short] and short.ids == first.ids and not engine.busy
    engine.check()


# --- memory ----------------------------------------------------------------------------------------------


def test_samples_of_a_long_prompt_take_one_prefix_and_their_own_pages() -> None:
    engine = Engine(random_llama(max_position_embeddings=1500), 100)
    for i in range(100):
        engine.add(Sequence(tuple([5] * 1280), i, 140))
    for _ in range(135):
        engine.step()
    assert engine._tree.n_used == 1280 // PAGE + 100
    assert engine.bytes_used == (1280 // PAGE + 200) * engine._tree.pages[:, :, :, 0].nbytes
    run(engine, [])
    assert engine._tree.n_used == 1280 // PAGE
    engine.check()


def test_a_sequence_that_can_never_fit_is_refused_with_the_numbers() -> None:
    engine = Engine(random_llama(), 1, max_tokens_kept=512)
    with pytest.raises(
        Mistake, match=r"at most 3 pages of 128 tokens.* text of 258 tokens with up to 127 more takes 4"
    ):
        engine.add(Sequence((1,) * 258, 0, 127))
    assert len(run(engine, [Sequence((1,) * 256, 0, 128)])[0].ids) == 128
    with pytest.raises(Mistake, match=r"at most 419 tokens in all, the context, but got a prompt of 400 with up to 20"):
        engine.add(Sequence((1,) * 400, 0, 20))


def test_a_tight_memory_changes_no_sample() -> None:
    llama, rng = random_llama(), random.Random(5)
    prompts = prompts_of(llama, 9, rng)
    asked = [Sequence(rng.choice(prompts), i, rng.randint(1, 120)) for i in range(50)]
    free = run(Engine(llama, 50), (fresh(s) for s in asked))
    engine = Engine(llama, 50, max_tokens_kept=640)
    tight = run(engine, (fresh(s) for s in asked))
    assert [columns(s) for s in tight] == [columns(s) for s in free]
    assert engine._tree.pages.shape[3] + engine._tree.tails.shape[2] == 5


def hectic(engine: Engine, rng: random.Random, prompts: list[tuple[int, ...]]) -> Iterator[str]:
    """Random things that happen to an engine: one name each."""
    asked: list[Sequence] = []
    while True:
        live = engine._rows.live
        what = rng.choices(["add", "fork", "cut", "step"], [2, 3, 1, 14])[0]
        if what == "add" and len(engine._waiting) < 4:
            s = Sequence(rng.choice(prompts), rng.getrandbits(64), rng.randint(1, 190), keep=rng.random() < 0.3)
            if asked and rng.random() < 0.3:
                old = rng.choice(asked)
                s.prompt, s.ids = old.prompt, old.ids[: rng.randint(0, 150)]
            asked = [*asked[-20:], s]
            engine.add(s)
        elif what == "fork" and live and len(engine._waiting) < 4:
            s = rng.choice(live)
            engine.fork(s, [s.heir(i, rng.randint(1, 190)) for i in range(rng.randint(1, 5))])
        elif what == "cut" and live:
            engine.remove(rng.sample([*live, *engine._waiting], 1))
        else:
            done = engine.step()
            assert not engine.busy or live or done, "nothing runs, but something waits"
        yield what


def test_no_page_is_lost_in_10_000_admissions_forks_cuts_and_steps() -> None:
    llama: Llama = random_llama(hidden_size=16, num_hidden_layers=1, intermediate_size=16)
    engine, rng, n_shared = Engine(llama, 12, max_tokens_kept=30 * PAGE), random.Random(6), 0
    prompts = [tuple(rng.randrange(101) for _ in range(rng.choice([1, 30, 128, 129, 200]))) for _ in range(12)]
    for _ in zip(range(10_000), hectic(engine, rng, prompts), strict=False):
        engine.check()
        n_shared += sum(node.holders > 1 for node in engine._tree.nodes())
    assert n_shared > 100
    run(engine, [])
    engine.check()
    while engine._stems:
        engine._tree.drop(engine._stems.popitem()[1])
        engine.check()
    assert engine._tree.n_used == 0 and engine.bytes_used == 0
