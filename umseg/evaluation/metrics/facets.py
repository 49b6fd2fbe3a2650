"""The pieces of a mask's surface between neighbouring voxels, derived from geometry.

A *cell* is the square (2-D) or cube (3-D) spanned by the centres of 2x2 or 2x2x2 neighbouring voxels. Its *code*
says which of its corners are inside the mask: one bit per corner, with the first corner (0, 0, 0) as the highest bit
and the last axis running fastest. A mask has surface in every cell whose corners are not all alike. The surface is that
of marching squares and marching cubes (Lorensen and Cline 1987): it runs through the midpoints of the crossed edges.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Points are counted in half voxels, so that midpoints of edges are whole numbers.
Point = tuple[int, ...]

_RING = ((0, 0), (0, 1), (1, 1), (1, 0))
_MAX_TRIANGLES = 4


@lru_cache(maxsize=1)
def contour_segments() -> NDArray[np.float64]:
    """Segments of the contour in a 2x2 cell of each code.

    Returns:
        (16 codes, 2 segments, 2 axes): each segment as a vector in voxels, zero where there is none.
    """
    table = np.zeros((16, 2, 2))
    for code in range(16):
        corners = _corners(code, 2)
        for i, (start, end) in enumerate(_square_segments(_RING, corners)):
            table[code, i] = np.subtract(end, start) / 2
    return table


@lru_cache(maxsize=1)
def facet_normals() -> NDArray[np.float64]:
    """Triangles of the surface in a 2x2x2 cell of each code.

    Returns:
        (256 codes, 4 triangles, 3 axes): each triangle's normal, as long as its area, in voxels; zero where there
        is none. In a grid with spacing (s0, s1, s2) the normal (n0, n1, n2) becomes
        (n0 s1 s2, n1 s0 s2, n2 s0 s1) (docs/rules.md, Evaluation).
    """
    table = np.zeros((256, _MAX_TRIANGLES, 3))
    for code in range(256):
        corners = _corners(code, 3)
        # Where a face is ambiguous, the corners of the smaller side are cut off one by one, so that a code and its
        # complement have the same surface.
        if len(corners) > 4:
            corners = _corners(255 - code, 3)
        normals = [normal for loop in _loops(_neighbours(corners)) for normal in _triangulate(loop)]
        if normals:
            table[code, : len(normals)] = normals
    return table


def _corners(code: int, dimensions: int) -> frozenset[Point]:
    """The corners (0 or 1 per axis) that a code says are inside."""
    corners = list(itertools.product((0, 1), repeat=dimensions))
    highest = 1 << (len(corners) - 1)
    return frozenset(corner for i, corner in enumerate(corners) if code & (highest >> i))


def _square_segments(ring: Sequence[Point], inside: frozenset[Point]) -> list[tuple[Point, Point]]:
    """Segments of the contour through a square.

    Args:
        ring: The four corners in cyclic order.
        inside: Corners that are inside the mask. Two opposite ones are cut off one by one.

    Returns:
        Pairs of edge midpoints, in half voxels.
    """
    middles = [tuple(a + b for a, b in zip(ring[i], ring[(i + 1) % 4], strict=True)) for i in range(4)]
    crossed = [i for i in range(4) if (ring[i] in inside) != (ring[(i + 1) % 4] in inside)]
    if len(crossed) == 4:
        return [(middles[i - 1], middles[i]) for i in range(4) if ring[i] in inside]
    return [(middles[crossed[0]], middles[crossed[1]])] if crossed else []


def _neighbours(inside: frozenset[Point]) -> dict[Point, list[Point]]:
    """The contours on a cube's six faces: the midpoint of every crossed edge with the two midpoints it is joined to."""
    joined: dict[Point, list[Point]] = {}
    for axis, side in itertools.product(range(3), (0, 1)):
        ring = [(*corner[:axis], side, *corner[axis:]) for corner in _RING]
        for start, end in _square_segments(ring, inside):
            joined.setdefault(start, []).append(end)
            joined.setdefault(end, []).append(start)
    return joined


def _loops(joined: dict[Point, list[Point]]) -> list[list[Point]]:
    """Follow the contours around the cube: the closed polygons that bound the surface."""
    remaining = dict(joined)
    loops = []
    while remaining:
        loop = [next(iter(remaining))]
        while following := [point for point in remaining.pop(loop[-1]) if point in remaining]:
            loop.append(following[0])
        loops.append(loop)
    return loops


def _triangulate(loop: Sequence[Point]) -> NDArray[np.float64]:
    """Normals (triangles, 3), as long as the areas, of a polygon's fan of triangles.

    The polygon may be bent (five or six vertices). Of the fans around its vertices the one with the largest area is
    taken, which is the triangulation into the fewest planes and the one behind published NSD values.
    """
    points = np.array(loop, dtype=np.float64) / 2
    fans = [_fan(np.roll(points, -first, axis=0)) for first in range(len(loop))]
    return max(fans, key=lambda normals: float(np.linalg.norm(normals, axis=1).sum()))


def _fan(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the cross products of neighbouring spokes from the first point."""
    spokes = points[1:] - points[0]
    return np.cross(spokes[:-1], spokes[1:]) / 2
