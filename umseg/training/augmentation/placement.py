"""Where the voxels of a rotated patch lie in an image, and interpolation there with tensors, for GPUs.

``umseg.kernels.interpolation`` does the same on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.training.augmentation.axis_operators import basis, on_device

OUTSIDE = -1
"""Label of voxels that were not cut."""
# Output voxels that are computed together: enough to keep a GPU busy, few enough to leave memory for the network.
_VOXELS = 2**21


@dataclass(frozen=True)
class Placement:
    """Where the voxels of a patch lie in an image; both have the same centre.

    Attributes:
        matrix: (axes, axes), from the offset to the patch's centre to the offset to the image's centre.
        sizes: Voxels per axis of the image.
        patch: Voxels per axis of the patch.
    """

    matrix: NDArray[np.float64]
    sizes: tuple[int, ...]
    patch: tuple[int, ...]

    @property
    def origin(self) -> NDArray[np.float64]:
        """The coordinates of the patch's first voxel in the image."""
        centre, patch_centre = ((np.asarray(n) - 1) / 2 for n in (self.sizes, self.patch))
        return np.asarray(centre - self.matrix @ patch_centre)

    def in_space(self) -> Placement:
        """The same placement in 3-D, where a 2-D image is one slice."""
        if len(self.sizes) == 3:
            return self
        matrix = np.eye(3)
        matrix[1:, 1:] = self.matrix
        return Placement(matrix, (1, *self.sizes), (1, *self.patch))

    def points(self, device: torch.device) -> Iterator[tuple[slice, list[_Points]]]:
        """The coordinates of the patch's voxels, flattened, slab by slab along the first axis."""
        step = max(1, _VOXELS // math.prod(self.patch[1:]))
        for start in range(0, self.patch[0], step):
            lines = [np.arange(n) for n in self.patch]
            lines[0] = lines[0][start : start + step]
            points = []
            for size, factors, first in zip(self.sizes, self.matrix, self.origin, strict=True):
                parts = [factor * line for factor, line in zip(factors, lines, strict=True)]
                parts[0] = parts[0] + first
                grids = [_along(part, axis, len(lines), device) for axis, part in enumerate(parts)]
                points.append(_Points.of(sum(grids[1:], grids[0]).reshape(-1), size))
            yield slice(start, start + step), points


def _along(line: NDArray[np.float64], axis: int, axes: int, device: torch.device) -> Tensor:
    shape = [1] * axes
    shape[axis] = -1
    return on_device(line.astype(float), device).view(shape)


@dataclass(frozen=True)
class _Points:
    """Coordinates along one axis of ``size`` voxels.

    Attributes:
        size: Length of the axis.
        base: The voxel at or below each coordinate, int32, clipped to the axis.
        fraction: Distance to that voxel, from 0 to 1 where ``inside``.
        inside: Whether the coordinate lies between the centres of the first and the last voxel.
    """

    size: int
    base: Tensor
    fraction: Tensor
    inside: Tensor

    @classmethod
    def of(cls, coordinate: Tensor, size: int) -> _Points:
        base = coordinate.floor().clamp_(0, size - 1)
        inside = (coordinate >= 0) & (coordinate <= size - 1)
        return cls(size, base.int(), coordinate - base, inside)


def sample_cubic(coefficients: Tensor, placement: Placement) -> Tensor:
    """The cubic spline with ``coefficients`` (channels, *(size + 3)): (channels, *patch), 0 outside the image."""
    rotated = coefficients.new_empty(len(coefficients), *placement.patch)
    for slab, points in placement.points(coefficients.device):
        values = _cubic(coefficients, points).masked_fill_(_outside(points), 0)
        rotated[:, slab] = values.view_as(rotated[:, slab])
    return rotated


def _cubic(coefficients: Tensor, points: Sequence[_Points]) -> Tensor:
    """Values of the spline at some points, (channels, points)."""
    channels = len(coefficients)
    sizes = coefficients.shape[1:]
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    flat = coefficients.reshape(-1)
    index = _index(points, strides, channels, math.prod(sizes))
    weights = [basis(p.fraction) for p in points]
    total = flat.new_zeros(channels, len(points[0].base))
    line, tap = torch.empty_like(total), torch.empty_like(total)
    for taps in product(range(4), repeat=len(points) - 1):
        start = sum(t * stride for t, stride in zip(taps, strides, strict=False))
        for t, weight in enumerate(weights[-1]):
            # The index stays the same; the memory that it counts from moves.
            torch.index_select(flat[start + t :], 0, index, out=tap.view(-1))
            torch.mul(tap, weight, out=line) if t == 0 else line.addcmul_(tap, weight)
        outer = weights[0][taps[0]]
        for axis, t in enumerate(taps[1:], start=1):
            outer = outer * weights[axis][t]
        total.addcmul_(line, outer)
    return total


def sample_linear(image: Tensor, placement: Placement) -> Tensor:
    """Linear interpolation of an image (channels, *spatial): (channels, *patch), 0 outside the image."""
    rotated = image.new_empty(len(image), *placement.patch)
    for slab, points in placement.points(image.device):
        total = image.new_zeros(len(image), len(points[0].base))
        for values, weight in _corners(image, points):
            total.addcmul_(values, weight)
        rotated[:, slab] = total.masked_fill_(_outside(points), 0).view_as(rotated[:, slab])
    return rotated


def sample_majority(label: Tensor, placement: Placement) -> Tensor:
    """The label to which linear interpolation gives the largest weight; of several labels the lowest.

    This equals interpolating the mask of each label separately, for any number of labels.

    Args:
        label: (planes, *spatial) int16.
        placement: Where the patch lies in the image.

    Returns:
        (planes, *patch), -1 outside the image.
    """
    rotated = label.new_empty(len(label), *placement.patch)
    for slab, points in placement.points(label.device):
        values = _majority(label, points).masked_fill_(_outside(points), OUTSIDE)
        rotated[:, slab] = values.view_as(rotated[:, slab])
    return rotated


def _outside(points: Sequence[_Points]) -> Tensor:
    return ~reduce(torch.logical_and, (p.inside for p in points))


def _majority(label: Tensor, points: Sequence[_Points]) -> Tensor:
    """The majority label at some points, (planes, points)."""
    labels, weights = [], []
    for values, weight in _corners(label, points):
        labels.append(values)
        weights.append(weight.expand(values.shape))
    totals = [weight.clone() for weight in weights]
    for i, j in combinations(range(len(labels)), 2):
        same = (labels[i] == labels[j]).float()
        totals[i].addcmul_(same, weights[j])
        totals[j].addcmul_(same, weights[i])
    winner, most = labels[0], totals[0]
    for values, total in zip(labels[1:], totals[1:], strict=True):
        better = (total > most) | ((total == most) & (values < winner))
        winner, most = torch.where(better, values, winner), torch.where(better, total, most)
    return winner


def _corners(image: Tensor, points: Sequence[_Points]) -> Iterator[tuple[Tensor, Tensor]]:
    """For each corner of the cells around the points: values (planes, points) and linear weights (points)."""
    sizes = image.shape[1:]
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    flat = image.reshape(-1)
    index = _index(points, strides, len(image), math.prod(sizes)).view(len(image), -1)
    steps = [(p.base < p.size - 1).int() * stride for p, stride in zip(points, strides, strict=True)]
    for corner in product((False, True), repeat=len(points)):
        position, weight = index, torch.ones_like(points[0].fraction)
        for up, p, step in zip(corner, points, steps, strict=True):
            weight = weight * (p.fraction if up else 1 - p.fraction)
            position = position + step if up else position
        yield flat.index_select(0, position.reshape(-1)).view_as(index), weight


def _index(points: Sequence[_Points], strides: Sequence[int], planes: int, plane: int) -> Tensor:
    """Positions of the points' base voxels in flat memory, for all planes one after another."""
    first = torch.zeros_like(points[0].base)
    for p, stride in zip(points, strides, strict=True):
        first += p.base * stride
    return torch.cat([first + number * plane for number in range(planes)])
