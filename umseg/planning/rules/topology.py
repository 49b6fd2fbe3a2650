"""The shape of a U-Net for a patch: halvings of each axis, and kernels (docs/rules.md, Planning)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MIN_BOTTLENECK_EDGE = 4
_MAX_SPACING_RATIO = 2


@dataclass(frozen=True)
class Topology:
    """The stages of a U-Net; every tuple per axis has as many entries as the patch.

    Attributes:
        num_pool_per_axis: Number of halvings per axis.
        strides: Stride at the entry of each stage; all 1 for the first.
        kernel_sizes: Size of the convolution kernel of each stage.
        patch_size: Voxels per axis of the patch, padded to a multiple of ``divisor``.
        divisor: Product of the strides per axis.
    """

    num_pool_per_axis: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    patch_size: tuple[int, ...]
    divisor: tuple[int, ...]

    @property
    def num_stages(self) -> int:
        """Number of encoder stages."""
        return len(self.strides)


def plan_topology(spacing: Sequence[float], patch: Sequence[float]) -> Topology:
    """Derive the stages of a U-Net (docs/rules.md, Planning).

    Axes are halved while they have at least twice the minimal bottleneck edge and while their spacing is within a
    factor of two of the finest such axis, so that voxels become isotropic towards the bottleneck. An axis gets
    kernels of 3 as soon as its spacing is within a factor of two of the finest axis.

    Args:
        spacing: Voxel size in mm for each of two or three axes.
        patch: Voxels per axis, not necessarily a whole number (a median image size may end in .5), which padding makes
            whole.
    """
    axes = range(len(patch))
    current_spacing, size = [float(value) for value in spacing], list(patch)
    kernel = [1] * len(patch)
    pools = [0] * len(patch)
    strides, kernels = [(1,) * len(patch)], []
    while halved := _axes_to_halve(current_spacing, size):
        finest = min(current_spacing)
        kernel = [3 if kernel[a] == 3 or current_spacing[a] / finest < _MAX_SPACING_RATIO else 1 for a in axes]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in axes))
        for axis in halved:
            pools[axis] += 1
            current_spacing[axis] *= 2
            size[axis] = math.ceil(size[axis] / 2)
    kernels.append((3,) * len(patch))
    divisor = tuple(2**count for count in pools)
    padded = tuple(math.ceil(n / d) * d for n, d in zip(patch, divisor, strict=True))
    return Topology(tuple(pools), tuple(strides), tuple(kernels), padded, divisor)


def _axes_to_halve(spacing: Sequence[float], size: Sequence[float]) -> list[int]:
    large = [axis for axis in range(len(size)) if size[axis] >= 2 * MIN_BOTTLENECK_EDGE]
    if not large:
        return []
    finest = min(spacing[axis] for axis in large)
    chosen = [axis for axis in large if spacing[axis] / finest < _MAX_SPACING_RATIO]
    if len(chosen) == 1 and size[chosen[0]] < 3 * MIN_BOTTLENECK_EDGE:
        return []
    return chosen
