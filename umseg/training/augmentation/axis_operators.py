"""Linear operators along one axis of an image, as matrices that are zero away from the diagonal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from umseg.preprocess.resampling.resample import nearest_indices

# Output rows that are computed together in small pieces: few enough to skip most of the zeros.
_BAND = 32
# Weights below this share of the largest one are less than the rounding of float32.
_SMALLEST_WEIGHT = 1e-7
_BEFORE, _AFTER = 1, 2
"""Number of coefficients before the first and after the last voxel that a cubic spline needs."""

_POLE = np.sqrt(3) - 2
_REACH = 14
"""Distance in voxels at which the influence of a voxel, ``_POLE`` to the power of the distance, falls below 1e-8."""

AnyArray = TypeVar("AnyArray", Tensor, NDArray[np.float64])


def small_pieces(device: torch.device) -> bool:
    """Whether to work image by image and band by band, to fit the caches of a CPU; a GPU needs all work at once."""
    return device.type == "cpu"


def on_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """A small array as a tensor, float32, or int64 for indices; the host does not wait for the copy to a GPU."""
    numbers = values.astype(np.float32 if values.dtype.kind == "f" else np.int64)
    return torch.from_numpy(numbers).to(device, non_blocking=True)


@dataclass(frozen=True)
class AxisOperator:
    """A (rows, columns) matrix, cut into bands of rows.

    Attributes:
        rows: Length of the axis after the operator is applied.
        bands: For each band its output rows, the input columns that they depend on, and that part of the matrix.
    """

    rows: int
    bands: tuple[tuple[slice, slice, Tensor], ...]

    @classmethod
    def of(cls, matrix: NDArray[np.float64], device: torch.device) -> AxisOperator:
        """The operator of a full matrix."""
        rows = len(matrix)
        band = _BAND if small_pieces(device) and rows > 2 * _BAND else rows
        bands = []
        for start in range(0, rows, band):
            block = matrix[start : start + band]
            largest = abs(block).max(axis=0)
            used = np.flatnonzero(largest > _SMALLEST_WEIGHT * largest.max())
            columns = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1)
            bands.append((slice(start, start + len(block)), columns, on_device(block[:, columns], device)))
        return cls(rows, tuple(bands))

    def __call__(self, x: Tensor, axis: int) -> Tensor:
        """Apply to one axis of a contiguous float32 tensor."""
        before, after = x.shape[:axis], x.shape[axis + 1 :]
        planes = x.reshape(before.numel(), x.shape[axis], after.numel())
        result = planes.new_empty(planes.shape[0], self.rows, planes.shape[2])
        for rows, columns, matrix in self.bands:
            if planes.shape[2] == 1:
                torch.matmul(planes[:, columns, 0], matrix.T, out=result[:, rows, 0])
            else:
                torch.matmul(matrix, planes[:, columns], out=result[:, rows])
        return result.reshape(*before, self.rows, *after)


def basis(t: AnyArray) -> list[AnyArray]:
    """The four cubic B-splines that are not zero at a fraction ``t`` of the way from one voxel to the next."""
    s = 1 - t
    t_squared, s_squared = t * t, s * s
    return [s_squared * s / 6, 2 / 3 - t_squared * (1 - t / 2), 2 / 3 - s_squared * (1 - s / 2), t_squared * t / 6]


@lru_cache(maxsize=16)
def spline_coefficients(size: int, device: torch.device) -> AxisOperator:
    """From voxels to the coefficients of the cubic B-spline through them, mirrored at both ends (scipy's ``mirror``).

    The result has ``size + 3`` entries: one before the first voxel, two after the last.
    """
    inverse = ndimage.spline_filter1d(np.eye(size), order=3, axis=0, mode="mirror")
    return AxisOperator.of(np.pad(inverse, ((_BEFORE, _AFTER), (0, 0)), mode="reflect"), device)


@lru_cache(maxsize=4)
def zooming(size: int, patch: int, zoom: float, device: torch.device, splines: bool = True) -> AxisOperator:
    """From an axis to the zoomed patch in its middle; 0 where there are no voxels.

    Args:
        size: Length of the axis.
        patch: Length of the patch.
        zoom: Factor of the coordinates, counted from the centre.
        device: Device of the tensors that the operator is applied to.
        splines: Whether to interpolate by a cubic spline, otherwise linearly.
    """
    coordinates = zoom * (np.arange(patch) - (patch - 1) / 2) + (size - 1) / 2
    inside = (coordinates >= 0) & (coordinates <= size - 1)
    period = max(2 * (size - 1), 1)

    def mirrored(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(voxels % period, -voxels % period)

    return AxisOperator.of(_interpolation(coordinates, size, mirrored, splines) * inside[:, None], device)


@lru_cache(maxsize=512)
def enlarging(kept: int, size: int, device: torch.device, splines: bool = True) -> AxisOperator:
    """From an axis of ``kept`` voxels to one of ``size`` voxels that covers the same length.

    The edge is repeated (scipy's ``nearest``).

    Args:
        kept: Length of the axis.
        size: Length afterwards.
        device: Device of the tensors that the operator is applied to.
        splines: Whether to interpolate by a cubic spline, otherwise linearly.
    """
    coordinates = (np.arange(size) + 0.5) * kept / size - 0.5
    return AxisOperator.of(_interpolation(coordinates, kept, lambda voxels: voxels.clip(0, kept - 1), splines), device)


def _interpolation(
    coordinates: NDArray[np.floating],
    size: int,
    within: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    splines: bool,
) -> NDArray[np.float64]:
    """The (coordinates, size) matrix from voxels to the values at coordinates between them.

    Args:
        coordinates: Coordinates on the axis or a few voxels beyond.
        size: Length of the axis.
        within: Replaces voxels beyond the axis by the voxels that stand for them.
        splines: Whether to interpolate by the cubic spline through the voxels, otherwise linearly.
    """
    base = np.floor(coordinates).astype(np.int64)
    fraction = coordinates - base
    if splines:
        # A voxel changes the coefficient at distance d by sqrt(3) z^|d| (Unser 1999).
        near = np.arange(-_REACH, _REACH + 2)
        influence = np.sqrt(3) * _POLE ** abs(np.arange(-_BEFORE, _AFTER + 1)[:, None] - near)
        weights = np.stack(basis(fraction), axis=1) @ influence
    else:
        near, weights = np.arange(2), np.stack([1 - fraction, fraction], axis=1)
    matrix = np.zeros((len(coordinates), size))
    np.add.at(matrix, (np.arange(len(coordinates))[:, None], within(base[:, None] + near)), weights)
    return matrix


@lru_cache(maxsize=512)
def kept_voxels(kept: int, size: int, device: torch.device) -> Tensor:
    """Positions of the ``kept`` voxels of an axis that remain after nearest-neighbour reduction."""
    return on_device(nearest_indices(size, kept), device)
