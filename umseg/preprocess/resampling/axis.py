"""Correspondence of the voxels of one axis before and after resampling (docs/rules.md, Preprocessing)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from umseg.planning.rules.spacing import ANISOTROPY_THRESHOLD

# Smaller weights are left out; those of a cubic spline fall below this value 18 voxels away.
_SMALLEST_WEIGHT = 1e-10


def separate_axis(spacing: Sequence[float], target_spacing: Sequence[float]) -> int | None:
    """The axis to resample separately, by nearest neighbour, or None (docs/rules.md, Preprocessing).

    A spacing is anisotropic if its largest value is more than ``ANISOTROPY_THRESHOLD`` times the smallest.
    The first of the two spacings that is anisotropic decides; if its largest value belongs to more than one axis, no
    axis is separate.
    """
    for candidate in (spacing, target_spacing):
        largest = max(candidate)
        if largest / min(candidate) > ANISOTROPY_THRESHOLD:
            axes = [axis for axis, value in enumerate(candidate) if value == largest]
            return axes[0] if len(axes) == 1 else None
    return None


def coordinates(old: int, new: int) -> NDArray[np.float64]:
    """Positions of the centres of ``new`` voxels on an axis of ``old`` voxels, in old voxels."""
    return np.asarray(old / new * (np.arange(new) + 0.5) - 0.5, dtype=np.float64)


def nearest_indices(old: int, new: int) -> NDArray[np.intp]:
    """For each of ``new`` voxels of an axis the index of the nearest of ``old`` voxels (halves are rounded up)."""
    nearest: NDArray[np.intp] = np.floor(coordinates(old, new) + 0.5).astype(np.intp)
    return nearest.clip(0, old - 1)


@lru_cache(maxsize=64)
def axis_operator(old: int, new: int, order: int) -> NDArray[np.float64]:
    """The (new, old) matrix that resamples one axis with a spline of ``order``, edges repeated (read-only).

    The result equals ``scipy.ndimage.zoom(..., mode="nearest", grid_mode=True)``: voxels are areas, not points.
    """
    operator = np.empty((new, old))
    for column, unit in enumerate(np.eye(old)):
        operator[:, column] = ndimage.zoom(unit, new / old, order=order, mode="nearest", grid_mode=True)
    operator.flags.writeable = False
    return operator


def support(rows: NDArray[np.float64]) -> slice:
    """The range of columns that are not zero in all of the given rows of an operator."""
    used = np.flatnonzero((np.abs(rows) > _SMALLEST_WEIGHT).any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)
