"""How many windows go through the network together.

On a CPU the number follows from the size of the window. Measured on one core (seconds per window, nnU-Net in bfloat16):
slices of 64² take 12.8, 10.2, 8.7 and 7.6 ms in batches of 1, 2, 4 and 8, slices of 256² 199, 161, 144 and 148 ms, and
volumes of 40x56x40 258, 221, 256 and 248 ms. The number is no measurement there, because oneDNN rounds differently in
batches of different size, so that labels at near ties would depend on what else the machine did.

On a GPU the number is measured: windows go through one by one, then two together, then four, as long as each of them
takes less time and the memory suffices. All of them are windows that have to be computed anyway.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch

from umseg.inference.windows.tiles import with_depth
from umseg.inference.windows.window import SlidingWindow

CPU_VOXELS, GPU_VOXELS = 2**18, 2**22
"""Voxels of the windows of a batch, at most, unless one window has more."""
CPU_MOST, GPU_MOST = 16, 64
GAIN = 0.95
"""The time per window must fall below this part of what it was."""


def most_windows(patch: Sequence[int], device: torch.device) -> int:
    """The largest number of windows that go through a network together, a power of two."""
    voxels, most = (CPU_VOXELS, CPU_MOST) if device.type == "cpu" else (GPU_VOXELS, GPU_MOST)
    fitting = max(min(voxels // math.prod(with_depth(patch)), most), 1)
    return int(2 ** math.floor(math.log2(fitting)))


def batch_size(window: SlidingWindow, device: torch.device) -> BatchSize:
    """The number of windows in a batch: the one that was asked for, or one that suits the device."""
    if window.batch_size is not None:
        return BatchSize(window.batch_size)
    return BatchSize(most_windows(window.patch, device), measured=device.type != "cpu")


class BatchSize:
    """The number of windows in the next batch; it may be kept for the next image with the same networks.

    Args:
        most: The largest number.
        measured: Whether smaller numbers are tried first.
        clock: Function that gives seconds.
    """

    def __init__(self, most: int, *, measured: bool = False, clock: Callable[[], float] = time.perf_counter) -> None:
        self._most = most
        self._clock = clock
        self._warm = False
        self._fastest = math.inf
        self.settled = not measured or most == 1
        self.size = 1 if measured else most

    @property
    def most(self) -> int:
        """The largest number that a later batch can have."""
        return self.size if self.settled else self._most

    def limit(self, size: int) -> None:
        """Keep to this number, because there is no memory for more."""
        self.size, self.settled = max(size, 1), True

    def timed(self, work: Callable[[], None], count: int, wait: Callable[[], None]) -> None:
        """Do the work on a batch; until the number is settled, measure how long it takes.

        Args:
            work: The work.
            count: Number of windows in the batch. Fewer than were asked for are not measured.
            wait: Function that returns when the device has done all its work.
        """
        if self.settled or count != self.size:
            work()
            return
        wait()
        start = self._clock()
        work()
        wait()
        if count != self.size:  # the memory did not suffice
            return
        if not self._warm:
            # The first batch of a size also pays for the choice of algorithms.
            self._warm = True
            return
        self._judge((self._clock() - start) / count)

    def _judge(self, seconds: float) -> None:
        """Go on to twice the number where the time per window has fallen, else back to half."""
        if seconds > GAIN * self._fastest:
            self.limit(self.size // 2)
        elif 2 * self.size > self._most:
            self.settled = True
        else:
            self._fastest, self._warm = seconds, False
            self.size *= 2


def wait_for(device: torch.device) -> None:
    """Return when the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
