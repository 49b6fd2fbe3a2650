"""How torch gets its memory on a CPU: page faults, not arithmetic, can take most of a training step."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

# Numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def use_huge_pages() -> None:
    """Ask torch for huge pages, which Linux fills five hundred times fewer of; to be called before its first tensor.

    torch reads the switch from the environment; a user's own setting stands.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for a loop that asks for the same sizes again and again.

    By default glibc hands every large block back to the system at once and gets it anew, page by page, in the next
    iteration: measured on the hippocampus plan, 3.5 against 4.6 seconds per iteration of a residual U-Net. The price is
    that memory use stays at its peak. Without glibc (macOS, Windows, musl) this does nothing.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
