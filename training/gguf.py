"""Write a shipped model as GGUF, so that llama.cpp runs it.

python -m training.gguf OUT.gguf [--model embedded]

The weights are widened to F32, so nothing is lost; ``write_gguf`` can also leave the matrices in BF16. llama.cpp knows no
pre-tokenizer of ours. The nearest one is that of "gemma4": it splits at newlines alone, takes a blank as U+2581 and falls
back to `<0xXX>` for other characters, so the tokens are written in that spelling. Its token ids differ from ours only
where a merge may begin with a blank that ours gives to what stands before it (`? has`, two blanks before a word, `3+ 4`),
and for the character U+2581 itself.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final, Literal

from safetensors.torch import load_file
from torch import Tensor

from training.chat import END_THINK, THINK
from training.make import MODELS, PLANS

BLANK: Final = "\u2581"
# Tokens that are taken out before merging: `/,` is one token wherever it stands, but `, ` would be merged first.
TAKEN_FIRST: Final = ("/,",)
TENSORS: Final = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def write_gguf(folder: Path, out: Path, dtype: Literal["F32", "BF16"] = "F32") -> None:
    """Write the model of a Hugging Face folder (Llama architecture, tied embeddings, our tokenizer).

    ``dtype``: of the matrices; vectors are F32 always.
    """
    import gguf

    config = _json(folder, "config.json")
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name(folder.name)
    kind = gguf.GGMLQuantizationType[dtype]
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if dtype == "F32" else gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    _add_tokenizer(writer, folder, config)
    for name, weight in load_file(folder / "model.safetensors").items():
        name, values = _tensor(name, weight.float(), config)
        own = kind if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(values, own), raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensor(name: str, weight: Tensor, config: dict[str, Any]) -> tuple[str, Any]:
    """A weight under the name and in the order that llama.cpp wants: rotary pairs lie side by side there."""
    if not name.startswith("model.layers."):
        ours = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
        return ours[name], weight.numpy()
    _, _, layer, part = name.removesuffix(".weight").split(".", 3)
    heads = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}
    if part in heads:
        halves = weight.view(config[heads[part]], 2, config["head_dim"] // 2, -1)
        weight = halves.transpose(1, 2).reshape(weight.shape)
    return f"blk.{layer}.{TENSORS[part]}.weight", weight.contiguous().numpy()


def _add_tokenizer(writer: Any, folder: Path, config: dict[str, Any]) -> None:
    from gguf import TokenType
    from tokenizers import pre_tokenizers

    raw, settings = _json(folder, "tokenizer.json"), _json(folder, "tokenizer_config.json")
    special = {token["content"] for token in raw["added_tokens"]}
    bytes_of = {_spelled(bytes([b]), pre_tokenizers): b for b in range(256)}
    tokens, kinds = [], []
    for token, _ in sorted(raw["model"]["vocab"].items(), key=lambda item: item[1]):
        if token in special:
            tokens.append(token)  # thinking marks are shown, so that a client can tell reasoning from text
            kinds.append(TokenType.USER_DEFINED if token in (THINK, END_THINK) else TokenType.CONTROL)
        elif token in bytes_of and not (bytes_of[token] == 10 or 32 <= bytes_of[token] < 127):
            tokens.append(f"<0x{bytes_of[token]:02X}>")
            kinds.append(TokenType.BYTE)
        else:
            tokens.append(_respelled(token, bytes_of))
            kinds.append(TokenType.USER_DEFINED if token in TAKEN_FIRST else TokenType.NORMAL)
    writer.add_tokenizer_model("gemma4")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(_respelled(t, bytes_of) for t in pair) for pair in raw["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(settings["chat_template"])


def _spelled(data: bytes, pre_tokenizers: Any) -> str:
    """How byte-level BPE writes bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = [b for b in range(256) if chr(b) in alphabet]
    others = iter(range(256, 512))
    table = {b: chr(b) if b in plain else chr(next(others)) for b in range(256)}
    return "".join(table[b] for b in data)


def _respelled(token: str, bytes_of: dict[str, int]) -> str:
    """The text of a token that holds ASCII alone, its blanks written as U+2581."""
    return bytes(bytes_of[c] for c in token).decode("ascii").replace(" ", BLANK)


def _json(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def main() -> None:
    """Write OUT and say how large it is."""
    parser = argparse.ArgumentParser(prog="python -m training.gguf", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=list(PLANS), default="embedded")
    options = parser.parse_args()
    write_gguf(MODELS / options.model, options.out)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
