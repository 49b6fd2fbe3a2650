"""Conversion of instance maps, which number objects, to the classes interior and boundary, and back."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

INTERIOR, BOUNDARY = 1, 2


def instance_classes(instances: NDArray[np.integer[Any]], width: int) -> NDArray[np.int8]:
    """Mark the interior and the boundary of every object.

    A voxel of an object belongs to its boundary if anything else, background or another object, lies within ``width``
    voxels; so touching objects stay apart. The border of the image is no boundary.

    Args:
        instances: (z, y, x), 0 in the background; every other value is one object.
        width: Width of the boundary in voxels; axes of one voxel do not count.

    Returns:
        (z, y, x): 0 background, 1 interior, 2 boundary.
    """
    reach = np.meshgrid(*(np.arange(-width, width + 1) if n > 1 else [0] for n in instances.shape), indexing="ij")
    ball = sum(np.square(offset) for offset in reach) <= width**2
    lowest = ndimage.minimum_filter(instances, footprint=ball, mode="nearest")
    highest = ndimage.maximum_filter(instances, footprint=ball, mode="nearest")
    classes = np.where(lowest == highest, INTERIOR, BOUNDARY).astype(np.int8)
    classes[instances == 0] = 0
    return classes


def find_instances(classes: NDArray[np.integer[Any]]) -> NDArray[np.unsignedinteger[Any]]:
    """Number the objects that interior and boundary show, the inverse of :func:`instance_classes`.

    Every connected piece of interior is an object. All objects grow over the boundary around them at the same pace, and
    each voxel goes to the object that reaches it first, so that objects get back their full size. Pieces of boundary
    that no interior reaches are objects too: those that are too small to have an interior.

    Voxels are connected over faces, edges and corners, as in the published evaluation (docs/rules.md, Evaluation): the
    interiors of touching objects are far enough apart, while thin objects would fall to pieces over faces alone.

    Args:
        classes: (z, y, x): 0 background, 1 interior, 2 boundary.

    Returns:
        (z, y, x): 0 in the background, the objects 1, 2, ...; uint16, or uint32 for more than 65535 objects.
    """
    touching = np.ones((3,) * classes.ndim)
    interiors, count = ndimage.label(classes == INTERIOR, touching)
    grown = _grow(interiors, classes > 0)
    small, small_count = ndimage.label((classes > 0) & (grown == 0), touching)
    small[small > 0] += count
    dtype = np.uint16 if count + small_count <= np.iinfo(np.uint16).max else np.uint32
    instances: NDArray[np.unsignedinteger[Any]] = (grown + small).astype(dtype)
    return instances


def _grow(seeds: NDArray[np.int32], inside: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Let seeds, numbers above 0, spread over ``inside`` at the same pace, voxel by voxel, until nothing changes."""
    grown = np.pad(seeds, 1)
    flat = grown.reshape(-1)
    waiting = np.pad(inside & (seeds == 0), 1).reshape(-1)
    steps = itertools.product(*((-1, 0, 1) if n > 1 else (0,) for n in seeds.shape))
    nearest_first = sorted(steps, key=lambda step: np.abs(step).sum())[1:]
    offsets = [int(np.dot(step, grown.strides)) // grown.itemsize for step in nearest_first]
    # Only the voxels reached last have waiting neighbours, so the work grows with the voxels, not with the steps.
    front = np.flatnonzero(flat)
    while front.size:
        reached = [front[:0]]
        # The nearest of several neighbours decides: faces before edges before corners.
        for offset in offsets:
            target = front - offset
            free = waiting[target]
            target = target[free]
            flat[target] = flat[front[free]]
            waiting[target] = False
            reached.append(target)
        front = np.concatenate(reached)
    return grown[(slice(1, -1),) * seeds.ndim]
