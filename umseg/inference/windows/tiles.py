"""Where windows lie, and how their voxels are weighted (docs/rules.md, Inference).

Positions are voxels of the image, along (z, y, x). A window that is larger than the image begins before it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from umseg.inference.windows.slab import Strip

PEAK = 10.0
"""The largest weight."""

Corner = tuple[int, int, int]
"""The first voxel of a window; below zero where the image is smaller than the window."""


@dataclass(frozen=True)
class Tiles:
    """The windows of an image.

    Attributes:
        shape: Size of the image, (z, y, x).
        patch: Size of a window, (z, y, x).
        starts: First voxels of the windows along each axis.
    """

    shape: tuple[int, ...]
    patch: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    @classmethod
    def covering(cls, shape: Sequence[int], patch: Sequence[int], step: float) -> Tiles:
        """The windows that cover an image.

        Args:
            shape: Size of the image, (z, y, x).
            patch: Size of a window; two axes mean that every slice along axis 0 is covered separately.
            step: Distance of neighbouring windows as a fraction of the patch.
        """
        patch = with_depth(patch)
        starts = tuple(_axis_starts(size, extent, step) for size, extent in zip(shape, patch, strict=True))
        return cls(tuple(shape), patch, starts)

    @property
    def whole(self) -> Strip:
        """All rows of the image."""
        return Strip(0, self.shape[1])

    def row_starts(self, strip: Strip) -> tuple[int, ...]:
        """First rows of the windows that touch a strip."""
        return tuple(start for start in self.starts[1] if start < strip.stop and start + self.patch[1] > strip.start)

    def corners(self, strip: Strip) -> list[Corner]:
        """All windows that touch a strip, in raster order."""
        return list(itertools.product(self.starts[0], self.row_starts(strip), self.starts[2]))


def with_depth(patch: Sequence[int]) -> tuple[int, ...]:
    """The patch as (z, y, x); one of two axes is a slice."""
    return (1, *patch) if len(patch) == 2 else tuple(patch)


def tile_starts(size: int, patch: int, step: float) -> tuple[int, ...]:
    """First voxels of the patches along one axis: evenly spread, at most ``step`` patches apart.

    Source: docs/rules.md, Inference.

    >>> tile_starts(110, 64, 0.5)
    (0, 23, 46)
    """
    if size <= patch:
        return (0,)
    count = math.ceil((size - patch) / (patch * step)) + 1
    return tuple(round(i * (size - patch) / (count - 1)) for i in range(count))


def _axis_starts(size: int, patch: int, step: float) -> tuple[int, ...]:
    """The starts along one axis of an image that is padded on both sides; an odd voxel goes to the far side."""
    if patch == 1:
        return tuple(range(size))
    before = max(patch - size, 0) // 2
    return tuple(start - before for start in tile_starts(size, patch, step))


@lru_cache(maxsize=4)
def gaussian_weight(patch: tuple[int, ...]) -> Tensor:
    """Weight of every voxel of a patch: a Gaussian of sigma = patch / 8 about ``patch // 2``, peak 10.

    Source: docs/rules.md, Inference.

    The published weights are float16, in which the far corners underflow to zero and are set to the smallest other
    weight. Therefore the smallest value here is that of float16, and no voxel has weight zero.
    """
    weight = np.ones(())
    for size in patch:
        delta = np.zeros(size)
        delta[size // 2] = 1
        weight = np.multiply.outer(weight, gaussian_filter1d(delta, size / 8, mode="constant"))
    weight *= PEAK / weight.max()
    smallest = float(np.finfo(np.float16).smallest_subnormal)
    return torch.from_numpy(np.maximum(weight, smallest).astype(np.float32))


def cut(data: Tensor, corner: Corner, patch: Sequence[int]) -> Tensor:
    """The voxels of a window, (channels, *patch); zeros outside of the image.

    Args:
        data: (channels, z, y, x).
        corner: First voxel of the window.
        patch: Size of the window, (z, y, x).
    """
    spans = [(start, start + extent, size) for start, extent, size in zip(corner, patch, data.shape[1:], strict=True)]
    z, y, x = (slice(max(start, 0), min(stop, size)) for start, stop, size in spans)
    inside = data[:, z, y, x]
    padding = [side for start, stop, size in reversed(spans) for side in (max(-start, 0), max(stop - size, 0))]
    return F.pad(inside, padding) if any(padding) else inside
