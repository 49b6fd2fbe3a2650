"""The sums of those planes of an image that a later window still touches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from umseg.inference.windows.slab import Slab, Strip
from umseg.inference.windows.tiles import Corner, Tiles
from umseg.kernels.accumulate.add import add_weighted

BYTES = 4
"""Bytes of a sum and of a weight."""
MORE_BYTES = 2**28
"""Bytes up to which the sums may have more planes than a window."""


class RollingSums:
    """Sums of weighted logits over the planes of a strip, a few planes at a time.

    Plane z of the image has the place ``z % depth``. Windows come in an order in which their first planes do not fall;
    when the next one begins behind a plane, the plane is finished, handed over and cleared.

    Args:
        shape: Size of the image, (z, y, x).
        rows: Number of rows of the thickest strip.
        depth: Number of planes that are held at once; no less than a window has in the image.
        classes: Number of classes.
        members: Number of sums that are kept apart.
        device: Where the sums are kept.
    """

    def __init__(
        self, shape: Sequence[int], rows: int, depth: int, classes: int, members: int, device: torch.device
    ) -> None:
        self._planes, self._columns = shape[0], shape[2]
        self._depth, self._classes, self._members = depth, classes, members
        voxels = depth * rows * shape[2]
        # All strips use the same memory: a consumer may hold a slab of the last one while the next one begins.
        self._all_sums = torch.zeros(members * voxels * classes, device=device)
        self._all_weights = torch.zeros(voxels, device=device)
        self.begin(Strip(0, rows))

    def begin(self, strip: Strip) -> None:
        """Turn to a strip; the one before is finished."""
        self.strip, self._next = strip, 0
        size = (self._depth, strip.stop - strip.start, self._columns)
        voxels = math.prod(size)
        self._weights = self._all_weights[:voxels].view(size)
        self._sums = self._all_sums[: self._members * voxels * self._classes].view(self._members, *size, self._classes)

    @property
    def depth(self) -> int:
        """Number of planes that are held at once."""
        return self._depth

    def move(self, device: torch.device) -> None:
        """Keep the sums on another device from now on."""
        following = self._next
        self._all_sums, self._all_weights = self._all_sums.to(device), self._all_weights.to(device)
        self.begin(self.strip)
        self._next = following

    def add(self, corner: Corner, logits: Tensor, weight: Tensor, flips: Sequence[int], member: int) -> None:
        """Add the weighted logits of a window, as far as it lies in the strip.

        Args:
            corner: First voxel of the window.
            logits: (classes, *patch) on the device of the sums.
            weight: (*patch) on that device.
            flips: Axes of the window along which the logits are mirrored.
            member: The sums to add to.
        """
        for first, last, target, source in self._pieces(corner, weight.shape):
            add_weighted(self._sums[member, first:last], logits, weight, target, source, flips)

    def add_weight(self, corner: Corner, weight: Tensor) -> None:
        """Add the weights of a window, once for all logits of it that are added."""
        for first, last, target, source in self._pieces(corner, weight.shape):
            into = self._weights[first:last, target[1] :, target[2] :]
            of = weight[source[0] :, source[1] :, source[2] :]
            counts = [slice(min(a, b)) for a, b in zip(into.shape, of.shape, strict=True)]
            into[tuple(counts)] += of[tuple(counts)]

    def _pieces(self, corner: Corner, patch: Sequence[int]) -> Iterator[tuple[int, int, Corner, Corner]]:
        """The parts of a window whose planes lie one behind the other.

        Yields:
            The places of the planes ``[first, last)``, the first voxel in these places, and the first voxel in the
            window.
        """
        plane, row, column = max(corner[0], 0), max(corner[1], self.strip.start), max(corner[2], 0)
        stop = min(corner[0] + patch[0], self._planes)
        while plane < stop:
            first = plane % self._depth
            count = min(stop - plane, self._depth - first)
            target = (0, row - self.strip.start, column)
            yield first, first + count, target, (plane - corner[0], row - corner[1], column - corner[2])
            plane += count

    def finish(self, until: int) -> Iterator[Slab]:
        """Hand over the planes before ``until``, in at most two parts, and clear their places when they are used."""
        while self._next < until:
            first = self._next % self._depth
            count = min(until - self._next, self._depth - first)
            sums, weights = self._sums[:, first : first + count], self._weights[first : first + count]
            members = sums.permute(0, 4, 1, 2, 3)
            apart = len(members) > 1
            yield Slab(
                sums=sums.mean(dim=0).permute(3, 0, 1, 2) if apart else members[0],
                weights=weights,
                start=self._next,
                strip=self.strip,
                member_sums=members if apart else None,
            )
            sums.zero_()
            weights.zero_()
            self._next += count


def height(strip: Strip) -> int:
    """Number of rows of a strip."""
    return strip.stop - strip.start


def depth_of_sums(tiles: Tiles, strips: Sequence[Strip], batch: int, classes: int) -> int:
    """Number of planes whose sums are held at once.

    These are the planes of a window or, where that is little memory, of as many windows as go through the network
    together.
    """
    fewest = min(len(tiles.row_starts(strip)) for strip in strips) * len(tiles.starts[2])
    plane = bytes_of_sums(max(map(height, strips)), tiles.shape[2], 1, classes)
    for layers in range(-(-(batch - 1) // fewest) + 1, 1, -1):
        depth = _planes(tiles, layers)
        if depth * plane <= MORE_BYTES:
            return depth
    return _planes(tiles, 1)


def _planes(tiles: Tiles, layers: int) -> int:
    """The largest number of planes of the image that windows in so many successive positions along axis 0 touch."""
    starts = tiles.starts[0]
    stops = [min(start + tiles.patch[0], tiles.shape[0]) for start in starts]
    last = len(starts) - 1
    return max(stops[min(at + layers - 1, last)] - max(start, 0) for at, start in enumerate(starts))


def bytes_of_sums(rows: int, columns: int, depth: int, classes: int, members: int = 1) -> int:
    """Bytes that ``RollingSums`` takes."""
    return BYTES * math.prod((depth, rows, columns)) * (classes * members + 1)
