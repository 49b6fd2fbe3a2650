"""Compilation of numba kernels. This module imports numba; import it inside the functions that need it."""

from __future__ import annotations

from typing import Any

import numba

_compile: Any = numba.njit
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def jit(*signatures: str, **options: Any) -> Any:
    """Compile a kernel, or load it from numba's cache where a cache can be written.

    numba compiles a kernel again when its file changes. After a change in a module that the kernel uses, remove the
    ``*.nbi`` files next to both.

    Args:
        signatures: Types to compile for on import; without any, the kernel is compiled for the types of its arguments
            when it is called.
        options: Further options of ``numba.njit``.
    """

    def decorate(function: Any) -> Any:
        types = list(signatures) or None
        try:
            return _compile(types, cache=True, **_OPTIONS, **options)(function)
        except RuntimeError:  # numba found no folder that it may write to
            return _compile(types, **_OPTIONS, **options)(function)

    return decorate


def inner(function: Any) -> Any:
    """Compile a function as a part of the kernels that call it."""
    return _compile(**_OPTIONS)(function)
