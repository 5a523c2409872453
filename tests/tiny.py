"""Tiny random models as folders: sizes that share no factor where the architecture allows it, a byte-level tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SPECIALS = ("<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<think>", "</think>")
TEMPLATE = (
    "{{ '<|bos|>' }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|eos|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def config_json(**changes: Any) -> dict[str, Any]:
    """The ``config.json`` of a Llama of prime-ish sizes."""
    data = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 42,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 10,
        "intermediate_size": 53,
        "vocab_size": 101,
        "max_position_embeddings": 419,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e4,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
    }
    return data | changes


def random_weights(data: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Float32 weights under their Hugging Face names."""
    import torch

    g = torch.Generator().manual_seed(seed)
    hidden, inner, vocab = data["hidden_size"], data["intermediate_size"], data["vocab_size"]
    q, kv = (data[f"num_{n}_heads"] * data["head_dim"] for n in ("attention", "key_value"))
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (vocab, hidden), "model.norm": (hidden,)}
    if not data["tie_word_embeddings"]:
        shapes["lm_head"] = (vocab, hidden)
    for i in range(data["num_hidden_layers"]):
        layer = {"self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
                 "self_attn.o_proj": (hidden, q), "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
                 "mlp.down_proj": (hidden, inner), "input_layernorm": (hidden,),
                 "post_attention_layernorm": (hidden,)}  # fmt: skip
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    weights = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=g)
        scale = 4 * shape[-1] ** -0.5 if name == "model.embed_tokens" else shape[-1] ** -0.5
        weights[f"{name}.weight"] = 1 + 0.1 * noise if len(shape) == 1 else scale * noise
    return weights


def byte_tokenizer() -> Any:
    """Eight special tokens, then one token per byte."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = [*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIALS])
    return tokenizer


def write_folder(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A folder with a random bfloat16 model that ``LocalModel`` opens: vocabulary 264, context 419."""
    import torch
    from safetensors.torch import save_file

    data = config_json(vocab_size=264, eos_token_id=2, dtype="bfloat16", **changes)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: w.to(torch.bfloat16) for n, w in random_weights(data, seed).items()}, folder / "model.safetensors")
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<|bos|>", "eos_token": "<|eos|>", "chat_template": TEMPLATE, "vervet_dialect": "embedded"}
    (folder / "config.json").write_text(json.dumps(data))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
