# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"
"""Causal depthwise convolution with SiLU on an NVIDIA GPU, as Triton kernels.

A program works on ``TOKENS`` tokens of ``LANES`` channels; the grid is (token blocks, channel blocks, batch). x, y and
their gradients are (batch, length, channels) in memory, and ``weights`` (channels, WIDTH + 1) ends with the bias. The
neighbours of a token are read, and the convolution is computed, once per tap, because the neighbours are in the cache.

This module imports triton; import it inside the functions that need it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from umseg.kernels.runtime.triton_math import sigmoid, silu_slope


@triton.jit
def convolve(x, weights, t, c, length, channels, WIDTH: tl.constexpr):
    """The sum of bias and products for the tokens t (TOKENS, 1) and channels c (1, LANES) of one batch element."""
    total = tl.load(weights + c * (WIDTH + 1) + WIDTH, mask=c < channels, other=0.0)
    total = total + tl.zeros(t.shape, tl.float32)
    for k in tl.static_range(WIDTH):
        s = t + (k + 1 - WIDTH)
        v = tl.load(x + s * channels + c, mask=(s >= 0) & (s < length) & (c < channels), other=0.0)
        total += v * tl.load(weights + c * (WIDTH + 1) + k, mask=c < channels, other=0.0)
    return total


@triton.jit
def forward(
    x, weights, y, length, channels, WIDTH: tl.constexpr, TOKENS: tl.constexpr, LANES: tl.constexpr
):  # fmt: skip
    t = (tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS))[:, None]
    c = (tl.program_id(1) * LANES + tl.arange(0, LANES))[None, :]
    element = tl.program_id(2).to(tl.int64) * length * channels
    total = convolve(x + element, weights, t, c, length, channels, WIDTH)
    tl.store(y + element + t * channels + c, total * sigmoid(total), mask=(t < length) & (c < channels))


@triton.jit
def backward(
    x, weights, grad, grad_x, parts, length, channels,
    WIDTH: tl.constexpr, TOKENS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Write the gradient of x and this program's part of the weights' gradient.

    ``parts`` is (batch, token blocks, WIDTH + 1, padded channels).
    """
    t = (tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS))[:, None]
    c = (tl.program_id(1) * LANES + tl.arange(0, LANES))[None, :]
    element = tl.program_id(2).to(tl.int64) * length * channels
    known = (t < length) & (c < channels)
    place = tl.program_id(2).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    parts += place * (WIDTH + 1) * tl.num_programs(1) * LANES + c
    total = tl.zeros([TOKENS, LANES], tl.float32)
    for k in tl.static_range(WIDTH):
        # The gradient g is that of the convolution at the token that tap k connects with token t of x.
        s = t + (WIDTH - 1 - k)
        slope = silu_slope(convolve(x + element, weights, s, c, length, channels, WIDTH))
        g = slope * tl.load(grad + element + s * channels + c, mask=(s < length) & (c < channels), other=0.0)
        total += g * tl.load(weights + c * (WIDTH + 1) + k, mask=c < channels, other=0.0)
        v = tl.load(x + element + t * channels + c, mask=known, other=0.0)
        tl.store(parts + k * tl.num_programs(1) * LANES, tl.sum(g * v, axis=0, keep_dims=True))
        if k == WIDTH - 1:
            tl.store(parts + WIDTH * tl.num_programs(1) * LANES, tl.sum(g, axis=0, keep_dims=True))
    tl.store(grad_x + element + t * channels + c, total, mask=known)
