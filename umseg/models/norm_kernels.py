"""Numba kernels of instance norm + leaky ReLU over (batch, voxels, channels) memory, float32 or bfloat16.

Work is split into blocks of voxels of one sample. Sums are taken per block and added over the blocks in a fixed order,
so that results do not depend on how threads are scheduled. The variance is summed in float64 around the first voxel:
neither a large mean nor an outlier, the first voxel included, swallows it. The sums of the backward pass are float32
within a block and float64 over the blocks.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from umseg.models.bits import load, store
from umseg.models.jit import kernel

BLOCK = 1024


@kernel
def statistics(x, eps):  # type: ignore[no-untyped-def]
    batch, voxels, channels = x.shape
    blocks = (voxels + BLOCK - 1) // BLOCK
    sums = np.zeros((batch * blocks, 2, channels), np.float64)
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * BLOCK
        total, square = sums[task, 0], sums[task, 1]
        pivot = np.empty(channels, np.float64)
        for c in range(channels):
            pivot[c] = load(x[b, 0, c])
        for v in range(start, min(start + BLOCK, voxels)):
            for c in range(channels):
                value = load(x[b, v, c]) - pivot[c]
                total[c] += value
                square[c] += value * value
    mean = np.empty((batch, channels), np.float32)
    scale = np.empty((batch, channels), np.float32)
    for b in range(batch):
        for c in range(channels):
            total64, square64 = 0.0, 0.0
            for k in range(blocks):
                total64 += sums[b * blocks + k, 0, c]
                square64 += sums[b * blocks + k, 1, c]
            shift = total64 / voxels
            variance = max(square64 / voxels - shift * shift, 0.0)
            mean[b, c] = shift + load(x[b, 0, c])
            scale[b, c] = 1.0 / np.sqrt(variance + eps)
    return mean, scale


@kernel
def forward(x, residual, weight, bias, mean, scale, slope, y):  # type: ignore[no-untyped-def]
    batch, voxels, channels = x.shape
    zero = x[0, 0, 0]
    add = residual.shape[1] > 0
    blocks = (voxels + BLOCK - 1) // BLOCK
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * BLOCK
        factor = np.empty(channels, np.float32)
        offset = np.empty(channels, np.float32)
        for c in range(channels):
            factor[c] = weight[c] * scale[b, c]
            offset[c] = bias[c] - mean[b, c] * factor[c]
        for v in range(start, min(start + BLOCK, voxels)):
            if add:
                for c in range(channels):
                    value = load(x[b, v, c]) * factor[c] + offset[c] + load(residual[b, v, c])
                    y[b, v, c] = store(value if value > 0 else value * slope, zero)
            else:
                for c in range(channels):
                    value = load(x[b, v, c]) * factor[c] + offset[c]
                    y[b, v, c] = store(value if value > 0 else value * slope, zero)


@kernel
def backward(grad, x, y, weight, mean, scale, slope, dx, dresidual):  # type: ignore[no-untyped-def]
    batch, voxels, channels = x.shape
    zero = x[0, 0, 0]
    add = dresidual.shape[1] > 0
    blocks = (voxels + BLOCK - 1) // BLOCK
    sums = np.zeros((batch * blocks, 2, channels), np.float32)
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * BLOCK
        total, along = sums[task, 0], sums[task, 1]
        for v in range(start, min(start + BLOCK, voxels)):
            for c in range(channels):
                g = load(grad[b, v, c])
                g = g if load(y[b, v, c]) > 0 else g * slope
                total[c] += g
                along[c] += g * (load(x[b, v, c]) - mean[b, c])
    dweight = np.zeros(channels, np.float64)
    dbias = np.zeros(channels, np.float64)
    shift = np.empty((batch, channels), np.float32)
    tilt = np.empty((batch, channels), np.float32)
    for b in range(batch):
        for c in range(channels):
            total64, along64 = 0.0, 0.0
            for k in range(blocks):
                total64 += sums[b * blocks + k, 0, c]
                along64 += sums[b * blocks + k, 1, c]
            along64 *= scale[b, c]
            dweight[c] += along64
            dbias[c] += total64
            shift[b, c] = total64 / voxels
            tilt[b, c] = along64 * scale[b, c] / voxels
    for task in prange(batch * blocks):
        b, start = task // blocks, (task % blocks) * BLOCK
        factor = np.empty(channels, np.float32)
        for c in range(channels):
            factor[c] = weight[c] * scale[b, c]
        for v in range(start, min(start + BLOCK, voxels)):
            for c in range(channels):
                g = load(grad[b, v, c])
                g = g if load(y[b, v, c]) > 0 else g * slope
                if add:
                    dresidual[b, v, c] = store(g, zero)
                centred = load(x[b, v, c]) - mean[b, c]
                dx[b, v, c] = store(factor[c] * (g - shift[b, c] - centred * tilt[b, c]), zero)
    return dweight.astype(np.float32), dbias.astype(np.float32)
