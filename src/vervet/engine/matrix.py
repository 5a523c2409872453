"""A matrix of weights as the processor likes to read it.

oneDNN multiplies with weights that it has laid out once instead of at each call, and sums a row in the same order in any
company; where torch cannot do that (another device, another build), the plain product of torch stands in.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ROWS = 16  # torch sums products of fewer rows in another order, and so does oneDNN that of one in float32


def _can_pack(weight: Tensor) -> bool:
    ops = torch.ops.mkldnn
    if weight.device.type != "cpu" or not torch._C._has_mkldnn or not hasattr(ops, "_linear_pointwise"):
        return False
    return weight.dtype == torch.float32 or bool(ops._is_mkldnn_bf16_supported())


class Matrix:
    """A linear layer, ``weight`` (out, in) and ``bias`` (out); ``pack=False``: its plain twin, the product of torch.

    >>> Matrix(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))(torch.tensor([[3.0, 4.0]])).tolist()
    [[11.0, 4.0]]
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, pack: bool = True) -> None:
        self._bias, self._packed = bias, pack and _can_pack(weight)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None) if self._packed else weight

    def __call__(self, x: Tensor) -> Tensor:
        """Rows (n, in) to rows (n, out)."""
        n, exact = len(x), x.dtype == torch.float32 or not self._packed
        if exact and n % _ROWS:
            x = F.pad(x, (0, 0, 0, -n % _ROWS))
        if not self._packed:
            return F.linear(x, self._weight, self._bias)[:n]
        done: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return done[:n] if exact else done
