"""Linear maps along one axis, as matrices that are zero away from the diagonal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from umseg.preprocess.resample import nearest_indices

# Output rows that are computed together in small pieces: few enough to skip the zeros.
_BAND = 32
# Weights below this share of the largest are no more than rounding in float32.
_SMALLEST_WEIGHT = 1e-7
_BEFORE, _AFTER = 1, 2
"""Coefficients beyond the first and the last voxel that a cubic spline touches."""

_REPEATED = 12
"""Times that scipy repeats the edge: a spline does not see further."""

AnyArray = TypeVar("AnyArray", Tensor, NDArray[np.float64])


def small_pieces(device: torch.device) -> bool:
    """Whether to work image by image and band by band: what fits the caches of a CPU; a GPU wants all work at once."""
    return device.type == "cpu"


def on_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """A small array as a tensor: float32, or int64 for indices. A GPU's host does not wait for the copy."""
    numbers = values.astype(np.float32 if values.dtype.kind == "f" else np.int64)
    return torch.from_numpy(numbers).to(device, non_blocking=True)


@dataclass(frozen=True)
class Operator:
    """A (rows, columns) matrix, cut into bands of rows.

    Attributes:
        rows: Length of the axis afterwards.
        bands: Output rows, the input columns that they depend on, and the part of the matrix.
    """

    rows: int
    bands: tuple[tuple[slice, slice, Tensor], ...]

    @classmethod
    def of(cls, matrix: NDArray[np.float64], device: torch.device) -> Operator:
        """Of a full matrix."""
        rows = len(matrix)
        band = _BAND if small_pieces(device) and rows > 2 * _BAND else rows
        bands = []
        for start in range(0, rows, band):
            block = matrix[start : start + band]
            used = np.flatnonzero((abs(block) > _SMALLEST_WEIGHT * abs(block).max()).any(axis=0))
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
    """The four cubic B-splines that are not zero at a fraction ``t`` of the way from a voxel to the next."""
    s = 1 - t
    square, other = t * t, s * s
    return [other * s / 6, 2 / 3 - square * (1 - t / 2), 2 / 3 - other * (1 - s / 2), square * t / 6]


@lru_cache(maxsize=4)
def _coefficients(size: int) -> NDArray[np.float64]:
    inverse = ndimage.spline_filter1d(np.eye(size), order=3, axis=0, mode="mirror")
    return np.pad(inverse, ((_BEFORE, _AFTER), (0, 0)), mode="reflect")


@lru_cache(maxsize=16)
def spline_coefficients(size: int, device: torch.device) -> Operator:
    """Voxels to the coefficients of the cubic B-spline through them, mirrored at both ends (scipy's ``mirror``).

    The result has ``size + 3`` entries: one before the first voxel, two after the last.
    """
    return Operator.of(_coefficients(size), device)


@lru_cache(maxsize=4)
def zooming(size: int, patch: int, zoom: float, device: torch.device) -> Operator:
    """Of ``size`` voxels to the ``patch`` in the middle, by a cubic spline; 0 where there are no voxels.

    Args:
        size: Length of the axis.
        patch: Length afterwards.
        zoom: Factor of the coordinates, counted from the centre.
        device: Of the tensors that it will be applied to.
    """
    coordinates = zoom * (np.arange(patch) - (patch - 1) / 2) + (size - 1) / 2
    inside = (coordinates >= 0) & (coordinates <= size - 1)
    return Operator.of(_values(_coefficients(size), np.where(inside, coordinates, 0)) * inside[:, None], device)


@lru_cache(maxsize=512)
def enlarging(kept: int, size: int, device: torch.device) -> Operator:
    """Of ``kept`` voxels to ``size``, by a cubic spline, the edge repeated (scipy's ``nearest``); voxels are areas."""
    # Not cached: of a long axis there may be hundreds.
    coefficients = _coefficients.__wrapped__(kept + 2 * _REPEATED)
    first, middle, last = np.split(coefficients, [_REPEATED + 1, _REPEATED + kept - 1], axis=1)
    ends = [first.sum(1, keepdims=True), middle, last.sum(1, keepdims=True)]
    # Of a single voxel the first and the last are the same.
    repeated = np.concatenate(ends, axis=1) if kept > 1 else coefficients.sum(1, keepdims=True)
    return Operator.of(_values(repeated, (np.arange(size) + 0.5) * kept / size - 0.5 + _REPEATED), device)


def _values(coefficients: NDArray[np.float64], coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxels to the spline's values at coordinates, not beyond the first and the last voxel."""
    base = np.floor(coordinates).astype(int)
    taps = [w[:, None] * coefficients[base + tap] for tap, w in enumerate(basis(coordinates - base))]
    return np.asarray(sum(taps[1:], taps[0]))


@lru_cache(maxsize=512)
def kept_voxels(kept: int, size: int, device: torch.device) -> Tensor:
    """Positions of the ``kept`` voxels of an axis that nearest-neighbour reduction leaves over."""
    return on_device(nearest_indices(size, kept), device)
