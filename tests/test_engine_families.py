"""The families that the engine runs, against a reference implementation; and what it refuses, by name."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.local, pytest.mark.filterwarnings("ignore")]

from tests.tiny import config_json, random_weights  # noqa: E402
from vervet.engine import Config, Engine, Llama, Sampling, Sequence, load  # noqa: E402
from vervet.engine.config import Rope  # noqa: E402
from vervet.engine.weights import shapes  # noqa: E402
from vervet.errors import Mistake  # noqa: E402

VOCAB = 101
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}  # fmt: skip
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "llama without groups": {"num_key_value_heads": 6, "tie_word_embeddings": True},
    "llama3": {"rope_theta": 1e3, "rope_scaling": LLAMA3},
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 3.0}},
    "qwen2": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 60, "head_dim": None},
    "qwen2 tied": {"model_type": "qwen2", "tie_word_embeddings": True, "rope_theta": 1e6},
    "qwen3": {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "rope_theta": 1e6},
    "qwen3 tied": {"model_type": "qwen3", "tie_word_embeddings": True},
}
EACH_FAMILY = pytest.mark.parametrize("name", FAMILIES)


def data_of(name: str) -> dict[str, Any]:
    """The ``config.json`` of a tiny model."""
    return {k: v for k, v in config_json(**FAMILIES[name]).items() if v is not None}


def reference(name: str, folder: Path, kind: str = "CausalLM", **more: Any) -> Any:
    """A random model of the reference implementation, every weight and bias away from its start, saved."""
    transformers = pytest.importorskip("transformers")
    data = deepcopy({k: v for k, v in data_of(name).items() if k != "architectures"} | more)  # it writes into them
    family = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[data["model_type"]]
    theirs = getattr(transformers, f"{family}For{kind}")(getattr(transformers, f"{family}Config")(**data)).eval()
    g = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in theirs.parameters():
            noise = torch.randn(parameter.shape, generator=g)
            parameter.copy_(
                1.5 * noise * parameter.shape[-1] ** -0.5 if parameter.ndim == 2 else parameter + 0.2 * noise
            )
    theirs.save_pretrained(folder)
    return theirs


def ids_of(n: int, seed: int = 0) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(VOCAB) for _ in range(n)]


def run(engine: Engine, *sequences: Sequence) -> list[Sequence]:
    for s in sequences:
        engine.add(s)
    while engine.busy:
        engine.step()
    return list(sequences)


def random_family(name: str, dtype: torch.dtype) -> Llama:
    """A model of its own making, biases and norms included."""
    config = Config.from_json(data_of(name))
    g = torch.Generator().manual_seed(3)
    weights = {n: torch.randn(shape, generator=g) * shape[-1] ** -0.5 for n, shape in shapes(config).items()}
    return Llama(config, {n: w + 1 if n.endswith("norm.weight") else w for n, w in weights.items()}, dtype)


# --- agreement -------------------------------------------------------------------------------------------


@EACH_FAMILY
def test_logits_of_a_whole_text_and_of_each_step_agree_with_transformers(name: str, tmp_path: Path) -> None:
    theirs = reference(name, tmp_path)
    ours, ids = load(tmp_path, "float32"), ids_of(211)
    with torch.no_grad():
        want = theirs(torch.tensor([ids])).logits[0]
    assert want.std() > 0.5  # a flat model would agree with anything
    assert (ours.logits(ids) - want).abs().max() < 1e-4
    n_prompt = 67
    (s,) = run(Engine(ours, 3), Sequence(tuple(ids[:n_prompt]), 0, 144, top=VOCAB))
    got = torch.tensor([[logprob for _, logprob in sorted(step)] for step in s.likeliest])  # (steps, vocab)
    with torch.no_grad():
        want = theirs(torch.tensor([[*s.prompt, *s.ids]])).logits[0, n_prompt - 1 : -1]
    assert (got - want.log_softmax(-1)).abs().max() < 1e-4


@EACH_FAMILY
def test_greedy_ids_agree_with_transformers(name: str, tmp_path: Path) -> None:
    theirs = reference(name, tmp_path)
    prompts = [ids_of(n, seed=n) for n in (1, 2, 5, 64, 131)]
    asked = [Sequence(tuple(p), 0, 30, Sampling(temperature=0)) for p in prompts]
    for prompt, s in zip(prompts, run(Engine(load(tmp_path, "float32"), 7), *asked), strict=True):
        ids = torch.tensor([prompt])
        out = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False,
                              eos_token_id=None)  # fmt: skip
        assert s.ids.tolist() == out[0, len(prompt) :].tolist()


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_a_value_head_agrees_with_transformers(name: str, tmp_path: Path) -> None:
    theirs = reference(name, tmp_path, "SequenceClassification", num_labels=1)
    ours = load(tmp_path, "float32")
    assert ours.config.valued
    for n in (1, 2, 77):
        with torch.no_grad():
            want = theirs(torch.tensor([ids_of(n)])).logits
        assert want.shape == (1, 1)
        assert (ours.logits(ids_of(n))[-1:] - want).abs().max() < 1e-4


@EACH_FAMILY
def test_logprobs_of_a_text_are_those_of_its_logits(name: str) -> None:
    llama = random_family(name, torch.float32)
    for n in (1, 2, 257, 258, 300):
        ids = ids_of(n)
        want = llama.logits(ids).log_softmax(-1)[:-1].gather(-1, torch.tensor(ids)[1:, None])[:, 0]
        assert llama.logprobs(ids).shape == (n - 1,)
        assert torch.allclose(llama.logprobs(ids), want, atol=1e-5)


@EACH_FAMILY
def test_samples_are_bit_equal_alone_and_in_company(name: str) -> None:
    llama = random_family(name, torch.bfloat16)

    def asked() -> list[Sequence]:
        return [Sequence(tuple(ids_of(3 + 11 * (i % 5), seed=i % 5)), i, 5 + i, Sampling(0.8)) for i in range(29)]

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone = [run(Engine(llama, 1), s)[0] for s in asked()]
        together = run(Engine(llama, 23), *asked())
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone, together, strict=True):
        assert (one.ids, one.logprob, one.entropy) == (other.ids, other.logprob, other.entropy)


# --- folders ---------------------------------------------------------------------------------------------


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    theirs = reference("qwen3", tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 3
    (tmp_path / "many" / "notes.safetensors").write_bytes(b"not in the index")
    ids = ids_of(50)
    assert torch.equal(load(tmp_path / "one").logits(ids), load(tmp_path / "many").logits(ids))
    (tmp_path / "many" / shards[2]).unlink()
    with pytest.raises(Mistake, match=shards[2]):
        load(tmp_path / "many")


@pytest.mark.parametrize(
    ("shipped", "asked", "want"),
    [("float32", None, "float32"), ("bfloat16", None, "bfloat16"), ("float16", None, "float32"),
     ("float16", "bfloat16", "bfloat16"), ("bfloat16", "float32", "float32")],
)  # fmt: skip
def test_kinds_of_numbers(shipped: str, asked: str | None, want: str, tmp_path: Path) -> None:
    weights = {n: w.to(getattr(torch, shipped)) for n, w in random_weights(config_json()).items()}
    llama = load(written(tmp_path, config_json(), weights), asked)
    assert llama.dtype == getattr(torch, want)
    same = Llama(Config.from_json(config_json()), weights, llama.dtype)
    assert torch.equal(llama.logits(ids_of(31)), same.logits(ids_of(31)))


def written(folder: Path, data: Mapping[str, Any], weights: Mapping[str, Any]) -> Path:
    """A folder with a config and weights alone."""
    from safetensors.torch import save_file

    (folder / "config.json").write_text(json.dumps(data))
    save_file(dict(weights), folder / "model.safetensors")
    return folder


def test_tensors_that_are_missing_or_too_many_or_of_other_shapes_are_named(tmp_path: Path) -> None:
    name, data = "model.layers.1.self_attn.k_proj.weight", config_json()
    good = random_weights(data)
    for change, words in [
        ({name: None}, [name, r"\(20, 42\)", "found none", str(tmp_path)]),
        ({name: None, "lm_head.weight": None}, ["found none and 1 more"]),
        ({name: torch.zeros(20, 41)}, [name, r"\(20, 42\)", r"\(20, 41\)", "model.safetensors"]),
        ({name: torch.zeros(20, 42, dtype=torch.int8)}, [name, "I8", "F32", "model.safetensors"]),
        ({"model.layers.1.self_attn.k_proj.bias": torch.zeros(20)}, ["k_proj.bias", r"\(20,\)", "does not ask for"]),
    ]:
        weights = {n: w for n, w in (good | change).items() if w is not None}
        with pytest.raises(Mistake) as caught:
            load(written(tmp_path, data, weights))
        for word in words:
            caught.match(word)


def test_tensors_that_say_nothing_new_are_left_aside(tmp_path: Path) -> None:
    data = config_json(tie_word_embeddings=True)
    good = random_weights(data)
    more = {"lm_head.weight": torch.zeros(101, 42), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(5)}
    want = Llama(Config.from_json(data), good, torch.float32).logits(ids_of(9))
    assert torch.equal(load(written(tmp_path, data, good | more)).logits(ids_of(9)), want)


# --- config.json -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{"model_type": "gemma2"}, {"architectures": ["LlamaForTokenClassification"]}, {"hidden_act": "gelu"},
     {"attention_bias": True}, {"mlp_bias": True}, {"use_sliding_window": True}, {"num_experts": 8},
     {"layer_types": ["full_attention", "sliding_attention"]}, {"num_local_experts": 8}, {"partial_rotary_factor": 0.5},
     {"quantization_config": {"quant_method": "gptq"}}, {"rope_scaling": {"type": "yarn", "factor": 4.0}},
     {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4}}],
)  # fmt: skip
def test_what_is_not_run_is_refused_by_field_value_and_what_is(changes: dict[str, Any]) -> None:
    (name, value) = next(iter(changes.items()))
    with pytest.raises(Mistake, match=name) as caught:
        Config.from_json(config_json(**changes))
    assert repr(value) in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"])
def test_what_is_not_said_is_named(name: str) -> None:
    with pytest.raises(Mistake, match=f"expected {name} in config.json, found none"):
        Config.from_json(config_json(**{name: None}))


def test_rope_of_older_and_newer_files() -> None:
    old = {"rope_theta": 5e5, "rope_scaling": LLAMA3}
    new = {"rope_theta": None, "rope_parameters": {"rope_theta": 5e5, **LLAMA3}}
    oldest = {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}}
    assert Rope.from_json(old) == Rope.from_json(new) == Rope(5e5, "llama3", 8.0, 1.0, 4.0, 64)
    assert Rope.from_json(oldest) == Rope(5e5, "linear", 2.0)
    assert Rope.from_json({"rope_scaling": None}) == Rope()
    with pytest.raises(Mistake, match="high_freq_factor in rope_scaling"):
        Rope.from_json({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}})


def test_llama3_frequencies_by_hand() -> None:
    plain, ours = Rope(1e3).frequencies(10), Rope(1e3, "llama3", 8.0, 1.0, 4.0, 64).frequencies(10)
    turns = 64 * plain / (2 * torch.pi)  # 10.2, 2.56, 0.64, 0.16, 0.04
    blend = (turns[1] - 1) / 3
    want = [plain[0], plain[1] * (blend + (1 - blend) / 8), *(plain[2:] / 8)]
    assert torch.allclose(ours, torch.stack(want), rtol=1e-6)
