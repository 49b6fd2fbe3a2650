"""The sizes of the patch and of the batch for a given memory (docs/rules.md, Planning)."""

from __future__ import annotations

import bisect
import logging
import math
from collections.abc import Iterator, Sequence

from umseg.planning.rules.memory_rules import MemoryRule
from umseg.planning.rules.topology import Topology, plan_topology

log = logging.getLogger(__name__)

MIN_BATCH_SIZE = 2
_INITIAL_EDGE = {2: 2048, 3: 256}


def plan_patch(spacing: Sequence[float], median: Sequence[float], rule: MemoryRule) -> Topology:
    """The largest patch that fits into the memory, and its network (steps 1 to 3).

    The patch starts with the physical proportions of a cube, no axis longer than the median image, and shrinks along
    the axis that covers the largest share of the image. A patch that cannot shrink any further is returned, even if it
    does not fit.

    Args:
        spacing: Voxel size in mm for each of two or three axes.
        median: Median shape of the images, in voxels per axis (may end in .5).
        rule: Rule that decides what fits into the memory.
    """
    candidates = _shrinking(spacing, median)
    if rule.monotone:
        patches = list(candidates)
        # Small images often fit as a whole.
        first = 0 if rule.fits(patches[0]) else bisect.bisect_left(patches, True, lo=1, key=rule.fits)
        if first < len(patches):
            return patches[first]
        smallest = patches[-1]
    else:
        for smallest in candidates:
            if rule.fits(smallest):
                return smallest
    log.warning("Even the smallest patch %s exceeds the memory to plan for.", smallest.patch_size)
    return smallest


def plan_batch_size(topology: Topology, rule: MemoryRule, training_voxels: float, dataset_share: float) -> int:
    """The largest batch within the memory and within a share of the training voxels, but at least two (step 4).

    Args:
        topology: Patch and network.
        rule: Rule that decides what fits into the memory.
        training_voxels: Number of voxels of all training images.
        dataset_share: Largest share of these voxels that one batch may show.
    """
    cap = round(training_voxels * dataset_share / math.prod(topology.patch_size))
    return max(min(rule.batch_size(topology), cap), MIN_BATCH_SIZE)


def initial_patch(spacing: Sequence[float], median: Sequence[float]) -> tuple[float, ...]:
    """The patch to begin with.

    It is a cube in mm with the volume of 256³ voxels (a square of 2048² in 2-D), clipped to the median image, whose
    shape may end in .5.
    """
    dimensions = len(spacing)
    inverse = [1 / value for value in spacing]
    scale = (_INITIAL_EDGE[dimensions] ** dimensions / math.prod(inverse)) ** (1 / dimensions)
    return tuple(min(round(edge * scale), size) for edge, size in zip(inverse, median, strict=True))


def _shrinking(spacing: Sequence[float], median: Sequence[float]) -> Iterator[Topology]:
    """The patches to try, from the largest to the one that cannot shrink any further."""
    topology: Topology | None = plan_topology(spacing, initial_patch(spacing, median))
    while topology is not None:
        yield topology
        topology = _shrink(topology, spacing, median)


def _shrink(topology: Topology, spacing: Sequence[float], median: Sequence[float]) -> Topology | None:
    """The patch one step smaller along the axis that covers most of the image; None if no axis can shrink."""
    patch = topology.patch_size
    # Among equal axes the last one comes first.
    by_share = sorted(range(len(patch)), key=lambda axis: patch[axis] / median[axis])[::-1]
    for axis in by_share:
        tentative = _less(patch, axis, topology.divisor[axis])
        if tentative[axis] < 1:
            continue
        # The step is the divisor that the smaller patch will have, so that it needs no padding.
        smaller = _less(patch, axis, plan_topology(spacing, tentative).divisor[axis])
        return plan_topology(spacing, smaller)
    return None


def _less(patch: Sequence[int], axis: int, step: int) -> tuple[int, ...]:
    return tuple(size - step if a == axis else size for a, size in enumerate(patch))
