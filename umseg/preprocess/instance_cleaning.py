"""Cleaning of instance maps: objects that are too small are removed, and holes in objects are filled."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from umseg.common.record import Record


class Cleaning(Record):
    """How an instance map is cleaned.

    Attributes:
        smallest: Voxels of the smallest object that is kept; 0 keeps all.
        fill_holes: Whether holes in objects become part of them.
    """

    smallest: Annotated[int, Field(ge=0, le=2**40)]
    fill_holes: bool

    @property
    def changes_nothing(self) -> bool:
        """Whether every map stays as it is."""
        return self.smallest <= 1 and not self.fill_holes

    def apply(self, instances: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """The map without small objects, then without holes; see the two functions of this module."""
        if self.smallest > 1:
            instances = remove_small_objects(instances, self.smallest)
        return fill_object_holes(instances) if self.fill_holes else instances


def remove_small_objects(instances: NDArray[np.integer[Any]], smallest: int) -> NDArray[np.integer[Any]]:
    """The map without the objects of fewer than ``smallest`` voxels.

    Args:
        instances: Any shape; 0 in the background, the objects 1, 2, ...
        smallest: Voxels of the smallest object that is kept.

    Returns:
        The same shape and type; the objects that are kept are numbered 1, 2, ... in their order.
    """
    kept = np.bincount(instances.reshape(-1)) >= smallest
    kept[:1] = False
    numbers = (np.cumsum(kept) * kept).astype(instances.dtype)
    cleaned: NDArray[np.integer[Any]] = numbers[instances]
    return cleaned


def fill_object_holes(instances: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """The map in which the holes of each object have the number of the object.

    A hole is a piece of background, connected over faces, that does not reach the border of the image and has faces in
    common with one object only. A gap between several objects is not a hole. Axes of one voxel have no border.

    Args:
        instances: (z, y, x); 0 in the background, every other value is one object.

    Returns:
        The same shape and type.
    """
    pieces, count = ndimage.label(instances == 0)
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
    # No piece is numbered 0: that is where the objects are.
    open_pieces[0] = True
    filling = np.where(open_pieces | (lowest != highest), 0, lowest)
    return np.where(pieces > 0, filling[pieces], instances)
