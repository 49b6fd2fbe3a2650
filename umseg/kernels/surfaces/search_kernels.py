# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Distances from the surface cells of one mask to the nearest ones of another, as numba kernels.

All distances are sums of whole numbers of voxels, scaled and squared in the order z, y, x, so that none depends on the
way of the search.

This module imports numba; import it only inside the functions that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.runtime.jit import inner, jit


@inner
def nearest_in_row(xs, first, last, x):
    """How far the nearest of the ascending ``xs[first:last]``, of which there is at least one, lies from ``x``."""
    low, high = first, last
    while low < high:
        middle = (low + high) >> 1
        if xs[middle] < x:
            low = middle + 1
        else:
            high = middle
    if low == last:
        return x - xs[last - 1]
    if low == first:
        return xs[low] - x
    return min(x - xs[low - 1], xs[low] - x)


@jit(
    "intp(intp[::1], int32[::1], intp[::1], int32[::1], intp, int32[:,::1], float64[::1], float64, float64,"
    " float64[::1])"
)
def search_rows(starts, xs, other_starts, other_xs, rows, offsets, reach, step, limit, squares):
    """Search row by row around each cell, the nearest rows first.

    Args:
        starts, xs: The cells: number of cells before each row, and x.
        other_starts, other_xs: Those among which the nearest are sought, on the same grid.
        rows: Rows of cells per plane.
        offsets: (n, 2) rows to search, in planes and rows from that of the cell, nearest first.
        reach: (n,) squared distances of these rows, in the unit of ``step``.
        step: Length of a voxel along x.
        limit: Squared distance beyond which nothing is sought.
        squares: (cells,) is filled with the squared distances: infinite beyond the limit, -1 where more rows than
            the given ones would have to be searched.

    Returns:
        The number of cells whose entry is -1.
    """
    planes, open_ends = (len(starts) - 1) // rows, 0
    for row in range(len(starts) - 1):
        z, y = row // rows, row % rows
        for i in range(starts[row], starts[row + 1]):
            best, settled = np.inf, False
            for k in range(len(reach)):
                if reach[k] > limit or reach[k] >= best:
                    settled = True
                    break
                other_z, other_y = z + offsets[k, 0], y + offsets[k, 1]
                if other_z < 0 or other_z >= planes or other_y < 0 or other_y >= rows:
                    continue
                other = other_z * rows + other_y
                if other_starts[other] < other_starts[other + 1]:
                    aside = step * nearest_in_row(other_xs, other_starts[other], other_starts[other + 1], xs[i])
                    best = min(best, reach[k] + aside * aside)
            squares[i] = (best if best <= limit else np.inf) if settled else -1.0
            open_ends += not settled
    return open_ends


@inner
def box_distance(box, point, scale):
    """Squared distance of a point from a box (first z, y, x, last z, y, x)."""
    total = 0.0
    for axis in range(3):
        outside = max(box[axis] - point[axis], point[axis] - box[3 + axis], 0) * scale[axis]
        total += outside * outside
    return total


@jit(
    "void(int32[:,::1], int32[:,::1], intp[::1], int32[:,::1], intp[::1], int32[:,::1], float64[::1], float64,"
    " float64[::1])"
)
def search_blocks(cells, others, blocks, block_boxes, groups, group_boxes, scale, limit, squares):
    """Search through boxes around blocks of cells, and around groups of blocks, that are not too far.

    The nearest cell of the cell before is hardly ever much farther than the nearest one, so that few boxes are opened.

    Args:
        cells: (n, 3) z, y, x.
        others: (m, 3) the cells among which the nearest are sought, at least one.
        blocks: (b + 1,) first cell of each block, and ``m``.
        block_boxes: (b, 6) first z, y, x and last z, y, x of each block.
        groups: (g + 1,) first block of each group, and ``b``.
        group_boxes: (g, 6) likewise.
        scale: Length of a voxel along z, y, x.
        limit: Squared distance beyond which nothing is sought.
        squares: (n,) is filled with the squared distances, infinite beyond the limit.
    """
    nearest = 0
    for i in range(len(cells)):
        point = cells[i]
        best = 0.0
        for axis in range(3):
            aside = (point[axis] - others[nearest, axis]) * scale[axis]
            best += aside * aside
        for group in range(len(groups) - 1):
            if box_distance(group_boxes[group], point, scale) >= best:
                continue
            for block in range(groups[group], groups[group + 1]):
                if box_distance(block_boxes[block], point, scale) >= best:
                    continue
                for j in range(blocks[block], blocks[block + 1]):
                    square = 0.0
                    for axis in range(3):
                        aside = (point[axis] - others[j, axis]) * scale[axis]
                        square += aside * aside
                    if square < best:
                        best, nearest = square, j
        squares[i] = best if best <= limit else np.inf
