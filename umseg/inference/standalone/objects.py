"""Connected voxels: holes of a mask, and the objects of an instance task."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Instances = NDArray[np.unsignedinteger[Any]]

_INTERIOR = 1


def enclosed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The background of a mask that no path over faces connects with the border of the array."""
    free = np.pad(~mask, 1, constant_values=True).reshape(-1)
    shape = tuple(size + 2 for size in mask.shape)
    offsets = _offsets(shape, faces_only=True)
    # The outermost shell of the padded array is where the flood begins; behind it is nothing.
    outer = np.ones(shape, dtype=np.bool_)
    outer[(slice(1, -1),) * mask.ndim] = False
    free[outer.reshape(-1)] = False
    border = np.zeros(shape, dtype=np.bool_)
    for axis, face in itertools.product(range(mask.ndim), (1, -2)):
        border[(slice(None),) * axis + (face,)] = True
    front = np.flatnonzero(border.reshape(-1) & free)
    free[front] = False
    while front.size:
        reached = []
        for offset in offsets:
            target = front + offset
            target = target[free[target]]
            free[target] = False
            reached.append(target)
        front = np.concatenate(reached)
    return free.reshape(shape)[(slice(1, -1),) * mask.ndim]


def components(mask: NDArray[np.bool_], *, faces_only: bool = False) -> tuple[NDArray[np.int64], int]:
    """The connected pieces of a mask, numbered 1, 2, ... in the order of their first voxels, and how many there are.

    Args:
        mask: An array of any shape.
        faces_only: Whether voxels are connected over faces only, not also over edges and corners.
    """
    padded = np.pad(mask, 1)
    voxels = np.flatnonzero(padded)
    first, second = [], []
    for offset in _offsets(padded.shape, faces_only=faces_only):
        if offset > 0:
            touching = np.flatnonzero(padded.reshape(-1)[voxels + offset])
            first.append(touching)
            second.append(np.searchsorted(voxels, voxels[touching] + offset))
    roots = _roots(len(voxels), np.concatenate(first), np.concatenate(second))
    _, numbers = np.unique(roots, return_inverse=True)
    found = np.zeros(padded.shape, dtype=np.int64)
    found.reshape(-1)[voxels] = numbers + 1
    return found[(slice(1, -1),) * mask.ndim], int(numbers.max(initial=-1)) + 1


def _roots(count: int, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each of ``count`` nodes the smallest node that the edges (first, second) connect it with."""
    parent = np.arange(count)
    while first.size:
        low, high = np.minimum(parent[first], parent[second]), np.maximum(parent[first], parent[second])
        np.minimum.at(parent, high, low)
        while (parent[parent] != parent).any():
            parent = parent[parent]
        apart = parent[first] != parent[second]
        first, second = first[apart], second[apart]
    return parent


def find_instances(classes: NDArray[np.integer[Any]]) -> Instances:
    """Number the objects that interior (1) and boundary (2) show.

    Every connected piece of interior is an object and grows over the boundary around it; pieces of boundary that no
    interior reaches are objects too.
    """
    interiors, count = components(classes == _INTERIOR)
    grown = _grow(interiors, classes > 0)
    small, small_count = components((classes > 0) & (grown == 0))
    small[small > 0] += count
    dtype = np.uint16 if count + small_count <= np.iinfo(np.uint16).max else np.uint32
    return (grown + small).astype(dtype)


def _grow(seeds: NDArray[np.int64], inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Let seeds, numbers above 0, spread over ``inside`` at the same pace, voxel by voxel, until nothing changes."""
    grown = np.pad(seeds, 1)
    flat = grown.reshape(-1)
    waiting = np.pad(inside & (seeds == 0), 1).reshape(-1)
    flat_axes = [size == 1 for size in seeds.shape]
    # The nearest of several neighbours decides: faces before edges before corners.
    offsets = _offsets(grown.shape, faces_only=False, without=flat_axes)
    front = np.flatnonzero(flat)
    while front.size:
        reached = [front[:0]]
        for offset in offsets:
            target = front - offset
            free = waiting[target]
            target = target[free]
            flat[target] = flat[front[free]]
            waiting[target] = False
            reached.append(target)
        front = np.concatenate(reached)
    return grown[(slice(1, -1),) * seeds.ndim]


def _offsets(shape: Sequence[int], *, faces_only: bool, without: Sequence[bool] = ()) -> list[int]:
    """The distances of a voxel's neighbours in the memory of an array, those over faces first.

    Args:
        shape: Shape of the array.
        faces_only: Whether only those over faces are wanted.
        without: For each axis whether it has no neighbours.
    """
    flat = without or [False] * len(shape)
    steps = itertools.product(*((0,) if none else (-1, 0, 1) for none in flat))
    nearest_first = sorted(steps, key=lambda step: np.abs(step).sum())[1:]
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    wanted = [step for step in nearest_first if not faces_only or np.abs(step).sum() == 1]
    return [int(np.dot(step, strides)) for step in wanted]


def remove_small_objects(instances: Instances, smallest: int) -> Instances:
    """The map without the objects of fewer than ``smallest`` voxels; the others are numbered 1, 2, ... again."""
    kept = np.bincount(instances.reshape(-1)) >= smallest
    kept[:1] = False
    numbers = (np.cumsum(kept) * kept).astype(instances.dtype)
    cleaned: Instances = numbers[instances]
    return cleaned


def fill_object_holes(instances: Instances) -> Instances:
    """The map in which background that one object alone encloses has the number of the object."""
    pieces, count = components(instances == 0, faces_only=True)
    lowest = np.full(count + 1, np.iinfo(instances.dtype).max, dtype=instances.dtype)
    highest = np.zeros_like(lowest)
    open_pieces = np.zeros(count + 1, dtype=np.bool_)
    for axis in (axis for axis, size in enumerate(instances.shape) if size > 1):
        numbers, objects = np.moveaxis(pieces, axis, 0), np.moveaxis(instances, axis, 0)
        open_pieces[numbers[[0, -1]]] = True
        for here, there in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            touching = (numbers[here] > 0) & (objects[there] > 0)
            piece, neighbour = numbers[here][touching], objects[there][touching]
            np.minimum.at(lowest, piece, neighbour)
            np.maximum.at(highest, piece, neighbour)
    open_pieces[0] = True
    filling = np.where(open_pieces | (lowest != highest), 0, lowest)
    return np.where(pieces > 0, filling[pieces], instances).astype(instances.dtype)
