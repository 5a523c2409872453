"""The engine: logits of a reference implementation, and samples that depend on nothing but their address."""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.local

from tests.tiny import config_json, random_weights  # noqa: E402
from vervet.engine import Config, Engine, Llama, Sampling, Sequence, load, uniform, uniforms  # noqa: E402
from vervet.engine.sampling import How, choose, figures, filtered  # noqa: E402
from vervet.errors import Mistake  # noqa: E402

EMBEDDED = Path(__file__).parent.parent / "src" / "vervet" / "models" / "embedded"
VOCAB = 101


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """As many as a local model's engine has: that its sums stay the same is promised for those alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def random_llama(dtype: torch.dtype = torch.bfloat16, seed: int = 0, **changes: Any) -> Llama:
    data = config_json(**changes)
    return Llama(Config.from_json(data), random_weights(data, seed), dtype)


def embedded_shape(dtype: torch.dtype = torch.bfloat16) -> Llama:
    """Random weights in the sizes of the model that is shipped."""
    return random_llama(dtype, hidden_size=192, num_hidden_layers=5, num_attention_heads=3, num_key_value_heads=1,
                        head_dim=64, intermediate_size=512, vocab_size=448, max_position_embeddings=1024)  # fmt: skip


def prompts_of(llama: Llama, n: int, rng: random.Random) -> list[tuple[int, ...]]:
    return [tuple(rng.randrange(llama.config.vocab) for _ in range(rng.randint(1, 90))) for _ in range(n)]


def run(engine: Engine, sequences: Iterable[Sequence]) -> list[Sequence]:
    sequences = list(sequences)
    for s in sequences:
        engine.add(s)
    while engine.busy:
        engine.step()
    return sequences


def columns(s: Sequence) -> tuple[list[float], ...]:
    return tuple(list(c) for c in (s.ids, s.logprob, s.topk, s.entropy))


# --- randomness ------------------------------------------------------------------------------------------


def test_uniforms_agree_with_their_plain_twin() -> None:
    rng = random.Random(0)
    seeds = [0, 1, (1 << 64) - 1, *(rng.getrandbits(64) for _ in range(500))]
    positions = [0, (1 << 31) - 1, 7, *(rng.randrange(5000) for _ in range(500))]
    assert uniforms(seeds, positions).tolist() == [uniform(s, p) for s, p in zip(seeds, positions, strict=True)]


def test_uniform_is_splitmix64() -> None:
    # the first outputs from seed 1234567 as published for the reference implementation
    assert [int(uniform(1234567, i) * 2**53) for i in range(2)] == [
        6457827717110365317 >> 11,
        3203168211198807973 >> 11,
    ]


def test_uniforms_are_uniform_over_seeds_and_over_positions() -> None:
    for u in (uniforms(list(range(20_000)), [3] * 20_000), uniforms([5] * 20_000, list(range(20_000)))):
        counts = np.histogram(u, 50, (0, 1))[0]
        assert ((counts - 400) ** 2 / 400).sum() < 97  # chi-squared of 49 degrees, p about 5e-5


def test_choice_follows_the_probabilities() -> None:
    logits = torch.tensor([[0.3, -1.1, 2.0, 0.3, -4.0]])
    n = 40_000
    ids = choose(logits.expand(n, 5), How.of([Sampling(temperature=0.7)] * n), uniforms(list(range(n)), [0] * n))
    want = (logits.double()[0] / 0.7).softmax(-1).numpy()
    got = np.bincount(ids.numpy(), minlength=5) / n
    assert (abs(got - want) < 4.5 * np.sqrt(want * (1 - want) / n)).all()


def test_masks() -> None:
    probs = torch.tensor([[0.1, 0.4, 0.3, 0.2]] * 5, dtype=torch.float64)
    how = [Sampling(top_k=2), Sampling(top_p=0.7), Sampling(top_p=0.71), Sampling(min_p=0.5), Sampling()]
    kept = (filtered(probs, How.of(how)) > 0).int().tolist()
    assert kept == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]


def test_temperature_zero_takes_the_lowest_of_equal_ids() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    assert choose(logits, How.of([Sampling(temperature=0)] * 2), np.array([0.99, 0.99])).tolist() == [1, 0]


@pytest.mark.parametrize("bad", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"top_k": 0}, {"min_p": 2}])
def test_sampling_out_of_range(bad: dict[str, Any]) -> None:
    with pytest.raises(Mistake, match=next(iter(bad))):
        Sampling(**bad)


def test_figures_against_their_definitions() -> None:
    logits = torch.randn(7, 31, generator=torch.Generator().manual_seed(1))
    ids, ks = torch.arange(7), [1, 2, 3, 5, 7, 11, 31]
    f, logp = figures(logits, ids, torch.tensor(ks)[:, None]), logits.double().log_softmax(-1)
    for row, k in enumerate(ks):
        assert f.logprob[row] == pytest.approx(float(logp[row, row]), abs=1e-5)
        assert f.topk[row] == pytest.approx(float(logp[row].sort(descending=True).values[:k].mean()), abs=1e-5)
        assert f.entropy[row] == pytest.approx(float(-(logp[row].exp() * logp[row]).sum()), abs=1e-5)


# --- the network -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tied", [True, False])
def test_logits_agree_with_transformers(tied: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(11)
    data = config_json(tie_word_embeddings=tied)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**data, initializer_range=0.3)).eval()
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path, "float32")
    ids = torch.randint(VOCAB, (1, 131))
    with torch.no_grad():
        want = theirs(ids).logits[0]
    assert (ours.logits(ids[0].tolist()) - want).abs().max() < 1e-4


@pytest.mark.filterwarnings("ignore")
def test_greedy_ids_of_the_embedded_model_agree_with_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    if not (EMBEDDED / "config.json").exists():
        pytest.skip("the embedded model is not here")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32).eval()
    ours, rng = load(EMBEDDED, "float32"), random.Random(2)
    prompts = prompts_of(ours, 50, rng)
    greedy = Sampling(temperature=0)
    done = run(Engine(ours), (Sequence(p, 0, 40, greedy, stop_ids=frozenset({2})) for p in prompts))
    for prompt, s in zip(prompts, done, strict=True):
        ids = torch.tensor([prompt])
        out = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)
        assert s.ids.tolist() == out[0, len(prompt) :].tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_decoding_agrees_with_running_the_whole_text(dtype: torch.dtype) -> None:
    llama = random_llama(dtype)
    for s in run(
        Engine(llama, slots=5), (Sequence(p, i, 150) for i, p in enumerate(prompts_of(llama, 7, random.Random(3))))
    ):
        whole = llama.logits([*s.prompt, *s.ids[:-1]])[len(s.prompt) - 1 :].log_softmax(-1)
        want = whole.gather(-1, torch.tensor(s.ids)[:, None])[:, 0]
        assert (torch.tensor(s.logprob) - want).abs().max() < (1e-4 if dtype == torch.float32 else 0.25)


@pytest.mark.parametrize(
    "changes", [{"model_type": "gemma2"}, {"attention_bias": True}, {"rope_scaling": {"rope_type": "llama3"}}]
)
def test_other_architectures_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Mistake, match=next(iter(changes))):
        Config.from_json(config_json(**changes))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config_json()))
    with pytest.raises(Mistake, match="safetensors"):
        load(tmp_path)


# --- a sample depends on nothing but its address ---------------------------------------------------------


@pytest.mark.parametrize("make", [random_llama, embedded_shape])
def test_samples_are_bit_equal_alone_and_in_any_company(make: Any) -> None:
    llama, rng = make(torch.bfloat16), random.Random(4)
    hows = [Sampling(), Sampling(0.6, 0.9), Sampling(1.3, top_k=11), Sampling(0), Sampling(min_p=0.05)]
    asked = [
        Sequence(
            rng.choice(prompts), rng.getrandbits(64), rng.randint(1, 50), rng.choice(hows), k=rng.choice([1, 5, 20])
        )
        for prompts in [prompts_of(llama, 13, rng)]
        for _ in range(30)
    ]
    alone = [columns(run(Engine(llama, 1), [fresh(s)])[0]) for s in asked]
    for slots in (2, 17, 256):
        order = rng.sample(range(len(asked)), len(asked))
        done = run(Engine(llama, slots), (fresh(asked[i]) for i in order))
        assert [columns(s) for s in done] == [alone[i] for i in order]
    disturbed(llama, asked, alone, rng)


def fresh(s: Sequence, **changes: Any) -> Sequence:
    """The same request, nothing drawn yet."""
    empty: dict[str, Any] = {name: array(getattr(s, name).typecode) for name in ("ids", "logprob", "topk", "entropy")}
    return replace(s, **(empty | {"likeliest": []} | changes))


def disturbed(llama: Llama, asked: list[Sequence], alone: list[Any], rng: random.Random) -> None:
    """Sequences join at random steps, and others that are thrown out at random steps change nothing."""
    engine, mine, noise, pending = Engine(llama, 37), [fresh(s) for s in asked], [], list(range(len(asked)))
    rng.shuffle(pending)
    while pending or engine.busy:
        for _ in range(min(len(pending), rng.randrange(4))):
            engine.add(mine[pending.pop()])
        if pending and rng.random() < 0.3:
            noise.append(Sequence(prompts_of(llama, 1, rng)[0], rng.getrandbits(64), 300))
            engine.add(noise[-1])
        if noise and rng.random() < 0.3:
            engine.remove([noise.pop(rng.randrange(len(noise)))])
        if not pending:
            engine.remove(noise)
        engine.step()
    assert [columns(s) for s in mine] == alone


@pytest.mark.parametrize("make", [random_llama, embedded_shape])
def test_cut_and_followed_later_is_bit_equal(make: Any) -> None:
    llama, rng = make(), random.Random(5)
    whole = run(Engine(llama, 64), (Sequence(p, i, 61) for i, p in enumerate(prompts_of(llama, 13, rng))))
    for cut in (1, 20, 60):
        first = run(Engine(llama, 7), (fresh(s, limit=cut) for s in whole))
        assert [s.ids.tolist() for s in first] == [s.ids[:cut].tolist() for s in whole]
        followed = run(Engine(llama, 11), (s.heir(s.seed, 61) for s in first))
        assert [columns(s) for s in followed] == [columns(s) for s in whole]
        retold = run(Engine(llama, 5), (fresh(s, limit=61, ids=s.ids[:]) for s in first))
        assert [columns(s) for s in retold] == [columns(s) for s in whole]


def test_threads_change_nothing_in_bfloat16() -> None:
    llama, before, seen = embedded_shape(), torch.get_num_threads(), []
    prompts = prompts_of(llama, 17, random.Random(6))
    try:
        for n_threads in (1, 2, 4):
            torch.set_num_threads(n_threads)
            seen.append([columns(s) for s in run(Engine(llama), (Sequence(p, i, 40) for i, p in enumerate(prompts)))])
    finally:
        torch.set_num_threads(before)
    assert seen[0] == seen[1] == seen[2]


def test_rows_of_every_batch_size_have_the_same_logits() -> None:
    llama = embedded_shape()
    prompt, want = prompts_of(llama, 1, random.Random(7))[0], None
    for n in (256, 255, 130, 64, 17, 5, 3, 2, 1):
        engine = Engine(llama, 256)
        for seed in range(n):
            engine.add(Sequence(prompt, seed, 9, Sampling(0)))
        engine.step()
        (logits,) = engine._logits
        want = logits if want is None else want
        assert torch.equal(logits, want[:n])


# --- joining, leaving, ending ----------------------------------------------------------------------------


def test_a_prompt_is_run_once_for_all_its_samples() -> None:
    engine = Engine(random_llama(), 5)
    for block in range(3):
        run(engine, (Sequence((1, 2, 3), 10 * block + i, 4) for i in range(13)))
    assert engine.n_computed == 3 + 39 * 3  # the last token of each is not run


def test_stop_ids_end_a_sequence_and_are_masked_before_min_tokens() -> None:
    llama, stops = random_llama(), frozenset(range(20))
    free = run(Engine(llama), (Sequence((5, 6), i, 60, stop_ids=stops) for i in range(50)))
    held = run(Engine(llama), (Sequence((5, 6), i, 60, stop_ids=stops, min_tokens=31) for i in range(50)))
    assert all(s.stopped and not stops & set(s.ids[:-1]) for s in free if len(s.ids) < 60)
    assert min(len(s.ids) for s in free) < 31 <= min(len(s.ids) for s in held) <= max(len(s.ids) for s in held)
    assert not any(stops & set(s.ids[:31]) for s in held)


def test_watch_ends_a_sequence_at_its_token() -> None:
    llama = random_llama()
    done = run(Engine(llama, 3), (Sequence((4,), i, 50, watch=lambda s: len(s.ids) == 17) for i in range(8)))
    assert {len(s.ids) for s in done} == {17}


def test_removing_what_waits_runs_or_has_ended() -> None:
    engine = Engine(random_llama(), 2)
    sequences = [Sequence((9, 8), i, 3 if i == 0 else 30) for i in range(4)]
    for s in sequences:
        engine.add(s)
    assert [len(engine.step()) for _ in range(3)] == [0, 0, 1]
    engine.remove(sequences)
    assert not engine.busy and engine.step() == []


def test_a_sequence_may_fill_the_context() -> None:
    llama = random_llama()
    prompt = tuple(i % VOCAB for i in range(400))
    (s,) = run(Engine(llama), [Sequence(prompt, 0, llama.config.context - 400)])
    assert s.length == llama.config.context == 419
