# mypy: disable-error-code="no-untyped-def"
"""Numba kernels of instance norm + leaky ReLU over (batch, voxels, channels) memory, float32 or bfloat16.

Each kernel works on the voxels ``start`` to ``stop`` of one sample. The pieces of work do not depend on the number of
threads, and their sums are added in a fixed order, so that results do not depend on how threads are scheduled. The
variance is summed in float64 around the first voxel, so that neither a large mean nor an outlier, even in the first
voxel, makes it lose its digits.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.runtime.bits import load, store
from umseg.kernels.runtime.jit import jit

# Sums may be reordered and fused; NaN and infinity keep their meaning.
_kernel = jit(fastmath={"contract", "reassoc", "nsz"})

_TOGETHER = 4
"""Number of voxels whose terms are summed in registers before a channel's sum in memory is read and written again.

In float64, one voxel at a time takes one and a half times as long.
"""


@_kernel
def sum_voxels(x, b, start, stop, sums):
    """Add x - x[first voxel] and its square over the voxels to ``sums`` (2, channels) float64."""
    channels = x.shape[2]
    pivot = np.empty(channels, np.float64)
    for c in range(channels):
        pivot[c] = load(x[b, 0, c])
    rest = stop - (stop - start) % _TOGETHER
    for v in range(start, rest, _TOGETHER):
        for c in range(channels):
            total, square = 0.0, 0.0
            for i in range(_TOGETHER):
                value = load(x[b, v + i, c]) - pivot[c]
                total += value
                square += value * value
            sums[0, c] += total
            sums[1, c] += square
    for v in range(rest, stop):
        for c in range(channels):
            value = load(x[b, v, c]) - pivot[c]
            sums[0, c] += value
            sums[1, c] += value * value


@_kernel
def normalize(x, residual, b, start, stop, factor, offset, slope, y):
    """Write y = act(x * factor + offset + residual) with factors and offsets per channel.

    A residual without voxels is left out.
    """
    channels = x.shape[2]
    zero = x[0, 0, 0]
    for v in range(start, stop):
        if residual.shape[1] > 0:
            for c in range(channels):
                value = load(x[b, v, c]) * factor[c] + offset[c] + load(residual[b, v, c])
                y[b, v, c] = store(value if value > 0 else value * slope, zero)
        else:
            for c in range(channels):
                value = load(x[b, v, c]) * factor[c] + offset[c]
                y[b, v, c] = store(value if value > 0 else value * slope, zero)


@_kernel
def sum_gradients(grad, x, y, b, start, stop, mean, factor, offset, slope, sums):
    """Add g and g * (x - mean), with g the gradient before the activation, to ``sums`` (2, channels) float32.

    The activation passed the values that are positive in y, or in x * factor + offset where y has no voxels.
    """
    channels = x.shape[2]
    for v in range(start, stop):
        if y.shape[1] > 0:
            for c in range(channels):
                g = load(grad[b, v, c])
                g = g if load(y[b, v, c]) > 0 else g * slope
                sums[0, c] += g
                sums[1, c] += g * (load(x[b, v, c]) - mean[c])
        else:
            for c in range(channels):
                g, value = load(grad[b, v, c]), load(x[b, v, c])
                g = g if value * factor[c] + offset[c] > 0 else g * slope
                sums[0, c] += g
                sums[1, c] += g * (value - mean[c])


@_kernel
def input_gradients(grad, x, y, b, start, stop, mean, factor, offset, shift, tilt, slope, dx, dresidual):
    """Write dx = factor (g - shift - (x - mean) tilt) and dresidual = g, with g the gradient before the activation."""
    channels = x.shape[2]
    zero = x[0, 0, 0]
    for v in range(start, stop):
        if y.shape[1] > 0:
            for c in range(channels):
                g = load(grad[b, v, c])
                g = g if load(y[b, v, c]) > 0 else g * slope
                if dresidual.shape[1] > 0:
                    dresidual[b, v, c] = store(g, zero)
                dx[b, v, c] = store(factor[c] * (g - shift[c] - (load(x[b, v, c]) - mean[c]) * tilt[c]), zero)
        else:
            for c in range(channels):
                g, value = load(grad[b, v, c]), load(x[b, v, c])
                g = g if value * factor[c] + offset[c] > 0 else g * slope
                if dresidual.shape[1] > 0:
                    dresidual[b, v, c] = store(g, zero)
                dx[b, v, c] = store(factor[c] * (g - shift[c] - (value - mean[c]) * tilt[c]), zero)
