"""What makes the interpreter and its allocator fit for pages: large, short-lived, thousands of objects each."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress

# From glibc's malloc.h; the bounds are in bytes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST_REUSED = 32 * 2**20
_MOST_KEPT = 64 * 2**20


def tune() -> None:
    """Tune this process; for the command alone, not for a program that imports the package."""
    # A page forms no cycles, so looking for some after every 700 objects is in vain.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    sys.setswitchinterval(0.05)
    _reuse_memory()


def release_memory() -> None:
    """Give the system back what lies between the blocks in use, which grows while a run goes on."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _reuse_memory() -> None:
    """Make glibc use a page's memory for the next page, whichever thread it is read in.

    Left alone, it gives memory of that size back to the system, and the faults of having it again cost as much as the
    parsing; and it keeps a heap for each thread, as large as that ever needed. Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_REUSED)
        libc.mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
