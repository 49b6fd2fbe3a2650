# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Probabilities of interpolated logits, as a numba kernel.

Logits are interpolated as in ``label_kernels``, where the arrays of a plane are described.

This module imports numba; import it only inside the functions that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.interpolation.label_kernels import NOWHERE, ONE
from umseg.kernels.interpolation.leaders import larger
from umseg.kernels.runtime.jit import inner, jit
from umseg.kernels.runtime.layout import LANES
from umseg.kernels.runtime.simd import broadcast, exp2, largest, load, load_transposed, sigmoid, store, total, zero

LOG2_E = np.float32(1.4426950408889634)


@inner
def logits_of_row(near, far, low, high, y, row):
    """Write the logits of one row of voxels between two planes, float64 (x, classes)."""
    near_sums, near_weights = near
    far_sums, far_weights = far
    for x in range(near_sums.shape[1]):
        for k in range(near_sums.shape[2]):
            lower, upper = near_sums[y, x, k] / near_weights[y, x], far_sums[y, x, k] / far_weights[y, x]
            row[x, k] = low * lower + high * upper


@inner
def weighted(lower, upper, low, high, result):
    """Write low * lower + high * upper."""
    for x in range(len(result)):
        for k in range(result.shape[1]):
            result[x, k] = low * lower[x, k] + high * upper[x, k]


@inner
def softmax(values, first, stop, scratch):
    """Turn logits into probabilities, in place; minus infinity becomes zero."""
    most = load(values, first)
    for k in range(first + LANES, stop, LANES):
        most = larger(most, load(values, k))
    scratch[0], scratch[1] = largest(most), LOG2_E
    whole = zero()
    for k in range(first, stop, LANES):
        power = exp2((load(values, k) - broadcast(scratch, 0)) * broadcast(scratch, 1))
        store(values, k, power)
        whole = whole + power
    scratch[0] = ONE / total(whole)
    for k in range(first, stop, LANES):
        store(values, k, load(values, k) * broadcast(scratch, 0))


@inner
def write_classes(values, padded, count, classes, columns, out, at, pitch):
    """Write the values (up to sixteen voxels, classes) to ``out``: the voxels of a class side by side."""
    for k in range(0, classes, LANES):
        load_transposed(values, 4 * k, 4 * padded, columns, 0, LANES)
        for i in range(min(LANES, classes - k)):
            to = at + (k + i) * pitch
            if count == LANES:
                store(out, to, load(columns, i * LANES))
            else:
                for j in range(count):
                    out[to + j] = columns[i * LANES + j]


@jit()
def write_probabilities(
    near, far, low, high, first_row, y_lows, y_highs, ys, x_lows, x_highs, xs, regions, out, base, pitch
):
    """Write the probabilities of rows of the image in one plane between two planes of sums.

    Args:
        near, far: Sums and weights of the planes; the same plane twice where nothing lies between planes.
        low, high: Weights of the planes.
        first_row: Number of the planes' first row in ``y_lows`` and ``y_highs``.
        y_lows, y_highs, x_lows, x_highs: Lower and upper voxel for each output voxel along y and x.
        ys, xs: Weights of both, float64 (n, 2).
        regions: Whether the outputs are regions, each with a sigmoid, or classes with a softmax.
        out: Probabilities, a flat array with a class every ``pitch`` numbers, whose rows follow each other.
        base: Place of the first row in the first class.
    """
    _, width, classes = near[0].shape
    padded = (classes + LANES - 1) // LANES * LANES
    lower, upper, row = np.zeros((width, padded)), np.zeros((width, padded)), np.zeros((width, padded))
    scratch = np.empty(2, np.float32)
    values, columns = np.empty(LANES * padded, np.float32), np.empty(LANES * LANES, np.float32)
    lower_row, upper_row = -1, -1
    for y in range(y_lows.size):
        if y_lows[y] != lower_row:
            if y_lows[y] == upper_row:
                lower, upper = upper, lower
                upper_row = -1
            else:
                logits_of_row(near, far, low, high, y_lows[y] - first_row, lower)
            lower_row = y_lows[y]
        if y_highs[y] != upper_row:
            logits_of_row(near, far, low, high, y_highs[y] - first_row, upper)
            upper_row = y_highs[y]
        weighted(lower, upper, ys[y, 0], ys[y, 1], row)
        for x in range(0, x_lows.size, LANES):
            count = min(LANES, x_lows.size - x)
            for i in range(count):
                at, to = x_lows[x + i], x_highs[x + i]
                left, right = xs[x + i, 0], xs[x + i, 1]
                for k in range(0, padded, LANES):
                    for j in range(LANES):
                        values[i * padded + k + j] = np.float32(left * row[at, k + j] + right * row[to, k + j])
                values[i * padded + classes : (i + 1) * padded] = NOWHERE
                if regions:
                    for k in range(i * padded, (i + 1) * padded, LANES):
                        store(values, k, sigmoid(load(values, k)))
                else:
                    softmax(values, i * padded, (i + 1) * padded, scratch)
            write_classes(values, padded, count, classes, columns, out, base + y * x_lows.size + x, pitch)
