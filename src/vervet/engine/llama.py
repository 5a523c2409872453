"""The network: Llama, Qwen2 and Qwen3 decoders from a Hugging Face folder (config.json and safetensors).

RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied or untied embeddings; bfloat16 or float32. Families
differ by what their ``Config`` says, not by code of their own. Knows nothing of sampling, memory, slots or queues:
where keys and values lie is the affair of the ``attend`` that it is given.

Every reduction keeps its order whatever the other rows are: matrices see to that (``matrix``), keys are summed in
pieces that the row alone decides (``attention``), and the last linear layer runs in float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import Attend
from .config import Config
from .matrix import Matrix
from .weights import Weights

SPAN = 256  # tokens whose logits are in memory at once where a whole text is rated


def round_up(n: int, multiple: int) -> int:
    """The least multiple that is not below ``n``.

    >>> round_up(65, 64)
    128
    """
    return -(-n // multiple) * multiple


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one layer; those that share an input lie in one matrix."""

    attention_norm: Tensor  # (hidden), float32 as all norms
    qkv: Matrix  # ((heads + 2 kv_heads) * head_dim, hidden)
    out: Matrix  # (hidden, heads * head_dim)
    mlp_norm: Tensor  # (hidden)
    gate_up: Matrix  # (2 * inner, hidden)
    down: Matrix  # (hidden, inner)
    q_norm: Tensor | None  # (head_dim)
    k_norm: Tensor | None  # (head_dim)

    @classmethod
    def from_weights(
        cls, config: Config, weights: Mapping[str, Tensor], i: int, dtype: torch.dtype, device: torch.device | str
    ) -> Layer:
        """Layer ``i`` of the weights under their Hugging Face names."""

        def of(*names: str, kind: str = "weight") -> Tensor:
            parts = [weights[f"model.layers.{i}.{name}.{kind}"].to(device, dtype) for name in names]
            return torch.cat(parts).contiguous()

        qkv = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        return cls(
            attention_norm=of("input_layernorm").float(),
            qkv=Matrix(of(*qkv), of(*qkv, kind="bias") if config.qkv_bias else None),
            out=Matrix(of("self_attn.o_proj")),
            mlp_norm=of("post_attention_layernorm").float(),
            gate_up=Matrix(of("mlp.gate_proj", "mlp.up_proj")),
            down=Matrix(of("mlp.down_proj")),
            q_norm=of("self_attn.q_norm").float() if config.qk_norm else None,
            k_norm=of("self_attn.k_norm").float() if config.qk_norm else None,
        )


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: ``x`` (n, heads, head_dim); ``cos`` and ``sin`` (n, heads or 1, head_dim), float32, the first half
    of ``sin`` negated, as it turns the second half of ``x``.
    """
    turned = x * cos
    return turned.addcmul_(x.roll(x.shape[-1] // 2, -1), sin).to(x.dtype)


class Llama:
    """A network with its weights in ``dtype``. Its methods run without gradients and are for one thread at a time."""

    def __init__(
        self, config: Config, weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.dtype, self.device = config, dtype, device
        self._embed = weights["model.embed_tokens.weight"].to(device, dtype)  # (vocab, hidden)
        self._layers = [Layer.from_weights(config, weights, i, dtype, device) for i in range(config.layers)]
        self._norm = weights["model.norm.weight"].to(device, dtype).float()
        self._eps = torch.tensor(config.eps, device=device)
        head = "score.weight" if config.valued else "model.embed_tokens.weight" if config.tied else "lm_head.weight"
        self._head = Matrix(weights[head].to(device, dtype).float())  # (vocab, hidden), or (1, hidden) for a value
        angles = torch.outer(torch.arange(config.context).float(), config.rope.frequencies(config.head_dim))
        cos, sin = angles.cos(), angles.sin()
        turns = torch.stack((torch.cat((cos, cos), 1), torch.cat((-sin, sin), 1)))
        self._turns = turns[:, :, None].to(device)  # (2, context, 1, head_dim)
        scales = [config.head_dim**-0.5] * config.heads + [1.0] * config.kv_heads  # queries come scaled
        self._scales = torch.tensor(scales, device=device)[:, None]

    @torch.inference_mode()
    def hidden(self, ids: Sequence[int], positions: Sequence[int], attend: Attend) -> Tensor:
        """The last hidden states (n, hidden) of ``n`` tokens at their positions.

        ``attend`` gets queries that are scaled, and keys and values that are to be kept.
        """
        c, n = self.config, len(ids)
        turns = self._turns[:, torch.tensor(positions, device=self.device)]
        turns = turns * self._scales  # (2, rows, heads + kv_heads, head_dim)
        x = self._embed[torch.tensor(ids, device=self.device)]
        for i, layer in enumerate(self._layers):
            qkv = layer.qkv(self._normed(x, layer.attention_norm)).view(n, -1, c.head_dim)
            qk, v = qkv[:, : -c.kv_heads], qkv[:, -c.kv_heads :]
            if layer.q_norm is not None and layer.k_norm is not None:
                q, k = self._normed(qk[:, : c.heads], layer.q_norm), self._normed(qk[:, c.heads :], layer.k_norm)
                qk = torch.cat((q, k), 1)
            qk = rotate(qk, *turns)
            x += layer.out(attend(i, qk[:, : c.heads], qk[:, c.heads :], v))
            gate, up = layer.gate_up(self._normed(x, layer.mlp_norm)).chunk(2, dim=-1)
            x += layer.down(F.silu(gate).mul_(up))
        return self._normed(x, self._norm)

    @torch.inference_mode()
    def try_layer(self, n: int) -> None:
        """Run the products of the first layer on ``n`` rows, for somebody who measures."""
        layer, x = self._layers[0], self._embed[torch.zeros(n, dtype=torch.int64, device=self.device)]
        layer.qkv(x)
        gate, up = layer.gate_up(x).chunk(2, dim=-1)
        layer.down(F.silu(gate) * up)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMSNorm over the last dimension, in float32; ``weight`` float32."""
        exact = x.float()
        size = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
        scale = torch.addcmul(self._eps, size, size, value=1 / x.shape[-1]).rsqrt_()
        return (exact * scale).mul_(weight).to(x.dtype)

    @torch.inference_mode()
    def head(self, hidden: Tensor) -> Tensor:
        """Raw logits (rows, vocab), float32, of hidden states."""
        return self._head(hidden.float())

    def _all_hidden(self, ids: Sequence[int]) -> Tensor:
        """Hidden states (tokens, hidden) of a text that is run alone."""

        def attend(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True, scale=1.0)
            return o[0].transpose(0, 1).flatten(1)

        return self.hidden(ids, range(len(ids)), attend)

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> Tensor:
        """Raw logits (tokens, vocab), float32, of a text that is run alone."""
        return self.head(self._all_hidden(ids))

    @torch.inference_mode()
    def logprobs(self, ids: Sequence[int]) -> Tensor:
        """Raw logprobs (tokens - 1), float32, of each token after the first one of a text that is run alone.

        The logits of ``SPAN`` tokens at a time are in memory.
        """
        hidden, after = self._all_hidden(ids)[:-1], torch.tensor(ids[1:], dtype=torch.int64, device=self.device)
        spans = zip(torch.split(hidden, SPAN), torch.split(after, SPAN), strict=True)
        return torch.cat([self.head(h).log_softmax(-1).gather(-1, a[:, None])[:, 0] for h, a in spans])


def load(folder: str | Path, dtype: str | None = None, device: torch.device | str = "cpu") -> Llama:
    """A network from a local folder; ``dtype`` "bfloat16" or "float32", None as shipped (float16 becomes float32).

    Raises ``Mistake`` where the folder lacks weights, holds another architecture or tensors of other shapes.
    """
    path = Path(folder)
    config = Config.from_json(json.loads((path / "config.json").read_text(encoding="utf-8")))
    weights = Weights(path, config)
    return Llama(config, weights, weights.dtype if dtype is None else getattr(torch, dtype), device)
