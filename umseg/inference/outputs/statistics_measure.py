"""Volumes, places, intensities and pieces of all classes of a label map, in one pass over its planes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COMPILED = ("uint8", "uint16", "int16", "int32", "int64")
"""Types of label maps for which the kernel is compiled; planes of others are converted to the last."""


@dataclass(frozen=True)
class Measurements:
    """What is known of the classes 1, 2, ... of a label map; the first entry of every array, class 0, means nothing.

    Attributes:
        voxels: Number of voxels, (classes,).
        centroids: Mean index along z, y, x, (classes, 3); NaN where a class has no voxel.
        boxes: First index along z, y, x, and one behind the last, (classes, 6); 0 where a class has no voxel.
        pieces: Number of pieces that are connected over faces, edges and corners, (classes,).
        largest: Voxels of the largest piece, (classes,).
        intensities: Smallest, largest, mean and standard deviation (of the population), (channels, classes, 4); NaN
            where a class has no voxel.
    """

    voxels: NDArray[np.int64]
    centroids: NDArray[np.float64]
    boxes: NDArray[np.int64]
    pieces: NDArray[np.int64]
    largest: NDArray[np.int64]
    intensities: NDArray[np.float64]


def class_table(classes: Mapping[int, int]) -> NDArray[np.int32]:
    """The class of every label value, as an array.

    Args:
        classes: Label value to the number of its class, from 1; all other values belong to none.
    """
    table = np.zeros(max(classes, default=0) + 1, dtype=np.int32)
    for value, number in classes.items():
        table[value] = number
    return table


def measure_labels(
    label_map: NDArray[np.integer[Any]], table: NDArray[np.int32], image: NDArray[Any] | None = None
) -> Measurements:
    """Measure all classes of a label map.

    Memory is needed for two planes and for the results, whatever the number of planes and classes.

    Args:
        label_map: (z, y, x).
        table: The class of every label value; see :func:`class_table`.
        image: (channels, z, y, x); None measures no intensities.
    """
    from umseg.kernels.labels import cpu_kernels as kernels

    count = int(table.max(initial=0)) + 1
    channels = 0 if image is None else len(image)
    voxels = np.zeros(count, np.int64)
    sums = np.zeros((count, 3), np.int64)
    boxes = np.tile(np.array([2**62] * 3 + [0] * 3, np.int64), (count, 1))
    moments = np.tile(np.array([np.inf, -np.inf, 0, 0, 0]), (channels, count, 1))
    pieces = _Pieces(count, label_map.shape[1])
    runs, rows = np.empty((label_map.shape[1] * 16, 3), np.int32), np.empty(label_map.shape[1] + 1, np.intp)
    for z, plane in enumerate(label_map):
        values = np.ascontiguousarray(plane, None if plane.dtype.name in _COMPILED else np.int64)
        found = kernels.find_runs(values, table, runs, rows)
        if found > len(runs):
            runs = np.empty((found, 3), np.int32)
            kernels.find_runs(values, table, runs, rows)
        kernels.add_extent(runs[:found], rows, z, voxels, sums, boxes)
        if image is not None:
            for channel in range(channels):
                intensities = np.ascontiguousarray(image[channel, z], np.float32)
                kernels.add_intensity(intensities, runs[:found], rows, moments[channel])
        pieces.add(runs[:found], rows)
    boxes[voxels == 0] = 0
    with np.errstate(invalid="ignore"):
        centroids = sums / voxels[:, None]
    number, largest = pieces.finished()
    return Measurements(voxels, centroids, boxes, number, largest, _statistics(moments, voxels))


class _Pieces:
    """The pieces of every class, which grow plane by plane.

    Args:
        count: Number of classes, with class 0.
        height: Number of rows of a plane.
    """

    def __init__(self, count: int, height: int) -> None:
        self._number, self._largest = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._runs, self._rows = np.empty((0, 3), np.int32), np.zeros(height + 1, np.intp)
        self._pieces = np.empty(0, np.intp)
        self._sizes, self._classes = np.empty(0, np.int64), np.empty(0, np.int32)

    def add(self, runs: NDArray[np.int32], rows: NDArray[np.intp]) -> None:
        """Add the runs of the next plane."""
        from umseg.kernels.labels import cpu_kernels as kernels

        self._pieces, self._sizes, self._classes = kernels.join_plane(
            runs, rows, self._runs, self._rows, self._pieces,
            self._sizes, self._classes, self._number, self._largest,
        )  # fmt: skip
        # The arrays of the caller are filled again with the next plane.
        self._runs, self._rows = runs.copy(), rows.copy()

    def finished(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The number of pieces of every class, and the size of the largest, after the last plane."""
        number, largest = self._number.copy(), self._largest.copy()
        np.add.at(number, self._classes, 1)
        np.maximum.at(largest, self._classes, self._sizes)
        return number, largest


def _statistics(moments: NDArray[np.float64], voxels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Smallest, largest, mean and standard deviation from the moments that the kernel sums."""
    low, high, first, total, squares = np.moveaxis(moments, -1, 0)
    with np.errstate(invalid="ignore"):
        shift = total / voxels
        deviation = np.sqrt(np.maximum(squares / voxels - shift**2, 0))
    statistics = np.stack([low, high, first + shift, deviation], axis=-1)
    statistics[:, voxels == 0] = np.nan
    return statistics
