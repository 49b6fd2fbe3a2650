# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Interpolation on a CPU in one pass over the output, as numba kernels.

Images are (channels, z, y, x); a 2-D image has one slice. The place in the image of a voxel (z, y, x) of the patch is
``matrix @ (z, y, x) + origin``.

This module imports numba; import it only inside the functions that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.interpolation.gather import weighted_rows
from umseg.kernels.runtime.jit import inner, jit

HALF, THIRDS, SIXTH = np.float32(1 / 2), np.float32(2 / 3), np.float32(1 / 6)
ONE = np.float32(1)


@inner
def basis(t):
    """The values of the four cubic B-splines that are not zero at the fraction ``t`` between two voxels."""
    s = ONE - t
    return s * s * s * SIXTH, THIRDS - t * t * (ONE - t * HALF), THIRDS - s * s * (ONE - s * HALF), t * t * t * SIXTH


@inner
def row_start(matrix, origin, z, y):
    """The place in the image where the row (z, y) of the patch begins, and the step from voxel to voxel."""
    cz = matrix[0, 0] * z + matrix[0, 1] * y + origin[0]
    cy = matrix[1, 0] * z + matrix[1, 1] * y + origin[1]
    cx = matrix[2, 0] * z + matrix[2, 1] * y + origin[2]
    return cz, cy, cx, matrix[0, 2], matrix[1, 2], matrix[2, 2]


@inner
def within(cz, cy, cx, depth, rows, columns):
    return cz >= 0 and cz <= depth - 1 and cy >= 0 and cy <= rows - 1 and cx >= 0 and cx <= columns - 1


@jit("void(float32[:,:,:,::1], intp, float64[:,:], float64[:], float32[:,:,:,::1])", fastmath={"contract"})
def sample_cubic(coefficients, depth, matrix, origin, out):
    """Write the cubic spline at the voxels of a patch, 0 outside the image.

    Args:
        coefficients: Coefficients of the spline, (channels, z, y, x); along y and x they are 3 more than the image has
            voxels, along z also 3 more, or in 2-D as many.
        depth: Number of slices of the image.
        out: Array for the result, (channels, *patch).
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
def corner_steps(bz, by, bx, depth, rows, columns):
    """The steps in flat memory from the first corner of a cell to the next along each axis; 0 at the border."""
    nz = rows * columns if bz < depth - 1 else 0
    return nz, columns if by < rows - 1 else 0, 1 if bx < columns - 1 else 0


@inner
def between(flat, first, ny, nx, ty, tx):
    """The linear interpolation within one cell of a slice."""
    upper = flat[first] + tx * (flat[first + nx] - flat[first])
    lower = flat[first + ny] + tx * (flat[first + ny + nx] - flat[first + ny])
    return upper + ty * (lower - upper)


@jit("void(float32[:,:,:,::1], float64[:,:], float64[:], float32[:,:,:,::1])", fastmath={"contract"})
def sample_linear(image, matrix, origin, out):
    """Write the linear interpolation at the voxels of a patch (channels, *patch), 0 outside the image."""
    channels, depth, rows, columns = image.shape
    flat = image.reshape(-1)
    for z in range(out.shape[1]):
        for y in range(out.shape[2]):
            z0, y0, x0, dz, dy, dx = row_start(matrix, origin, z, y)
            for x in range(out.shape[3]):
                cz, cy, cx = z0 + dz * x, y0 + dy * x, x0 + dx * x
                if not within(cz, cy, cx, depth, rows, columns):
                    out[:, z, y, x] = 0
                    continue
                bz, by, bx = int(cz), int(cy), int(cx)
                nz, ny, nx = corner_steps(bz, by, bx, depth, rows, columns)
                tz, ty, tx = np.float32(cz - bz), np.float32(cy - by), np.float32(cx - bx)
                for c in range(channels):
                    first = ((c * depth + bz) * rows + by) * columns + bx
                    value = between(flat, first, ny, nx, ty, tx)
                    if nz:
                        value += tz * (between(flat, first + nz, ny, nx, ty, tx) - value)
                    out[c, z, y, x] = value


@inner
def vote(values, corners, tz, ty, tx):
    """The label with the largest weight at a point in a cell, given the labels of its corners, x fastest."""
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
    """Write the label to which linear interpolation gives the largest weight, or the lowest of several such labels.

    Args:
        label: Labels (planes, z, y, x); each plane is interpolated separately.
        outside: Label outside the image.
        out: Array for the result, (planes, *patch).
    """
    planes, depth, rows, columns = label.shape
    flat = label.reshape(-1)
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
                nz, ny, nx = corner_steps(bz, by, bx, depth, rows, columns)
                for p in range(planes):
                    first = ((p * depth + bz) * rows + by) * columns + bx
                    value = flat[first]
                    other = (flat[first + nx] ^ value) | (flat[first + ny] ^ value) | (flat[first + ny + nx] ^ value)
                    if corners == 8:
                        up = first + nz
                        other |= (flat[up] ^ value) | (flat[up + nx] ^ value)
                        other |= (flat[up + ny] ^ value) | (flat[up + ny + nx] ^ value)
                    if other:
                        for corner in range(corners):
                            place = first + (nx if corner & 1 else 0) + (ny if corner & 2 else 0)
                            values[corner] = flat[place + (nz if corner & 4 else 0)]
                        value = vote(values, corners, np.float32(cz - bz), np.float32(cy - by), np.float32(cx - bx))
                    out[p, z, y, x] = value
