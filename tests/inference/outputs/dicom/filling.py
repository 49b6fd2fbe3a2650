"""Filling contours at pixel centres, by matplotlib."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.path import Path
from numpy.typing import NDArray


def fill(polygons: Iterable[NDArray[np.floating]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centres are inside of an odd number of polygons, each of (row, column) points.

    The centre of pixel (0, 0) is at (0, 0).
    """
    centres = np.indices(shape).reshape(2, -1).T
    filled = np.zeros(shape, dtype=bool)
    for points in polygons:
        closed = np.concatenate([points, points[:1]])
        filled ^= Path(closed, closed=True).contains_points(centres).reshape(shape)
    return filled
