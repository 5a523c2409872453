"""The shape of a local model, read from its folder without its packages."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import config_json
from vervet.errors import Mistake
from vervet.models import shape
from vervet.models.local import _weights_digest
from vervet.models.shape import shape_of
from vervet.scaling.cost import Shape

HERE = Path(shape.__file__).parent


def test_doctests() -> None:
    assert doctest.testmod(shape).failed == 0


def write(path: Path, tensors: dict[str, list[int]], metadata: bool = False) -> None:
    """A safetensors file that ends behind its header."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}} if metadata else {}
    header |= {name: {"dtype": "F32", "shape": of, "data_offsets": [0, 0]} for name, of in tensors.items()}
    data = json.dumps(header).encode()
    path.write_bytes(len(data).to_bytes(8, "little") + data)


def folder(tmp_path: Path, **config: Any) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config_json(**config)))
    return tmp_path


@pytest.mark.parametrize("name", ["embedded", "embedded-small"])
def test_the_shipped_models(name: str) -> None:
    config = json.loads((HERE / name / "config.json").read_text())
    found = shape_of(name)
    assert found is not None
    assert (found.layers, found.width, found.heads) == (
        config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"],
    )  # fmt: skip
    hidden, inner = found.width, config["intermediate_size"]
    layer = hidden * (2 * found.heads + 2 * found.kv_heads) * found.head_dim + 3 * hidden * inner + 2 * hidden
    assert config["tie_word_embeddings"]
    assert found.parameters == found.layers * layer + config["vocab_size"] * hidden + hidden
    digest = _weights_digest(HERE / name)
    assert shape_of(f"{name}@{digest}") == shape_of(f"{name}@{digest}+fp32") == found
    assert shape_of(f"{name}@00000000") is None


def test_a_folder_of_shards_counts_what_is_listed(tmp_path: Path) -> None:
    place = folder(tmp_path)
    write(place / "a.safetensors", {"x": [3, 5], "one": []}, metadata=True)
    write(place / "b.safetensors", {"y": [7], "layers.0.rotary_emb.inv_freq": [1000]})
    write(place / "stray.safetensors", {"z": [1000]})
    index = {"weight_map": {"x": "a.safetensors", "one": "a.safetensors", "y": "b.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    assert shape_of(f"local/{place}") == Shape(15 + 1 + 7, layers=3, width=42, heads=6, kv_heads=2, head_dim=10)
    (place / "b.safetensors").unlink()
    with pytest.raises(Mistake, match=r"b\.safetensors, found none"):
        shape_of(f"local/{place}")


def test_tied_embeddings_count_once(tmp_path: Path) -> None:
    tensors = {"model.embed_tokens.weight": [11, 3], "lm_head.weight": [11, 3]}
    write(tmp_path / "model.safetensors", tensors)
    for tied, parameters in ((True, 33), (False, 66)):
        found = shape_of(f"local/{folder(tmp_path, tie_word_embeddings=tied)}")
        assert found is not None and found.parameters == parameters


def test_what_an_older_config_leaves_out(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", {"x": [1]})
    found = shape_of(f"local/{folder(tmp_path, head_dim=None, num_key_value_heads=None)}")
    assert found is not None
    assert (found.kv_heads, found.head_dim) == (6, 7)


@pytest.mark.parametrize(
    "name", ["openai/gpt", "fake/iid?p=0.3", "litellm/x/y", "python/a.py:f", "alias", "local/", ""]
)
def test_other_models_have_no_known_shape(name: str) -> None:
    assert shape_of(name) is None


@pytest.mark.parametrize("config", [{"num_experts": 8}, {"quantization_config": {"bits": 4}}])
def test_where_parameters_are_not_what_a_token_costs_nothing_is_said(tmp_path: Path, config: dict[str, Any]) -> None:
    assert shape_of(f"local/{folder(tmp_path, **config)}") is None


@pytest.mark.parametrize(
    "data", [b"", b"\x05", (10).to_bytes(8, "little") + b'{"x":', (2).to_bytes(8, "little") + b"[]", b"\xff" * 64,
             (9).to_bytes(8, "little") + b'{"x": {}}'],
)  # fmt: skip
def test_a_broken_file_is_named(tmp_path: Path, data: bytes) -> None:
    (folder(tmp_path) / "model.safetensors").write_bytes(data)
    with pytest.raises(Mistake, match="no safetensors file"):
        shape_of(f"local/{tmp_path}")


def test_a_folder_that_lacks_something_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="expected a folder"):
        shape_of(f"local/{tmp_path / 'nowhere'}")
    with pytest.raises(Mistake, match=r"expected config\.json"):
        shape_of(f"local/{tmp_path}")
    with pytest.raises(Mistake, match=r"expected \*\.safetensors"):
        shape_of(f"local/{folder(tmp_path)}")
    with pytest.raises(Mistake, match="expected hidden_size"):
        shape_of(f"local/{folder(tmp_path, hidden_size='wide')}")
