"""The shipped models keep the formats that every sample depends on, and load where they should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

tokenizers = pytest.importorskip("tokenizers", reason="needs the extra 'local'")
safetensors = pytest.importorskip("safetensors", reason="needs the extra 'local'")

FOLDER = Path(__file__).parents[2] / "src" / "vervet" / "models"
SHIPPED = ["embedded", "embedded-small"]


@pytest.mark.parametrize("name", SHIPPED)
def test_special_tokens_context_and_size_are_as_promised(name: str) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / name / "tokenizer.json"))
    first = ["<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<think>", "</think>"]
    assert [tokenizer.id_to_token(place) for place in range(8)] == first
    assert [tokenizer.id_to_token(8 + role) for role in range(32)] == [f"<|role_{role}|>" for role in range(32)]
    assert tokenizer.get_vocab_size() == 448
    text = "Ann: 12 + 3 = 15\nnaïve 日本"
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    config = json.loads((FOLDER / name / "config.json").read_text())
    assert config["max_position_embeddings"] >= 1024
    assert (config["pad_token_id"], config["bos_token_id"], config["eos_token_id"]) == (0, 1, 2)


def test_both_models_have_one_tokenizer_and_all_checkpoints_stay_small() -> None:
    one, other = ((FOLDER / name / "tokenizer.json").read_bytes() for name in SHIPPED)
    assert one == other
    assert sum(path.stat().st_size for path in FOLDER.glob("*/model.safetensors")) < 12 * 2**20


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_are_bf16_finite_and_as_many_as_the_card_says(name: str) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra 'local'")
    load_file = pytest.importorskip("safetensors.torch").load_file
    weights = load_file(FOLDER / name / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    assert (
        f"{sum(weight.numel() for weight in weights.values()):,} parameters"
        in (FOLDER / name / "README.md").read_text()
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_transformers_loads_the_folder_and_its_chat_template(name: str) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra 'dev'")
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER / name)
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|bos|><|user|>a<|assistant|>b<|eos|><|user|>c<|assistant|>"
    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER / name)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert model(ids).logits.shape == (1, ids.shape[1], 448)
