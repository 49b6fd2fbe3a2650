# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Measurements of all classes of a label map in one pass over its planes, as numba kernels.

A plane (y, x) is first cut into runs: neighbouring voxels of a row that belong to one class. A run is a row
(first x, behind its last x, class). Whatever is measured is then added run by run, and runs of neighbouring rows and
planes that touch are joined to pieces. Only the pieces that reach into the last plane are kept, so that the memory does
not grow with the number of planes.

This module imports numba; import it only inside the functions that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.runtime.jit import inner, jit


@jit(
    *(
        f"intp({kind}[:,::1], int32[::1], int32[:,::1], intp[::1])"
        for kind in ("uint8", "uint16", "int16", "int32", "int64")
    )
)
def find_runs(plane, classes, runs, rows):
    """Cut a plane into the runs of all classes but 0.

    Args:
        plane: Label values (y, x).
        classes: The class of every label value; values beyond belong to class 0.
        runs: Array for the runs, (capacity, 3).
        rows: Array for the number of runs before each row, (y + 1,).

    Returns:
        The number of runs; where it exceeds the capacity, only the first ones are written.
    """
    capacity, known = len(runs), len(classes)
    count = 0
    for y in range(plane.shape[0]):
        rows[y] = count
        value, current, start = plane[y, 0], np.int32(0), 0
        if 0 <= value < known:
            current = classes[value]
        for x in range(1, plane.shape[1] + 1):
            following = np.int32(0)
            if x < plane.shape[1]:
                if plane[y, x] == value:
                    continue
                value = plane[y, x]
                if 0 <= value < known:
                    following = classes[value]
            if following != current:
                if current:
                    if count < capacity:
                        runs[count, 0], runs[count, 1], runs[count, 2] = start, x, current
                    count += 1
                current, start = following, x
    rows[plane.shape[0]] = count
    return count


@jit("void(int32[:,::1], intp[::1], intp, int64[::1], int64[:,::1], int64[:,::1])")
def add_extent(runs, rows, z, voxels, sums, box):
    """Add the runs of plane ``z`` to the number of voxels, the sums of z, y, x and the boxes of their classes.

    Args:
        runs: The runs of the plane.
        rows: The number of runs before each row.
        z: Number of the plane.
        voxels: Number of voxels, (classes,).
        sums: Sums of the indices, (classes, 3).
        box: First z, y, x and one behind the last, (classes, 6).
    """
    for y in range(len(rows) - 1):
        for i in range(rows[y], rows[y + 1]):
            start, stop, label = np.int64(runs[i, 0]), np.int64(runs[i, 1]), runs[i, 2]
            length = stop - start
            voxels[label] += length
            sums[label, 0] += length * z
            sums[label, 1] += length * y
            sums[label, 2] += length * (start + stop - 1) // 2
            box[label, 0] = min(box[label, 0], z)
            box[label, 1] = min(box[label, 1], y)
            box[label, 2] = min(box[label, 2], start)
            box[label, 3] = max(box[label, 3], z + 1)
            box[label, 4] = max(box[label, 4], y + 1)
            box[label, 5] = max(box[label, 5], stop)


@jit("void(float32[:,::1], int32[:,::1], intp[::1], float64[:,::1])")
def add_intensity(plane, runs, rows, moments):
    """Add the intensities of a plane to the moments of the classes of its runs.

    Differences from a first intensity of the class are summed, so that large intensities that hardly vary lose nothing.

    Args:
        plane: Intensities (y, x) of one channel.
        runs: The runs of the plane.
        rows: The number of runs before each row.
        moments: Per class the smallest intensity, the largest, the first, the sum of the differences from the first and
            the sum of their squares, (classes, 5); the smallest is infinite where there was none.
    """
    for y in range(len(rows) - 1):
        for i in range(rows[y], rows[y + 1]):
            label = runs[i, 2]
            if moments[label, 0] == np.inf:
                moments[label, 2] = plane[y, runs[i, 0]]
            first = moments[label, 2]
            low, high = plane[y, runs[i, 0]], plane[y, runs[i, 0]]
            total, squares = 0.0, 0.0
            for x in range(runs[i, 0], runs[i, 1]):
                value = plane[y, x]
                low, high = min(low, value), max(high, value)
                difference = value - first
                total += difference
                squares += difference * difference
            moments[label, 0] = min(moments[label, 0], low)
            moments[label, 1] = max(moments[label, 1], high)
            moments[label, 3] += total
            moments[label, 4] += squares


@inner
def root_of(parents, piece):
    """The piece that stands for all that were joined with one."""
    while parents[piece] != piece:
        parents[piece] = parents[parents[piece]]
        piece = parents[piece]
    return piece


@inner
def join_rows(runs, first, last, pieces, others, other, other_last, other_pieces, parents):
    """Join the runs ``first`` to ``last`` of a row with those of a neighbouring row that have a common corner."""
    for i in range(first, last):
        start, stop = runs[i, 0], runs[i, 1]
        while other < other_last and others[other, 1] < start:
            other += 1
        touching = other
        while touching < other_last and others[touching, 0] <= stop:
            if others[touching, 2] == runs[i, 2]:
                a, b = root_of(parents, pieces[i]), root_of(parents, other_pieces[touching])
                if a < b:
                    parents[b] = a
                else:
                    parents[a] = b
            touching += 1


@jit()
def join_plane(runs, rows, earlier_runs, earlier_rows, earlier_pieces, sizes, classes, finished, largest):
    """Join the runs of a plane with each other and with the pieces of the plane before it.

    Args:
        runs: The runs of the plane, (n, 3).
        rows: The number of runs before each row.
        earlier_runs, earlier_rows: The same of the plane before.
        earlier_pieces: The piece that each of its runs belongs to.
        sizes: Number of voxels so far of each piece that reaches into the plane before.
        classes: Class of each of these pieces.
        finished: Number of pieces of every class, to which those are added that do not reach into this plane.
        largest: Size of the largest of them, likewise.

    Returns:
        The piece of each run of this plane, and the sizes and classes of these pieces.
    """
    opened, count = len(sizes), len(runs)
    parents = np.arange(opened + count)
    pieces = np.arange(opened, opened + count)
    last_row = len(rows) - 2
    for y in range(last_row + 1):
        first, last = rows[y], rows[y + 1]
        if first == last:
            continue
        if y > 0:
            join_rows(runs, first, last, pieces, runs, rows[y - 1], rows[y], pieces, parents)
        for near in range(max(y - 1, 0), min(y + 1, last_row) + 1):
            join_rows(
                runs, first, last, pieces,
                earlier_runs, earlier_rows[near], earlier_rows[near + 1], earlier_pieces, parents,
            )  # fmt: skip
    totals = np.zeros(opened + count, dtype=np.int64)
    number = np.full(opened + count, -1, dtype=np.intp)
    for piece in range(opened):
        totals[root_of(parents, piece)] += sizes[piece]
    reaching = 0
    for i in range(count):
        root = root_of(parents, pieces[i])
        totals[root] += runs[i, 1] - runs[i, 0]
        if number[root] < 0:
            number[root] = reaching
            reaching += 1
    new_sizes = np.empty(reaching, dtype=np.int64)
    new_classes = np.empty(reaching, dtype=np.int32)
    for i in range(count):
        root = root_of(parents, pieces[i])
        pieces[i] = number[root]
        new_sizes[number[root]] = totals[root]
        new_classes[number[root]] = runs[i, 2]
    for piece in range(opened):
        if parents[piece] == piece and number[piece] < 0:
            finished[classes[piece]] += 1
            largest[classes[piece]] = max(largest[classes[piece]], totals[piece])
    return pieces, new_sizes, new_classes
