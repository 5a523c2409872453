"""Run a known text: the part of it that is not in memory yet, in spans, and put the path aside.

Each token attends over the very pieces that it would attend over if it were decoded, so what is run here and what was
drawn step by step agree to the last bit where ``attention`` promises that. A span ends at a multiple of ``WIDE``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import PAGE, WIDE, Attend, Keys, Wide, causal, seen
from .llama import SPAN, Llama, round_up
from .sampling import Figures, figures
from .tree import PER_WIDE, Node, Stem, Tree


def _attend(tree: Tree, node: Node, n_wide: int, scratch: Tensor, first: int, n: int) -> Attend:
    """How the ``n`` tokens of a span attend: over the path of a node and ``scratch``, where the first is at ``first``."""
    pages = [x.page for x in node.path()]
    n_wide = min(len(pages) // PER_WIDE, n_wide) * PER_WIDE
    parts = ((pages[:n_wide], WIDE), (pages[n_wide:], PAGE))
    pieces = [Wide.of(some, None, length, tree.device) for some, length in parts if some]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        own = Keys(scratch[layer, 0], scratch[layer, 1])  # (kv_heads, length, head_dim)
        for kept, new in zip(own, (k, v), strict=True):
            kept[:, first : first + n] = new.transpose(0, 1)
        queries = q.reshape(n, k.shape[1], -1, q.shape[2])
        before = seen(queries, Keys(tree.pages[layer, 0], tree.pages[layer, 1]), pieces)
        return causal(queries, before, own, first)

    return attend


@torch.inference_mode()
def prefill(
    llama: Llama, tree: Tree, start: Stem | Node, ids: Sequence[int], n_wide: int, told: int, k: int
) -> tuple[Stem, list[Figures]]:
    """Run a text from where ``start`` ends, a part of it, to its last token; its stem, and figures.

    ``n_wide``: how many wide pieces it begins with. The figures, with the mean of the ``k`` likeliest, are those of the
    tokens from ``told`` on (which none of ``start`` are).
    """
    c, found = llama.config, []
    tail = torch.zeros(c.layers, 2, c.kv_heads, 0, c.head_dim, dtype=llama.dtype, device=llama.device)
    node, tail = (start.node, start.kv) if isinstance(start, Stem) else (start, tail)
    at = node.depth * PAGE + tail.shape[3]
    while at < len(ids):
        base, end = node.depth * PAGE, min(len(ids), (at // WIDE + 1) * WIDE)
        n = end - at
        scratch = F.pad(tail, (0, 0, 0, round_up(end - base, PAGE) - tail.shape[3]))
        hidden = llama.hidden(ids[at:end], range(at, end), _attend(tree, node, n_wide, scratch, at - base, n))
        for first in range(max(at, told - 1), min(end, len(ids) - 1), SPAN):
            last = min(first + SPAN, end, len(ids) - 1)
            after = torch.tensor(ids[first + 1 : last + 1], device=llama.device)
            logits = llama.head(hidden[first - at : last - at])
            found.append(figures(logits, after, torch.full((len(after), 1), k, device=llama.device)))
        full = (end - base) // PAGE * PAGE
        node = tree.plant(node, ids[base : base + full], n_wide, scratch[:, :, :, :full])
        tail, at = scratch[:, :, :, full : end - base].clone(), end
    logits = llama.head(hidden[-1:])[0]
    return tree.put_aside(node, ids[len(ids) - tail.shape[3] :], tail, logits), found
