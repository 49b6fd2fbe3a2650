"""Memory that this process frees: whether it goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys

# Numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4


def keep_freed_memory(up_to: int | None = None) -> None:
    """Let this process keep what it frees, for a loop that asks for the same sizes again and again.

    By default glibc hands every large block back to the system at once and gets it anew, page by page, in the next
    iteration: measured on the hippocampus plan, 2.0 against 2.5 seconds per training step of the plain U-Net, and 1.4
    against 2.0 seconds to preprocess a CT of 31 million voxels. The price is memory: kept blocks leave gaps that no
    block fits into, supposedly because glibc looks for more room than an aligned block needs and so cannot reuse the
    gap of one of the same size. Without glibc (macOS, Windows, musl) this does nothing.

    Args:
        up_to: Bytes; larger blocks still go back at once. At most 32 MB, else glibc ignores it.
    """
    _call_glibc("mallopt", _M_MMAP_MAX, 0 if up_to is None else 2**16)
    if up_to is not None:
        _call_glibc("mallopt", _M_MMAP_THRESHOLD, up_to)
    _call_glibc("mallopt", _M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Give back to the system once what this process has freed and kept.

    Called twice per training step, with large blocks given back at once, the plain U-Net on the hippocampus plan peaked
    at 1.0 instead of 1.8 GB for a tenth more time, ``umamba_bot`` at 1.3 instead of 2.3 GB for a fifth. Without glibc
    this does nothing.
    """
    _call_glibc("malloc_trim", 0)


def _call_glibc(function: str, *arguments: int) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        getattr(ctypes.CDLL("libc.so.6"), function)(*arguments)
