"""Labels from sums in the computer's memory, by the kernels for CPUs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from umseg.inference.export.grid import OutputGrid
from umseg.inference.export.target import LabelArray, LabelTarget
from umseg.inference.windows.slab import Slab
from umseg.kernels.runtime.threads import run_tasks

# Sums that a thread works through at once: few tasks, whose threads still finish at nearly the same time.
_TASK_SUMS = 2**18


@dataclass(frozen=True)
class HostPlane:
    """A plane of sums and its leaders (see ``umseg.kernels.interpolation.label_kernels``).

    Attributes:
        sums: (rows, x, classes) float32, contiguous.
        weights: (rows, x) float32, contiguous.
        leaders: (rows, x) int32.
    """

    sums: NDArray[np.float32]
    weights: NDArray[np.float32]
    leaders: NDArray[np.int32]

    @classmethod
    def of(cls, sums: Tensor, weights: Tensor, *, regions: bool) -> HostPlane:
        """A plane from sums (rows, x, classes) and weights (rows, x) on any device; memory is shared if possible."""
        from umseg.kernels.interpolation import label_kernels

        lead = label_kernels.lead_regions if regions else label_kernels.lead_classes
        values, divisors = (tensor.detach().contiguous().cpu().numpy() for tensor in (sums, weights))
        leaders = np.empty(divisors.shape, dtype=np.int32)
        _by_rows(values, len(values), lambda start, stop: lead(values, divisors, start, stop, leaders))
        return cls(values, divisors, leaders)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Sums, weights and leaders."""
        return self.sums, self.weights, self.leaders

    def kept(self, room: HostPlane | None) -> HostPlane:
        """A copy that stays as it is when the memory of this plane is used again, in the memory of another plane."""
        sums, weights = np.empty_like(self.sums) if room is None else room.sums, self.weights.copy()
        np.copyto(sums, self.sums)
        return HostPlane(sums, weights, self.leaders)


@dataclass(frozen=True)
class HostLabels:
    """Writes the labels of a case with the kernels for CPUs, plane by plane.

    Attributes:
        grid: Between which voxels each voxel of the image lies.
        target: The label map.
        numbers: Label of each leader.
        regions: Whether the outputs are regions.
    """

    grid: OutputGrid
    target: LabelTarget
    numbers: LabelArray
    regions: bool

    def add(self, slab: Slab, last: HostPlane | None) -> HostPlane:
        """Write all planes of the label map up to the slab's last plane.

        Args:
            slab: Finished planes.
            last: The plane before the slab, in the same strip; None at the beginning. Its memory is used again.

        Returns:
            A copy of the slab's last plane.
        """
        cells = self.grid.y.within(slab.strip.start, slab.strip.stop)
        near = last
        for index, (sums, weights) in enumerate(zip(slab.sums.permute(1, 2, 3, 0), slab.weights, strict=True)):
            plane = HostPlane.of(sums, weights, regions=self.regions)
            for low, high, start, stop in self.grid.z.ending_at(slab.start + index):
                if self.grid.is_same:
                    self._write(plane, start, slab.strip.start)
                elif low == high:
                    self._write_between(plane, plane, slice(start, stop), cells, slab.strip.start)
                else:
                    assert near is not None
                    self._write_between(near, plane, slice(start, stop), cells, slab.strip.start)
            near = plane
        assert near is not None
        return near.kept(last)

    def _write(self, plane: HostPlane, index: int, first_row: int) -> None:
        """Write a plane without interpolation."""
        from umseg.kernels.interpolation import label_kernels

        _, pitch = self.target.pitches
        base, flat = self.target.base(index) + first_row * pitch, self.target.flat

        def work(start: int, stop: int) -> None:
            label_kernels.label_voxels(*plane.arrays, start, stop, self.numbers, flat, base, pitch)

        _by_rows(plane.sums, len(plane.sums), work)

    def _write_between(
        self, near: HostPlane, far: HostPlane, planes: slice, cells: NDArray[np.int64], first_row: int
    ) -> None:
        """Write the planes of the label map that lie between two planes of sums."""
        from umseg.kernels.interpolation import label_kernels

        z, y, x = self.grid.z, self.grid.y, self.grid.x
        base, flat, pitches = self.target.base(planes.start), self.target.flat, self.target.pitches
        most = (planes.stop - planes.start) * y.most * x.most

        def work(start: int, stop: int) -> None:
            label_kernels.label_cells(
                near.arrays,
                far.arrays,
                self.regions,
                z.weights[planes],
                first_row,
                cells[start:stop],
                y.weights,
                x.cells,
                x.weights,
                x.cell_of,
                most,
                self.numbers,
                flat,
                base,
                *pitches,
            )

        _by_rows(far.sums, len(cells), work)


def _by_rows(sums: NDArray[np.float32], rows: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(first row, behind the last)`` for groups of rows, on as many threads as torch uses."""
    step = max(1, _TASK_SUMS // sums[0].size)

    def run(task: int) -> None:
        work(task * step, min((task + 1) * step, rows))

    run_tasks(lambda: run, -(-rows // step))
