"""The memory that the windows of an image need, known before they are computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from umseg.inference.windows.forward import Forward, Pass
from umseg.inference.windows.rolling import bytes_of_sums, depth_of_sums, height
from umseg.inference.windows.slab import Strip
from umseg.inference.windows.strips import apart
from umseg.inference.windows.tiles import Tiles, with_depth
from umseg.inference.windows.window import SlidingWindow
from umseg.models.measured_memory import LiveBytes

SAMPLE = 32
"""Smallest size along an axis of the windows that stand for a large one."""
WITHIN = 1.6
"""What a forward pass on a CPU takes, as a multiple of what torch's tensors take: convolutions have memory of their own
that torch does not see, and glibc keeps small blocks. Measured for the plain U-Net: 1.4 to 1.8."""
DIRECT_VOXELS = 2**17
"""Windows of no more voxels are measured as they are."""
_BYTES = 4


def sums_bytes(
    tiles: Tiles, strips: Sequence[Strip], batch: int, classes: int, window: SlidingWindow, networks: int
) -> int:
    """Bytes of the sums of an image, of their weights, and of the mean of sums that are kept apart.

    Args:
        tiles: The windows of the image.
        strips: What is worked on at once.
        batch: Number of windows in a batch.
        classes: Number of channels of the networks' output.
        window: The way in which the image is covered.
        networks: Number of networks.
    """
    depth, rows = depth_of_sums(tiles, strips, batch, classes), max(map(height, strips))
    count = apart(window, networks)
    return bytes_of_sums(rows, tiles.shape[2], depth, classes, count if count == 1 else count + 1)


@runtime_checkable
class StatesBytes(Protocol):
    """A network that other programs than torch compute.

    Attributes:
        window_bytes: Bytes that a window needs on its way through the network.
    """

    window_bytes: int


def forward_bytes(
    network: nn.Module,
    channels: int,
    patch: Sequence[int],
    device: torch.device,
    precision: torch.dtype,
    *,
    batch: int = 1,
    unit: Sequence[int],
) -> int:
    """Bytes at the peak of a forward pass, beside the weights.

    A large window is not computed. What convolutions and Mamba layers need grows in proportion to the voxels, so that
    two small windows tell it; their smallest size keeps the peak in the same layer. A network that takes no other size
    than its patch computes a whole window.

    Args:
        network: Network on ``device`` in evaluation mode.
        channels: Number of channels of the image.
        patch: Size of a window, of two or three axes.
        device: Device of the network.
        precision: Number format of the convolutions.
        batch: Number of windows in a batch.
        unit: Product of the network's strides along each axis of the patch.
    """
    if isinstance(network, StatesBytes):
        return batch * network.window_bytes
    forward = Forward([network], len(patch) == 2, device, precision)
    block = [min(size, -(-SAMPLE // step) * step) for size, step in zip(patch, unit, strict=True)]
    # Two and three blocks in a row, because layers for attention do not take a bottleneck of a single voxel.
    small, longer = ([*block[:-1], count * block[-1]] for count in (2, 3))
    voxels, few, more = (math.prod(shape) for shape in (patch, small, longer))
    if voxels <= max(DIRECT_VOXELS, more):
        return batch * _measured(forward, channels, patch)
    try:
        low, high = (_measured(forward, channels, shape) for shape in (small, longer))
    except (RuntimeError, ValueError, AssertionError):  # networks for one size refuse others in words of their own
        return batch * _measured(forward, channels, patch)
    return round(low + (high - low) * (batch * voxels - few) / (more - few))


@torch.inference_mode()
def _measured(forward: Forward, channels: int, shape: Sequence[int]) -> int:
    """Bytes of a forward pass; on a GPU that has not so much memory, all that it has."""
    try:
        with LiveBytes() as memory:
            forward(Pass(0, (), 0), torch.zeros(1, channels, *with_depth(shape)))
    except torch.cuda.OutOfMemoryError:
        return int(torch.cuda.mem_get_info(forward.device)[1])
    peak: int = memory.peak
    return round(WITHIN * peak) if forward.device.type == "cpu" else peak
