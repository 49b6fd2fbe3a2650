"""Windows on their way through the networks into the sums, on whichever device has the memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from umseg.common.memory import is_out_of_memory
from umseg.common.text import counted
from umseg.inference.windows.batches import BatchSize, wait_for
from umseg.inference.windows.forward import CPU, Forward, Pass, members, passes
from umseg.inference.windows.rolling import RollingSums
from umseg.inference.windows.tiles import Corner, Tiles, cut, gaussian_weight, with_depth
from umseg.inference.windows.window import SlidingWindow

log = logging.getLogger(__name__)


@dataclass
class Section:
    """An image whose sums are being built.

    Attributes:
        data: The image, (channels, z, y, x), on the device of the sums.
        tiles: Its windows.
        sums: The sums of a strip.
        place: The device of the sums, as it was asked for.
    """

    data: Tensor
    tiles: Tiles
    sums: RollingSums
    place: torch.device

    def last_plane(self, corner: Corner) -> int:
        """The last plane of the image that a window touches."""
        return min(corner[0] + self.tiles.patch[0], self.tiles.shape[0]) - 1

    def move(self, place: torch.device) -> None:
        """Go on with the image and its sums on another device."""
        if place != self.place:
            self.data, self.place = self.data.to(place), place
            self.sums.move(place)


@dataclass(frozen=True)
class Job:
    """A window that has to be computed."""

    section: Section
    corner: Corner


class Runner:
    """Windows in batches through the networks into the sums.

    When the memory of the device is exhausted, fewer windows go through the networks together; if one is too many, the
    sums move to the CPU, and at last the networks. What was summed before is kept.

    Args:
        networks: Networks on ``device`` in evaluation mode, one per fold.
        classes: Number of channels of the networks' output.
        window: The way in which images are covered.
        device: Device of the networks.
        precision: Number format of the convolutions.
        batch: Number of windows in a batch.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        classes: int,
        window: SlidingWindow,
        device: torch.device,
        precision: torch.dtype,
        batch: BatchSize,
    ) -> None:
        self.batch = batch
        self._forward = Forward(networks, len(window.patch) == 2, device, precision)
        self._classes = classes
        self._passes = passes(len(networks), window.mirror_axes, len(window.patch), window.separate)
        self._members = members(self._passes)
        self._patch = with_depth(window.patch)
        self._keep_sums_on(device)

    def section(self, data: Tensor, tiles: Tiles, rows: int, depth: int) -> Section:
        """An image, and memory for the sums of a strip of it.

        Args:
            data: (channels, z, y, x) on the CPU.
            tiles: The windows of the image.
            rows: Number of rows of the thickest strip.
            depth: Number of planes that are held at once.
        """
        try:
            return self._allocate(data, tiles, rows, depth)
        except (RuntimeError, MemoryError) as error:
            if self._place == CPU or not is_out_of_memory(error):
                raise
        self._move_sums()
        return self._allocate(data, tiles, rows, depth)

    def _allocate(self, data: Tensor, tiles: Tiles, rows: int, depth: int) -> Section:
        sums = RollingSums(tiles.shape, rows, depth, self._classes, self._members, self._place)
        return Section(data.to(self._place), tiles, sums, self._place)

    def add(self, jobs: Sequence[Job]) -> None:
        """Compute windows and add them to the sums of their sections."""
        self.batch.timed(lambda: self._add(jobs), len(jobs), lambda: wait_for(self._forward.device))

    def _add(self, jobs: Sequence[Job]) -> None:
        for one in self._passes:
            done = 0
            while done < len(jobs):
                part = jobs[done : done + self.batch.size]
                if self._fits(one, part):
                    done += len(part)
                else:
                    self._make_room(len(part))
        for job in jobs:
            job.section.sums.add_weight(job.corner, self._share)

    def _fits(self, one: Pass, jobs: Sequence[Job]) -> bool:
        """Compute windows and add their logits; False, and nothing is added, where the memory does not suffice."""
        try:
            logits = self._logits(one, jobs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or self._is_smallest(jobs):
                raise
            # The memory of the attempt is free when the exception is gone.
            return False
        # Where they are not on the CPU, logits have been turned back.
        flips = one.flips if self._place == CPU else ()
        for job, of_window in zip(jobs, logits, strict=True):
            job.section.sums.add(job.corner, of_window, self._weight, flips, one.member)
        return True

    def _logits(self, one: Pass, jobs: Sequence[Job]) -> Tensor:
        """(batch, classes, *patch) on the device of the sums."""
        for job in jobs:
            job.section.move(self._place)
        windows = torch.stack([cut(job.section.data, job.corner, self._patch) for job in jobs])
        logits = self._forward(one, windows)
        if self._place != CPU and one.flips:
            logits = logits.flip([axis + 2 for axis in one.flips])
        return logits.to(self._place)

    def _is_smallest(self, jobs: Sequence[Job]) -> bool:
        """Whether nothing can be done about exhausted memory."""
        return len(jobs) == 1 and self._place == CPU and self._forward.device == CPU

    def _make_room(self, count: int) -> None:
        """Need less memory, after so many windows needed too much."""
        if count > 1:
            half = count // 2
            if self.batch.settled:
                log.warning(
                    "Memory of %s is exhausted: from now on %s at a time through the network.",
                    self._forward.device,
                    f"{counted(half, 'window')} {'goes' if half == 1 else 'go'}",
                )
            self.batch.limit(half)
        elif self._place != CPU:
            self._move_sums()
        else:
            log.warning(
                "Memory of %s is exhausted: the rest of this image is computed on the CPU.", self._forward.device
            )
            self._forward.move_to_cpu()
        torch.cuda.empty_cache()

    def _move_sums(self) -> None:
        log.warning("Memory of %s is exhausted: the logits of this image are summed on the CPU.", self._place)
        self._keep_sums_on(CPU)
        torch.cuda.empty_cache()

    def _keep_sums_on(self, place: torch.device) -> None:
        self._place = place
        self._weight = gaussian_weight(self._patch).to(place)
        self._share = self._weight * (len(self._passes) // self._members)
