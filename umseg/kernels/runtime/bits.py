# numba's decorators carry no types that mypy could check against what kernels see.
# mypy: disable-error-code="untyped-decorator"
"""Bit casts with which numba kernels read and write bfloat16 and stay vectorised."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic as _intrinsic
from numba.extending import overload

# The declared type of an intrinsic has the typing context as an argument of every call.
intrinsic: Any = _intrinsic


@intrinsic
def float_of_bits(_context: Any, bits: Any) -> Any:
    """Turn a uint32 into the float32 with the same bits."""
    return types.float32(types.uint32), lambda c, builder, s, args: builder.bitcast(args[0], ir.FloatType())


@intrinsic
def bits_of_float(_context: Any, value: Any) -> Any:
    """Turn a float32 into the uint32 with the same bits."""
    return types.uint32(types.float32), lambda c, builder, s, args: builder.bitcast(args[0], ir.IntType(32))


@njit
def bfloat16_to_float(bits):  # type: ignore[no-untyped-def]
    """Turn a uint16 that holds a bfloat16 into a float32, exactly."""
    return float_of_bits(np.uint32(bits) << np.uint32(16))


@njit
def float_to_bfloat16(value):  # type: ignore[no-untyped-def]
    """Turn a float32 into the uint16 that holds the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = bits_of_float(np.float32(value))
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    # Only NaN differs from itself.
    return np.uint16(rounded) if value == value else np.uint16(0x7FC0)  # noqa: PLR0124


def load(value: Any) -> Any:
    """Return, inside a kernel, an array element as float32; uint16 elements hold bfloat16."""
    raise TypeError("only for numba kernels")


def store(value: Any, element: Any) -> Any:
    """Return, inside a kernel, a float32 in the storage type of ``element``."""
    raise TypeError("only for numba kernels")


@overload(load)
def _load(value):  # type: ignore[no-untyped-def]
    if value == types.uint16:
        # numba requires that the parameters have the names of `load`'s.
        return lambda value: bfloat16_to_float(value)  # noqa: PLW0108
    return lambda value: value


@overload(store)
def _store(value, element):  # type: ignore[no-untyped-def]
    if element == types.uint16:
        return lambda value, element: float_to_bfloat16(value)
    return lambda value, element: value
