"""The GGUF file says what the folder says: sizes, weights, tokens."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

gguf = pytest.importorskip("gguf", reason="needs the extra 'servers'")
pytest.importorskip("torch", reason="needs the extra 'local'")

from safetensors.torch import load_file  # noqa: E402

from training.gguf import BLANK, main  # noqa: E402
from training.make import MODELS  # noqa: E402

pytestmark = pytest.mark.local


@pytest.fixture(scope="module", params=["embedded", "embedded-small"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    out = tmp_path_factory.mktemp("gguf") / "model.gguf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gguf", str(out), "--model", request.param])
        main()
    return gguf.GGUFReader(out), MODELS / request.param


def field(reader: Any, name: str) -> Any:
    return reader.fields[name].contents()


def test_sizes_are_those_of_the_folder(written: tuple[Any, Path]) -> None:
    reader, folder = written
    config = json.loads((folder / "config.json").read_text())
    for name, key in {"context_length": "max_position_embeddings", "block_count": "num_hidden_layers",
                      "embedding_length": "hidden_size", "feed_forward_length": "intermediate_size",
                      "attention.head_count": "num_attention_heads", "rope.dimension_count": "head_dim",
                      "attention.head_count_kv": "num_key_value_heads", "rope.freq_base": "rope_theta"}.items():  # fmt: skip
        assert field(reader, f"llama.{name}") == config[key]
    assert field(reader, "tokenizer.ggml.eos_token_id") == config["eos_token_id"]


def test_no_weight_is_lost_and_rotary_pairs_lie_side_by_side(written: tuple[Any, Path]) -> None:
    reader, folder = written
    weights, tensors = load_file(folder / "model.safetensors"), {t.name: t.data for t in reader.tensors}
    assert len(tensors) == len(weights)
    assert "output.weight" not in tensors  # the embeddings are tied
    down = weights["model.layers.2.mlp.down_proj.weight"].float().numpy()
    assert (tensors["blk.2.ffn_down.weight"] == down).all()
    query = weights["model.layers.1.self_attn.q_proj.weight"].float().numpy()
    ours = tensors["blk.1.attn_q.weight"]
    for head in range(len(query) // 64):
        rows = [64 * head + i for i in range(64)]
        assert (ours[rows[0::2]] == query[rows[:32]]).all()
        assert (ours[rows[1::2]] == query[rows[32:]]).all()


def test_every_token_has_its_place_and_its_bytes(written: tuple[Any, Path]) -> None:
    reader, folder = written
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    tokens, kinds = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    assert len(tokens) == len(set(tokens)) == len(kinds) == len(vocab) == 448
    assert tokens[vocab["<|eos|>"]] == "<|eos|>"
    assert tokens[vocab["Ġ=Ġ"]] == f"{BLANK}={BLANK}"
    assert tokens[vocab["Ċ"]] == "\n"
    assert sum(kind == gguf.TokenType.BYTE for kind in kinds) == 256 - 96
    assert all(set(merge.split(" ")) <= set(tokens) for merge in field(reader, "tokenizer.ggml.merges"))
