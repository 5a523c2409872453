"""Write a trained model as a Hugging Face folder: bf16 weights, configuration, tokenizer with its chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from training.chat import BOS, CHAT_TEMPLATE, EOS, PAD, SPECIALS
from training.model import Llama, Shape

CONTEXT: Final = 1024


def export(model: Llama, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the folder; an existing model card in it is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = {"bos": SPECIALS.index(BOS), "eos": SPECIALS.index(EOS), "pad": SPECIALS.index(PAD)}
    _write(folder / "config.json", model_config(model.shape, ids))
    _write(folder / "tokenizer_config.json", tokenizer_config())
    _write(folder / "special_tokens_map.json", {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD})
    _write(folder / "generation_config.json", {f"{name}_token_id": place for name, place in ids.items()})


def model_config(shape: Shape, ids: dict[str, int]) -> dict[str, Any]:
    """Give the configuration that `transformers` reads."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": ids["bos"],
        "eos_token_id": ids["eos"],
        "pad_token_id": ids["pad"],
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.feed_forward,
        "max_position_embeddings": CONTEXT,
        "mlp_bias": False,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "pretraining_tp": 1,
        "rms_norm_eps": shape.norm_eps,
        "rope_scaling": None,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": shape.vocabulary,
    }


def tokenizer_config() -> dict[str, Any]:
    """Give the tokenizer's configuration, the chat template with it."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "additional_special_tokens": [token for token in SPECIALS if token not in (BOS, EOS, PAD)],
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": CHAT_TEMPLATE,
        "vervet_dialect": "embedded",
    }


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n")
