"""Windows outside of the body, which may be left out.

A voxel belongs to the body where a channel exceeds its lowest value in the image by more than a tenth of its range; the
range ends at the 99.5th percentile. A window without such a voxel is empty. The promise: voxels that no other than
empty windows cover become background, and all other voxels get the same sums as without. Therefore an empty window that
shares a voxel with one that is not empty is still computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.inference.windows.slab import Slab
from umseg.inference.windows.tiles import Corner, Tiles

FRACTION = 0.1
"""The part of an image's range that does not yet belong to the body: noise of air."""
CERTAIN = 10.0
"""The logit by which the background leads where no window was computed; trained networks are as sure in air."""
_SAMPLES = 100_000
"""Number of voxels, about, from which a percentile is estimated."""


@dataclass(frozen=True)
class Emptiness:
    """Which windows of an image hold a part of the body.

    Attributes:
        tiles: The windows.
        full: (windows along z, y, x), whether a window is not empty.
        needed: The same for windows that have to be computed.
    """

    tiles: Tiles
    full: NDArray[np.bool_]
    needed: NDArray[np.bool_]

    def without_unneeded(self, corners: Sequence[Corner]) -> list[Corner]:
        """The windows that have to be computed."""
        numbers = [{start: number for number, start in enumerate(starts)} for starts in self.tiles.starts]
        return [c for c in corners if self.needed[tuple(of[at] for of, at in zip(numbers, c, strict=True))]]

    def fill(self, slab: Slab, regions: bool) -> None:
        """Make voxels background that only empty windows cover; with regions, all outputs become unlikely there."""
        covered = torch.zeros(slab.weights.shape, dtype=torch.bool)
        origin = (slab.start, slab.strip.start, 0)
        spans = [
            [slice(max(start - first, 0), max(start - first + extent, 0)) for start in starts]
            for starts, extent, first in zip(self.tiles.starts, self.tiles.patch, origin, strict=True)
        ]
        for z, planes in enumerate(spans[0]):
            if planes.start < len(covered) and planes.stop > 0:
                for y, x in np.argwhere(self.full[z]):
                    covered[planes, spans[1][y], spans[2][x]] = True
        bare = ~covered.to(slab.weights.device)
        slab.weights[bare] = 1
        for sums in (slab.sums, *(slab.member_sums if slab.member_sums is not None else ())):
            by_voxel = sums.permute(1, 2, 3, 0)
            by_voxel[bare] = -CERTAIN if regions else 0
            if not regions:
                by_voxel[..., 0][bare] = CERTAIN


def find_empty(data: Tensor, tiles: Tiles) -> Emptiness:
    """The windows of an image that are empty.

    Args:
        data: (channels, z, y, x), preprocessed.
        tiles: The windows.
    """
    full = np.zeros([len(starts) for starts in tiles.starts], dtype=bool)
    limits = torch.stack([_highest_of_air(channel) for channel in data]).reshape(-1, 1, 1, 1)
    inside = [
        [slice(max(start, 0), start + extent) for start in starts]
        for starts, extent in zip(tiles.starts, tiles.patch, strict=True)
    ]
    for z, planes in enumerate(inside[0]):
        body = (data[:, planes] > limits).any(dim=0).any(dim=0)
        for y, rows in enumerate(inside[1]):
            columns = body[rows].any(dim=0)
            full[z, y] = [bool(columns[span].any()) for span in inside[2]]
    return Emptiness(tiles, full, _with_neighbours(full, tiles))


def _highest_of_air(channel: Tensor) -> Tensor:
    """The largest value that does not belong to the body."""
    lowest = channel.min()
    every = max(int((channel.numel() / _SAMPLES) ** (1 / 3)), 1)
    highest = torch.quantile(channel[::every, ::every, ::every].flatten(), 0.995)
    return lowest + FRACTION * (highest - lowest)


def _with_neighbours(full: NDArray[np.bool_], tiles: Tiles) -> NDArray[np.bool_]:
    """The windows that are marked, and those that share a voxel with one."""
    for axis, starts in enumerate(tiles.starts):
        at = np.asarray(starts)
        overlap = np.abs(at[:, None] - at) < tiles.patch[axis]
        full = np.moveaxis(np.tensordot(overlap, full, axes=(1, axis)) > 0, 0, axis)
    return full
