"""Target spacing, axis order and median shape of a data set (docs/rules.md, Planning)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ANISOTROPY_THRESHOLD = 3
_LOW_RESOLUTION_PERCENTILE = 10

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]


def target_spacing(spacings: Sequence[Triple], shapes: Sequence[Shape]) -> Triple:
    """The spacing to which every case of the 3-D full-resolution configuration is resampled.

    It is the median per axis. For an axis that is much coarser (three times) and much shorter than the others it is the
    10th percentile, but not finer than the others, so that images with thinner slices lose fewer of them.

    Args:
        spacings: Voxel size (z, y, x) in mm of each case.
        shapes: Shape (z, y, x) in voxels of each case, after cropping.
    """
    table = np.asarray(spacings, dtype=np.float64)
    target = np.percentile(table, 50, axis=0)
    size = np.percentile(np.asarray(shapes, dtype=np.float64), 50, axis=0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    coarse = target[worst] > ANISOTROPY_THRESHOLD * max(target[others])
    short = size[worst] * ANISOTROPY_THRESHOLD < min(size[others])
    if coarse and short:
        finer = np.percentile(table[:, worst], _LOW_RESOLUTION_PERCENTILE)
        floor = max(target[others])
        target[worst] = finer if finer >= floor else floor + 1e-5
    return _triple(target)


def resampled_shape(spacing: Triple, shape: Shape, target: Triple) -> tuple[int, ...]:
    """Voxels per axis after resampling, at least one; halves are rounded to even."""
    return tuple(max(1, round(old / new * size)) for old, new, size in zip(spacing, target, shape, strict=True))


def median_shape(spacings: Sequence[Triple], shapes: Sequence[Shape], target: Triple) -> Triple:
    """The median over the cases of the shape after resampling to ``target``; it may end in .5."""
    resampled = [resampled_shape(*case, target) for case in zip(spacings, shapes, strict=True)]
    return axis_medians(resampled)


def axis_order(target: Triple, median: Triple) -> tuple[Shape, Shape]:
    """The axis permutation that puts the slice axis first, and its inverse.

    The slice axis is the one with the largest spacing. An axis of a single voxel takes precedence, whatever its
    spacing, because such data are 2-D.
    """
    flat = [axis for axis in range(3) if median[axis] == 1]
    first = max(flat or range(3), key=lambda axis: (target[axis], -axis))
    a, b, c = (first, *(axis for axis in range(3) if axis != first))
    inverse = [(a, b, c).index(axis) for axis in range(3)]
    return (a, b, c), (inverse[0], inverse[1], inverse[2])


def axis_medians(rows: Sequence[Sequence[float]]) -> Triple:
    """The median over the cases for each axis."""
    return _triple(np.median(np.asarray(rows, dtype=np.float64), axis=0))


def permute(values: Triple, order: tuple[int, int, int]) -> Triple:
    """``values`` in the axis order ``order``."""
    a, b, c = order
    return values[a], values[b], values[c]


def _triple(values: NDArray[np.float64]) -> Triple:
    z, y, x = (float(value) for value in values)
    return z, y, x
