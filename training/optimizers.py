"""Muon for the hidden matrices, AdamW for embeddings and norms, and one schedule for both."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import torch
from torch import Tensor, nn

MUON_RATE: Final = 0.015
MUON_MOMENTUM: Final = 0.95
MUON_WEIGHT_DECAY: Final = 0.01
ADAM_RATE: Final = 3e-3
WARM_UP_STEPS: Final = 60


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring the singular values of a stack of matrices, (n, rows, columns), near 1 by five Newton-Schulz steps.

    The coefficients are Muon's (Jordan et al. 2024).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return out


class Muon:
    """Momentum, orthogonalised; matrices of one shape are stepped together."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        groups = defaultdict(list)
        for parameter in parameters:
            groups[parameter.shape].append(parameter)
        self.groups = list(groups.values())
        self.momenta = [torch.zeros(len(group), *group[0].shape) for group in self.groups]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take one Nesterov step at a learning rate."""
        for group, momentum in zip(self.groups, self.momenta, strict=True):
            gradients = torch.stack([parameter.grad for parameter in group if parameter.grad is not None])
            momentum.lerp_(gradients, 1 - MUON_MOMENTUM)
            update = orthogonalize(gradients.lerp(momentum, MUON_MOMENTUM))
            scale = max(1.0, group[0].shape[0] / group[0].shape[1]) ** 0.5
            for parameter, change in zip(group, update, strict=True):
                parameter.mul_(1 - rate * MUON_WEIGHT_DECAY).add_(change, alpha=-rate * scale)


class Optimizer:
    """Both optimisers over one model."""

    def __init__(self, model: nn.Module) -> None:
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
        self.muon = Muon(matrices)
        self.adam = torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)

    def step(self, factor: float) -> None:
        """Step both at `factor` times their learning rates."""
        self.muon.step(MUON_RATE * factor)
        for group in self.adam.param_groups:
            group["lr"] = ADAM_RATE * factor
        self.adam.step()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {"muon": self.muon.momenta, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.muon.momenta = state["muon"]
        self.adam.load_state_dict(state["adam"])


def rate_factor(step: int, share_done: float) -> float:
    """Warm up over the first steps, stay constant to half of the tokens, then fall linearly to 0.

    >>> rate_factor(29, 0.0), rate_factor(500, 0.4), rate_factor(900, 0.75)
    (0.5, 1.0, 0.5)
    """
    return min(1.0, (step + 1) / WARM_UP_STEPS, max(0.0, 2 * (1 - share_done)))
