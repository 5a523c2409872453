"""The network: Llama-architecture decoders from a Hugging Face folder (config.json and safetensors).

RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied or untied embeddings; bfloat16 or float32. Knows
nothing of sampling, slots or queues: ``prefill`` runs one prompt alone, ``decode`` one token in each of many rows.

Limits: no rope scaling, no biases, CPU. Every reduction keeps its order whatever the other rows are: rows come in
multiples of ``ROWS`` and key lengths in multiples of ``BLOCK``, masked keys add exact zeros, and the last linear
layer runs in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import Mistake

ROWS = 16  # float32 products of 1 to 3 rows are summed in another order than those of more
BLOCK = 64  # key lengths are padded to multiples of this

Attend = Callable[
    [int, Tensor, Tensor, Tensor], Tensor
]  # (layer, q, k, v), each (n, heads, head_dim), to (n, heads * head_dim)


def round_up(n: int, multiple: int) -> int:
    """The least multiple that is not below ``n``.

    >>> round_up(65, 64)
    128
    """
    return -(-n // multiple) * multiple


@dataclass(frozen=True, slots=True)
class Config:
    """The sizes of a network; ``context`` is the most tokens of prompt and completion together."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    rope_theta: float
    eps: float
    tied: bool

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Config:
        """Read a ``config.json``. Raises ``Mistake`` for an architecture that is not run here."""
        rope: Mapping[str, Any] = data.get("rope_parameters") or data.get("rope_scaling") or {}
        refused = {
            "model_type": data.get("model_type") != "llama",
            "attention_bias": bool(data.get("attention_bias")),
            "mlp_bias": bool(data.get("mlp_bias")),
            "hidden_act": data.get("hidden_act", "silu") != "silu",
            "rope_scaling": rope.get("rope_type", rope.get("type", "default")) != "default",
        }
        for name, bad in refused.items():
            if bad:
                raise Mistake(f"expected a plain Llama model, but {name}={data.get(name)!r} is not supported")
        heads = int(data["num_attention_heads"])
        return cls(
            hidden=int(data["hidden_size"]),
            layers=int(data["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(data.get("num_key_value_heads") or heads),
            head_dim=int(data.get("head_dim") or data["hidden_size"] // heads),
            vocab=int(data["vocab_size"]),
            context=int(data["max_position_embeddings"]),
            rope_theta=float(rope.get("rope_theta") or data.get("rope_theta") or 10_000.0),
            eps=float(data.get("rms_norm_eps", 1e-6)),
            tied=bool(data.get("tie_word_embeddings", False)),
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one layer; those that share an input lie in one matrix."""

    attention_norm: Tensor  # (hidden)
    qkv: Tensor  # ((heads + 2 kv_heads) * head_dim, hidden)
    out: Tensor  # (hidden, heads * head_dim)
    mlp_norm: Tensor  # (hidden)
    gate_up: Tensor  # (2 * intermediate, hidden)
    down: Tensor  # (hidden, intermediate)

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor], i: int) -> Layer:
        """Layer ``i`` of the weights under their Hugging Face names."""

        def of(*names: str) -> Tensor:
            return torch.cat([weights[f"model.layers.{i}.{name}.weight"] for name in names]).contiguous()

        return cls(
            attention_norm=of("input_layernorm"),
            qkv=of("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            out=of("self_attn.o_proj"),
            mlp_norm=of("post_attention_layernorm"),
            gate_up=of("mlp.gate_proj", "mlp.up_proj"),
            down=of("mlp.down_proj"),
        )


@dataclass(frozen=True, slots=True)
class Prefilled:
    """A prompt that was run: its keys and values, and the logits of the token that comes next."""

    kv: Tensor  # (layers, 2, kv_heads, tokens, head_dim)
    logits: Tensor  # (vocab), float32


class Cache:
    """Keys and values of many rows; grows in length as they do, up to the context."""

    def __init__(self, config: Config, n_rows: int, dtype: torch.dtype) -> None:
        self._config, self._n_rows, self._dtype = config, n_rows, dtype
        self.kv = self._empty(2 * BLOCK)

    def _empty(self, length: int) -> Tensor:
        c = self._config
        return torch.zeros(c.layers, 2, self._n_rows, c.kv_heads, length, c.head_dim, dtype=self._dtype)

    def reserve(self, length: int) -> None:
        """Make room for ``length`` tokens in every row."""
        have = self.kv.shape[4]
        if length > have:
            most = round_up(self._config.context, BLOCK)
            grown = self._empty(min(most, max(2 * have, round_up(length, BLOCK))))
            grown[:, :, :, :, :have] = self.kv
            self.kv = grown

    def put(self, row: int, kv: Tensor) -> None:
        """Start a row with the keys and values of a prompt."""
        self.reserve(kv.shape[3])
        self.kv[:, :, row, :, : kv.shape[3]] = kv

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` tokens of one row over another row."""
        self.kv[:, :, target, :, :length] = self.kv[:, :, source, :, :length]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: ``x`` (n, heads, head_dim), ``cos`` and ``sin`` (n, 1, head_dim / 2), in float32."""
    left, right = x.float().chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1).to(x.dtype)


def attention(q: Tensor, k: Tensor, v: Tensor, ahead: Tensor) -> Tensor:
    """Attention of a few queries in each row, bit-equal whatever the other rows and the padding are.

    ``q`` (rows, kv_heads, queries, head_dim); ``k``, ``v`` (rows, kv_heads, length, head_dim); ``ahead``: keys that do not
    count. Keys are summed in blocks of ``BLOCK``, one block after another in float32, so that masked blocks add
    exact zeros; the library's fused kernel is faster, but its rows depend on how many rows there are.
    """
    n_blocks = k.shape[2] // BLOCK
    scores = torch.matmul(q, k.transpose(-1, -2)).float().mul_(q.shape[-1] ** -0.5)
    scores = scores.masked_fill_(ahead, float("-inf"))  # (rows, kv_heads, queries, length)
    weights = (scores - scores.amax(-1, keepdim=True)).exp_().view(*scores.shape[:-1], n_blocks, BLOCK)
    mass = weights.sum(-1)  # (rows, kv_heads, queries, n_blocks)
    values = v.view(*v.shape[:2], n_blocks, BLOCK, v.shape[-1])
    parts = torch.matmul(weights.to(v.dtype).transpose(2, 3), values)
    total, norm = parts[:, :, 0].float(), mass[..., 0]
    for block in range(1, n_blocks):
        total, norm = total + parts[:, :, block], norm + mass[..., block]
    return (total / norm[..., None]).to(q.dtype)


class Llama:
    """A network with its weights in ``dtype``. Its methods run without gradients and are for one thread at a time."""

    def __init__(self, config: Config, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        self.config, self.dtype = config, dtype
        weights = {name: w.to(dtype) for name, w in weights.items()}
        self._embed = weights["model.embed_tokens.weight"]  # (vocab, hidden)
        self._layers = [Layer.from_weights(weights, i) for i in range(config.layers)]
        self._norm = weights["model.norm.weight"]
        self._head = (self._embed if config.tied else weights["lm_head.weight"]).float()  # (vocab, hidden)
        half = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
        angles = torch.outer(torch.arange(config.context).float(), 1.0 / config.rope_theta**half)
        self._cos, self._sin = angles.cos()[:, None], angles.sin()[:, None]  # (context, 1, head_dim / 2)

    def _hidden(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """The last hidden states, (n, hidden), of ``n`` tokens at their positions."""
        c, n = self.config, len(ids)
        cos, sin = self._cos[positions], self._sin[positions]
        widths = [c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.head_dim]
        x = self._embed[ids]
        for i, layer in enumerate(self._layers):
            q, k, v = torch.split(F.linear(self._normed(x, layer.attention_norm), layer.qkv), widths, dim=-1)
            q = rotate(q.view(n, c.heads, c.head_dim), cos, sin)
            k = rotate(k.view(n, c.kv_heads, c.head_dim), cos, sin)
            x = x + F.linear(attend(i, q, k, v.view(n, c.kv_heads, c.head_dim)), layer.out)
            gate, up = F.linear(self._normed(x, layer.mlp_norm), layer.gate_up).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        return self._normed(x, self._norm)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (self.config.hidden,), weight, self.config.eps)

    def _all_hidden(self, ids: Sequence[int], kv: Tensor) -> Tensor:
        """Hidden states of a whole text, (tokens, hidden); its keys and values are written to ``kv``."""

        def attend(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            kv[i, 0], kv[i, 1] = k.transpose(0, 1), v.transpose(0, 1)  # (kv_heads, tokens, head_dim)
            q = q.transpose(0, 1)[None]
            o = F.scaled_dot_product_attention(q, kv[i, 0][None], kv[i, 1][None], is_causal=True, enable_gqa=True)
            return o[0].transpose(0, 1).reshape(len(ids), -1)

        return self._hidden(torch.tensor(ids), torch.arange(len(ids)), attend)

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        """Raw logits (tokens, vocab), float32, of a text that is run alone."""
        c = self.config
        kv = torch.empty(c.layers, 2, c.kv_heads, len(ids), c.head_dim, dtype=self.dtype)
        return F.linear(self._all_hidden(ids, kv).float(), self._head)

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int]) -> Prefilled:
        """Run a prompt of 1 to ``context`` tokens, always alone: a function of its ids only."""
        c = self.config
        kv = torch.empty(c.layers, 2, c.kv_heads, len(ids), c.head_dim, dtype=self.dtype)
        return Prefilled(kv, F.linear(self._all_hidden(ids, kv)[-1:].float(), self._head)[0])

    @torch.inference_mode()
    def decode(self, ids: Sequence[int], positions: Sequence[int], cache: Cache) -> Tensor:
        """Run one token in each of the first rows of the cache; raw logits (rows, vocab), float32.

        ``positions``: where each token stands in its row; the tokens before it are in the cache.
        """
        c, n = self.config, len(ids)
        padding = [0] * (round_up(n, ROWS) - n)  # they read and write position 0 of rows that nobody owns
        at = torch.tensor([*positions, *padding])
        rows, length = torch.arange(len(at)), round_up(max(positions) + 1, BLOCK)
        cache.reserve(length)
        ahead = (torch.arange(length) > at[:, None])[:, None, None]  # (rows, 1, 1, length)

        def attend(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = cache.kv[i, 0, : len(at)], cache.kv[i, 1, : len(at)]  # (rows, kv_heads, length, head_dim)
            keys[rows, :, at], values[rows, :, at] = k, v
            q = q.view(len(at), c.kv_heads, -1, c.head_dim)  # the heads of a group are the queries of its keys
            return attention(q, keys[:, :, :length], values[:, :, :length], ahead).reshape(len(at), -1)

        hidden = self._hidden(torch.tensor([*ids, *padding]), at, attend)
        return F.linear(hidden.float(), self._head)[:n]


def load(folder: str | Path, dtype: str | None = None) -> Llama:
    """A network from a local folder; ``dtype`` "bfloat16" or "float32", None as shipped.

    Raises ``Mistake`` where the folder lacks weights or holds another architecture.
    """
    import json

    from safetensors.torch import load_file

    folder = Path(folder)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise Mistake(f"expected *.safetensors in {folder}, found none")
    config = Config.from_json(json.loads((folder / "config.json").read_text()))
    weights = {name: w for file in files for name, w in load_file(file).items()}
    shipped = weights["model.embed_tokens.weight"].dtype
    return Llama(config, weights, shipped if dtype is None else getattr(torch, dtype))
