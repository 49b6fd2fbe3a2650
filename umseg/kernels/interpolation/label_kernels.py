# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Labels of interpolated logits, without interpolating what needs none, as numba kernels.

The label of an output voxel is the class of the largest logit, where logits are interpolated linearly between (up to)
eight voxels in double precision, one axis after the other, and then rounded to float32; of equal logits the first class
counts. Logits are quotients: sums over weights, in float32. These kernels give exactly that label.

Why most cells need no interpolation. All weights w of a cell's corners i are at least zero and rounding is monotone, so
that interpolation is monotone, too: what is larger at every corner is not smaller in between. It can become equal,
though, and then the lower class counts. Let class c be the largest at every corner, with b[i] its logit, and let the
second largest logit there be below b[i] by more than d |b[i]| + t. With B = sum of w[i] |b[i]|, every other class then
lies below c by more than d B + t before rounding. Rounding in double moves both sides by less than 2^-49 B, and numbers
that become the same float32 are at most 2^-23 B apart, or 2^-149 if they are tiny. So d = 2^-18 and t = 2^-130 keep
them apart, also where everything is computed in single precision, as on Apple's GPUs: that moves both sides by less
than 2^-20 B.

Why few classes need it elsewhere. Interpolating a constant float32 gives that float32, because the error in double is
far below half a unit in its last place. Let L be the largest of all classes' smallest logits at the corners: the
largest logit inside of the cell is at least L. A class whose largest logit at the corners is below L stays below it.

Arrays of a plane are sums (rows, x, classes) and weights (rows, x), float32. Its *leaders* are int32 (rows, x): the
class with the largest logit, or -1 where the second largest is too near; of regions one more than the last region with
a positive logit, or 0. ``numbers`` gives the label of each leader. A cell of an axis is a row of four numbers: its two
voxels before interpolation, and the range of output voxels between them.

This module imports numba; import it only inside the functions that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.interpolation.leaders import lanes_from, larger, lead_columns, leader
from umseg.kernels.runtime.jit import inner, jit
from umseg.kernels.runtime.layout import LANES
from umseg.kernels.runtime.simd import broadcast, load, load_transposed

# Up to so many classes, sixteen voxels are compared at once; above, sixteen classes.
MOST_COLUMNS = 48
MARGIN, LEAST_MARGIN = np.float32(2.0**-18), np.float32(2.0**-130)
# Quotients by multiplication are off by less than 2^-22 of their size on both sides of a comparison.
SLACK = np.float32(2.0**-20)
NOWHERE = np.float32(-np.inf)
ONE = np.float32(1)


@inner
def settled(best, second, place, weight):
    """The class at ``place``, or -1 where the second largest logit is too near."""
    largest = best / weight
    return place if largest - second / weight > MARGIN * abs(largest) + LEAST_MARGIN else np.int32(-1)


@inner
def plain_leader(flat, first, count):
    """What ``leader`` gives, for the last values of an array."""
    best, second, place = NOWHERE, NOWHERE, np.int32(0)
    for k in range(count):
        value = flat[first + k]
        if value > best:
            best, second, place = value, best, np.int32(k)
        elif value > second:
            second = value
    return best, second, place


@inner
def lead_sixteen(flat, first, classes, columns, best, second, place):
    """Write largest sums, second largest sums and classes of the largest, of sixteen voxels."""
    best[:], second[:], place[:] = NOWHERE, NOWHERE, 0
    for k in range(0, classes, LANES):
        load_transposed(flat, 4 * (first + k), 4 * classes, columns, 0, LANES)
        lead_columns(columns, min(LANES, classes - k), k, best, second, place)


@jit()
def lead_classes(sums, weights, start, stop, leaders):
    """Write the leaders of the rows ``start`` to ``stop`` of a plane."""
    _, width, classes = sums.shape
    flat, weight, leading = sums.reshape(-1), weights.reshape(-1), leaders.reshape(-1)
    padded = (classes + LANES - 1) // LANES * LANES
    columns = np.empty(LANES * LANES, np.float32)
    best, second = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    place = np.empty(LANES, np.int32)
    voxel = start * width
    while voxel < stop * width:
        first = voxel * classes
        together = classes <= MOST_COLUMNS and voxel + LANES <= stop * width
        if together and first + (LANES - 1) * classes + padded <= flat.size:
            lead_sixteen(flat, first, classes, columns, best, second, place)
            for i in range(LANES):
                leading[voxel + i] = settled(best[i], second[i], place[i], weight[voxel + i])
            voxel += LANES
            continue
        if first + padded <= flat.size:
            most, next_most, k = leader(flat, first, classes)
        else:
            most, next_most, k = plain_leader(flat, first, classes)
        leading[voxel] = settled(most, next_most, k, weight[voxel])
        voxel += 1


@jit()
def lead_regions(sums, weights, start, stop, leaders):
    """Write the leaders of the rows ``start`` to ``stop`` of a plane whose outputs are regions."""
    _, width, regions = sums.shape
    for y in range(start, stop):
        for x in range(width):
            leaders[y, x] = 0
            for k in range(regions - 1, -1, -1):
                # A quotient can become zero where the sum is not.
                if sums[y, x, k] / weights[y, x] > 0:
                    leaders[y, x] = k + 1
                    break


@inner
def first_largest(flat, first, classes, weight):
    """The first class with the largest logit."""
    largest, place = flat[first] / weight, 0
    for k in range(1, classes):
        value = flat[first + k] / weight
        if value > largest:
            largest, place = value, k
    return place


@jit()
def label_voxels(sums, weights, leaders, start, stop, numbers, target, base, pitch):
    """Write labels without interpolation: voxel (y, x) of the rows ``start`` to ``stop`` at base + y * pitch + x."""
    _, width, classes = sums.shape
    flat = sums.reshape(-1)
    for y in range(start, stop):
        for x in range(width):
            k = leaders[y, x]
            if k < 0:
                k = first_largest(flat, (y * width + x) * classes, classes, weights[y, x])
            target[base + y * pitch + x] = numbers[k]


@inner
def common_leaders(near, far, low, high, common):
    """Write for each x the leader of four rows: ``low`` and ``high`` of two planes; -1 where they differ."""
    for x in range(common.size):
        k = near[low, x]
        same = (near[high, x] == k) & (far[low, x] == k) & (far[high, x] == k)
        common[x] = k if same else -1


@inner
def cell_labels(common, cells, numbers, labels, mixed):
    """Write the label of each cell whose corners have the same leader; return how many have not (see ``mixed``)."""
    count = 0
    for cell in range(len(cells)):
        k = common[cells[cell, 0]]
        if k < 0 or common[cells[cell, 1]] != k:
            mixed[count] = cell
            count += 1
            k = 0
        labels[cell] = numbers[k]
    return count


@inner
def corners(low, high, rows, width, classes, near, far, first, weight, leading):
    """Write place of the first sum, weight and leader of the eight corners: planes, then rows, then x fastest."""
    _, near_weights, near_leaders = near
    _, far_weights, far_leaders = far
    for i in range(4):
        y, x = rows[i >> 1], high if i & 1 else low
        first[i] = first[i + 4] = (y * width + x) * classes
        weight[i], weight[i + 4] = near_weights[y, x], far_weights[y, x]
        leading[i], leading[i + 4] = near_leaders[y, x], far_leaders[y, x]


@inner
def logits_at_corners(near, far, first, weight, k, logits):
    """Write the logits of a class at the eight corners; return the smallest and the largest."""
    for i in range(4):
        logits[i] = near[first[i] + k] / weight[i]
        logits[i + 4] = far[first[i + 4] + k] / weight[i + 4]
    smallest = largest = logits[0]
    for i in range(1, 8):
        smallest, largest = min(smallest, logits[i]), max(largest, logits[i])
    return np.float32(smallest), np.float32(largest)


@inner
def least_inside(near, far, first, weight, leading, classes, logits):
    """A number that the largest logit reaches everywhere in a cell: the best of the leaders' smallest logits."""
    limit = NOWHERE
    for i in range(8):
        if leading[i] >= 0 and (i == 0 or leading[i] != leading[i - 1]):
            limit = max(limit, logits_at_corners(near, far, first, weight, leading[i], logits)[0])
    if limit == NOWHERE:
        k = first_largest(near, first[0], classes, weight[0])
        limit = logits_at_corners(near, far, first, weight, k, logits)[0]
    return limit


@inner
def largest_at_corners(near, far, first, factor, k):
    """The largest logits at the corners of sixteen classes from k on, but for rounding."""
    largest = load(near, first[0] + k) * broadcast(factor, 0)
    for i in range(1, 4):
        largest = larger(largest, load(near, first[i] + k) * broadcast(factor, i))
    for i in range(4, 8):
        largest = larger(largest, load(far, first[i] + k) * broadcast(factor, i))
    return largest


@inner
def find_candidates(near, far, first, weight, factor, classes, limit, logits, found):
    """Write the classes whose largest logit at the corners reaches a limit, in ascending order; return their number.

    Because of rounding, some may be among them whose logits stay slightly below the limit.
    """
    count = 0
    padded = (classes + LANES - 1) // LANES * LANES
    if first[7] + padded > near.size:
        for k in range(classes):
            if logits_at_corners(near, far, first, weight, k, logits)[1] >= limit:
                found[count] = k
                count += 1
        return count
    for i in range(8):
        factor[i] = ONE / weight[i]
    limit -= SLACK * abs(limit) + LEAST_MARGIN
    for start in range(0, classes, LANES):
        reached = lanes_from(largest_at_corners(near, far, first, factor, start), limit)
        k = start
        while reached and k < classes:
            if reached & 1:
                found[count] = k
                count += 1
            reached >>= 1
            k += 1
    return count


@inner
def interpolate(logits, zs, ys, xs, box, values):
    """Write the interpolated logits of the output voxels of a cell, x fastest.

    Args:
        logits: Logits at the corners, float64.
        zs, ys, xs: Weights of the lower and the upper corner for each output voxel along an axis, float64 (n, 2).
        box: The cell's output voxels: first and last along y and along x.
    """
    y_start, y_stop, x_start, x_stop = box
    place = 0
    for z in range(len(zs)):
        low, high = zs[z, 0], zs[z, 1]
        a0, a1 = low * logits[0] + high * logits[4], low * logits[1] + high * logits[5]
        a2, a3 = low * logits[2] + high * logits[6], low * logits[3] + high * logits[7]
        for y in range(y_start, y_stop):
            b0, b1 = ys[y, 0] * a0 + ys[y, 1] * a2, ys[y, 0] * a1 + ys[y, 1] * a3
            for x in range(x_start, x_stop):
                values[place] = np.float32(xs[x, 0] * b0 + xs[x, 1] * b1)
                place += 1


@inner
def choose_class(near, far, first, weight, found, count, zs, ys, xs, box, size, logits, values, largest, chosen):
    """Write the class of each output voxel of a cell: the first of the ``count`` candidates with the largest logit."""
    for i in range(size):
        largest[i], chosen[i] = NOWHERE, found[0] if count else 0
    if count <= 1:
        return
    for candidate in range(count):
        logits_at_corners(near, far, first, weight, found[candidate], logits)
        interpolate(logits, zs, ys, xs, box, values)
        for i in range(size):
            if values[i] > largest[i]:
                largest[i], chosen[i] = values[i], found[candidate]


@inner
def choose_region(near, far, first, weight, top, zs, ys, xs, box, size, logits, values, chosen):
    """Write one more than the last region with a positive logit, or 0, of each output voxel of a cell.

    Args:
        top: One more than the last region that is positive at a corner; later ones are positive nowhere in the cell.
    """
    for i in range(size):
        chosen[i] = 0
    undecided = size
    for k in range(top - 1, -1, -1):
        if undecided == 0:
            break
        if logits_at_corners(near, far, first, weight, k, logits)[1] > 0:
            interpolate(logits, zs, ys, xs, box, values)
            for i in range(size):
                if values[i] > 0 and chosen[i] == 0:
                    chosen[i] = k + 1
                    undecided -= 1


@jit()
def label_cells(
    near,
    far,
    regions,
    zs,
    first_row,
    y_cells,
    ys,
    x_cells,
    xs,
    cell_of_x,
    most,
    numbers,
    target,
    base,
    z_pitch,
    y_pitch,
):
    """Write the labels of all output voxels between two planes and certain pairs of rows.

    Args:
        near, far: Sums, weights and leaders of the planes; the same plane twice where nothing lies between planes.
        regions: Whether the outputs are regions.
        zs, ys, xs: Weights of the lower and the upper voxel for each output voxel along an axis, float64 (n, 2).
        first_row: Number of the planes' first row in ``y_cells``.
        y_cells, x_cells: Cells of the two axes, those of y as far as they are wanted.
        cell_of_x: The cell of each output voxel along x.
        most: Largest number of output voxels in a cell.
        numbers: Label of each leader.
        target: Labels, a flat array: voxel (z, y, x) stands at base + z * z_pitch + y * y_pitch + x.
    """
    near_leaders, far_leaders = near[2], far[2]
    _, width, classes = near[0].shape
    near_flat, far_flat = near[0].reshape(-1), far[0].reshape(-1)
    common, labels = np.empty(width, np.int32), np.empty(len(x_cells), target.dtype)
    mixed, rows = np.empty(len(x_cells), np.intp), np.empty(2, np.intp)
    first, weight = np.empty(8, np.intp), np.empty(8, np.float32)
    factor, leading = np.empty(8, np.float32), np.empty(8, np.int32)
    found, chosen = np.empty(classes, np.intp), np.empty(most, np.intp)
    logits, values, largest = np.empty(8, np.float64), np.empty(most, np.float32), np.empty(most, np.float32)
    for line in range(len(y_cells)):
        rows[0], rows[1] = y_cells[line, 0] - first_row, y_cells[line, 1] - first_row
        y_start, y_stop = y_cells[line, 2], y_cells[line, 3]
        common_leaders(near_leaders, far_leaders, rows[0], rows[1], common)
        count = cell_labels(common, x_cells, numbers, labels, mixed)
        for z in range(len(zs)):
            for y in range(y_start, y_stop):
                at = base + z * z_pitch + y * y_pitch
                for x in range(cell_of_x.size):
                    target[at + x] = labels[cell_of_x[x]]
        for m in range(count):
            cell = mixed[m]
            corners(x_cells[cell, 0], x_cells[cell, 1], rows, width, classes, near, far, first, weight, leading)
            box = (y_start, y_stop, x_cells[cell, 2], x_cells[cell, 3])
            size = len(zs) * (box[1] - box[0]) * (box[3] - box[2])
            if regions:
                choose_region(
                    near_flat, far_flat, first, weight, leading.max(), zs, ys, xs, box, size, logits, values, chosen
                )
            else:
                limit = least_inside(near_flat, far_flat, first, weight, leading, classes, logits)
                n = find_candidates(near_flat, far_flat, first, weight, factor, classes, limit, logits, found)
                choose_class(
                    near_flat, far_flat, first, weight, found, n, zs, ys, xs, box, size, logits, values, largest, chosen
                )
            place = 0
            for z in range(len(zs)):
                for y in range(y_start, y_stop):
                    at = base + z * z_pitch + y * y_pitch
                    for x in range(box[2], box[3]):
                        target[at + x] = numbers[chosen[place]]
                        place += 1
