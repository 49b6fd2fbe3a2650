"""Labels from sums on a device such as a GPU, by torch: only labels come to the computer's memory.

The method is that of ``umseg.kernels.interpolation.label_kernels``, where the reasons stand: voxels of the image whose
corners have the same leader take it; the logits of all others are interpolated, many voxels at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.inference.export.grid import Axis, OutputGrid
from umseg.inference.export.host import HostPlane
from umseg.inference.export.target import LabelArray, LabelTarget
from umseg.inference.windows.slab import Slab

# Numbers of a temporary array.
_NUMBERS = 2**22
_MARGIN, _LEAST_MARGIN = 2.0**-18, 2.0**-130


def is_on_device(sums: Tensor) -> bool:
    """Whether sums are where the kernels for CPUs do not reach them."""
    return sums.device.type != "cpu"


def temporary_bytes() -> int:
    """The most bytes of temporary arrays that are alive at a time: thirteen, with eight bytes a number."""
    return 13 * 8 * _NUMBERS


@dataclass(frozen=True)
class DevicePlanes:
    """Neighbouring planes of sums and their leaders.

    Attributes:
        sums: (planes, rows, x, classes) float32.
        weights: (planes, rows, x) float32.
        leaders: (planes, rows, x) int64; -1 where no class leads by enough.
        start: Index of the first plane.
    """

    sums: Tensor
    weights: Tensor
    leaders: Tensor
    start: int

    @property
    def stop(self) -> int:
        """Index behind the last plane."""
        return self.start + len(self.sums)

    def kept(self) -> DevicePlanes:
        """A copy of the last plane, which stays as it is when the memory of the planes is used again."""
        sums, weights, leaders = (tensor[-1:].clone() for tensor in (self.sums, self.weights, self.leaders))
        return DevicePlanes(sums, weights, leaders, self.stop - 1)

    def on_host(self, *, regions: bool) -> HostPlane:
        """The last plane in the computer's memory."""
        return HostPlane.of(self.sums[-1], self.weights[-1], regions=regions)

    def seam(self, after: DevicePlanes) -> DevicePlanes:
        """A copy of the last plane and the first of the planes ``after`` it."""
        pairs = ((self.sums, after.sums), (self.weights, after.weights), (self.leaders, after.leaders))
        sums, weights, leaders = (torch.cat([one[-1:], other[:1]]) for one, other in pairs)
        return DevicePlanes(sums, weights, leaders, self.stop - 1)


@dataclass(frozen=True)
class DeviceLabels:
    """Writes the labels of a case with torch; attributes as in ``HostLabels``."""

    grid: OutputGrid
    target: LabelTarget
    numbers: LabelArray
    regions: bool

    def add(self, slab: Slab, last: DevicePlanes | None) -> DevicePlanes:
        """Write labels as ``HostLabels.add`` does.

        Raises:
            torch.cuda.OutOfMemoryError: The device has no room for the temporary arrays. Nothing is lost.
        """
        sums = slab.sums.detach().permute(1, 2, 3, 0).contiguous()
        planes = DevicePlanes(sums, slab.weights, self._leaders(sums, slab.weights), slab.start)
        for group in [planes] if last is None else [last.seam(planes), planes]:
            inside = (self.grid.z.low >= group.start) & (self.grid.z.high < group.stop)
            self._write(group, np.flatnonzero(inside), slab)
        return planes.kept()

    def _leaders(self, sums: Tensor, weights: Tensor) -> Tensor:
        step = max(1, _NUMBERS // sums.shape[-1])
        parts = zip(sums.flatten(0, 2).split(step), weights.flatten().split(step), strict=True)
        return torch.cat([self._leading(part / weight[:, None]) for part, weight in parts]).view(weights.shape)

    def _leading(self, logits: Tensor) -> Tensor:
        if self.regions:
            return self._last_positive(logits)
        best, place = logits.max(dim=-1)
        if logits.shape[-1] > 1:
            second = logits.scatter_(-1, place[..., None], -torch.inf).amax(dim=-1)
            place[best - second <= _MARGIN * best.abs() + _LEAST_MARGIN] = -1
        return place

    def _last_positive(self, logits: Tensor) -> Tensor:
        """One more than the last region with a positive logit, or 0."""
        return ((logits > 0) * torch.arange(1, logits.shape[-1] + 1, device=logits.device)).amax(dim=-1)

    def _write(self, planes: DevicePlanes, indices: NDArray[np.intp], slab: Slab) -> None:
        """Write planes of the label map that lie between planes of sums."""
        rows = self.grid.y.span(slab.strip.start, slab.strip.stop)
        step = max(1, _NUMBERS // max(1, (rows.stop - rows.start) * len(self.grid.x)))
        for group in np.split(indices, range(step, len(indices), step)):
            if len(group):
                z = slice(int(group[0]), int(group[-1]) + 1)
                block = _Block.of(planes, self.grid, z, rows, slab.strip.start)
                self.target.crop[z, rows] = self._labels(block).cpu().numpy()

    def _labels(self, block: _Block) -> Tensor:
        leaders = block.common_leaders()
        mixed = (leaders < 0).nonzero()
        for part in mixed.split(max(1, _NUMBERS // block.planes.sums.shape[-1])):
            places = part.unbind(dim=1)
            logits = block.interpolated(*places)
            leaders[places] = self._last_positive(logits) if self.regions else logits.argmax(dim=-1)
        # torch supports hardly any operation on uint16.
        wide = self.numbers.dtype != np.uint8
        return torch.from_numpy(self.numbers.astype(np.int32) if wide else self.numbers).to(leaders.device)[leaders]


@dataclass(frozen=True)
class Places:
    """For each voxel of the image along an axis, the two voxels of the planes that it lies between, and their weights.

    Attributes:
        low, high: int64 indices.
        weights: (voxels, 2) in double precision, or in single precision where the device has no other.
    """

    low: Tensor
    high: Tensor
    weights: Tensor

    @classmethod
    def of(cls, axis: Axis, part: slice, start: int, device: torch.device) -> Places:
        """Some voxels of an axis, between planes or rows whose first one is ``start``."""
        low, high = (torch.from_numpy(index[part] - start).to(device) for index in (axis.low, axis.high))
        precision = torch.float32 if device.type == "mps" else torch.float64
        return cls(low, high, torch.from_numpy(axis.weights[part]).to(precision).to(device))

    def part(self, part: slice) -> Places:
        """Some of the voxels."""
        return Places(self.low[part], self.high[part], self.weights[part])

    def between(self, values: Tensor, dimension: int) -> Tensor:
        """Values in double precision, interpolated along a dimension."""
        shape = [-1 if axis == dimension else 1 for axis in range(values.dim())]
        lower, upper = (values.index_select(dimension, index) for index in (self.low, self.high))
        return self.weights[:, 0].view(shape) * lower + self.weights[:, 1].view(shape) * upper


@dataclass(frozen=True)
class _Block:
    """Voxels of the image that lie between certain planes of sums."""

    planes: DevicePlanes
    z: Places
    y: Places
    x: Places

    @classmethod
    def of(cls, planes: DevicePlanes, grid: OutputGrid, z: slice, rows: slice, first_row: int) -> _Block:
        device = planes.sums.device
        return cls(
            planes,
            Places.of(grid.z, z, planes.start, device),
            Places.of(grid.y, rows, first_row, device),
            Places.of(grid.x, slice(None), 0, device),
        )

    def common_leaders(self) -> Tensor:
        """The leader that all corners of each voxel have, (z, y, x), or -1."""
        leaders = self.planes.leaders
        for dimension, axis in enumerate((self.z, self.y, self.x)):
            low, high = (leaders.index_select(dimension, index) for index in (axis.low, axis.high))
            leaders = torch.where(low == high, low, -1)
        return leaders

    def interpolated(self, z: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """The logits of single voxels, float32 (voxels, outputs).

        Products and sums are rounded one by one and in the order of the kernels for CPUs, so that labels are the same.
        """

        def along_z(rows: Tensor, columns: Tensor) -> Tensor:
            low, high = (self._logits(index[z], rows, columns) for index in (self.z.low, self.z.high))
            return _weighted(self.z.weights[z], low, high)

        def along_y(columns: Tensor) -> Tensor:
            return _weighted(self.y.weights[y], *(along_z(index[y], columns) for index in (self.y.low, self.y.high)))

        return _weighted(self.x.weights[x], *(along_y(index[x]) for index in (self.x.low, self.x.high))).float()

    def _logits(self, z: Tensor, y: Tensor, x: Tensor) -> Tensor:
        logits = self.planes.sums[z, y, x] / self.planes.weights[z, y, x, None]
        return logits.to(self.z.weights.dtype)


def _weighted(weights: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return weights[:, :1] * low + weights[:, 1:] * high
