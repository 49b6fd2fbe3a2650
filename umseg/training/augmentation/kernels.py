# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Interpolation on a CPU in one pass over the output, as numba kernels; what ``interpolation`` does with tensors.

Images are (channels, z, y, x); a 2-D image has one slice. Where the voxels of the patch lie in the image is given by
``line = matrix @ (z, y, x) + origin``.

This module imports numba; import it inside the functions that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.models.jit import inner, jit
from umseg.training.augmentation.neighbours import weighted_rows

HALF, THIRDS, SIXTH = np.float32(1 / 2), np.float32(2 / 3), np.float32(1 / 6)
ONE = np.float32(1)


@inner
def basis(t):
    """The four cubic B-splines that are not zero at a fraction ``t``."""
    s = ONE - t
    return s * s * s * SIXTH, THIRDS - t * t * (ONE - t * HALF), THIRDS - s * s * (ONE - s * HALF), t * t * t * SIXTH


@inner
def row_start(matrix, origin, z, y):
    """Where the row of output voxels (z, y) begins, and the step from voxel to voxel."""
    cz = matrix[0, 0] * z + matrix[0, 1] * y + origin[0]
    cy = matrix[1, 0] * z + matrix[1, 1] * y + origin[1]
    cx = matrix[2, 0] * z + matrix[2, 1] * y + origin[2]
    return cz, cy, cx, matrix[0, 2], matrix[1, 2], matrix[2, 2]


@inner
def within(cz, cy, cx, depth, rows, columns):
    return cz >= 0 and cz <= depth - 1 and cy >= 0 and cy <= rows - 1 and cx >= 0 and cx <= columns - 1


@jit("void(float32[:,:,:,::1], intp, float64[:,:], float64[:], float32[:,:,:,::1])", fastmath={"contract"})
def sample_cubic(coefficients, depth, matrix, origin, out):
    """Splines at the voxels of a patch, 0 outside of the image.

    Args:
        coefficients: (channels, z, y, x); 3 more than the image along y and x; along z 3 more, or as many in 2-D.
        depth: Slices of the image.
        out: (channels, *patch).
    """
    channels, planes, rows, columns = coefficients.shape
    flat = coefficients.reshape(-1)
    plane = rows * columns
    for z in range(out.shape[1]):
        for y in range(out.shape[2]):
            z0, y0, x0, dz, dy, dx = row_start(matrix, origin, z, y)
            for x in range(out.shape[3]):
                cz, cy, cx = z0 + dz * x, y0 + dy * x, x0 + dx * x
                if not within(cz, cy, cx, depth, rows - 3, columns - 3):
                    out[:, z, y, x] = 0
                    continue
                bz, by, bx = int(cz), int(cy), int(cx)
                wz, wy, wx = basis(np.float32(cz - bz)), basis(np.float32(cy - by)), basis(np.float32(cx - bx))
                for c in range(channels):
                    first = ((c * planes + bz) * rows + by) * columns + bx
                    if planes == depth:
                        total = weighted_rows(flat, first, columns, wy, wx)
                    else:
                        total = wz[0] * weighted_rows(flat, first, columns, wy, wx)
                        total += wz[1] * weighted_rows(flat, first + plane, columns, wy, wx)
                        total += wz[2] * weighted_rows(flat, first + 2 * plane, columns, wy, wx)
                        total += wz[3] * weighted_rows(flat, first + 3 * plane, columns, wy, wx)
                    out[c, z, y, x] = total


@inner
def vote(values, corners, tz, ty, tx):
    """The label with the largest weight among the corners of a cell, x fastest, seen from a point in it."""
    winner, most = values[0], np.float32(0)
    for i in range(corners):
        total = np.float32(0)
        for j in range(corners):
            if values[j] == values[i]:
                total += (tz if j & 4 else ONE - tz) * (ty if j & 2 else ONE - ty) * (tx if j & 1 else ONE - tx)
        if total > HALF:
            return values[i]
        if total > most or (total == most and values[i] < winner):
            winner, most = values[i], total
    return winner


@jit("void(int16[:,:,:,::1], float64[:,:], float64[:], int16, int16[:,:,:,::1])")
def sample_majority(label, matrix, origin, outside, out):
    """The label to which linear interpolation gives the largest weight, the lowest of several.

    Args:
        label: (planes, z, y, x), each plane by itself.
        outside: Label outside of the image.
        out: (planes, *patch).
    """
    planes, depth, rows, columns = label.shape
    values = np.empty(8, dtype=np.int16)
    corners = 4 if depth == 1 else 8
    for z in range(out.shape[1]):
        for y in range(out.shape[2]):
            z0, y0, x0, dz, dy, dx = row_start(matrix, origin, z, y)
            for x in range(out.shape[3]):
                cz, cy, cx = z0 + dz * x, y0 + dy * x, x0 + dx * x
                if not within(cz, cy, cx, depth, rows, columns):
                    out[:, z, y, x] = outside
                    continue
                bz, by, bx = int(cz), int(cy), int(cx)
                nz, ny, nx = min(bz + 1, depth - 1), min(by + 1, rows - 1), min(bx + 1, columns - 1)
                for p in range(planes):
                    v0, v1 = label[p, bz, by, bx], label[p, bz, by, nx]
                    v2, v3 = label[p, bz, ny, bx], label[p, bz, ny, nx]
                    v4, v5, v6, v7 = v0, v1, v2, v3
                    if nz != bz:
                        v4, v5 = label[p, nz, by, bx], label[p, nz, by, nx]
                        v6, v7 = label[p, nz, ny, bx], label[p, nz, ny, nx]
                    first = v0
                    if not (v1 == v0 and v2 == v0 and v3 == v0 and v4 == v0 and v5 == v0 and v6 == v0 and v7 == v0):
                        values[0], values[1], values[2], values[3] = v0, v1, v2, v3
                        values[4], values[5], values[6], values[7] = v4, v5, v6, v7
                        first = vote(values, corners, np.float32(cz - bz), np.float32(cy - by), np.float32(cx - bx))
                    out[p, z, y, x] = first
