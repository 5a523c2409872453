"""What a ``config.json`` says of a network: its sizes, and what its family adds to the plain decoder.

Three families are run: "llama" (Llama 2 and 3), "qwen2" (biases at queries, keys and values) and "qwen3" (normed
queries and keys). What is not run is refused by the name of its field. Knows no weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import Mistake

FAMILIES: Mapping[str, Mapping[str, bool]] = {"llama": {}, "qwen2": {"qkv_bias": True}, "qwen3": {"qk_norm": True}}
VALUED = ("ForSequenceClassification", "ForRewardModel")  # how architectures with a value head end
ROPES = ("default", "linear", "llama3")


def need(data: Mapping[str, Any], name: str, place: str = "config.json") -> Any:
    """A field that has no default. Raises ``Mistake`` where it is absent."""
    if data.get(name) is None:
        raise Mistake(f"expected {name} in {place}, found none")
    return data[name]


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions: the base ``theta``, and how a longer context stretches the wavelengths.

    "linear" makes all longer by ``factor``. "llama3" only those that turn fewer than ``low`` times in ``original``
    tokens, leaves those that turn more than ``high`` times, and blends between.
    """

    theta: float = 10_000.0
    kind: str = "default"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rope:
        """Read from a ``config.json``: ``rope_parameters``, or ``rope_theta`` and ``rope_scaling`` as in older files."""
        name = "rope_parameters" if data.get("rope_parameters") else "rope_scaling"
        rope: Mapping[str, Any] = data.get(name) or {}
        theta = float(rope.get("rope_theta") or data.get("rope_theta") or 10_000.0)
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in ROPES or rope.get("partial_rotary_factor", 1) != 1:
            raise Mistake(f"{name}={dict(rope)!r} is not supported; expected a type in {ROPES}, over whole heads")
        if kind == "default":
            return cls(theta)
        if kind == "linear":
            return cls(theta, kind, float(need(rope, "factor", name)))
        low, high = (float(need(rope, f"{end}_freq_factor", name)) for end in ("low", "high"))
        original = int(need(rope, "original_max_position_embeddings", name))
        return cls(theta, kind, float(need(rope, "factor", name)), low, high, original)

    def frequencies(self, head_dim: int) -> Tensor:
        """Radians per token, (head_dim / 2), float32."""
        plain = 1.0 / self.theta ** (torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim)
        if self.kind == "default":
            return plain
        if self.kind == "linear":
            return plain / self.factor
        turns = self.original * plain / (2 * math.pi)
        kept = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return plain * (kept + (1 - kept) / self.factor)


@dataclass(frozen=True, slots=True)
class Config:
    """The sizes of a network; ``context`` is the most tokens of prompt and completion together.

    ``inner``: the width between the halves of the last part of a layer. ``qkv_bias`` and ``qk_norm`` (per head) are
    what tells families apart. ``valued``: its head gives one value for a text, not logits.
    """

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    rope: Rope
    eps: float
    tied: bool
    qkv_bias: bool = False
    qk_norm: bool = False
    valued: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Config:
        """Read a ``config.json``. Raises ``Mistake`` for what is not run here, and for what is not said."""
        _refuse(data)
        heads = int(need(data, "num_attention_heads"))
        return cls(
            hidden=int(need(data, "hidden_size")),
            inner=int(need(data, "intermediate_size")),
            layers=int(need(data, "num_hidden_layers")),
            heads=heads,
            kv_heads=int(data.get("num_key_value_heads") or heads),
            head_dim=int(data.get("head_dim") or data["hidden_size"] // heads),
            vocab=int(need(data, "vocab_size")),
            context=int(need(data, "max_position_embeddings")),
            rope=Rope.from_json(data),
            eps=float(data.get("rms_norm_eps", 1e-6)),
            tied=bool(data.get("tie_word_embeddings", False)),
            valued=any(name.endswith(VALUED) for name in data.get("architectures") or ()),
            **FAMILIES[data["model_type"]],
        )


def _refuse(data: Mapping[str, Any]) -> None:
    """Raise ``Mistake`` for the first field that says something which is not run here."""
    layers, named = set(data.get("layer_types") or ()), data.get("architectures") or ()
    ends = ("ForCausalLM", *VALUED)
    wrong = {
        "model_type": (data.get("model_type") not in FAMILIES, f"one of {tuple(FAMILIES)}"),
        "architectures": (not all(name.endswith(ends) for name in named), f"names that end in {ends}"),
        "hidden_act": (data.get("hidden_act", "silu") != "silu", "'silu'"),
        "attention_bias": (bool(data.get("attention_bias")), "False (a qwen2 model has its biases without it)"),
        "mlp_bias": (bool(data.get("mlp_bias")), "False"),
        "use_sliding_window": (bool(data.get("use_sliding_window")), "False (full attention in every layer)"),
        "layer_types": (bool(layers - {"full_attention"}), "'full_attention' alone"),
        "num_experts": (bool(data.get("num_experts")), "none (a dense network)"),
        "num_local_experts": (bool(data.get("num_local_experts")), "none (a dense network)"),
        "partial_rotary_factor": (data.get("partial_rotary_factor", 1) != 1, "1"),
        "quantization_config": (bool(data.get("quantization_config")), "none (weights in bf16, fp16 or fp32)"),
    }
    for name, (bad, supported) in wrong.items():
        if bad:
            raise Mistake(f"{name}={data.get(name)!r} is not supported; expected {supported}")
