"""The region of an image that holds anything: where it is not zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BoundingBox = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Half-open range of voxels per axis (z, y, x)."""


def nonzero_region(array: NDArray[Any]) -> tuple[BoundingBox, NDArray[np.bool_]]:
    """Find the nonzero region of an image (facts 1.3, step 2).

    A voxel belongs to it if any channel is not zero there, or if such voxels enclose it (3-D hole filling, six
    neighbours).

    Args:
        array: (channels, z, y, x).

    Returns:
        The bounding box of the region, and the region's mask cropped to that box. An image that is zero everywhere
        has nothing to crop to: its box is the whole image and its mask is False everywhere.
    """
    mask: NDArray[np.bool_] = array[0] != 0
    for channel in array[1:]:
        mask |= channel != 0
    box = _bounding_box(mask)
    # Holes never reach the faces of the box, so filling after cropping gives the same mask for less work.
    return box, fill_holes(mask[box_slices(box)])


def box_slices(box: BoundingBox) -> tuple[slice, slice, slice]:
    """The index that cuts ``box`` out of a (z, y, x) array."""
    (z0, z1), (y0, y1), (x0, x1) = box
    return slice(z0, z1), slice(y0, y1), slice(x0, x1)


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what is enclosed by ``mask``: background that no path of face neighbours joins to the border.

    Equals ``scipy.ndimage.binary_fill_holes``; labelling components is several times faster than its repeated
    dilation.
    """
    if mask.all() or not mask.any():
        return np.array(mask)
    components, count = ndimage.label(~mask)
    inside = np.ones(count + 1, dtype=bool)
    for axis in range(mask.ndim):
        for face in (0, -1):
            inside[components.take(face, axis)] = False
    # Component 0 is the mask itself.
    inside[0] = True
    filled: NDArray[np.bool_] = inside[components]
    return filled


def _bounding_box(mask: NDArray[np.bool_]) -> BoundingBox:
    plane = np.any(mask, axis=0)
    return _extent(np.any(mask, axis=(1, 2))), _extent(np.any(plane, axis=1)), _extent(np.any(plane, axis=0))


def _extent(occupied: NDArray[np.bool_]) -> tuple[int, int]:
    positions = np.flatnonzero(occupied)
    if positions.size == 0:
        return 0, occupied.size
    return int(positions[0]), int(positions[-1]) + 1
