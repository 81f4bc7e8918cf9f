"""What makes the interpreter and its allocator fit for pages: large, short-lived, thousands of objects each."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
from contextlib import suppress

# From glibc's malloc.h; the bounds are in bytes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST_REUSED = 32 * 2**20
_MOST_KEPT = 64 * 2**20
# Resident bytes that a run has of itself: the interpreter, and the pages that are on their way.
_ENOUGH = 104 * 2**20


def tune_process() -> None:
    """Tune this process; for the command, not for a program that imports the package."""
    # A page has no reference cycles, so a collection after every 700 objects would find nothing.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    sys.setswitchinterval(0.05)
    _reuse_memory()


def stay_small() -> None:
    """Return unused memory to the system if it has made the process larger than necessary.

    Each page that is needed again costs a page fault, so this is not done for small amounts. It does nothing if the
    system does not report the resident size, or the C library cannot return memory.
    """
    with suppress(OSError, AttributeError, TypeError):
        if _resident_bytes() > _ENOUGH:
            ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    """Return this process's resident size in bytes, as Linux reports it."""
    with open("/proc/self/statm", "rb") as sizes:
        return int(sizes.read().split()[1]) * mmap.PAGESIZE


def _reuse_memory() -> None:
    """Make glibc use a page's memory for the next page, whichever thread it is read in.

    Left alone, it gives memory of that size back to the system, and the faults of having it again cost as much as the
    parsing; and it keeps a heap for each thread, as large as that ever needed. Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_REUSED)
        libc.mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
