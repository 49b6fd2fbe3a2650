"""How numba kernels are compiled and run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numba
import torch

_OPTIONS: dict[str, Any] = {
    "parallel": True,
    "nogil": True,
    # Sums may be reordered and fused; NaN and infinity keep their meaning.
    "fastmath": {"contract", "reassoc", "nsz"},
    "error_model": "numpy",
}

_lock = threading.Lock()


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel on its first call; the machine code is kept on disk where a cache folder can be written."""
    try:
        compiled: Callable[..., Any] = numba.njit(**_OPTIONS, cache=True)(function)
    except RuntimeError:
        # numba found no folder for its cache (read-only installation and home): compile anew in every process.
        compiled = numba.njit(**_OPTIONS)(function)
    return compiled


@contextlib.contextmanager
def kernel_threads() -> Iterator[None]:
    """Run kernels inside: on as many threads as torch uses, and for one caller at a time.

    numba starts a kernel's threads through TBB or OpenMP where it finds one, else, as on macOS, through a layer of its
    own, which aborts the process when two threads of Python call kernels at once.
    """
    # numba fills in its configuration while it is imported, so that type checkers do not see it.
    config: Any = numba.config
    with _lock:
        numba.set_num_threads(min(torch.get_num_threads(), config.NUMBA_NUM_THREADS))
        yield
