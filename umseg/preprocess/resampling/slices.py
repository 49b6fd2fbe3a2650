"""A volume whose slices are made when resampling asks for them, so that it is nowhere held as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.preprocess.resampling.arrays import NumpyArrays
from umseg.preprocess.resampling.resample import LARGEST_SINGLE
from umseg.preprocess.resampling.resampler import Resampler

Floats = NDArray[np.floating[Any]]
Change = Callable[[NDArray[np.float32]], object]
"""A function that changes float32 values in place, each by itself."""

# Voxels that are changed together, so that they are still in the cache when the next step needs them.
_TOGETHER = 2**18


class MadeSlices:
    """The slices of a stored volume along one axis, as numbers that a function has changed.

    Indexing with a range or with ascending positions gives what a changed volume would give. The latest slices are
    kept, because the slabs of resampling ask for many of the same.

    Args:
        stored: (z, y, x) of any type of numbers.
        axis: The axis along which slices are asked for.
        change: What is done with values after they became float32.
        dtype: Type of the slices.
    """

    def __init__(
        self, stored: NDArray[Any], axis: int, change: Change, dtype: type[np.floating[Any]] = np.float32
    ) -> None:
        self._stored = np.moveaxis(stored, axis, 0)
        self._change = change
        self._dtype = dtype
        self._start, self._stop = 0, 0
        self._kept = self._empty(0)

    def __getitem__(self, key: slice | NDArray[np.intp]) -> Floats:
        """Slices ``start:stop``, or those at ascending positions."""
        if isinstance(key, slice):
            self._keep(key.start, key.stop)
            return self._kept[key.start - self._start : key.stop - self._start]
        self._keep(int(key[0]), int(key[-1]) + 1)
        return self._kept[key - self._start]

    def extremes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Smallest and largest value of each slice."""
        parts = [self._made(start, stop) for start, stop in self._groups(0, len(self._stored))]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _made(self, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        values = self._values(start, stop)
        return values.min(axis=(1, 2)), values.max(axis=(1, 2))

    def _values(self, start: int, stop: int) -> NDArray[np.float32]:
        values = np.array(self._stored[start:stop], dtype=np.float32, order="C")
        self._change(values)
        return values

    def _keep(self, start: int, stop: int) -> None:
        """Have slices ``start:stop`` at hand, and some that follow."""
        if start >= self._start and stop <= self._stop:
            return
        room = min((stop - start) * 3 // 2, len(self._stored) - start)
        old = self._kept
        if room > len(self._kept):
            self._kept = self._empty(room)
        last = start
        if self._start <= start < self._stop:
            # One by one and in ascending order, so that no slice is overwritten before it has been moved.
            for position in range(start, self._stop):
                self._kept[position - start] = old[position - self._start]
            last = self._stop
        for first, end in self._groups(last, start + room):
            self._kept[first - start : end - start] = self._values(first, end)
        self._start, self._stop = start, start + room

    def _groups(self, start: int, stop: int) -> list[tuple[int, int]]:
        step = max(1, _TOGETHER // (self._stored.shape[1] * self._stored.shape[2]))
        return [(first, min(first + step, stop)) for first in range(start, stop, step)]

    def _empty(self, slices: int) -> Floats:
        empty: Floats = np.empty((slices, *self._stored.shape[1:]), dtype=self._dtype)
        return empty


def resample_made(stored: NDArray[Any], change: Change, resampler: Resampler, out: NDArray[np.float32]) -> None:
    """Resample a stored volume after a change of its values; the result is that of ``resample`` bit for bit.

    Args:
        stored: (z, y, x) of any type of numbers.
        change: What is done with values after they became float32.
        resampler: Resampler of volumes of this shape to that of ``out``.
        out: (z, y, x) float32 array for the result.
    """
    lowest, highest = resampler.limits_of(*MadeSlices(stored, resampler.lead, change).extremes())
    largest = max(abs(float(lowest.min())), abs(float(highest.max())))
    arrays = NumpyArrays(np.float32 if largest <= LARGEST_SINGLE else np.float64)
    slices = MadeSlices(stored, resampler.lead, change, arrays.dtype)
    target = np.moveaxis(out, resampler.lead, 0)
    for start, stop in resampler.slabs(arrays):
        slab = resampler.slab_of(slices, start, stop, arrays)
        target[start:stop] = np.clip(slab, lowest[start:stop], highest[start:stop], out=slab)
