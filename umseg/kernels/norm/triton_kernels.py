# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"
"""Instance normalisation with activation and residual on an NVIDIA GPU, as Triton kernels.

x, y, the residual and their gradients are (batch, voxels, channels) in memory. A program works on one tile, ``VOXELS``
voxels of ``LANES`` channels of a sample, which it holds in registers; the grid is (tiles, channel blocks, batch).
``parts`` (batch, tiles, 2, channels) has one pair of sums per tile instead of atomics, so that two runs are
bit-identical. Everything is computed in float32.

This module imports triton; import it inside the functions that need it.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def place(voxels, channels, VOXELS: tl.constexpr, LANES: tl.constexpr):
    """The offsets and mask (VOXELS, LANES), the channels (1, LANES) and the number of voxels of the program's tile."""
    start = tl.program_id(0).to(tl.int64) * VOXELS
    row = tl.arange(0, VOXELS)[:, None]
    c = (tl.program_id(1) * LANES + tl.arange(0, LANES))[None, :]
    left = tl.minimum(voxels - start, VOXELS).to(tl.int32)
    base = (tl.program_id(2).to(tl.int64) * voxels + start) * channels
    return base + row * channels + c, (row < left) & (c < channels), c, left


@triton.jit
def store_pair(parts, first, second, c, channels):
    """Write the two sums (1, LANES) of the program's tile."""
    tile = tl.program_id(2).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    parts += tile * 2 * channels + c
    tl.store(parts, first, mask=c < channels)
    tl.store(parts + channels, second, mask=c < channels)


@triton.jit
def measure(x, parts, voxels, channels, VOXELS: tl.constexpr, LANES: tl.constexpr):
    """Write the mean of every tile and its sum of squared deviations from that mean.

    Unlike sums of squares these lose no digits where the mean is much larger than the spread.
    """
    at, mask, c, left = place(voxels, channels, VOXELS, LANES)
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(v, axis=0, keep_dims=True) / left
    away = tl.where(mask, v - mean, 0.0)
    store_pair(parts, mean, tl.sum(away * away, axis=0, keep_dims=True), c, channels)


@triton.jit
def combine(
    parts, mean, scale, voxels, channels, tiles, eps,
    VOXELS: tl.constexpr, TILES: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Write the mean and reciprocal standard deviation (batch, channels) of all tiles; grid (channel blocks, batch).

    The sum of squared deviations is the sum of those within the tiles and of those of their means (Chan et al. 1983).
    """
    batch = tl.program_id(1).to(tl.int64)
    c = (tl.program_id(0) * LANES + tl.arange(0, LANES))[None, :]
    parts += batch * tiles * 2 * channels + c
    total = tl.zeros([TILES, LANES], tl.float32)
    for first in range(0, tiles, TILES):
        tile = first + tl.arange(0, TILES)[:, None]
        size = tl.minimum(voxels - tile * VOXELS, VOXELS)
        known = (tile < tiles) & (c < channels)
        total += size * tl.load(parts + tile * 2 * channels, mask=known, other=0.0)
    middle = tl.sum(total, axis=0, keep_dims=True) / voxels
    total = tl.zeros([TILES, LANES], tl.float32)
    for first in range(0, tiles, TILES):
        tile = first + tl.arange(0, TILES)[:, None]
        size = tl.minimum(voxels - tile * VOXELS, VOXELS)
        known = (tile < tiles) & (c < channels)
        away = tl.load(parts + tile * 2 * channels, mask=known, other=0.0) - middle
        within = tl.load(parts + (tile * 2 + 1) * channels, mask=known, other=0.0)
        total += tl.where(known, within + size * away * away, 0.0)
    variance = tl.sum(total, axis=0, keep_dims=True) / voxels
    tl.store(mean + batch * channels + c, middle, mask=c < channels)
    tl.store(scale + batch * channels + c, 1.0 / tl.sqrt(variance + eps), mask=c < channels)


@triton.jit
def load_statistics(mean, scale, weight, c, channels):
    """The mean and reciprocal standard deviation of a sample and the weights of the channels, (1, LANES) each."""
    row = tl.program_id(2) * channels + c
    middle = tl.load(mean + row, mask=c < channels, other=0.0)
    spread = tl.load(scale + row, mask=c < channels, other=0.0)
    return middle, spread, tl.load(weight + c, mask=c < channels, other=0.0)


@triton.jit
def normalize(
    x, residual, weight, bias, mean, scale, y, voxels, channels, slope,
    SUM: tl.constexpr, VOXELS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Write y; ``SUM`` adds the residual before the activation."""
    at, mask, c, _ = place(voxels, channels, VOXELS, LANES)
    middle, spread, factor = load_statistics(mean, scale, weight, c, channels)
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    out = (v - middle) * (factor * spread) + tl.load(bias + c, mask=c < channels, other=0.0)
    if SUM:
        out += tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
    # NaN compares as false and stays NaN.
    tl.store(y + at, tl.where(out < 0.0, out * slope, out), mask=mask)


@triton.jit
def upstream(grad, y, at, mask, slope):
    """The gradient before the activation."""
    g = tl.load(grad + at, mask=mask, other=0.0).to(tl.float32)
    return tl.where(tl.load(y + at, mask=mask, other=0.0).to(tl.float32) > 0.0, g, g * slope)


@triton.jit
def sum_gradients(
    grad, x, y, mean, parts, voxels, channels, slope, VOXELS: tl.constexpr, LANES: tl.constexpr
):  # fmt: skip
    """Write the sums of g and of g (x - mean) of every tile, with g the gradient before the activation."""
    at, mask, c, _ = place(voxels, channels, VOXELS, LANES)
    g = upstream(grad, y, at, mask, slope)
    middle = tl.load(mean + tl.program_id(2) * channels + c, mask=c < channels, other=0.0)
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) - middle
    store_pair(parts, tl.sum(g, axis=0, keep_dims=True), tl.sum(g * v, axis=0, keep_dims=True), c, channels)


@triton.jit
def input_gradients(
    grad, x, y, weight, mean, scale, sums, grad_x, grad_residual, voxels, channels, slope,
    SUM: tl.constexpr, VOXELS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Write the gradients of x and of the residual; ``sums`` (batch, 2, channels) come from ``sum_gradients``."""
    at, mask, c, _ = place(voxels, channels, VOXELS, LANES)
    middle, spread, factor = load_statistics(mean, scale, weight, c, channels)
    g = upstream(grad, y, at, mask, slope)
    if SUM:
        tl.store(grad_residual + at, g, mask=mask)
    sums += tl.program_id(2) * 2 * channels + c
    level = tl.load(sums, mask=c < channels, other=0.0) / voxels
    tilt = tl.load(sums + channels, mask=c < channels, other=0.0) / voxels * spread * spread
    v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32) - middle
    tl.store(grad_x + at, factor * spread * (g - level - v * tilt), mask=mask)
