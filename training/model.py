"""The Llama architecture for training: parameters named as Hugging Face names them, so that export is a copy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model. Embeddings are tied; the head size is 64."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    head_dim: int = 64
    vocabulary: int = 448
    rope_theta: float = 1e4
    norm_eps: float = 1e-5


MAIN = Shape(hidden=192, layers=5, heads=3, kv_heads=1, feed_forward=512)
SMALL = Shape(hidden=128, layers=4, heads=2, kv_heads=1, feed_forward=336)


class RMSNorm(nn.Module):
    """Scale to unit root mean square, then by a learned weight; computed in fp32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight).to(x.dtype)


class Attention(nn.Module):
    """Causal attention with rotary positions and shared key-value heads."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden, queries, bias=False)
        self.k_proj = nn.Linear(shape.hidden, keys, bias=False)
        self.v_proj = nn.Linear(shape.hidden, keys, bias=False)
        self.o_proj = nn.Linear(queries, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attend within each row of (batch, length, hidden)."""
        shape = self.shape
        batch, length, _ = x.shape
        weight = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        joint = F.linear(x, weight).view(batch, length, -1, shape.head_dim).transpose(1, 2)
        q, k, v = torch.split(
            joint, [shape.heads, shape.kv_heads, shape.kv_heads], 1
        )  # (batch, heads, length, head_dim)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        groups = shape.heads // shape.kv_heads
        q = q.reshape(batch, shape.kv_heads, groups * length, shape.head_dim)  # the heads that share keys together
        scores = (q @ k.mT).view(batch, -1, length, length) * shape.head_dim**-0.5
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -torch.inf).softmax(-1).to(v.dtype)
        mixed = (weights.view(batch, shape.kv_heads, groups * length, length) @ v).view(
            batch, -1, length, shape.head_dim
        )
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return out


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gate, then project back."""
        gate, up = F.linear(x, torch.cat([self.gate_proj.weight, self.up_proj.weight])).chunk(2, -1)
        out: Tensor = self.down_proj(F.silu(gate) * up)
        return out


class Layer(nn.Module):
    """Attention and SwiGLU, each after a norm and beside a residual path."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden, shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden, shape.norm_eps)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Add what attention and SwiGLU find."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Body(nn.Module):
    """Embeddings, layers and the last norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.hidden, shape.norm_eps)


class Llama(nn.Module):
    """A small Llama with tied embeddings, deterministic from a seed."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 / (2 * shape.layers) ** 0.5 if deep else 0.02
                nn.init.normal_(parameter, std=std, generator=generator)

    def forward(self, ids: Tensor) -> Tensor:
        """Give the logits, (batch, length, vocabulary), of ids, (batch, length)."""
        cos, sin = rotary(ids.shape[1], self.shape)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)


def rotary(length: int, shape: Shape) -> tuple[Tensor, Tensor]:
    """Give cosines and sines, (length, head_dim), of the rotary positions."""
    rates = shape.rope_theta ** (-torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)
    angles = torch.outer(torch.arange(length).float(), rates).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the halves of (batch, heads, length, head_dim), as Hugging Face lays them out."""
    first, second = x.chunk(2, -1)
    turned = torch.cat([-second, first], -1)
    return (x * cos + turned * sin).to(x.dtype)
