"""The engine: token ids in, ids and figures out. The only door to torch.

It knows no strings, prompts, HTTP or tasks. ``config`` and ``weights`` read a folder, ``llama`` runs the network, ``sampling``
turns logits into tokens and figures, ``tree`` holds the keys and values that samples share, ``attention`` reads them,
``batch`` lets sequences join and leave a batch at every step. Import it only where torch is wanted.

What holds (measured on an x86 CPU with AVX-512 bf16, torch 2.13, 1 and 2 threads, by ``tests/test_engine.py``):
in bfloat16 the ids *and* the figures of a sequence are bit-equal whatever else is in the batch, in whichever slot,
whenever it joined, and whether it was decoded in one go or cut and followed later by forcing its known tokens. The
same held in float32 with one thread, but not with two: rows then sum in another order and differ by about 1e-6, so a
sample may take another turn; it is not promised there. Another processor or another torch may round differently, so may give other samples.
"""

from __future__ import annotations

from pathlib import Path

import torch

from .batch import Engine
from .config import Config
from .llama import Llama, load
from .sampling import Sampling, uniform, uniforms
from .sequence import Sequence

__all__ = ["Config", "Engine", "Llama", "Sampling", "Sequence", "load", "start", "uniform", "uniforms"]


def start(folder: str | Path, dtype: str | None = None, slots: int = 256, threads: int | None = None) -> Engine:
    """An engine over a local folder, to be used in the thread that calls this: ``threads`` are set for it.

    Raises ``Mistake`` as ``load`` does. Costs one reading of the weights.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    return Engine(load(folder, dtype), slots)
