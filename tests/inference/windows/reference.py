"""The sliding window with a whole image and all its logits in memory, in double precision; networks to try it with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from umseg.inference.windows.batches import BatchSize
from umseg.inference.windows.slab import Strip
from umseg.inference.windows.sliding_window import Progress, finished_slabs
from umseg.inference.windows.tiles import Tiles, gaussian_weight, tile_starts
from umseg.inference.windows.window import SlidingWindow

CPU = torch.device("cpu")


class Copy(nn.Module):
    """Logits are the image."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 1


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.value)


class Ramp(nn.Module):
    """Logits grow along the first axis of the patch whatever the image: the same flipped is the reverse."""

    def forward(self, x: Tensor) -> Tensor:
        shape = [-1 if axis == 2 else 1 for axis in range(x.dim())]
        return torch.arange(float(x.shape[2])).reshape(shape).expand_as(x).clone()


class Neighbour(nn.Module):
    """Logits are the image moved by one voxel along an axis: neither symmetric nor local."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.roll(1, dims=self.axis + 2)


def image(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(axes: int, classes: int = 3, seed: int = 0) -> nn.Module:
    """Two convolutions with random weights."""
    convolution = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Sequential(convolution(1, 4, 3, padding=1), nn.LeakyReLU(), convolution(4, classes, 3, padding=1))
    return layers.eval()


def streamed(
    networks: Sequence[nn.Module],
    data: Tensor,
    classes: int,
    window: SlidingWindow,
    strips: Sequence[Strip] | None = None,
    precision: torch.dtype = torch.float32,
    batch: BatchSize | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """The logits of all slabs, (classes, z, y, x); fails where slabs do not cover the image in order."""
    strips = strips or [Tiles.covering(data.shape[1:], window.patch, window.step).whole]
    logits = torch.full((classes, *data.shape[1:]), float("nan"))
    reached = dict.fromkeys(strips, 0)
    for slab in finished_slabs(
        networks, data, classes, window, CPU, precision, strips=strips, batch=batch, progress=progress
    ):
        assert slab.start == reached[slab.strip]
        assert slab.sums.permute(1, 2, 3, 0).is_contiguous()
        reached[slab.strip] += len(slab.weights)
        logits[:, slab.start : reached[slab.strip], slab.strip.start : slab.strip.stop] = slab.logits
    assert set(reached.values()) == {data.shape[1]}
    return logits


def brute_force(networks: Sequence[nn.Module], data: Tensor, classes: int, window: SlidingWindow) -> Tensor:
    """(classes, z, y, x) float64 logits; every window goes through the network by itself."""
    flat = len(window.patch) == 2
    patch = (1, *window.patch) if flat else window.patch
    missing = [max(p - s, 0) for p, s in zip(patch, data.shape[1:], strict=True)]
    padded = torch.from_numpy(np.pad(data.numpy(), [(0, 0), *((m // 2, m - m // 2) for m in missing)]))
    total = torch.zeros((classes, *padded.shape[1:]), dtype=torch.float64)
    weights = torch.zeros(padded.shape[1:], dtype=torch.float64)
    weight = gaussian_weight(window.patch).double().reshape(patch)
    starts = [
        range(size) if extent == 1 else tile_starts(size, extent, window.step)
        for size, extent in zip(padded.shape[1:], patch, strict=True)
    ]
    for corner in itertools.product(*starts):
        place = (slice(None), *(slice(c, c + p) for c, p in zip(corner, patch, strict=True)))
        total[place] += weight * _mean_logits(networks, padded[place], window.mirror_axes, flat)
        weights[place[1:]] += weight
    z, y, x = (slice(m // 2, m // 2 + s) for m, s in zip(missing, data.shape[1:], strict=True))
    return (total / weights)[:, z, y, x]


@torch.inference_mode()
def _mean_logits(networks: Sequence[nn.Module], voxels: Tensor, mirror_axes: Sequence[int], flat: bool) -> Tensor:
    """(classes, *patch) float64 for the voxels of one window, (channels, *patch)."""
    window = (voxels[:, 0] if flat else voxels)[None]
    flips = [
        [axis + 2 for axis in axes]
        for count in range(len(mirror_axes) + 1)
        for axes in itertools.combinations(mirror_axes, count)
    ]
    terms = [one(window.flip(axes)).flip(axes)[0].double() for axes in flips for one in networks]
    mean = torch.stack(terms).mean(dim=0)
    return mean[:, None] if flat else mean
