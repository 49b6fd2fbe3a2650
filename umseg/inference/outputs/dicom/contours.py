"""Contours along the edges of pixels: whoever fills them again at pixel centres gets the very same pixels.

A contour is a closed chain of horizontal and vertical runs through corners of pixels, so that no pixel centre lies on
it. Pixels of a class that touch in a corner alone have separate contours. A hole is cut open ("keyhole"): the contour
leads into it and back along the same line, because contours of a DICOM structure set cannot say what is inside of what.

The corners at which contours turn are found with numpy for all classes of a slice at once. The two ends of a run are
neighbours in sorted order: along a line of corners, runs of a class begin and end in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Contour:
    """The outline of pixels of one class that are connected by their edges, with its holes cut open.

    Attributes:
        label: Value of the class.
        points: (points, 2) rows and columns of corners of pixels. Corner (0, 0) is the outer corner of pixel (0, 0),
            half a pixel before its centre. The last point is joined to the first.
    """

    label: int
    points: NDArray[np.int32]


def trace(plane: NDArray[np.integer[Any]]) -> list[Contour]:
    """The contours of all classes of a slice (rows, columns); the background is 0.

    The time grows with the number of pixels and the length of the contours.

    Returns:
        Contours sorted by label, row and column of their first point.
    """
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    if not rows.size:
        return []
    cropped = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    chains = _Chains(cropped, _find_turns(cropped))
    # From the lowest hole to the highest: on the way up along a run, later cuts come behind earlier ones.
    for hole in reversed(chains.holes_by_row()):
        chains.cut_open(hole)
    return chains.contours(int(rows[0]), int(columns[0]))


@dataclass(frozen=True)
class _Turns:
    """The corners at which contours turn, sorted by label, row and column.

    Attributes:
        label, row, column: Of each turn.
        is_reflex: Whether three of the four pixels around a corner belong to the class, and not one.
        following: Index of the next turn of the same contour, which has its pixels on the right.
        down_columns: Indices of the turns sorted by label, column and row: numbers 2k and 2k + 1 are the ends of a
            vertical run, as turns 2k and 2k + 1 are those of a horizontal one.
        keys: Label, column and row of the turns in this order, as one number.
    """

    label: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    is_reflex: NDArray[np.bool_]
    following: NDArray[np.int64]
    down_columns: NDArray[np.int64]
    keys: NDArray[np.int64]


def _find_turns(plane: NDArray[np.integer[Any]]) -> _Turns:
    label, row, column, place, is_reflex = _find_corners(plane)
    to_right, to_below = place & 1, place >> 1
    # Both runs of a turn lead towards the pixel that is unlike its neighbours. Where two turns of a class share a
    # corner, the run from the left or from above ends before the other one begins.
    order = np.argsort(2 * _as_number(plane, label, row, column) + to_right)
    label, row, column, is_reflex = label[order], row[order], column[order], is_reflex[order]
    to_right, to_below = to_right[order], to_below[order]
    down_columns = np.argsort(2 * _as_number(plane, label, column, row) + to_below)
    other_end = np.arange(len(order)) ^ 1
    vertical = np.empty_like(down_columns)
    vertical[down_columns] = down_columns[other_end]
    leaves_sideways = (to_right == to_below) != is_reflex
    following = np.where(leaves_sideways, other_end, vertical)
    keys = _as_number(plane, label, column, row)[down_columns]
    return _Turns(label, row, column, is_reflex, following, down_columns, keys)


def _find_corners(plane: NDArray[np.integer[Any]]) -> tuple[_Ints, _Ints, _Ints, _Ints, NDArray[np.bool_]]:
    """Label, row, column, place of each turn, and whether it is reflex.

    The place is that of the pixel at the corner that is unlike its neighbours: 0 above left, 1 above right, 2 below
    left, 3 below right. A pixel of the class makes a convex turn, one among three pixels of the class a reflex turn.
    """
    padded = np.pad(plane, 1)
    beside, below = padded[:, 1:] != padded[:, :-1], padded[1:] != padded[:-1]
    rows, columns = np.nonzero((beside[:-1] | beside[1:]) & (below[:, :-1] | below[:, 1:]))
    around = [padded[rows + down, columns + right].astype(np.int64) for down in (0, 1) for right in (0, 1)]
    found = []
    for place in range(4):
        here, in_row, in_column, opposite = (around[place ^ flip] for flip in range(4))
        convex = (here != 0) & (here != in_row) & (here != in_column)
        reflex = (opposite != 0) & (here != opposite) & (opposite == in_row) & (opposite == in_column)
        for at, labels in ((convex, here), (reflex, opposite)):
            index = np.flatnonzero(at)
            kind = [np.full(len(index), place), np.full(len(index), at is reflex)]
            found.append([labels[index], rows[index], columns[index], *kind])
    label, row, column, places, is_reflex = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return label, row, column, places, is_reflex.astype(bool)


def _as_number(plane: NDArray[Any], label: Any, first: Any, second: Any) -> Any:
    """One number for a label and the row and column of a corner, by which they are sorted."""
    extent = max(plane.shape) + 1
    return (label * extent + first) * extent + second


class _Chains:
    """The contours of a slice as chains of points, of which holes are cut open one by one."""

    def __init__(self, plane: NDArray[np.integer[Any]], turns: _Turns) -> None:
        self._plane, self._turns = plane, turns
        # Lists, because single items of arrays are slow.
        self._row: list[int] = turns.row.tolist()
        self._column: list[int] = turns.column.tolist()
        self._next: list[int] = turns.following.tolist()
        self._outlines: list[int] = []
        self._holes: list[int] = []
        self._last_of_run: dict[int, int] = {}
        seen = bytearray(len(self._next))
        # The first turn of a contour, in their order, is its upper left corner, which is reflex at holes alone.
        for start, is_reflex in enumerate(turns.is_reflex.tolist()):
            if seen[start]:
                continue
            (self._holes if is_reflex else self._outlines).append(start)
            at = start
            while not seen[at]:
                seen[at] = 1
                at = self._next[at]

    def holes_by_row(self) -> list[int]:
        """The upper left corners of all holes, the highest first."""
        return sorted(self._holes, key=self._row.__getitem__)

    def cut_open(self, corner: int) -> None:
        """Join a hole to the contour that is met on the way from its upper left corner to the left."""
        row, column = self._row[corner], self._column[corner]
        label = int(self._turns.label[corner])
        left = self._plane[row - 1 : row + 1, :column] != label
        met = int(np.flatnonzero(left.any(axis=0))[-1]) + 1 if left.any() else 0
        upper, lower = self._run(label, met, row)
        last = self._last_of_run.get(lower, lower)
        behind = self._next[last]
        # A cut that meets an end of the run has its point already.
        entry = last if self._row[last] == row else self._add(row, met)
        leave = upper if self._row[upper] == row else self._add(row, met, behind)
        if entry != last:
            self._next[last] = entry
        self._next[entry] = corner
        # The hole is left where it was entered, after the run that ends in its upper left corner.
        self._next[corner ^ 1] = self._add(row, column, leave)
        self._last_of_run[lower] = leave

    def _run(self, label: int, column: int, row: int) -> tuple[int, int]:
        """The upper and the lower end of the vertical run through a corner."""
        turns = self._turns
        key = _as_number(self._plane, label, column, row)
        number = int(np.searchsorted(turns.keys, key, side="right"))
        # An odd number of ends up to here: a run has begun that ends below. Otherwise, one ends here.
        number = number - 1 if number % 2 else number - 2
        return int(turns.down_columns[number]), int(turns.down_columns[number + 1])

    def _add(self, row: int, column: int, following: int = -1) -> int:
        self._row.append(row)
        self._column.append(column)
        self._next.append(following)
        return len(self._row) - 1

    def contours(self, first_row: int, first_column: int) -> list[Contour]:
        """The contours around pixels, whose row and column begin at these numbers."""
        order: list[int] = []
        ends = []
        for start in self._outlines:
            at = start
            while True:
                order.append(at)
                at = self._next[at]
                if at == start:
                    break
            ends.append(len(order))
        row, column = np.array(self._row, np.int32), np.array(self._column, np.int32)
        points = np.stack([row[order] + first_row, column[order] + first_column], axis=1)
        labels = self._turns.label[self._outlines].tolist()
        return [Contour(label, part) for label, part in zip(labels, np.split(points, ends[:-1]), strict=True)]
