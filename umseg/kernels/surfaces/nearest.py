"""How far the surface cells of one mask lie from those of another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from umseg.kernels.surfaces.cells import SurfaceCells

# Rows of cells that are searched around a cell, before its nearest cell is sought among boxes: a circle of 11 voxels.
_ROWS = 400


def nearest_distances(
    cells: SurfaceCells, others: SurfaceCells, spacing: Sequence[float], limit: float = np.inf
) -> NDArray[np.float64]:
    """The Euclidean distance from each cell to the nearest of the others.

    Where the surfaces lie a few voxels apart, some rows of cells around each cell hold its nearest one: 0.1 µs per
    cell. For the others the search goes through boxes around blocks of cells.

    Args:
        cells: The cells of one mask.
        others: Those of the other mask, on the same grid of cells.
        spacing: Length of a voxel along z, y, x, or y, x in 2-D.
        limit: Largest distance that is sought.

    Returns:
        (n,) float64, in the unit of the spacing; infinite beyond the limit and where there are no other cells.
    """
    squares = np.full(len(cells.xs), np.inf)
    if not len(squares) or not len(others.xs):
        return squares
    from umseg.kernels.surfaces.search_kernels import search_rows

    scale = (1.0, *map(float, spacing))[-3:]
    # A little more than the limit, so that rounding does not decide about distances equal to it.
    bound = limit * limit * (1 + 1e-9)
    offsets, reach = _rows_around(scale[0], scale[1])
    grid = cells.starts, cells.xs, others.starts, others.xs, cells.shape[1]
    if search_rows(*grid, offsets, reach, scale[2], bound, squares):
        open_ends = squares < 0
        squares[open_ends] = _search_blocks(cells.coordinates()[open_ends], others, np.array(scale), bound)
    distances: NDArray[np.float64] = np.sqrt(squares)
    return distances


def _search_blocks(
    cells: NDArray[np.int32], others: SurfaceCells, scale: NDArray[np.float64], limit: float
) -> NDArray[np.float64]:
    """Squared distances; the other cells are sorted into blocks of 8x8x8 cells, and these into groups of 8x8x8."""
    from umseg.kernels.surfaces.search_kernels import search_blocks

    points = others.coordinates()
    group, block = _block_number(points >> 6), _block_number((points >> 3) & 7)
    order = np.lexsort((block, group))
    points, group, block = points[order], group[order], block[order]
    new_group = np.diff(group, prepend=-1) != 0
    blocks = np.flatnonzero(new_group | (np.diff(block, prepend=-1) != 0))
    groups = np.flatnonzero(new_group[blocks])
    boxes = [
        np.hstack((np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)))
        for starts in (blocks, blocks[groups])
    ]
    squares = np.empty(len(cells))
    search_blocks(
        np.ascontiguousarray(cells), points, np.append(blocks, len(points)), boxes[0],
        np.append(groups, len(blocks)), boxes[1], scale, limit, squares,
    )  # fmt: skip
    return squares


def _block_number(index: NDArray[np.int32]) -> NDArray[np.int64]:
    """One number for each different z, y, x."""
    z, y, x = index.astype(np.int64).T
    number: NDArray[np.int64] = (z << 40) | (y << 20) | x
    return number


@lru_cache(maxsize=64)
def _rows_around(depth: float, height: float) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The rows of cells nearest to a row, as offsets in planes and rows, and their squared distances.

    Args:
        depth: Distance of two planes.
        height: Distance of two rows.
    """
    # A circle that holds about twice as many rows as are taken.
    radius = np.sqrt(2 * _ROWS * depth * height / np.pi) + depth + height
    far = [min(_ROWS, int(radius / side)) for side in (depth, height)]
    z, y = (axis.ravel() for axis in np.mgrid[-far[0] : far[0] + 1, -far[1] : far[1] + 1])
    reach: NDArray[np.float64] = (z * depth) ** 2 + (y * height) ** 2
    nearest = np.argsort(reach, kind="stable")[:_ROWS]
    return np.stack((z, y), axis=-1)[nearest].astype(np.int32), reach[nearest]
