"""The sizes of a model on this machine, read from its folder without its packages: what a token of it costs."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

from ..errors import Mistake
from ..scaling.cost import Shape
from . import EMBEDDED
from .text import read_json

_HERE = Path(__file__).parent
_INDEX = "model.safetensors.index.json"
_MAX_HEADER_BYTES = 100_000_000  # of the format
_OTHER = ("num_experts", "num_local_experts", "quantization_config")  # a token does not use what is counted there


def shape_of(name: str) -> Shape | None:
    """The shape of ``embedded``, ``embedded-small`` or ``local/PATH``, as ``models.load`` takes them; None for the others.

    A shipped model may go on with the digest of its weights, as pools name it (``embedded@1a2b3c4d``): None where these are
    other weights than are shipped now. None too for a mixture of experts and for quantized weights. ``parameters`` are those
    of the safetensors headers, tied ones once. Raises ``Mistake`` for a folder that lacks a size, or whose files are broken.

    >>> shape_of("embedded").heads, shape_of("openai/some-model")
    (3, None)
    """
    kind, _, rest = name.partition("/")
    shipped, at, revision = name.partition("@")
    if kind == "local" and rest:
        return _of_folder(Path(rest))
    if shipped in EMBEDDED and (not at or _is_shipped(_HERE / shipped, revision)):
        return _of_folder(_HERE / shipped)
    return None


def _is_shipped(folder: Path, revision: str) -> bool:
    from .local import _weights_digest

    return revision.partition("+")[0] == _weights_digest(folder)


def _of_folder(folder: Path) -> Shape | None:
    if not folder.is_dir():
        raise Mistake(f"expected a folder with a model, but {folder} is none")
    config = read_json(folder, "config.json")
    if any(config.get(name) for name in _OTHER):
        return None
    heads, width = _size(config, "num_attention_heads"), _size(config, "hidden_size")
    return Shape(
        parameters=_parameters(folder, tied=bool(config.get("tie_word_embeddings", False))),
        layers=_size(config, "num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=_size(config, "num_key_value_heads", heads),
        head_dim=_size(config, "head_dim", width // heads),
    )


def _size(config: dict[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name) or default
    if not isinstance(value, int) or value < 1:
        raise Mistake(f"expected {name} in config.json as a whole number above 0, found {config.get(name)!r}")
    return value


def _parameters(folder: Path, tied: bool) -> int:
    """The numbers in all tensors that are learned."""
    sizes: dict[str, int] = {}
    for path in _files(folder):
        header = _header(path)
        try:
            sizes |= {name: prod(of["shape"]) for name, of in header.items() if name != "__metadata__"}
        except (KeyError, TypeError) as error:
            raise Mistake(f"{path} is no safetensors file: a tensor in its header has no shape") from error
    left_out = ("rotary_emb.inv_freq", *(("lm_head.weight",) if tied else ()))
    return sum(size for name, size in sizes.items() if not name.endswith(left_out))


def _files(folder: Path) -> list[Path]:
    """The files that the index lists, or all where there is no index."""
    listed = read_json(folder, _INDEX, {}).get("weight_map")
    files = sorted({folder / name for name in listed.values()} if listed else folder.glob("*.safetensors"))
    if not files:
        raise Mistake(f"expected *.safetensors in {folder}, found none")
    return files


def _header(path: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors: JSON behind its length in 8 bytes, lowest first."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= _MAX_HEADER_BYTES else None
    except FileNotFoundError:
        raise Mistake(f"expected the weights in {path}, found none") from None
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise Mistake(f"{path} is no safetensors file: its header cannot be read")
    return header
