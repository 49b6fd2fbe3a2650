"""Probabilities on the voxels of the image, from slabs of sums on the network's grid, a few planes at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.dataset.crop import box_slices
from umseg.inference.export.device import Places, is_on_device
from umseg.inference.export.grid import OutputGrid
from umseg.inference.windows.slab import Slab, Strip
from umseg.kernels.runtime.threads import run_tasks
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.case import CaseProperties

# Numbers of a chunk that may be chosen freely.
_CHUNK_NUMBERS = 2**25
# Numbers that a thread, or a device, works on at once.
_TASK_NUMBERS, _DEVICE_NUMBERS = 2**18, 2**23


@dataclass(frozen=True)
class ProbabilityChunk:
    """Probabilities of neighbouring planes, within the rows that a strip reaches.

    Attributes:
        planes: Planes of the image, in the plan's axis order and within the crop.
        rows: Rows of the image. Those at the seam of two strips come with both, with the same values.
        values: (outputs, planes, rows, x) float32, valid until the next chunk is asked for.
    """

    planes: slice
    rows: slice
    values: NDArray[np.float32]


def probability_chunks(
    slabs: Iterable[Slab], grid: OutputGrid, *, regions: bool, planes: int | None = None
) -> Iterator[ProbabilityChunk]:
    """The softmax, or with regions the sigmoid, of logits that are interpolated as for labels.

    Args:
        slabs: Finished planes; slabs of a strip in ascending order without gaps.
        grid: ``OutputGrid.of`` the case for the voxels of the image, or ``OutputGrid.same`` for those of the network.
        regions: Whether each output is a region by itself.
        planes: Planes of a chunk. Chunks of a strip begin at multiples of it, wherever slabs end, so that several
            models with strips of the same rows go in step. None: few enough for 128 MB.

    Yields:
        The chunks of each strip in ascending order, as soon as they are complete.
    """
    strips: dict[Strip, _StripChunks] = {}
    for slab in slabs:
        chunks = strips.pop(slab.strip, None) or _StripChunks(grid, slab.strip, len(slab.sums), regions, planes)
        yield from chunks.add(slab)
        if not chunks.complete:
            strips[slab.strip] = chunks


def collect_probabilities(
    slabs: Iterable[Slab],
    outputs: int,
    properties: CaseProperties,
    plan: Plan,
    configuration: Configuration,
    *,
    regions: bool,
) -> NDArray[np.float32]:
    """The probabilities of a case in one array.

    Args:
        slabs: All slabs of the case; those of a strip in ascending order without gaps.
        outputs: Number of outputs of the network.
        properties: Properties that preprocessing returned for the case.
        plan: Plan that gives the axis order of the original image.
        configuration: Configuration that the logits are computed for.
        regions: Whether each output is a region by itself.

    Returns:
        (outputs, z, y, x) float32 in the original axis order and shape; outside the nonzero region the probability is
        1 for the background and 0 for every region.
    """
    shape = [properties.shape_before_cropping[axis] for axis in plan.transpose_backward]
    probabilities = np.zeros((outputs, *shape), dtype=np.float32)
    if not regions:
        probabilities[0] = 1
    order = (0, *(axis + 1 for axis in plan.transpose_forward))
    depth, height, width = box_slices(properties.bbox)
    target = probabilities.transpose(order)[:, depth, height, width]
    for chunk in probability_chunks(slabs, OutputGrid.of(properties, configuration), regions=regions):
        target[:, chunk.planes, chunk.rows] = chunk.values
    return probabilities


@dataclass(frozen=True)
class _Plane:
    """Sums (rows, x, outputs) and weights (rows, x) of a plane."""

    sums: Tensor
    weights: Tensor

    def kept(self) -> _Plane:
        """A copy that stays as it is when the memory of this plane is used again."""
        return _Plane(self.sums.clone(), self.weights.clone())

    def on(self, device: torch.device) -> _Plane:
        """The plane on a device: sums can move to the CPU between two slabs."""
        return _Plane(self.sums.to(device), self.weights.to(device))

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Both as numpy arrays."""
        return self.sums.contiguous().numpy(), self.weights.contiguous().numpy()


class _StripChunks:
    """The chunks of one strip in the making."""

    def __init__(self, grid: OutputGrid, strip: Strip, outputs: int, regions: bool, planes: int | None) -> None:
        self._grid, self._strip, self._regions = grid, strip, regions
        self._rows = grid.y.span(strip.start, strip.stop)
        rows = self._rows.stop - self._rows.start
        step = planes or max(1, _CHUNK_NUMBERS // max(1, outputs * rows * len(grid.x)))
        self._values = np.empty((outputs, min(step, len(grid.z)), rows, len(grid.x)), dtype=np.float32)
        self._last: _Plane | None = None
        self._done = 0

    @property
    def complete(self) -> bool:
        """Whether all planes of the image have been given out."""
        return self._done == len(self._grid.z)

    def add(self, slab: Slab) -> Iterator[ProbabilityChunk]:
        """The chunks that are complete with a slab's planes."""
        near = self._last
        for index, tensors in enumerate(zip(slab.sums.detach().permute(1, 2, 3, 0), slab.weights, strict=True)):
            plane = _Plane(*tensors)
            for low, high, start, stop in self._grid.z.ending_at(slab.start + index):
                between = (plane, plane) if low == high else (near, plane)
                for z in range(start, stop):
                    yield from self._add_plane(between, z)
            near = plane
        self._last = None if near is None or self.complete else near.kept()

    def _add_plane(self, between: tuple[_Plane | None, _Plane], z: int) -> Iterator[ProbabilityChunk]:
        near, far = between
        assert near is not None
        step = self._values.shape[1]
        place = z % step
        write = self._write_by_torch if is_on_device(far.sums) else self._write
        write(near.on(far.sums.device), far, z, place)
        self._done = z + 1
        if place == step - 1 or self.complete:
            yield ProbabilityChunk(slice(z - place, z + 1), self._rows, self._values[:, : place + 1])

    def _write(self, near: _Plane, far: _Plane, z: int, place: int) -> None:
        """Write a plane of the image to its place in the chunk, by the kernel for CPUs."""
        from umseg.kernels.interpolation import probability_kernels

        y, x = self._grid.y, self._grid.x
        outputs, _, rows, width = self._values.shape
        flat, pitch = self._values.reshape(-1), self._values[0].size
        step = max(1, _TASK_NUMBERS // (outputs * width))
        planes = near.arrays(), far.arrays()

        def run(task: int) -> None:
            start, stop = task * step, min((task + 1) * step, rows)
            part = slice(self._rows.start + start, self._rows.start + stop)
            probability_kernels.write_probabilities(
                *planes,
                *self._grid.z.weights[z],
                self._strip.start,
                y.low[part],
                y.high[part],
                y.weights[part],
                x.low,
                x.high,
                x.weights,
                self._regions,
                flat,
                (place * rows + start) * width,
                pitch,
            )

        run_tasks(lambda: run, -(-rows // step))

    def _write_by_torch(self, near: _Plane, far: _Plane, z: int, place: int) -> None:
        """Do the same on the device that holds the sums."""
        device = far.sums.device
        depth = Places.of(self._grid.z, slice(z, z + 1), z, device)
        y = Places.of(self._grid.y, self._rows, self._strip.start, device)
        x = Places.of(self._grid.x, slice(None), 0, device)
        lower, upper = (plane.sums / plane.weights[..., None] for plane in (near, far))
        logits = depth.weights[:, 0] * lower + depth.weights[:, 1] * upper
        outputs, _, rows, width = self._values.shape
        step = max(1, _DEVICE_NUMBERS // (outputs * width))
        for start in range(0, rows, step):
            part = slice(start, start + step)
            values = x.between(y.part(part).between(logits, 0), 1).float()
            values = values.sigmoid() if self._regions else values.softmax(dim=-1)
            self._values[:, place, part] = values.permute(2, 0, 1).cpu().numpy()
