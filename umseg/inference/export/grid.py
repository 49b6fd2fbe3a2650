"""Between which voxels of the network's grid each voxel of the image lies (docs/rules.md, Inference)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from umseg.planning.plan import Configuration
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.foresight import full_spacing
from umseg.preprocess.resampling.axis import coordinates, nearest_indices, separate_axis


@dataclass(frozen=True)
class Axis:
    """One axis: for each voxel of the image the two voxels of the network's grid that it lies between.

    Attributes:
        low: Index of the lower one.
        high: Index of the upper one: the same, or one more.
        weights: Weights of both, float64 (voxels, 2), at least zero.
    """

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weights: NDArray[np.float64]

    @classmethod
    def linear(cls, old: int, new: int) -> Axis:
        """Linear interpolation of ``old`` voxels at ``new`` places; beyond the edges the outermost voxels count."""
        places = coordinates(old, new).clip(0, old - 1)
        low = np.floor(places).astype(np.intp)
        upper = places - low
        return cls(low, low + (upper > 0), np.stack([1 - upper, upper], axis=1))

    @classmethod
    def nearest(cls, old: int, new: int) -> Axis:
        """The nearest of ``old`` voxels at ``new`` places."""
        index = nearest_indices(old, new)
        return cls(index, index, np.tile([1.0, 0.0], (new, 1)))

    def __len__(self) -> int:
        """Voxels of the image along the axis."""
        return len(self.low)

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """Groups of neighbouring voxels between the same two: (cells, 4) low, high, first voxel, behind the last."""
        changes = np.flatnonzero((np.diff(self.low) != 0) | (np.diff(self.high) != 0)) + 1
        first = np.concatenate([[0], changes])
        stop = np.concatenate([changes, [len(self)]])
        return np.stack([self.low[first], self.high[first], first, stop], axis=1).astype(np.int64)

    @cached_property
    def cell_of(self) -> NDArray[np.intp]:
        """The cell of each voxel."""
        return np.repeat(np.arange(len(self.cells)), self.cells[:, 3] - self.cells[:, 2])

    @property
    def most(self) -> int:
        """The most voxels in a cell."""
        return int((self.cells[:, 3] - self.cells[:, 2]).max())

    def within(self, start: int, stop: int) -> NDArray[np.int64]:
        """The cells between voxels ``start`` to ``stop - 1`` of the network's grid."""
        inside: NDArray[np.int64] = self.cells[(self.cells[:, 0] >= start) & (self.cells[:, 1] < stop)]
        return inside

    def span(self, start: int, stop: int) -> slice:
        """The voxels of the image that lie between voxels ``start`` to ``stop - 1`` of the network's grid."""
        cells = self.within(start, stop)
        return slice(int(cells[0, 2]), int(cells[-1, 3])) if len(cells) else slice(0, 0)

    def ending_at(self, index: int) -> NDArray[np.int64]:
        """The cells whose upper voxel is ``index``."""
        ending: NDArray[np.int64] = self.cells[self.cells[:, 1] == index]
        return ending


@dataclass(frozen=True)
class OutputGrid:
    """The axes (z, y, x) of a case, in the plan's axis order and within the crop."""

    z: Axis
    y: Axis
    x: Axis

    @classmethod
    def of(cls, properties: CaseProperties, configuration: Configuration) -> OutputGrid:
        """The grid of an image: linear along all axes, or nearest along the one that is resampled separately."""
        spacing = full_spacing(configuration, properties.spacing)
        shapes = zip(properties.shape_after_resampling, properties.shape_after_cropping, strict=True)
        separate = separate_axis(spacing, properties.spacing)
        axes = (
            Axis.nearest(old, new) if number == separate else Axis.linear(old, new)
            for number, (old, new) in enumerate(shapes)
        )
        return cls(*axes)

    @classmethod
    def same(cls, shape: Sequence[int]) -> OutputGrid:
        """The network's own grid, without interpolation."""
        return cls(*(Axis.linear(size, size) for size in shape))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the image along each axis."""
        return len(self.z), len(self.y), len(self.x)

    @cached_property
    def is_same(self) -> bool:
        """Whether every voxel of the image is one of the network's grid."""
        return all(
            np.array_equal(axis.low, np.arange(len(axis))) and np.array_equal(axis.low, axis.high)
            for axis in (self.z, self.y, self.x)
        )
