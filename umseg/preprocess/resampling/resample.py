"""Resampling of images, logits and label maps (docs/rules.md, Preprocessing)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.preprocess.resampling.arrays import AnyArray, Array, Arrays, NumpyArrays
from umseg.preprocess.resampling.axis import axis_operator, coordinates, nearest_indices, separate_axis
from umseg.preprocess.resampling.resampler import Resampler, Shape

# The operators of one axis are for other rooms too.
__all__ = ["as_shape", "axis_operator", "nearest_indices", "resample", "resample_label", "separate_axis"]

# Single precision loses up to 5e-7 of the largest value: below this the result is within 1e-5 of double precision.
_LARGEST_SINGLE = 16.0


def resample(
    array: AnyArray,
    shape: Shape,
    spacing: Sequence[float],
    target_spacing: Sequence[float],
    order: int,
    out: AnyArray | None = None,
) -> AnyArray:
    """Resample an image or logits, on the device where they are.

    Args:
        array: (channels, z, y, x) float32, of numpy or torch; tensors may be float16 or bfloat16 too.
        shape: (z, y, x) to resample to; an axis that keeps its length is not touched.
        spacing: Spacing of ``array``, mm; with ``target_spacing`` it decides whether an axis is separate.
        target_spacing: Spacing of the result, mm.
        order: 3 (cubic, for images) or 1 (linear, for logits).
        out: (channels, *shape) float32 to write the result to, so that it is not held twice.

    Returns:
        (channels, *shape) float32, of the library and on the device of ``array``, and within the range of its values:
        ``out`` if given, else ``array`` itself if the shape is the same already, else a new array. Equal to the result
        in double precision to 1e-5; on Apple's GPUs, which have none, for values up to 16.
    """
    single = _single(array)
    old = as_shape(array.shape[1:])
    if out is None and old == tuple(shape):
        return array if array.dtype == single.dtype else single.load(array)
    result = single.empty((array.shape[0], *shape)) if out is None else out
    if old == tuple(shape):
        result[...] = array
        return result
    resampler = Resampler(old, shape, spacing, target_spacing, order)
    for volume, output in zip(array, result, strict=True):
        lowest, highest = resampler.limits(volume, single)
        # torch's products in single precision are rounded to TF32 or bfloat16 where a program has asked for it.
        largest = max(abs(float(lowest.min())), abs(float(highest.max())))
        exact = isinstance(volume, np.ndarray) and largest <= _LARGEST_SINGLE
        arrays = single if exact else single.double()
        target = arrays.library.moveaxis(output, resampler.lead, 0)
        for start, stop in resampler.slabs(arrays):
            slab = resampler.slab(volume, start, stop, arrays)
            target[start:stop] = arrays.library.clip(slab, lowest[start:stop], highest[start:stop], out=slab)
    return result


def _single(array: Array) -> Arrays:
    """Where an array is, in single precision."""
    if isinstance(array, np.ndarray):
        return NumpyArrays(np.float32)
    # Not before there is a tensor: torch is large.
    from umseg.preprocess.resampling.tensors import TorchArrays

    return TorchArrays(array.device)


def resample_label(
    label: NDArray[Any], shape: Shape, spacing: Sequence[float], target_spacing: Sequence[float]
) -> NDArray[Any]:
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
    centres = coordinates(old, new)
    before = np.floor(centres)
    # Beyond the edge both neighbours are the edge voxel, and the two products are still rounded one by one.
    index = np.clip(np.stack([before, before + 1]).astype(np.intp), 0, old - 1)
    fraction = centres - before
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


def as_shape(shape: Sequence[int]) -> Shape:
    """Three entries, for the type checker too."""
    z, y, x = shape
    return z, y, x
