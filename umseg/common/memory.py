"""Memory: how much there is, what needs more than that, and whether freed memory goes back to the operating system."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from umseg.common.cgroup import cgroup_memory
from umseg.common.errors import UserError

# Constants of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4

_REMEDY = "Check that the sizes are right; reduce them, or work on a machine with more memory."

# Words by which exceptions tell that memory is missing. torch and ITK raise a plain RuntimeError, and numpy and torch
# refuse sizes that no address can count with a ValueError or RuntimeError of its own.
_CLASSES = ("MemoryError", "OutOfMemoryError")
_PHRASES = (
    "DefaultCPUAllocator: can't allocate memory",  # torch on Linux and macOS
    "DefaultCPUAllocator: not enough memory",  # torch on Windows
    "Storage size calculation overflowed",  # torch: more bytes than 2**63
    "out of memory",  # torch on CUDA and Apple's GPUs
    "Failed to allocate memory",  # ITK
    "array is too big",  # numpy: more bytes than 2**63
    "Maximum allowed dimension exceeded",  # numpy
)

SMALL_BYTES = 2**25
"""A need below this is never refused."""


def available_memory() -> int:
    """Bytes of memory that this process can still get, swap included.

    The least of three figures: free memory of the machine, limits of control groups (containers, batch systems), and
    the limit of this process's addresses (``ulimit -v``). macOS compresses memory and makes swap as needed, so there
    the whole memory of the machine counts.
    """
    memory = psutil.virtual_memory()
    figures = [memory.total if sys.platform == "darwin" else memory.available + _free_swap()]
    figures += [figure for figure in (cgroup_memory(), _free_addresses()) if figure is not None]
    return int(min(figures))


def exceeded_memory(needed: int, available: int | None = None) -> int | None:
    """The bytes that can be had, where ``needed`` is more; None where it fits.

    Small needs are not compared with the machine: asking it takes longer than reading a small image.

    Args:
        needed: Bytes that are needed at once.
        available: Bytes that can be had; None asks the machine.
    """
    if available is None:
        if needed < SMALL_BYTES:
            return None
        available = available_memory()
    return available if needed > available else None


def require_memory(
    needed: int,
    what: str,
    *,
    file: str | Path | None = None,
    found: object = None,
    remedy: str = _REMEDY,
    available: int | None = None,
) -> None:
    """Refuse work that cannot fit into memory, before anything is allocated for it.

    Args:
        needed: Bytes that are certainly needed at once; an estimate must be a lower bound, so that nothing is refused
            that works.
        what: What needs them, as the beginning of a sentence, e.g. "Resampling case liver_01".
        file: File concerned.
        found: What makes the need so large, e.g. a size in voxels.
        remedy: What the user can do.
        available: Bytes that can be had; None asks the machine.

    Raises:
        UserError: ``needed`` is more than is available.
    """
    limit = exceeded_memory(needed, available)
    if limit is not None:
        figures = f"needs {memory_text(needed)}; this machine has {memory_text(limit)} available"
        raise UserError(
            # The figures stand apart, so that tables can count the cases with this problem.
            f"{what} needs more memory than there is.",
            file=file,
            found=figures if found is None else f"{found}: {figures}",
            remedy=remedy,
        )


@contextlib.contextmanager
def explained_memory(
    what: str,
    *,
    needed: int | None = None,
    file: str | Path | None = None,
    found: object = None,
    remedy: str = _REMEDY,
) -> Iterator[None]:
    """Turn every kind of exception that means "out of memory" inside the block into an error for the user.

    Args:
        what: What the block does, as the beginning of a sentence, e.g. "Resampling case liver_01".
        needed: Bytes that it needs, if that is known.
        file: File concerned.
        found: What makes the need so large; None gives the words of the exception.
        remedy: What the user can do.

    Raises:
        UserError: There was not enough memory.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(error, what, needed=needed, file=file, found=found, remedy=remedy) from error


def out_of_memory(
    error: BaseException,
    what: str,
    *,
    needed: int | None = None,
    file: str | Path | None = None,
    found: object = None,
    remedy: str = _REMEDY,
) -> UserError:
    """The error for the user in place of an exception for which ``is_out_of_memory``; arguments as there."""
    size = "" if needed is None else f" It needs {memory_text(needed)}."
    return UserError(
        f"{what} ran out of memory.{size}",
        file=file,
        found=_allocation(error) if found is None else found,
        remedy=remedy,
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of Python, numpy, torch, ITK or CUDA means that there was not enough memory."""
    if any(base.__name__ in _CLASSES for base in type(error).__mro__):
        return True
    return isinstance(error, (RuntimeError, ValueError)) and any(phrase in str(error) for phrase in _PHRASES)


def memory_text(size: int) -> str:
    """A number of bytes as in "21.3 GB", in decimal units."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB", "PB", "EB"):
        if abs(value) < 999.95 or unit == "EB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _allocation(error: BaseException) -> str:
    """The part of an exception's message that says how much was asked for, else its first line."""
    text = str(error).strip()
    asked = re.search(r"(tried to allocate|unable to allocate) [^.]*(\.\d+[^.]*)?", text, re.IGNORECASE)
    if asked:
        return asked[0]
    return text.splitlines()[0][:200] if text else f"{memory_text(available_memory())} available"


def _free_swap() -> int:
    with contextlib.suppress(OSError, RuntimeError):
        return int(psutil.swap_memory().free)
    return 0


def _free_addresses() -> int | None:
    """Bytes that this process may still map under its limit; None without a limit, or where there are none."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or sys.platform == "darwin":
        # macOS does not enforce this limit.
        return None
    return max(limit - int(psutil.Process().memory_info().vms), 0)


def keep_freed_memory(up_to: int | None = None) -> None:
    """Let this process keep freed memory, for a loop that allocates the same sizes again and again.

    By default glibc returns every large block to the system at once and requests it again, page by page, in the next
    iteration. Keeping it took 2.0 instead of 2.5 seconds per training step of the plain U-Net on the hippocampus plan,
    and 1.4 instead of 2.0 seconds to preprocess a CT of 31 million voxels. The price is memory: kept blocks leave gaps
    that no block fits into, supposedly because glibc looks for more space than an aligned block needs and so cannot
    reuse the gap of a block of the same size. Without glibc (macOS, Windows, musl) this does nothing.

    Args:
        up_to: Largest size, in bytes, of blocks that are kept; larger ones still go back at once. glibc ignores values
            above 32 MB.
    """
    _call_glibc("mallopt", _M_MMAP_MAX, 0 if up_to is None else 2**16)
    if up_to is not None:
        _call_glibc("mallopt", _M_MMAP_THRESHOLD, up_to)
    _call_glibc("mallopt", _M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Return the memory to the system, once, that this process has freed and kept.

    With two calls per training step, and large blocks returned at once, the peak of the plain U-Net on the hippocampus
    plan was 1.0 instead of 1.8 GB for a tenth more time, that of ``umamba_bot`` 1.3 instead of 2.3 GB for a fifth more.
    Without glibc this does nothing.
    """
    _call_glibc("malloc_trim", 0)


def use_huge_pages() -> None:
    """Make torch use huge pages, of which Linux has to fill five hundred times fewer.

    The call has to come before the first tensor. torch reads the setting from the environment, where a value that the
    user has set takes precedence.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _call_glibc(function: str, *arguments: int) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        getattr(ctypes.CDLL("libc.so.6"), function)(*arguments)
