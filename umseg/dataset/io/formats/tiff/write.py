"""Writing TIFF files. Imports tifffile."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

_LARGEST = (1 << 32) - 1
# Larger stacks are written as BigTIFF: offsets in a plain TIFF have 32 bits.
_PLAIN_LIMIT = 1 << 31


def write_pages(
    path: Path,
    values: NDArray[np.unsignedinteger[Any]],
    description: str,
    resolution: tuple[float, float] | None,
    unit: str,
) -> None:
    """Write grey-scale pages, deflated.

    Args:
        path: The file.
        values: (z, y, x).
        description: The text of the first page.
        resolution: Pixels per unit along x and y; None: the file does not state it.
        unit: ``NONE``, ``INCH`` or ``CENTIMETER``.
    """
    tifffile.imwrite(
        path,
        values,
        bigtiff=values.nbytes > _PLAIN_LIMIT,
        photometric="minisblack",
        compression="zlib",
        rowsperstrip=values.shape[1],
        description=description or None,
        metadata=None,
        software=False,
        resolution=None if resolution is None else (_ratio(resolution[0]), _ratio(resolution[1])),
        resolutionunit=unit,
    )


def _ratio(value: float) -> tuple[int, int]:
    """The fraction of two 32-bit numbers next to a positive value."""
    found = Fraction(value).limit_denominator(max(1, int(_LARGEST / max(value, 1.0)) - 1))
    return min(max(found.numerator, 1), _LARGEST), found.denominator
