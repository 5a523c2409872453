"""The engine: token ids in, ids and figures out. The only door to torch.

It knows no strings, prompts, HTTP or tasks. ``config`` and ``weights`` read a folder, ``llama`` runs the network over
``matrix`` and ``attention``, ``tree`` holds the keys and values that samples share, ``prefill`` runs known text into it,
``sequence`` says what is asked for, ``rows`` draws (``sampling``, ``cut``), ``batch`` lets sequences join and leave at
every step, ``machine`` chooses threads and memory. Import it only where torch is wanted.

What holds (measured on an x86 CPU with AVX-512 bf16, torch 2.13, by ``tests/test_engine.py``): in bfloat16 the ids *and*
the figures of a sequence are bit-equal whatever else is in the batch, in whichever slot, whenever it joined, whether it
was decoded in one go, cut and followed later, or forked off, with 1, 2 and 4 threads. The same held in float32 with one
thread; with more, rows may sum in another order and differ by about 1e-6, so a sample may take another turn; it is not
promised there, nor on CUDA. Another processor or another torch may round differently, so may give other samples.
"""

from __future__ import annotations

from pathlib import Path

import torch

from .batch import Engine
from .config import Config
from .llama import Llama, load
from .machine import best_device, best_threads, keep_buffers, tokens_that_fit
from .sampling import Sampling, uniform, uniforms
from .sequence import Sequence

__all__ = ["Config", "Engine", "Llama", "Sampling", "Sequence", "load", "start", "uniform", "uniforms"]


def start(
    folder: str | Path,
    dtype: str | None = None,
    slots: int = 256,
    threads: int | None = None,
    max_tokens_kept: int | None = None,
    device: str | None = None,
) -> Engine:
    """An engine over a local folder, to be used in the thread that calls this: ``threads`` are set for it.

    What is None is chosen: threads by measuring, memory for half of what is free, CUDA where there is one.
    Raises ``Mistake`` as ``load`` does. Costs one reading of the weights.
    """
    keep_buffers()
    llama = load(folder, dtype, device or best_device())
    torch.set_num_threads(threads or best_threads(llama))
    return Engine(llama, slots, max_tokens_kept or tokens_that_fit(llama))
