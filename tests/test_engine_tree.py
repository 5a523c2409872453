"""The tree of keys and values: shared attention agrees with its plain twin, forks change nothing, memory is conserved."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.local

from tests.test_engine import columns, fresh, prompts_of, random_llama, run, two_threads  # noqa: E402, F401
from vervet.engine import Engine, Llama, Sampling, Sequence  # noqa: E402
from vervet.engine import tree as tree_module  # noqa: E402
from vervet.engine.attention import PAGE, WIDE, Paths, Plan, Wide, piece, plain, shared  # noqa: E402
from vervet.errors import Mistake  # noqa: E402

# --- attention -------------------------------------------------------------------------------------------


def test_pieces_join_to_full_attention() -> None:
    # Juravsky et al., arXiv 2402.05099: softmax over parts of the keys, joined by their log-sum-exp
    q, k = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 0], [0, 1]], [[1, 1], [-1, 0]]])
    v = torch.tensor([[[1.0, 0], [0, 1]], [[2, 2], [3, -1]]])
    total, peak, mass = piece(q.expand(2, 1, 2), k, v)
    assert (total / mass[..., None])[:, 0].tolist() == pytest.approx(
        [pytest.approx([0.669762, 0.330238], abs=1e-6), pytest.approx([2.195570, 1.413289], abs=1e-6)]
    )
    assert (peak + mass.log())[:, 0].tolist() == pytest.approx([1.107940, 0.924729], abs=1e-6)
    keys, values = (torch.zeros(1, 2, PAGE, 2) for _ in "kv")
    keys[0, :, :2], values[0, :, :2] = k, v
    for pages in ([0, 1], [1, 0]):
        plan = Plan.of(Paths([], np.array([pages]), np.array([2, 2])))
        assert shared(q[:, None], keys, values, plan)[0].tolist() == pytest.approx([1.362974, 0.822295], abs=1e-6)


def random_tree(rng: random.Random, n_rows: int) -> tuple[Paths, int]:
    """Rows under nodes of one to four levels, of ragged lengths, some in wide pieces; some rows end at a node."""
    wide, fill = [], []
    narrow: list[list[int]] = [[] for _ in range(n_rows)]

    def node(rows: list[int], levels: int) -> None:
        n_wide = rng.choice([0, 0, 0, 1, 2])
        if n_wide:
            pages = torch.arange(len(fill), len(fill) + n_wide * WIDE // PAGE)
            wide.append(Wide(pages, torch.tensor(rows)))
            fill.extend([PAGE] * len(pages))
        for _ in range(rng.randint(0 if n_wide else 1, 3)):
            for row in rows:
                narrow[row].append(len(fill))
            fill.append(rng.randint(1, PAGE))
        while levels > 1 and rows:
            some, rows = rows[: (cut := rng.randint(1, len(rows)))], rows[cut:]
            if rng.random() < 0.9:  # else the suffix is empty
                node(some, levels - 1)

    node(list(range(n_rows)), rng.randint(1, 4))
    table = np.full((n_rows, max(1, max(map(len, narrow)))), -1, np.int64)
    for row, pages in enumerate(narrow):
        table[row, : len(pages)] = pages
    shuffled = np.array(rng.sample(range(n_rows), n_rows))
    moved = [Wide(w.pages, torch.from_numpy(np.argsort(shuffled)[w.rows.numpy()])) for w in wide]
    return Paths(moved, table[shuffled], np.array(fill, np.int64)), len(fill)


@pytest.mark.parametrize(("heads", "group", "dim"), [(1, 3, 64), (2, 1, 16), (3, 4, 32)])
def test_shared_attention_agrees_with_its_plain_twin(heads: int, group: int, dim: int) -> None:
    rng, g = random.Random(0), torch.Generator().manual_seed(0)
    for _ in range(15):
        n_rows = rng.randint(1, 70)
        paths, n_pages = random_tree(rng, n_rows)
        plan = Plan.of(paths)
        q = torch.randn(heads, n_rows, group, dim, generator=g) * 2
        k, v = torch.randn(2, heads, n_pages, PAGE, dim, generator=g)
        assert (shared(q, k, v, plan) - plain(q, k, v, plan)).abs().max() < 1e-5


@pytest.mark.parametrize(("heads", "group", "dim"), [(1, 3, 64), (2, 1, 16), (2, 4, 128)])
def test_shared_attention_of_a_row_does_not_depend_on_other_rows(heads: int, group: int, dim: int) -> None:
    rng, g = random.Random(1), torch.Generator().manual_seed(1)
    for _ in range(10):
        n_rows = rng.randint(2, 100)
        paths, n_pages = random_tree(rng, n_rows)
        q = (torch.randn(heads, n_rows, group, dim, generator=g) * 2).bfloat16()
        k, v = torch.randn(2, heads, n_pages, PAGE, dim, generator=g).bfloat16()
        want = shared(q, k, v, Plan.of(paths))
        for n_some in (1, rng.randint(1, n_rows), rng.randint(1, n_rows)):
            some = rng.sample(range(n_rows), n_some)
            place = {row: i for i, row in enumerate(some)}
            wide = [Wide(w.pages, torch.tensor([place[r] for r in w.rows.tolist() if r in place])) for w in paths.wide]
            fewer = Paths([w for w in wide if len(w.rows)], paths.table[some], paths.fill)
            assert torch.equal(shared(q[:, some], k, v, Plan.of(fewer)), want[some])


# --- samples ---------------------------------------------------------------------------------------------


def test_greedy_texts_are_those_of_plain_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    llama = random_llama(torch.float32, max_position_embeddings=1500)
    long = tuple(random.Random(2).randrange(101) for _ in range(1100))
    asked = [Sequence(p, 0, 90, Sampling(0)) for p in [*prompts_of(llama, 5, random.Random(3)), long, long[:700]]]
    ours = run(Engine(llama), (fresh(s) for s in asked))
    monkeypatch.setattr(tree_module, "shared", plain)
    theirs = run(Engine(llama), (fresh(s) for s in asked))
    assert [s.ids for s in ours] == [s.ids for s in theirs]
    assert (
        max(abs(a - b) for s, t in zip(ours, theirs, strict=True) for a, b in zip(s.logprob, t.logprob, strict=True))
        < 1e-4
    )


def test_samples_of_long_prompts_are_bit_equal_alone_and_in_company() -> None:
    llama, rng = random_llama(max_position_embeddings=1500), random.Random(4)
    long = tuple(rng.randrange(101) for _ in range(1200))
    prompts = [long, long[:512], long[:511], long[:600], *prompts_of(llama, 3, rng)]
    asked = [Sequence(rng.choice(prompts), i, rng.randint(1, 150)) for i in range(60)]
    alone = [columns(run(Engine(llama, 1), [fresh(s)])[0]) for s in asked[:12]]
    done = run(Engine(llama, 60), (fresh(s) for s in asked))
    assert [columns(s) for s in done[:12]] == alone


def test_forks_are_bit_equal_to_samples_that_run_alone_and_compute_nothing_again() -> None:
    llama = random_llama()
    for n_before in (1, 63, 64, 65, 130):
        engine, parent = Engine(llama, 40), Sequence((3, 1, 4), 99, 200)
        engine.add(parent)
        for _ in range(n_before):
            engine.step()
        known, before = tuple(parent.ids), engine.n_computed
        heirs = [Sequence((3, 1, 4), i, n_before + 30, known=known) for i in range(20)]
        shared_heirs = [fresh(s) for s in heirs]
        engine.fork(parent, shared_heirs)
        run(engine, [])
        engine.check()
        assert engine.n_computed - before == 20 * 29 + 199 - n_before  # the last token of each is not run
        assert [columns(s) for s in shared_heirs] == [columns(s) for s in run(Engine(llama), (fresh(s) for s in heirs))]
        assert columns(parent) == columns(run(Engine(llama), [fresh(parent)])[0])


def test_what_ended_and_was_kept_is_continued_without_computing_it_again() -> None:
    llama = random_llama()
    engine = Engine(llama, 8)
    (first,) = run(engine, [Sequence((7, 7), 5, 70, keep=True, top=3)])
    before, seen = engine.n_computed, []
    heirs = [
        Sequence((7, 7), i, 80, known=tuple(first.ids), top=2, watch=lambda s: seen.append(len(s.ids)) is not None)
        for i in range(3)
    ]
    run(engine, heirs)
    assert engine.n_computed - before == 3 * 10  # the last known token and nine of its own; the last is not run
    assert sorted(seen) == sorted(3 * list(range(1, 81)))  # each watch was asked once per token
    alone = run(Engine(llama), (fresh(s, likeliest=[], watch=None) for s in heirs))
    assert [(columns(s), s.likeliest) for s in heirs] == [(columns(s), s.likeliest) for s in alone]
    (other,) = run(engine, [Sequence((7, 7), 0, 71, known=tuple(first.ids), k=5)])  # other figures: run again
    assert columns(other) == columns(run(Engine(llama), [fresh(other)])[0])


def test_an_heir_may_end_within_what_it_shares() -> None:
    engine = Engine(random_llama(), 4)
    (first,) = run(engine, [Sequence((7,), 5, 40, keep=True)])
    short = Sequence((7,), 6, 10, known=tuple(first.ids))
    engine.add(short)
    assert engine.step() == [short] and short.ids == first.ids[:10] and not engine.busy
    engine.check()


# --- memory ----------------------------------------------------------------------------------------------


def test_samples_of_a_long_prompt_take_one_prefix_and_their_own_pages() -> None:
    engine = Engine(random_llama(max_position_embeddings=1500), 100)
    for i in range(100):
        engine.add(Sequence(tuple([5] * 1280), i, 40))
    for _ in range(20):
        engine.step()
    assert engine._cache.pages.n_used == 1280 // PAGE + 100
    run(engine, [])
    assert engine._cache.pages.n_used == 1280 // PAGE
    engine.check()


def test_a_sequence_that_can_never_fit_is_refused_with_the_numbers() -> None:
    engine = Engine(random_llama(), max_tokens_kept=256)
    with pytest.raises(Mistake, match=r"at most 256 tokens.* prompt of 130 with up to 66 more takes 5 pages"):
        engine.add(Sequence((1,) * 130, 0, 66))
    assert len(run(engine, [Sequence((1,) * 128, 0, 129)])[0].ids) == 129


def test_a_tight_memory_changes_no_sample() -> None:
    llama, rng = random_llama(), random.Random(5)
    prompts = prompts_of(llama, 9, rng)
    asked = [Sequence(rng.choice(prompts), i, rng.randint(1, 120)) for i in range(50)]
    free = run(Engine(llama, 50), (fresh(s) for s in asked))
    tight = run(Engine(llama, 50, max_tokens_kept=640), (fresh(s) for s in asked))
    assert [columns(s) for s in tight] == [columns(s) for s in free]


def hectic(engine: Engine, rng: random.Random, prompts: list[tuple[int, ...]]) -> Iterator[str]:
    """Random things that happen to an engine: one name each."""
    asked: list[Sequence] = []
    while True:
        live = engine._live
        what = rng.choices(["add", "fork", "cut", "step"], [2, 3, 1, 14])[0]
        if what == "add" and len(engine._waiting) < 4:
            known = tuple(rng.choice(asked).ids)[: rng.randint(0, 150)] if asked and rng.random() < 0.3 else ()
            s = Sequence(
                rng.choice(prompts), rng.getrandbits(64), rng.randint(1, 190), known=known, keep=rng.random() < 0.3
            )
            asked = [*asked[-20:], s]
            engine.add(s)
        elif what == "fork" and live and len(engine._waiting) < 4:
            s = rng.choice(live)
            known, n = tuple(s.ids), rng.randint(1, 5)
            engine.fork(s, [Sequence(s.prompt, i, rng.randint(1, 190), known=known) for i in range(n)])
        elif what == "cut" and live:
            engine.remove(rng.sample([*live, *engine._waiting], 1))
        else:
            done = engine.step()
            assert not engine.busy or live or done, "nothing runs, but something waits"
        yield what


def test_no_page_is_lost_in_10_000_admissions_forks_cuts_and_steps() -> None:
    llama: Llama = random_llama(hidden_size=16, num_hidden_layers=1, intermediate_size=16)
    engine, rng, n_shared = Engine(llama, 12, max_tokens_kept=24 * PAGE), random.Random(6), 0
    prompts = [tuple(rng.randrange(101) for _ in range(rng.choice([1, 30, 64, 65, 150]))) for _ in range(12)]
    for i, _ in zip(range(10_000), hectic(engine, rng, prompts), strict=False):
        engine.check()
        assert engine._cache.pages.n_used <= 24, i
        n_shared += int((engine._cache.pages.owners > 1).sum())
    assert n_shared > 100
    run(engine, [])
    engine.check()
    assert all(p.users == 0 for p in engine._prompts.values())
    while engine._forget(None, None):
        engine.check()
    assert engine._cache.pages.n_used == 0


def test_figures_of_other_kinds_are_not_shared() -> None:
    engine: Any = Engine(random_llama(), 4)
    run(engine, [Sequence((7,), 5, 40, keep=True, k=7)])
    (kept,) = engine._kept
    known = tuple(kept.sample.ids)
    assert kept.serves(Sequence((7,), 0, 50, known=known, k=7))
    for other in (Sequence((7,), 0, 50, known=known, k=8), Sequence((7,), 0, 50, known=known, k=7, top=1),
                  Sequence((8,), 0, 50, known=known, k=7), Sequence((7,), 0, 50, known=known[:20], k=7)):  # fmt: skip
        assert not kept.serves(other)
