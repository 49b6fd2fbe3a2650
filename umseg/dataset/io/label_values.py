"""From the numbers of a file to label values: whole numbers of the smallest type that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.io.source import Notice

_ROUNDING = 1e-3
"""How far a value may lie from a whole number: scale factors in a header (scl_slope) shift it by less."""

_LIMITS = np.iinfo(np.int64)


def whole_numbers(values: NDArray[Any], path: Path) -> tuple[NDArray[Any], tuple[Notice, ...]]:
    """Round floating-point values that are whole numbers but for rounding, with a notice; other types stay as they are.

    Args:
        values: Numbers of any real type and shape.
        path: The file, for messages.

    Raises:
        UserError: A value lies between whole numbers, or is none.
    """
    if values.dtype.kind != "f":
        return values, ()
    with np.errstate(invalid="ignore"):
        rounded = np.rint(values)
        distance = np.abs(values - rounded)
        wrong = ~(distance <= _ROUNDING)
    if wrong.any():
        worst = values[wrong][np.argmax(np.nan_to_num(distance[wrong], nan=1.0))]
        count = int(wrong.sum())
        raise UserError(
            "A label map has values that are not whole numbers.",
            file=path,
            found=f"{worst!s} and {count - 1} more such voxels",
            expected="whole numbers",
            remedy="Save the labels as integers, in NIfTI without scale factors (scl_slope 1, scl_inter 0); resample "
            "label maps with nearest-neighbour interpolation only.",
        )
    count = int(np.count_nonzero(distance))
    if not count:
        return values, ()
    notice = Notice(
        "A label map has values that are almost whole numbers: they are rounded.",
        path,
        found=f"{values.reshape(-1)[np.argmax(distance)]!s} and {count - 1} more such voxels",
        expected="whole numbers",
        remedy="Save the labels as integers without scale factors (scl_slope 1, scl_inter 0 in NIfTI).",
    )
    return rounded, (notice,)


def to_smallest_signed(values: NDArray[Any], path: Path) -> NDArray[np.signedinteger[Any]]:
    """A copy in the smallest signed integer type that holds the values, which are whole numbers.

    Raises:
        UserError: A value needs more than 64 bits.
    """
    low, high = int(values.min()), int(values.max())
    if high > _LIMITS.max or low < _LIMITS.min:
        raise UserError(
            "A label map has values that are too large.",
            file=path,
            found=f"values from {low} to {high}",
            expected=f"whole numbers of 64 bits, at most {_LIMITS.max}",
            remedy="Renumber the labels, e.g. from 0.",
        )
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.int64)
