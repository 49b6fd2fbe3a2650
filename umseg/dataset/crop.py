"""The region of an image that is not zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.large_holes import fill_by_slices

BoundingBox = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Half-open range of voxels per axis (z, y, x)."""

# Share of background below which a graph of its voxels is faster than labelling the volume: a CT has some scattered
# voxels of 0 HU. In a small volume it takes no time to speak of, but the graph needs further parts of scipy.
_FEW = 0.03
_SMALL = 2**21
# Voxels of the largest volume, and of the largest background, whose numbers may all be held: up to 200 bytes for each
# voxel of such a graph, and 4 for each of a labelled volume.
_LARGE_VOLUME = 2**25
_LARGE_GRAPH = 2**20
_SLAB = 2**24


def nonzero_region(array: NDArray[Any]) -> tuple[BoundingBox, NDArray[np.bool_]]:
    """Find the nonzero region of an image (docs/rules.md, Fingerprint).

    A voxel belongs to the region if any of its channels is not zero, or if such voxels enclose it (3-D hole filling,
    six neighbours).

    Args:
        array: The image, (channels, z, y, x).

    Returns:
        The bounding box of the region, and the region's mask cropped to that box. For an image that is zero everywhere
        the box is the whole image and the mask is False everywhere.
    """
    mask: NDArray[np.bool_] = array[0] != 0
    for channel in array[1:]:
        mask |= channel != 0
    box = _bounding_box(mask[None])
    # Holes never reach the faces of the box, so filling after cropping gives the same mask for less work.
    return box, fill_holes(mask[box_slices(box)])


def nonzero_box(array: NDArray[Any]) -> BoundingBox:
    """The bounding box of ``nonzero_region``, for which no mask of the whole image is held.

    Args:
        array: The image, (channels, z, y, x).
    """
    return _bounding_box(array)


def box_slices(box: BoundingBox) -> tuple[slice, slice, slice]:
    """The index that selects ``box`` from a (z, y, x) array."""
    (z0, z1), (y0, y1), (x0, x1) = box
    return slice(z0, z1), slice(y0, y1), slice(x0, x1)


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes of ``mask``: background that no path of face neighbours connects to the border.

    Equals ``scipy.ndimage.binary_fill_holes``; finding components is several times faster than its repeated dilation.
    """
    count = mask.size - np.count_nonzero(mask)
    if count in (0, mask.size):
        return np.array(mask)
    if mask.size > _LARGE_VOLUME and count > min(_LARGE_GRAPH, _FEW * mask.size):
        return fill_by_slices(mask)
    empty = np.flatnonzero(~mask)
    if empty.size < _FEW * mask.size and mask.size > _SMALL:
        return _fill_few(mask, empty)
    from scipy import ndimage

    components, count = ndimage.label(~mask)
    inside = np.ones(count + 1, dtype=bool)
    for axis in range(mask.ndim):
        for face in (0, -1):
            inside[components.take(face, axis)] = False
    # Component 0 is the mask itself.
    inside[0] = True
    filled: NDArray[np.bool_] = inside[components]
    return filled


def _fill_few(mask: NDArray[np.bool_], empty: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Do the same as ``fill_holes`` on a graph whose nodes are the background voxels (``empty``: flat indices)."""
    coordinates = np.unravel_index(empty, mask.shape)
    first, second = [], []
    stride = mask.size
    for position, size in zip(coordinates, mask.shape, strict=True):
        stride //= size
        nodes = np.flatnonzero(position < size - 1)
        neighbours = np.searchsorted(empty, empty[nodes] + stride).clip(max=empty.size - 1)
        joined = empty[neighbours] == empty[nodes] + stride
        first.append(nodes[joined])
        second.append(neighbours[joined])
    edges = np.concatenate(first), np.concatenate(second)
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    graph = sparse.coo_array((np.ones(edges[0].size, dtype=bool), edges), shape=(empty.size, empty.size))
    count, components = connected_components(graph, directed=False)
    inside = np.ones(count, dtype=bool)
    for position, size in zip(coordinates, mask.shape, strict=True):
        inside[components[(position == 0) | (position == size - 1)]] = False
    filled = np.array(mask, order="C")
    filled.ravel()[empty[inside[components]]] = True
    return filled


def _bounding_box(channels: NDArray[Any]) -> BoundingBox:
    """The box of what is not zero in any channel of (channels, z, y, x), found in slabs."""
    _, depth, height, width = channels.shape
    along_z: NDArray[np.bool_] = np.zeros(depth, dtype=np.bool_)
    plane: NDArray[np.bool_] = np.zeros((height, width), dtype=np.bool_)
    step = max(1, _SLAB // (height * width))
    for channel in channels:
        for start in range(0, depth, step):
            occupied: NDArray[np.bool_] = channel[start : start + step] != 0
            along_z[start : start + step] |= occupied.any(axis=(1, 2))
            plane |= occupied.any(axis=0)
    rows, columns = (np.asarray(plane.any(axis=axis)) for axis in (1, 0))
    return _extent(along_z), _extent(rows), _extent(columns)


def _extent(occupied: NDArray[np.bool_]) -> tuple[int, int]:
    positions = np.flatnonzero(occupied)
    if positions.size == 0:
        return 0, occupied.size
    return int(positions[0]), int(positions[-1]) + 1
