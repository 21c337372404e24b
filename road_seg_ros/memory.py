"""
How glibc's allocator gives memory back. With another C library the calls do nothing.

See mallopt(3) and malloc_trim(3).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os

M_ARENA_MAX = -8  # malloc.h


def use_one_heap() -> None:
    """
    Make all threads of this process allocate from one heap; call it before they start.

    By default each thread gets one of several, and what is freed in one serves only its own
    threads. A node whose model is loaded again and again, each time with new threads, would hold
    some hundred MB that nobody uses. MALLOC_ARENA_MAX in the environment has precedence.
    """
    if 'MALLOC_ARENA_MAX' not in os.environ:
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Return what is free to the system."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc would keep the pages for itself
