"""Resampling as products with small matrices, one per axis (docs/rules.md, Preprocessing).

Spline interpolation is linear and separable: the operator of one axis is a matrix that is found exactly by resampling
unit vectors. Its entries decay quickly away from the diagonal, so a block of output voxels needs only a few more input
voxels than it has itself, and time and memory stay small for images of any size. The same code computes with numpy and,
on any device, with torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from umseg.preprocess.resampling.arrays import Array, Arrays
from umseg.preprocess.resampling.axis import axis_operator, nearest_indices, separate_axis, support

Shape = tuple[int, int, int]

# Output rows of an operator that are computed together: enough for fast products, few enough to skip zeros.
_BAND = 32


class Resampler:
    """Resamples volumes of one shape to another, a slab of output slices at a time.

    Slabs are cut along ``lead``: the separate axis, or else the first. All volumes given to the methods are (z, y, x)
    arrays of the library of the ``arrays`` that are given with them.
    """

    def __init__(
        self,
        old_shape: Shape,
        new_shape: Shape,
        spacing: Sequence[float],
        target_spacing: Sequence[float],
        order: int,
    ) -> None:
        axis = separate_axis(spacing, target_spacing)
        self.separate = axis is not None
        self.lead = axis or 0
        self.order = order
        self._old = _lead_first(old_shape, self.lead)
        self._new = _lead_first(new_shape, self.lead)
        self._nearest = nearest_indices(self._old[0], self._new[0])

    @property
    def slice_voxels(self) -> int:
        """The largest number of voxels in a temporary array per output slice."""
        used = 0 if self.separate else math.prod(self._old) // self._new[0]
        return max(used, math.prod(self._old[1:]), math.prod(self._new[1:]))

    def slabs(self, arrays: Arrays) -> Iterator[tuple[int, int]]:
        """Ranges of output slices whose temporary arrays are as large as the library wants them."""
        step = max(1, arrays.slab_voxels // self.slice_voxels)
        for start in range(0, self._new[0], step):
            yield start, min(start + step, self._new[0])

    def slab(self, volume: Array, start: int, stop: int, arrays: Arrays) -> Array:
        """Output slices ``start:stop`` along ``lead``, with that axis first: (stop - start, ., .) in ``arrays``."""
        return self.slab_of(arrays.library.moveaxis(volume, self.lead, 0), start, stop, arrays)

    def slab_of(self, moved: Array, start: int, stop: int, arrays: Arrays) -> Array:
        """The same of a volume whose axis ``lead`` comes first, or of an object that gives its slices by index."""
        if not self.separate:
            return self._in_plane(self._along_lead(moved, start, stop, arrays), arrays)
        sources, position = np.unique(self._nearest[start:stop], return_inverse=True)
        return self._in_plane(arrays.load(moved[sources]), arrays)[position]

    def limits(self, volume: Array, arrays: Arrays) -> tuple[Array, Array]:
        """Smallest and largest input value that bound each output slice along ``lead``: two (slices, 1, 1) arrays.

        Splines overshoot at edges; the published system clips to the range of the voxels that it resamples together: a
        slice where an axis is separate, the whole volume otherwise.
        """
        library = arrays.library
        moved = library.moveaxis(volume, self.lead, 0)
        if self.separate:
            lowest, highest = library.amin(moved, (1, 2)), library.amax(moved, (1, 2))
            return lowest[self._nearest][:, None, None], highest[self._nearest][:, None, None]
        full = (self._new[0], 1, 1)
        return library.broadcast_to(moved.min(), full), library.broadcast_to(moved.max(), full)

    def limits_of(
        self, lowest: NDArray[np.float32], highest: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The limits of a volume of which the smallest and largest value of each slice along ``lead`` are known."""
        if self.separate:
            return lowest[self._nearest][:, None, None], highest[self._nearest][:, None, None]
        full = (self._new[0], 1, 1)
        return np.broadcast_to(lowest.min(), full), np.broadcast_to(highest.max(), full)

    def _along_lead(self, moved: Array, start: int, stop: int, arrays: Arrays) -> Array:
        if self._old[0] == self._new[0]:
            return arrays.load(moved[start:stop])
        operator = axis_operator(self._old[0], self._new[0], self.order)
        result = arrays.empty((stop - start, *self._old[1:]))
        flat = result.reshape(stop - start, -1)
        for first in range(start, stop, _BAND):
            last = min(first + _BAND, stop)
            columns = support(operator[first:last])
            source = arrays.load(moved[columns]).reshape(columns.stop - columns.start, -1)
            matrix = arrays.load(operator[first:last, columns])
            rows = slice(first - start, last - start)
            for part in _parts(source.shape[1], matrix, arrays):
                arrays.library.matmul(matrix, source[:, part], out=flat[rows, part])
        return result

    def _in_plane(self, planes: Array, arrays: Arrays) -> Array:
        _, height, width = self._new
        matmul = arrays.library.matmul
        if planes.shape[1] != height:
            result = arrays.empty((planes.shape[0], height, planes.shape[2]))
            for rows, columns, matrix in _bands(planes.shape[1], height, self.order, arrays):
                for part in _parts(planes.shape[2], matrix, arrays):
                    matmul(matrix, planes[:, columns, part], out=result[:, rows, part])
            planes = result
        if planes.shape[2] != width:
            lines = planes.reshape(-1, planes.shape[2])
            result = arrays.empty((lines.shape[0], width))
            for rows, columns, matrix in _bands(planes.shape[2], width, self.order, arrays):
                for part in _parts(len(lines), matrix, arrays):
                    matmul(lines[part, columns], matrix.T, out=result[part, rows])
            planes = result.reshape(planes.shape[0], height, width)
        return planes


@lru_cache(maxsize=64)
def _bands(old: int, new: int, order: int, arrays: Arrays) -> tuple[tuple[slice, slice, Array], ...]:
    """``axis_operator`` in groups of output rows, without the input voxels that no row of the group uses."""
    operator = axis_operator(old, new, order)
    bands = []
    for start in range(0, new, _BAND):
        rows = slice(start, min(start + _BAND, new))
        columns = support(operator[rows])
        bands.append((rows, columns, arrays.load(operator[rows, columns])))
    return tuple(bands)


def _parts(length: int, matrix: Array, arrays: Arrays) -> Iterator[slice]:
    """Ranges of an axis such that the product of the matrix with each of them is not too large."""
    step = max(1, arrays.product_size // math.prod(matrix.shape))
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _lead_first(shape: Sequence[int], lead: int) -> Shape:
    z, y, x = shape
    return ((z, y, x), (y, z, x), (x, z, y))[lead]
