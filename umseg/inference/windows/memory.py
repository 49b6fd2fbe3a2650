"""The memory that the windows of an image need, known before they are computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from umseg.inference.windows.batches import batch_size
from umseg.inference.windows.forward import Forward, Pass
from umseg.inference.windows.rolling import bytes_of_sums, depth_of_sums, height
from umseg.inference.windows.slab import Strip
from umseg.inference.windows.strips import apart
from umseg.inference.windows.tiles import Tiles, with_depth
from umseg.inference.windows.window import SlidingWindow
from umseg.models.measured_memory import LiveBytes

SAMPLE = 32
"""Smallest size along an axis of the windows that stand for a large one."""
DIRECT_VOXELS = 2**17
"""Windows of no more voxels are measured as they are."""
_BYTES = 4


@dataclass(frozen=True)
class WindowsMemory:
    """Bytes that the windows of an image take at once on the device of the networks, beside the networks' weights.

    Attributes:
        sums: The sums of a strip, and their weights.
        forward: A batch of windows with everything that the network holds on its way to the logits.
        image: The image and the weights of a window, as far as they are copied.
    """

    sums: int
    forward: int
    image: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.sums + self.forward + self.image


def windows_memory(
    networks: Sequence[nn.Module],
    tiles: Tiles,
    channels: int,
    classes: int,
    window: SlidingWindow,
    device: torch.device,
    precision: torch.dtype,
    *,
    strips: Sequence[Strip],
    unit: Sequence[int],
) -> WindowsMemory:
    """The memory of the windows of an image.

    Args:
        networks: Networks on ``device`` in evaluation mode, one per fold.
        tiles: The windows of the image.
        channels: Number of channels of the image.
        classes: Number of channels of the networks' output.
        window: The way in which the image is covered.
        device: Device of the networks.
        precision: Number format of the convolutions.
        strips: What is worked on at once.
        unit: Product of the network's strides along each axis of the patch.
    """
    batch = batch_size(window, device).most
    depth, rows = depth_of_sums(tiles, strips, batch, classes), max(map(height, strips))
    copied = 0 if device.type == "cpu" else channels * math.prod(tiles.shape)
    return WindowsMemory(
        sums=bytes_of_sums(rows, tiles.shape[2], depth, classes, apart(window, len(networks))),
        forward=forward_bytes(networks[0], channels, window.patch, device, precision, batch=batch, unit=unit),
        image=_BYTES * (copied + 2 * math.prod(tiles.patch)),
    )


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
    """Bytes of all tensors that are alive at the peak of a forward pass, beside the weights.

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
    with LiveBytes() as memory:
        forward(Pass(0, (), 0), torch.zeros(1, channels, *with_depth(shape)))
    peak: int = memory.peak
    return peak
