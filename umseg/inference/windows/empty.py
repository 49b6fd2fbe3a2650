"""Windows outside of the body, which may be left out.

A voxel belongs to the body where a channel exceeds its lowest value in the image by more than a tenth of its range; the
range ends at the 99.5th percentile. A window without such a voxel is empty. A voxel of the body is covered by no empty
window, so that leaving them out changes no sum of it; this is the promise. Outside of the body, logits are averaged
over those windows alone that are not empty, and voxels that no such window covers become background.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from umseg.inference.windows.slab import Slab
from umseg.inference.windows.tiles import Corner, Tiles

FRACTION = 0.1
"""The part of an image's range that does not yet belong to the body: noise of air."""
CERTAIN = 10.0
"""The logit by which the background leads where no window was computed; trained networks are as sure in air."""
_SAMPLES = 100_000
"""Number of voxels, about, from which a percentile is estimated."""


def windows_of_body(data: Tensor, tiles: Tiles) -> set[Corner]:
    """The windows of an image that are not empty.

    Args:
        data: (channels, z, y, x), preprocessed.
        tiles: The windows.
    """
    found = np.zeros([len(starts) for starts in tiles.starts], dtype=bool)
    limits = torch.stack([_highest_of_air(channel) for channel in data]).reshape(-1, 1, 1, 1)
    inside = [
        [slice(max(start, 0), start + extent) for start in starts]
        for starts, extent in zip(tiles.starts, tiles.patch, strict=True)
    ]
    for z, planes in enumerate(inside[0]):
        body = (data[:, planes] > limits).flatten(0, 1).any(dim=0)
        for y, rows in enumerate(inside[1]):
            columns = body[rows].any(dim=0)
            found[z, y] = [bool(columns[span].any()) for span in inside[2]]
    return {(tiles.starts[0][z], tiles.starts[1][y], tiles.starts[2][x]) for z, y, x in np.argwhere(found).tolist()}


def fill_empty(slab: Slab, regions: bool) -> None:
    """Make voxels background that no window covers; with regions, all outputs become unlikely there."""
    bare = slab.weights == 0
    slab.weights[bare] = 1
    for sums in (slab.sums, *(slab.member_sums if slab.member_sums is not None else ())):
        by_voxel = sums.permute(1, 2, 3, 0)
        by_voxel[bare] = -CERTAIN if regions else 0
        if not regions:
            by_voxel[..., 0][bare] = CERTAIN


def _highest_of_air(channel: Tensor) -> Tensor:
    """The largest value that does not belong to the body."""
    lowest = channel.min()
    every = max(int((channel.numel() / _SAMPLES) ** (1 / 3)), 1)
    highest = torch.quantile(channel[::every, ::every, ::every].flatten(), 0.995)
    return lowest + FRACTION * (highest - lowest)
