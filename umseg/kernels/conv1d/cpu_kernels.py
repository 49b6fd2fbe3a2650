# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Causal depthwise convolution with SiLU on CPU, as numba kernels over tiles of 16 channels.

One call works on one batch element and a segment of tokens. This module imports numba; import it inside the functions
that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.runtime.jit import inner, jit
from umseg.kernels.runtime.layout import CHUNK, LANES, ceil_div
from umseg.kernels.runtime.simd import load, one, sigmoid, store, zero
from umseg.kernels.runtime.tiles import fetch_line, read_tile, read_weights, tile_lines, write_tile


@inner
def convolve(scratch, x, weights, width, t):
    """The sum of the bias and ``width`` products for one token; the bias follows the weights."""
    total = load(scratch, weights + width * LANES)
    for k in range(width):
        total = total + load(scratch, weights + k * LANES) * load(scratch, x + (t + k) * LANES)
    return total


@jit("void(float32[:,:,:], float32[:,:], intp, intp, intp, float32[:,:,:], float32[::1])")
def forward(x, weights, batch, begin, end, out, scratch):
    """Write tokens begin .. end - 1.

    ``weights`` (channels, width + 1) end with the bias. ``begin`` is a multiple of CHUNK, as is ``end`` unless it is
    the length. ``scratch`` has ``scratch_size(channels, width)`` elements.
    """
    width = weights.shape[1] - 1
    blocks = (x.shape[1] + LANES - 1) // LANES
    tile_x = blocks * (width + 1) * LANES
    tile_y = tile_x + (CHUNK + width) * LANES
    read_weights(weights, 0, blocks, width + 1, np.float32(1), scratch, 0)
    for start in range(begin, end, CHUNK):
        for block in range(blocks):
            first = block * LANES
            history = width - 1
            read_tile(x, batch, first, start - history, history, scratch, tile_x, LANES)
            read_tile(x, batch, first, start, CHUNK, scratch, tile_x + history * LANES, LANES)
            wraps = block == blocks - 1
            next_first = 0 if wraps else first + LANES
            next_start = start + CHUNK if wraps else start
            lines_x = tile_lines(x, batch, next_first, next_start)
            lines_out = tile_lines(out, batch, next_first, next_start)
            for t in range(CHUNK):
                fetch_line(x, lines_x, t)
                fetch_line(out, lines_out, t)
                value = convolve(scratch, tile_x, first * (width + 1), width, t)
                store(scratch, tile_y + t * LANES, value * sigmoid(value))
            write_tile(scratch, tile_y, out, batch, first, start)


@inner
def activation_gradient(scratch, x, weights, width, grad, later, lines):
    """Replace the gradient of silu(v) in the tile ``grad`` by that of v, the convolution.

    Meanwhile a tile is fetched from the array ``later`` (see ``fetch_line``).
    """
    for t in range(CHUNK):
        fetch_line(later, lines, t)
        value, g = convolve(scratch, x, weights, width, t), load(scratch, grad + t * LANES)
        gate = sigmoid(value)
        store(scratch, grad + t * LANES, g * (gate * (one() + value * (one() - gate))))


@inner
def convolution_gradient(scratch, x, weights, width, grad, out, sums, later, lines, later_out, lines_out):
    """Write the gradient of x to the tile ``out``, and add the gradients of the weights and the bias to ``sums``.

    Meanwhile tiles are fetched from two arrays as in ``activation_gradient``.
    """
    for t in range(CHUNK):
        fetch_line(later, lines, t)
        fetch_line(later_out, lines_out, t)
        total = zero()
        for k in range(width):
            total = total + load(scratch, weights + k * LANES) * load(scratch, grad + (t + width - 1 - k) * LANES)
        store(scratch, out + t * LANES, total)
    for k in range(width):
        total = load(scratch, sums + k * LANES)
        for t in range(CHUNK):
            total = total + load(scratch, grad + t * LANES) * load(scratch, x + (t + k) * LANES)
        store(scratch, sums + k * LANES, total)
    total = load(scratch, sums + width * LANES)
    for t in range(CHUNK):
        total = total + load(scratch, grad + t * LANES)
    store(scratch, sums + width * LANES, total)


@jit(
    "void(float32[:,:,:], float32[:,:], float32[:,:,:], intp, intp, intp, float32[:,:,:], float32[:,::1], intp,"
    "float32[::1])"
)
def backward(x, weights, grad, batch, begin, end, grad_x, grad_weights, row, scratch):
    """Write the gradients from tokens begin .. end - 1.

    ``grad_x`` receives those of x, ``grad_weights[row]`` those of the weights: (blocks, width + 1, 16) numbers. The
    other arguments are those of ``forward``.
    """
    width = weights.shape[1] - 1
    blocks = (x.shape[1] + LANES - 1) // LANES
    size = blocks * (width + 1) * LANES
    history = width - 1
    sums = size
    carried = sums + size
    tile_x = carried + blocks * history * LANES
    tile_grad = tile_x + (CHUNK + width) * LANES
    tile_y = tile_grad + (CHUNK + width) * LANES
    read_weights(weights, 0, blocks, width + 1, np.float32(1), scratch, 0)
    for i in range(sums, carried):
        scratch[i] = 0
    last = begin + (end - begin - 1) // CHUNK * CHUNK
    # The chunk after the segment is computed first: its first tokens also depend on the segment's last inputs.
    for start in range(last + CHUNK, begin - 1, -CHUNK):
        for block in range(blocks):
            first = block * LANES
            at, saved = first * (width + 1), carried + first * history
            read_tile(x, batch, first, start - history, history, scratch, tile_x, LANES)
            read_tile(x, batch, first, start, CHUNK, scratch, tile_x + history * LANES, LANES)
            read_tile(grad, batch, first, start, CHUNK, scratch, tile_grad, LANES)
            wraps = block == blocks - 1
            next_first = 0 if wraps else first + LANES
            next_start = start - CHUNK if wraps else start
            lines_x = tile_lines(x, batch, next_first, next_start)
            lines_grad = tile_lines(grad, batch, next_first, next_start)
            lines_out = tile_lines(grad_x, batch, next_first, next_start)
            activation_gradient(scratch, tile_x, at, width, tile_grad, x, lines_x)
            if start <= last:
                for i in range(0, history * LANES, LANES):
                    store(scratch, tile_grad + CHUNK * LANES + i, load(scratch, saved + i))
                convolution_gradient(
                    scratch, tile_x, at, width, tile_grad, tile_y, sums + at, grad, lines_grad, grad_x, lines_out,
                )  # fmt: skip
                write_tile(scratch, tile_y, grad_x, batch, first, start)
            for i in range(0, history * LANES, LANES):
                store(scratch, saved + i, load(scratch, tile_grad + i))
    for i in range(0, size, LANES):
        store(grad_weights, row * size + i, load(scratch, sums + i))


def scratch_size(channels: int, width: int) -> int:
    """Number of elements of scratch that each of the kernels needs."""
    blocks = ceil_div(channels, LANES)
    return blocks * LANES * (3 * width + 1) + 3 * (CHUNK + width) * LANES
