"""Resampling by splines, axis by axis: each axis is a product with a small matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]
Volume = NDArray[np.floating]

IMAGE_ORDER, LOGITS_ORDER = 3, 1

_ANISOTROPIC = 3
# Voxels beyond the edge that repeat it, and the weights that are left out.
_MARGIN, _SMALLEST_WEIGHT = 12, 1e-10
# Rows of a matrix that are computed together, and the most multiplications of a product: larger ones are divided among
# threads, which takes longer.
_BAND, _PRODUCT = 32, 2**19 - 1
# Up to this value an image is resampled in single precision.
_LARGEST_SINGLE = 16.0


def resample(volume: NDArray[np.float32], shape: Shape, spacing: Spacing, target: Spacing) -> NDArray[np.float32]:
    """Resample a channel of an image by cubic splines, within the range of its values.

    Args:
        volume: (z, y, x).
        shape: Shape of the result.
        spacing: Spacing of ``volume``, mm; with ``target`` it decides whether an axis is resampled separately, by the
            nearest slice.
        target: Spacing of the result, mm.
    """
    if volume.shape == shape:
        return volume
    separate = separate_axis(spacing, target)
    lead = separate or 0
    moved = np.moveaxis(volume, lead, 0)
    exact = max(abs(float(moved.min())), abs(float(moved.max()))) <= _LARGEST_SINGLE
    values = moved.astype(np.float32 if exact else np.float64)
    length, height, width = (shape[axis] for axis in lead_first(lead))
    if separate is not None:
        # Splines overshoot; the range is that of the voxels that are resampled together.
        low, high = values.min(axis=(1, 2))[:, None, None], values.max(axis=(1, 2))[:, None, None]
        planes = np.clip(along(along(values, 1, height, IMAGE_ORDER), 2, width, IMAGE_ORDER), low, high)
        result = planes[nearest(len(values), length)]
    else:
        low, high = values.min(), values.max()
        result = along(along(along(values, 0, length, IMAGE_ORDER), 1, height, IMAGE_ORDER), 2, width, IMAGE_ORDER)
        result = np.clip(result, low, high)
    return np.moveaxis(result, 0, lead).astype(np.float32)


def separate_axis(spacing: Spacing, target: Spacing) -> int | None:
    """The axis of one much larger spacing, by the first of the two that is so anisotropic; None where there is none."""
    for candidate in (spacing, target):
        largest = max(candidate)
        if largest / min(candidate) > _ANISOTROPIC:
            axes = [axis for axis, value in enumerate(candidate) if value == largest]
            return axes[0] if len(axes) == 1 else None
    return None


def lead_first(lead: int) -> Shape:
    """The axes with one of them in front."""
    return ((0, 1, 2), (1, 0, 2), (2, 0, 1))[lead]


def nearest(old: int, new: int) -> NDArray[np.intp]:
    """For each of ``new`` voxels of an axis the index of the nearest of ``old`` voxels; halves are rounded up."""
    return np.floor(_coordinates(old, new) + 0.5).astype(np.intp).clip(0, old - 1)


def along(volume: Volume, axis: int, new: int, order: int, rows: slice | None = None) -> Volume:
    """Resample one axis of a (z, y, x) array to ``new`` voxels, or to some of them.

    Args:
        volume: The array.
        axis: The axis.
        new: Its number of voxels afterwards.
        order: 3 for cubic splines, 1 for linear interpolation.
        rows: The voxels that are wanted; None: all.
    """
    old, wanted = volume.shape[axis], range(new)[rows or slice(None)]
    if old == new:
        return volume if rows is None else np.take(volume, wanted, axis)
    lines = np.moveaxis(volume, axis, 0)
    result = np.empty((len(wanted), *lines.shape[1:]), dtype=volume.dtype)
    for first in range(0, len(wanted), _BAND):
        last = min(first + _BAND, len(wanted))
        matrix = axis_operator(old, new, order)[wanted[first] : wanted[last - 1] + 1]
        used = np.flatnonzero((np.abs(matrix) > _SMALLEST_WEIGHT).any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        source = np.ascontiguousarray(lines[columns]).reshape(columns.stop - columns.start, -1)
        part = np.ascontiguousarray(matrix[:, columns], dtype=volume.dtype)
        flat = result[first:last].reshape(last - first, -1)
        for piece in _pieces(source.shape[1], part.size):
            flat[:, piece] = part @ source[:, piece]
    return np.moveaxis(result, 0, axis)


def _pieces(length: int, size: int) -> Iterator[slice]:
    step = max(1, _PRODUCT // size)
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


@lru_cache(maxsize=16)
def axis_operator(old: int, new: int, order: int) -> NDArray[np.float64]:
    """The (new, old) matrix that resamples one axis, whose edges are repeated; voxels are areas, not points.

    It equals ``scipy.ndimage.zoom(..., order=order, mode="nearest", grid_mode=True)`` of unit vectors.
    """
    centres = _coordinates(old, new)
    rows = np.arange(new)
    operator = np.zeros((new, old))
    if order == 1:
        centres = centres.clip(0, old - 1)
        before = np.floor(centres).astype(np.intp)
        fraction = centres - before
        np.add.at(operator, (rows, before), 1 - fraction)
        np.add.at(operator, (rows, np.minimum(before + 1, old - 1)), fraction)
        return operator
    coefficients = _spline_coefficients(np.pad(np.eye(old), ((_MARGIN, _MARGIN), (0, 0)), mode="edge"))
    centres = (centres + _MARGIN).clip(0, len(coefficients) - 1)
    before = np.floor(centres).astype(np.intp)
    fraction = centres - before
    for offset, weight in zip((-1, 0, 1, 2), _cubic_weights(fraction), strict=True):
        operator += weight[:, None] * coefficients[(before + offset).clip(0, len(coefficients) - 1)]
    return operator


def _coordinates(old: int, new: int) -> NDArray[np.float64]:
    """Positions of the centres of ``new`` voxels on an axis of ``old`` voxels, in old voxels."""
    return np.asarray(old / new * (np.arange(new) + 0.5) - 0.5)


def _cubic_weights(t: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
    """The cubic B-spline at the four voxels around a position that is ``t`` behind the second of them."""
    rest = 1 - t
    return rest**3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (4 - 6 * rest**2 + 3 * rest**3) / 6, t**3 / 6


def _spline_coefficients(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """The coefficients c with (c_(i-1) + 4 c_i + c_(i+1)) / 6 = sample i along axis 0, mirrored about the outer edges.

    The system has three diagonals and is solved by elimination forward and substitution backward.
    """
    count = len(samples)
    middle = np.full(count, 4.0)
    middle[[0, -1]] = 5
    solution, above = 6 * samples, np.empty(count)
    above[0] = 1 / middle[0]
    solution[0] *= above[0]
    for row in range(1, count):
        above[row] = 1 / (middle[row] - above[row - 1])
        solution[row] = (solution[row] - solution[row - 1]) * above[row]
    for row in range(count - 2, -1, -1):
        solution[row] -= above[row] * solution[row + 1]
    return solution
