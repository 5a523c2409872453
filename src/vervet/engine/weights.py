"""The weights of a local folder: which tensors a network has, and their reading, one by one, from safetensors.

One file, several, or the shards that ``model.safetensors.index.json`` lists. Names and shapes are compared with what the
config asks for before anything is read. Knows nothing of what the tensors are for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import Mistake
from .config import Config

_INDEX = "model.safetensors.index.json"
_LEFT_ASIDE = ("rotary_emb.inv_freq", "lm_head.weight")  # where not asked for: it follows from the config, or is tied
_DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "F16": torch.float32}  # every float16 number is a float32


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """The tensors of a network under their Hugging Face names.

    >>> from vervet.engine.config import Rope
    >>> tiny = Config(4, 8, 1, 2, 1, 2, 10, 64, Rope(), 1e-6, tied=True)
    >>> shapes(tiny)["model.layers.0.self_attn.k_proj.weight"]
    (2, 4)
    """
    c = config
    q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (c.hidden,),
        "self_attn.q_proj.weight": (q, c.hidden),
        "self_attn.k_proj.weight": (kv, c.hidden),
        "self_attn.v_proj.weight": (kv, c.hidden),
        "self_attn.o_proj.weight": (c.hidden, q),
        "post_attention_layernorm.weight": (c.hidden,),
        "mlp.gate_proj.weight": (c.inner, c.hidden),
        "mlp.up_proj.weight": (c.inner, c.hidden),
        "mlp.down_proj.weight": (c.hidden, c.inner),
    }
    if c.qkv_bias:
        layer |= {"self_attn.q_proj.bias": (q,), "self_attn.k_proj.bias": (kv,), "self_attn.v_proj.bias": (kv,)}
    if c.qk_norm:
        layer |= {"self_attn.q_norm.weight": (c.head_dim,), "self_attn.k_norm.weight": (c.head_dim,)}
    whole: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (c.vocab, c.hidden),
        "model.norm.weight": (c.hidden,),
    }
    if c.valued:
        whole["score.weight"] = (1, c.hidden)
    elif not c.tied:
        whole["lm_head.weight"] = (c.vocab, c.hidden)
    return whole | {f"model.layers.{i}.{name}": shape for i in range(c.layers) for name, shape in layer.items()}


class Weights(Mapping[str, Tensor]):
    """The tensors that ``config`` asks for, each read from its file when it is asked for; ``dtype`` as shipped.

    Raises ``Mistake`` where a file or a tensor is missing, has another shape or another kind of numbers, and where there is
    one more than the network has: what it is for would be left out in silence.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        expected = shapes(config)
        self._files = _files(folder)  # name to the open file
        if missing := [name for name in expected if name not in self._files]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            shape = expected[missing[0]]
            raise Mistake(f"expected {missing[0]} of shape {shape} in {folder}/*.safetensors, found none{more}")
        for name, (path, file) in self._files.items():
            self._check(name, expected.get(name), path, file)
        self._shapes = expected
        _, file = self._files["model.embed_tokens.weight"]
        self.dtype = _DTYPES[file.get_slice("model.embed_tokens.weight").get_dtype()]

    def _check(self, name: str, shape: tuple[int, ...] | None, path: Path, file: Any) -> None:
        found = file.get_slice(name)
        has = tuple(found.get_shape())
        if shape is None:
            if not name.endswith(_LEFT_ASIDE):
                raise Mistake(f"{path}: expected no tensor {name}, which the config does not ask for, found {has}")
        elif has != shape:
            raise Mistake(f"{path}: expected {name} of shape {shape}, found {has}")
        elif found.get_dtype() not in _DTYPES:
            raise Mistake(f"{path}: expected {name} as one of {tuple(_DTYPES)}, found {found.get_dtype()}")

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._shapes:
            raise KeyError(name)
        tensor: Tensor = self._files[name][1].get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def _files(folder: Path) -> dict[str, tuple[Path, Any]]:
    """Where each tensor lies: the file's path, and the open file."""
    from safetensors import safe_open

    found: dict[str, tuple[Path, Any]] = {}
    for path in _paths(folder):
        file: Any = safe_open(path, framework="pt")
        found |= dict.fromkeys(file.keys(), (path, file))
    return found


def _paths(folder: Path) -> list[Path]:
    """The files that the index lists, or all where there is no index."""
    if (folder / _INDEX).exists():
        listed = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"]
        paths = [folder / name for name in sorted(set(listed.values()))]
        if missing := [path.name for path in paths if not path.exists()]:
            raise Mistake(f"expected the files that {folder / _INDEX} lists, but {missing} are missing")
        return paths
    if not (paths := sorted(folder.glob("*.safetensors"))):
        raise Mistake(f"expected *.safetensors in {folder}, found none")
    return paths
