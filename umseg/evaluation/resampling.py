"""Label maps on another grid: the nearest voxel in space, which is computed only on request."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.grid import Geometry

Labels = NDArray[np.signedinteger[Any]]

# In voxels: sums of spacings round differently, and a voxel centre on the border of two voxels must not fall outside.
_ROUNDING = 1e-6


def resample_nearest(labels: Labels, grid: Geometry, target: Geometry) -> Labels:
    """The label map on another grid: each voxel gets the value of the nearest voxel, and 0 outside of the map.

    Where both files state their spacing in mm, voxels are compared by their position in space. Pictures have no
    position: they show the same extent with more or fewer pixels.

    Args:
        labels: (z, y, x).
        grid: The grid of the labels.
        target: The wanted grid, of as many dimensions.

    Returns:
        The labels in the shape of the target.

    Raises:
        ValueError: One grid has two dimensions, the other three.
    """
    if grid.dimensions != target.dimensions:
        raise ValueError(f"grids have as many dimensions, found {grid.dimensions} and {target.dimensions}")
    matrix, offset = _index_map(grid, target)
    axes = grid.dimensions
    source = labels.reshape(tuple(reversed(grid.size)))
    result = np.zeros(tuple(reversed(target.size)), labels.dtype)
    # One plane (row in 2-D) of the target after the other, so that the positions of a volume are never held at once.
    within = np.indices(tuple(reversed(target.size))[1:]).reshape(axes - 1, -1)[::-1].astype(np.float64)
    base = matrix[:, : axes - 1] @ within + offset[:, None]
    bounds = np.array(grid.size)[:, None]
    for plane in range(target.size[-1]):
        nearest = np.floor(base + matrix[:, -1:] * plane + 0.5 + _ROUNDING).astype(np.int64)
        inside = ((nearest >= 0) & (nearest < bounds)).all(axis=0)
        values = source[tuple(nearest[::-1, inside])]
        result[plane].reshape(-1)[inside] = values
    return result.reshape(target.shape)


def _index_map(grid: Geometry, target: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The matrix and the offset that make an index (x, y[, z]) of the target an index of the grid."""
    if grid.unit == target.unit == "mm":
        to_grid = np.linalg.inv(_axes(grid))
        shift: NDArray[np.float64] = to_grid @ np.subtract(target.origin, grid.origin).astype(np.float64)
        return to_grid @ _axes(target), shift
    ratio = np.divide(grid.size, target.size)
    offset: NDArray[np.float64] = ratio / 2 - 0.5
    return np.diag(ratio), offset


def _axes(grid: Geometry) -> NDArray[np.float64]:
    """The steps in space of one voxel along each axis, as columns."""
    axes: NDArray[np.float64] = np.reshape(grid.direction, (grid.dimensions, grid.dimensions)) * grid.spacing
    return axes
