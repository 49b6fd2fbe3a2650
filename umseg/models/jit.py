"""How numba kernels are compiled and run."""

from __future__ import annotations

from collections.abc import Callable
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


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel on its first call; the machine code is kept on disk where a cache folder can be written."""
    try:
        compiled: Callable[..., Any] = numba.njit(**_OPTIONS, cache=True)(function)
    except RuntimeError:
        # numba found no folder for its cache (read-only installation and home): compile anew in every process.
        compiled = numba.njit(**_OPTIONS)(function)
    return compiled


def match_threads() -> None:
    """Let numba use as many threads as torch, so that a user sets the number once."""
    # numba fills in its configuration while it is imported, so that type checkers do not see it.
    config: Any = numba.config
    numba.set_num_threads(min(torch.get_num_threads(), config.NUMBA_NUM_THREADS))
