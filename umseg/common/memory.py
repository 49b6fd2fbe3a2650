"""Memory that this process frees: whether it goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys

# Numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for a loop that asks for the same sizes again and again.

    By default glibc hands every large block back to the system at once and gets it anew, page by page, in the next
    iteration: measured on the hippocampus plan, 3.5 against 4.6 seconds per iteration of a residual U-Net, and 1.4
    against 2.0 seconds to preprocess a CT of 31 million voxels. The price is that memory use stays at its peak. Without
    glibc (macOS, Windows, musl) this does nothing.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
