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

# The operators of one axis are also used by other packages.
__all__ = ["as_shape", "axis_operator", "nearest_indices", "resample", "resample_label", "separate_axis"]

LARGEST_SINGLE = 16.0
"""Largest value that is resampled in single precision.

The error of single precision is up to 5e-7 of the largest value, so that up to here the result is within 1e-5 of that
in double precision.
"""


def resample(
    array: AnyArray,
    shape: Shape,
    spacing: Sequence[float],
    target_spacing: Sequence[float],
    order: int,
    out: AnyArray | None = None,
) -> AnyArray:
    """Resample an image or logits on the device that holds them.

    Args:
        array: (channels, z, y, x), a float32 array of numpy or a float32, float16 or bfloat16 tensor.
        shape: Shape (z, y, x) of the result; an axis that keeps its length is not changed.
        spacing: Spacing of ``array``, mm; with ``target_spacing`` it decides whether an axis is separate.
        target_spacing: Spacing of the result, mm.
        order: 3 (cubic, for images) or 1 (linear, for logits).
        out: (channels, *shape) float32 array for the result, so that it is not held twice.

    Returns:
        (channels, *shape) float32, of the library and on the device of ``array``, and within the range of its values:
        ``out`` if given, else ``array`` itself if it has that shape already, else a new array. The result is within
        1e-5 of that in double precision; on Apple's GPUs, which do not support it, this holds for values up to 16.
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
        resample_volume(volume, output, resampler)
    return result


def resample_volume(volume: AnyArray, out: AnyArray, resampler: Resampler) -> None:
    """Resample one volume, as ``resample`` does, to the shape of ``out``, which differs from its own."""
    single = _single(volume)
    lowest, highest = resampler.limits(volume, single)
    # A program may have told torch to round products in single precision to TF32 or bfloat16.
    largest = max(abs(float(lowest.min())), abs(float(highest.max())))
    exact = largest <= LARGEST_SINGLE and isinstance(volume, np.ndarray)
    arrays = single if exact else single.double()
    target = arrays.library.moveaxis(out, resampler.lead, 0)
    for start, stop in resampler.slabs(arrays):
        slab = resampler.slab(volume, start, stop, arrays)
        target[start:stop] = arrays.library.clip(slab, lowest[start:stop], highest[start:stop], out=slab)


def _single(array: Array) -> Arrays:
    """The library and device of an array, in single precision."""
    if isinstance(array, np.ndarray):
        return NumpyArrays(np.float32)
    # Imported only where there is a tensor, because torch is large.
    from umseg.preprocess.resampling.tensors import TorchArrays

    return TorchArrays(array.device)


def resample_label(
    label: NDArray[Any], shape: Shape, spacing: Sequence[float], target_spacing: Sequence[float]
) -> NDArray[Any]:
    """Resample a label map: each voxel gets the value whose linearly interpolated mask is largest there.

    Of tied values, that of the nearest voxel wins if it is among them, else the lowest. This is the rule of the
    published system today; in older versions the largest value won whose mask reached 0.5, which left voxels between
    three classes without a value.

    All classes are decided in one pass: a voxel between equal neighbours takes their value. Masks are interpolated only
    where neighbours differ, with products and sums in scipy's order so that the same values tie.

    Args:
        label: (z, y, x) of any integer dtype.
        shape: Shape (z, y, x) of the result.
        spacing: Spacing of ``label``, mm.
        target_spacing: Spacing of the result, mm.

    Returns:
        The label map of this shape, in the dtype of ``label``; ``label`` itself if it has the shape already.
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
    # Beyond the edge both neighbours are the edge voxel; their products are still rounded one by one.
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
    """The shape as a tuple of three entries, which the type checker can tell."""
    z, y, x = shape
    return z, y, x
