"""Sliding-window prediction with Gaussian weights (docs/rules.md, Inference), in memory that does not grow with length.

Windows go over the image in raster order. Of their weighted sums only those planes are kept that a later window still
touches; finished ones are handed on as slabs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

import torch
from torch import Tensor, nn

from umseg.common.memory import explained_memory
from umseg.common.text import by
from umseg.inference.windows.batches import BatchSize, batch_size
from umseg.inference.windows.empty import fill_empty, windows_of_body
from umseg.inference.windows.finite import FiniteCheck
from umseg.inference.windows.rolling import depth_of_sums, height
from umseg.inference.windows.runner import Job, Runner, Section
from umseg.inference.windows.slab import Slab, Strip
from umseg.inference.windows.strips import REMEDY
from umseg.inference.windows.tiles import Corner, Tiles
from umseg.inference.windows.window import SlidingWindow

Progress = Callable[[int, int], None]
"""A function that is told how many windows of an image are done, and how many there are."""


@torch.inference_mode()
def finished_slabs(
    networks: Sequence[nn.Module],
    data: Tensor,
    num_classes: int,
    window: SlidingWindow,
    device: torch.device,
    precision: torch.dtype,
    *,
    strips: Sequence[Strip],
    regions: bool = False,
    batch: BatchSize | None = None,
    progress: Progress | None = None,
) -> Iterator[Slab]:
    """The weighted sums of the networks' logits over all windows that cover a voxel, slab by slab.

    The sums are kept on the device or, if its memory does not suffice, on the CPU. Each voxel's windows are added in
    the same order whatever the strips are.

    Args:
        networks: Networks on ``device`` in evaluation mode, one per fold; their logits are averaged.
        data: (channels, z, y, x) float32 on the CPU.
        num_classes: Number of channels of the networks' output.
        window: The way in which the image is covered.
        device: Device of the networks.
        precision: Number format of the convolutions.
        strips: What is worked on at once, from ``strips.choose_strips``.
        regions: Whether each output is a region by itself; it matters only where windows are left out.
        batch: Number of windows in a batch, kept between images; None finds it anew.
        progress: Function that is told after every batch how many windows are done, and how many there are. On CUDA
            they are done when they are queued: nothing waits for the device.

    Yields:
        Per strip the planes in ascending order, together the whole image; all values are finite. On CUDA that is
        certain only after the last slab.

    Raises:
        UserError: There is not enough memory, or a logit is not finite.
    """
    tiles = Tiles.covering(data.shape[1:], window.patch, window.step)
    batch = batch or batch_size(window, device)
    runner = Runner(networks, num_classes, window, device, precision, batch)
    check = FiniteCheck(precision, device)
    corners = [tiles.corners(strip) for strip in strips]
    if window.skip_empty:
        needed = windows_of_body(data, tiles)
        corners = [[corner for corner in of_strip if corner in needed] for of_strip in corners]
    count = _Count(sum(map(len, corners)), progress)
    found = f"{by(tiles.shape)} voxels after resampling, {num_classes} classes"
    with explained_memory("Prediction", found=found, remedy=REMEDY):
        depth = depth_of_sums(tiles, strips, batch.most, num_classes)
        section = runner.section(data, tiles, max(map(height, strips)), depth)
        for strip, of_strip in zip(strips, corners, strict=True):
            section.sums.begin(strip)
            for slab in _finished(section, of_strip, runner, count):
                check.look(slab.sums)
                if window.skip_empty:
                    fill_empty(slab, regions)
                yield slab
    check.end()


class _Count:
    """The number of windows that are done."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def add(self, windows: int) -> None:
        self._done += windows
        if self._progress is not None:
            self._progress(self._done, self._total)


def _finished(section: Section, corners: Sequence[Corner], runner: Runner, count: _Count) -> Iterator[Slab]:
    """Compute the windows of a strip, and hand over the planes behind which the next window begins."""
    done = 0
    while done < len(corners):
        yield from section.sums.finish(corners[done][0])
        jobs = _batch(section, corners[done : done + runner.batch.size])
        runner.add(jobs)
        done += len(jobs)
        count.add(len(jobs))
    yield from section.sums.finish(section.tiles.shape[0])


def _batch(section: Section, corners: Sequence[Corner]) -> list[Job]:
    """The first windows that are added before a plane is finished, so that all their planes must have places."""
    behind = max(corners[0][0], 0) + section.sums.depth
    return [Job(section, corner) for corner in takewhile(lambda at: section.last_plane(at) < behind, corners)]
