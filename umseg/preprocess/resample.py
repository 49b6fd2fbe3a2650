"""Resampling as products with small matrices, one per axis (facts 1.6).

Spline interpolation is linear and separable: the operator of one axis is a matrix that is found exactly by resampling
unit vectors. Its entries fall off fast away from the diagonal, so a block of output voxels needs only a few more input
voxels than it has itself; work and memory stay small for images of any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[Any]
Shape = tuple[int, int, int]
Spacing = Sequence[float]

ANISOTROPY_THRESHOLD = 3
"""An axis whose spacing is more than this many times the smallest is resampled by itself, by nearest neighbour."""

# Smaller weights are left out; a cubic spline's fall below this 18 voxels away.
_SMALLEST_WEIGHT = 1e-10
# Output rows of an operator that are computed together: wide enough for fast products, few enough to skip zeros.
_BAND = 32
# Voxels of the temporary arrays.
_SLAB_VOXELS = 2**19
# Single precision loses up to 5e-7 of the largest value: below this the result is within 1e-5 of double precision.
_LARGEST_SINGLE = 16.0


def separate_axis(spacing: Spacing, target_spacing: Spacing) -> int | None:
    """The axis to resample by itself, or None (facts 1.6).

    The first of the two spacings that is anisotropic decides; if its largest value belongs to more than one axis, no
    axis is separate.
    """
    for candidate in (spacing, target_spacing):
        largest = max(candidate)
        if largest / min(candidate) > ANISOTROPY_THRESHOLD:
            axes = [axis for axis, value in enumerate(candidate) if value == largest]
            return axes[0] if len(axes) == 1 else None
    return None


@lru_cache(maxsize=64)
def axis_operator(old: int, new: int, order: int) -> NDArray[np.float64]:
    """The (new, old) matrix that resamples one axis with a spline of ``order``, edges repeated (read-only).

    Equals ``scipy.ndimage.zoom(..., mode="nearest", grid_mode=True)``: voxels are areas, not points.
    """
    operator = np.empty((new, old))
    for column, unit in enumerate(np.eye(old)):
        operator[:, column] = ndimage.zoom(unit, new / old, order=order, mode="nearest", grid_mode=True)
    operator.flags.writeable = False
    return operator


def nearest_indices(old: int, new: int) -> NDArray[np.intp]:
    """For each of ``new`` voxels of an axis the nearest of ``old`` ones (halves go up)."""
    coordinates = _coordinates(old, new)
    nearest: NDArray[np.intp] = np.floor(coordinates + 0.5).astype(np.intp)
    return nearest.clip(0, old - 1)


def _coordinates(old: int, new: int) -> NDArray[np.float64]:
    """Where the centres of ``new`` voxels lie among the ``old`` ones of the same axis."""
    return np.asarray(old / new * (np.arange(new) + 0.5) - 0.5, dtype=np.float64)


class Resampler:
    """Resamples volumes of one shape to another, a slab of output slices at a time.

    Slabs are cut along ``lead``: the separate axis, or the first. All volumes given to the methods are (z, y, x).
    """

    def __init__(
        self, old_shape: Shape, new_shape: Shape, spacing: Spacing, target_spacing: Spacing, order: int
    ) -> None:
        axis = separate_axis(spacing, target_spacing)
        self.separate = axis is not None
        self.lead = axis or 0
        self.order = order
        self.identity = tuple(old_shape) == tuple(new_shape)
        self._old = _lead_first(old_shape, self.lead)
        self._new = _lead_first(new_shape, self.lead)
        self._nearest = nearest_indices(self._old[0], self._new[0])

    def slabs(self, volumes: int = 1) -> Iterator[tuple[int, int]]:
        """Ranges of output slices, such that slabs of ``volumes`` volumes fit in memory together."""
        plane = max(np.prod(self._old[1:]), np.prod(self._new[1:]))
        step = max(1, int(_SLAB_VOXELS / (plane * volumes)))
        for start in range(0, self._new[0], step):
            yield start, min(start + step, self._new[0])

    def slab(self, volume: Floats, start: int, stop: int, dtype: type[np.floating]) -> Floats:
        """Output slices ``start:stop`` along ``lead``, with that axis first: (stop - start, ., .) of ``dtype``."""
        moved = np.moveaxis(volume, self.lead, 0)
        if self.identity:
            return moved[start:stop].astype(dtype)
        if not self.separate:
            return self._in_plane(self._along_lead(moved, start, stop, dtype))
        sources, position = np.unique(self._nearest[start:stop], return_inverse=True)
        return self._in_plane(np.ascontiguousarray(moved[sources], dtype=dtype))[position]

    def limits(self, volume: Floats) -> tuple[Floats, Floats]:
        """Smallest and largest input value that bound each output slice along ``lead``: two (slices, 1, 1) arrays.

        Splines overshoot at edges; the published system clips to the range of what it resamples at once, which is a
        slice where an axis is separate and the whole volume otherwise.
        """
        moved = np.moveaxis(volume, self.lead, 0)
        if self.separate:
            lowest, highest = moved.min(axis=(1, 2)), moved.max(axis=(1, 2))
            return lowest[self._nearest][:, None, None], highest[self._nearest][:, None, None]
        full = (self._new[0], 1, 1)
        return np.broadcast_to(moved.min(), full), np.broadcast_to(moved.max(), full)

    def _along_lead(self, moved: Floats, start: int, stop: int, dtype: type[np.floating]) -> Floats:
        if self._old[0] == self._new[0]:
            return np.ascontiguousarray(moved[start:stop], dtype=dtype)
        rows = axis_operator(self._old[0], self._new[0], self.order)[start:stop]
        first, last = _support(rows)
        source = np.ascontiguousarray(moved[first:last], dtype=dtype)
        product = rows[:, first:last].astype(dtype) @ source.reshape(last - first, -1)
        return product.reshape(stop - start, *self._old[1:])

    def _in_plane(self, planes: Floats) -> Floats:
        _, height, width = self._new
        if planes.shape[1] != height:
            result = np.empty((planes.shape[0], height, planes.shape[2]), dtype=planes.dtype)
            for rows, columns, matrix in _bands(planes.shape[1], height, self.order, planes.dtype.char):
                np.matmul(matrix, planes[:, columns], out=result[:, rows])
            planes = result
        if planes.shape[2] != width:
            lines = planes.reshape(-1, planes.shape[2])
            result = np.empty((lines.shape[0], width), dtype=planes.dtype)
            for rows, columns, matrix in _bands(planes.shape[2], width, self.order, planes.dtype.char):
                np.matmul(lines[:, columns], matrix.T, out=result[:, rows])
            planes = result.reshape(*planes.shape[:2], width)
        return planes


def resample(
    array: NDArray[np.float32],
    shape: Shape,
    spacing: Spacing,
    target_spacing: Spacing,
    order: int,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Resample an image or logits.

    Args:
        array: (channels, z, y, x).
        shape: (z, y, x) to resample to; an axis that keeps its length is not touched.
        spacing: Spacing of ``array``, mm; with ``target_spacing`` it decides whether an axis is separate.
        target_spacing: Spacing of the result, mm.
        order: 3 (cubic, for images) or 1 (linear, for logits).
        out: (channels, *shape) to write the result to, so that it is not held twice.

    Returns:
        (channels, *shape) float32, within the range of the values of ``array``: ``out`` if given, else ``array`` itself
        if the shape is the same already, else a new array.
    """
    old = as_shape(array.shape[1:])
    if old == tuple(shape):
        if out is None:
            return array
        out[...] = array
        return out
    resampler = Resampler(old, shape, spacing, target_spacing, order)
    result = np.empty((array.shape[0], *shape), dtype=np.float32) if out is None else out
    for volume, output in zip(array, result, strict=True):
        lowest, highest = resampler.limits(volume)
        largest = max(abs(float(lowest.min())), abs(float(highest.max())))
        dtype = np.float32 if largest <= _LARGEST_SINGLE else np.float64
        target = np.moveaxis(output, resampler.lead, 0)
        for start, stop in resampler.slabs():
            slab = resampler.slab(volume, start, stop, dtype)
            target[start:stop] = np.clip(slab, lowest[start:stop], highest[start:stop], out=slab)
    return result


def resample_label(label: NDArray[Any], shape: Shape, spacing: Spacing, target_spacing: Spacing) -> NDArray[Any]:
    """Resample a label map: the value whose linearly interpolated mask is largest.

    Of tied values the nearest voxel's wins if it is among them, else the lowest. This is the rule of the published
    system as it is today; older versions let the largest value win whose mask reaches 0.5, which leaves voxels between
    three classes without any.

    All classes are decided in one pass: a voxel between equal neighbours takes their value, and only where neighbours
    differ are masks interpolated, with products and sums in scipy's order so that ties are the same ones.

    Args:
        label: (z, y, x) of any integer dtype.
        shape: (z, y, x) to resample to.
        spacing: Spacing of ``label``, mm.
        target_spacing: Spacing of the result, mm.

    Returns:
        ``shape`` in the dtype of ``label``; ``label`` itself if the shape is the same already.
    """
    if label.shape == tuple(shape):
        return label
    separate = separate_axis(spacing, target_spacing)
    z_axis, y_axis, x_axis = (
        _neighbours(old, new, linear=number != separate)
        for number, (old, new) in enumerate(zip(label.shape, shape, strict=True))
    )
    result = np.empty(shape, dtype=label.dtype)
    for z in range(shape[0]):
        result[z] = _label_plane(label, z_axis.at(z), y_axis, x_axis)
    return result


@dataclass(frozen=True)
class _Neighbours:
    """For each output voxel of an axis: two (or one) input voxels, their weights, and the nearest of them."""

    index: NDArray[np.intp]  # (2 or 1, new)
    weight: NDArray[np.float64]  # (2 or 1, new)
    nearest: NDArray[np.intp]  # (new,)

    def at(self, position: int) -> _Neighbours:
        one = slice(position, position + 1)
        return _Neighbours(self.index[:, one], self.weight[:, one], self.nearest[one])


def _neighbours(old: int, new: int, *, linear: bool) -> _Neighbours:
    nearest = nearest_indices(old, new)
    if old == new or not linear:
        return _Neighbours(nearest[None], np.ones((1, new)), nearest)
    coordinates = _coordinates(old, new)
    before = np.floor(coordinates)
    # Beyond the edge both neighbours are the edge voxel, and the two products are still rounded one by one.
    index = np.clip(np.stack([before, before + 1]).astype(np.intp), 0, old - 1)
    fraction = coordinates - before
    return _Neighbours(index, np.stack([1 - fraction, fraction]), nearest)


def _label_plane(label: NDArray[Any], z: _Neighbours, y: _Neighbours, x: _Neighbours) -> NDArray[Any]:
    """One output slice; ``z`` holds a single position."""
    # Up to eight neighbours, the last axis fastest.
    rows = [label[plane][row] for plane in z.index[:, 0] for row in y.index]
    corners = np.stack([row[:, column] for row in rows for column in x.index])
    result: NDArray[Any] = corners[0].copy()
    ys, xs = np.nonzero((corners[1:] != corners[0]).any(axis=0))
    labels = corners[:, ys, xs]
    weights = np.stack([wz * wy[ys] * wx[xs] for wz in z.weight[:, 0] for wy in y.weight for wx in x.weight])
    winner = labels[0]
    largest = _share(labels, weights, winner)
    for candidate in labels[1:]:
        share = _share(labels, weights, candidate)
        better = (share > largest) | ((share == largest) & (candidate < winner))
        winner = np.where(better, candidate, winner)
        largest = np.where(better, share, largest)
    nearest = label[z.nearest[0], y.nearest[ys], x.nearest[xs]]
    result[ys, xs] = np.where(_share(labels, weights, nearest) == largest, nearest, winner)
    return result


def _share(labels: NDArray[Any], weights: NDArray[np.float64], candidate: NDArray[Any]) -> NDArray[np.float64]:
    """Sum of the weights of the neighbours (first axis) that carry the candidate's value."""
    share = np.zeros(candidate.shape)
    for neighbour, weight in zip(labels, weights, strict=True):
        share += np.where(neighbour == candidate, weight, 0.0)
    return share


@lru_cache(maxsize=64)
def _bands(old: int, new: int, order: int, dtype: str) -> tuple[tuple[slice, slice, Floats], ...]:
    """``axis_operator`` in groups of output rows, without the input voxels that no row of the group needs."""
    operator = axis_operator(old, new, order)
    bands = []
    for start in range(0, new, _BAND):
        rows = slice(start, min(start + _BAND, new))
        first, last = _support(operator[rows])
        bands.append((rows, slice(first, last), np.ascontiguousarray(operator[rows, first:last], dtype=dtype)))
    return tuple(bands)


def _support(rows: NDArray[np.float64]) -> tuple[int, int]:
    used = np.flatnonzero((np.abs(rows) > _SMALLEST_WEIGHT).any(axis=0))
    return int(used[0]), int(used[-1]) + 1


def _lead_first(shape: Sequence[int], lead: int) -> Shape:
    z, y, x = shape
    return ((z, y, x), (y, z, x), (x, z, y))[lead]


def as_shape(shape: Sequence[int]) -> Shape:
    """Three entries, for the type checker too."""
    z, y, x = shape
    return z, y, x
