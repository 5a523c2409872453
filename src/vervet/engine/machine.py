"""What suits the machine: threads by measuring, memory by what is free."""

from __future__ import annotations

import ctypes
import os
import sys
import time

import torch

from .llama import Llama

_MOST_KEPT = 1 << 20  # tokens
_ROWS, _ENOUGH = 64, 1.1  # rows that threads are measured with; how near to the fastest is as good
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt


def best_device() -> str:
    """ "cuda" where torch finds one, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def best_threads(llama: Llama) -> int:
    """How many threads run the first layer of a network fastest; of those that are about as fast, the fewest.

    Tries powers of two up to the processors that this process may use, of more than two one less: threads that wait for
    one that shares its processor with the rest of the program lose more than it gains. Takes a few dozen layer passes.
    """
    n_most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_most = n_most if n_most < 3 else n_most - 1
    before = torch.get_num_threads()
    seconds: dict[int, float] = {}
    for n in sorted({n_most, *(2**i for i in range(n_most.bit_length()) if 2**i <= n_most)}):
        torch.set_num_threads(n)
        llama.try_layer(_ROWS)
        seconds[n] = min(_timed(llama) for _ in range(7))
    torch.set_num_threads(before)
    fastest = min(seconds.values())
    return min(n for n, s in seconds.items() if s <= _ENOUGH * fastest)


def _timed(llama: Llama) -> float:
    begun = time.perf_counter()
    llama.try_layer(_ROWS)
    return time.perf_counter() - begun


def tokens_that_fit(llama: Llama) -> int:
    """For how many tokens of keys and values half of the free memory has room, at most about a million."""
    c = llama.config
    a_token = 2 * c.layers * c.kv_heads * c.head_dim * llama.dtype.itemsize
    if torch.device(llama.device).type == "cuda":
        free, _ = torch.cuda.mem_get_info(llama.device)
    elif "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        free = 4 << 30
    return max(c.context, min(_MOST_KEPT, free // 2 // a_token))


def keep_buffers() -> None:
    """Have glibc keep the memory of tensors that were freed, up to 1 GB, for the next ones.

    It would give it back to the system after each step, and getting it anew costs a page fault for every 4 KB.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that it takes
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        mallopt(_M_TOP_PAD, 64 << 20)
