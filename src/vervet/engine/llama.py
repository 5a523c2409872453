"""The network: Llama, Qwen2 and Qwen3 decoders from a Hugging Face folder (config.json and safetensors).

RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied or untied embeddings; bfloat16 or float32. Families
differ by what their ``Config`` says, not by code of their own. Knows nothing of sampling, memory, slots or queues:
where keys and values lie is the affair of the ``attend`` that it is given.

Every reduction keeps its order whatever the other rows are: rows come in multiples of ``ROWS``, keys are summed in
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
from .weights import Weights

ROWS = 16  # float32 products of 1 to 3 rows are summed in another order than those of more
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

    attention_norm: Tensor  # (hidden)
    qkv: Tensor  # ((heads + 2 kv_heads) * head_dim, hidden)
    out: Tensor  # (hidden, heads * head_dim)
    mlp_norm: Tensor  # (hidden)
    gate_up: Tensor  # (2 * inner, hidden)
    down: Tensor  # (hidden, inner)
    qkv_bias: Tensor | None = None  # ((heads + 2 kv_heads) * head_dim)
    q_norm: Tensor | None = None  # (head_dim)
    k_norm: Tensor | None = None  # (head_dim)

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
            attention_norm=of("input_layernorm"),
            qkv=of(*qkv),
            out=of("self_attn.o_proj"),
            mlp_norm=of("post_attention_layernorm"),
            gate_up=of("mlp.gate_proj", "mlp.up_proj"),
            down=of("mlp.down_proj"),
            qkv_bias=of(*qkv, kind="bias") if config.qkv_bias else None,
            q_norm=of("self_attn.q_norm") if config.qk_norm else None,
            k_norm=of("self_attn.k_norm") if config.qk_norm else None,
        )


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: ``x`` (n, heads, head_dim), ``cos`` and ``sin`` (n, 1, head_dim / 2), in float32."""
    left, right = x.float().chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1).to(x.dtype)


class Llama:
    """A network with its weights in ``dtype``. Its methods run without gradients and are for one thread at a time."""

    def __init__(
        self, config: Config, weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.dtype, self.device = config, dtype, device
        self._embed = weights["model.embed_tokens.weight"].to(device, dtype)  # (vocab, hidden)
        self._layers = [Layer.from_weights(config, weights, i, dtype, device) for i in range(config.layers)]
        self._norm = weights["model.norm.weight"].to(device, dtype)
        head = "score.weight" if config.valued else "model.embed_tokens.weight" if config.tied else "lm_head.weight"
        self._head = weights[head].to(device, dtype).float()  # (vocab, hidden), or (1, hidden) where it gives a value
        angles = torch.outer(torch.arange(config.context).float(), config.rope.frequencies(config.head_dim))
        self._turns = torch.stack((angles.cos(), angles.sin()))[:, :, None].to(device)  # (2, context, 1, head_dim / 2)

    @torch.inference_mode()
    def hidden(self, ids: Sequence[int], positions: Sequence[int], attend: Attend) -> Tensor:
        """The last hidden states of tokens at their positions, (rows, hidden): rows that nobody owns come last.

        ``attend`` gets queries that are scaled, and keys and values that are to be kept.
        """
        c, n = self.config, round_up(len(ids), ROWS)
        padding = [0] * (n - len(ids))
        turns = self._turns[:, torch.tensor([*positions, *padding], device=self.device)]
        turns_q = turns * c.head_dim**-0.5
        widths = [c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.head_dim]
        x = self._embed[torch.tensor([*ids, *padding], device=self.device)]
        for i, layer in enumerate(self._layers):
            qkv = F.linear(self._normed(x, layer.attention_norm), layer.qkv, layer.qkv_bias)
            q, k, v = torch.split(qkv, widths, dim=-1)
            q, k = q.view(n, c.heads, c.head_dim), k.view(n, c.kv_heads, c.head_dim)
            if layer.q_norm is not None and layer.k_norm is not None:
                q, k = self._normed(q, layer.q_norm), self._normed(k, layer.k_norm)
            q, k = rotate(q, *turns_q), rotate(k, *turns)
            x = x + F.linear(attend(i, q, k, v.view(n, c.kv_heads, c.head_dim)), layer.out)
            gate, up = F.linear(self._normed(x, layer.mlp_norm), layer.gate_up).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        return self._normed(x, self._norm)

    @torch.inference_mode()
    def head(self, hidden: Tensor) -> Tensor:
        """Raw logits (rows, vocab), float32, of hidden states; at least ``ROWS`` of them, where bits matter."""
        return F.linear(hidden.float(), self._head)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.config.eps)

    def _all_hidden(self, ids: Sequence[int]) -> Tensor:
        """Hidden states (tokens, hidden) of a text that is run alone."""
        n = len(ids)

        def attend(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True, scale=1.0)
            return o[0].transpose(0, 1).flatten(1)

        return self.hidden(ids, range(n), attend)[:n]

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
