# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""The selective scan on CPU, as numba kernels.

One call works on one batch element and a range of channel blocks; a block is 16 channels, the lanes of a vector. The
outermost loop runs over chunks of ``CHUNK`` tokens, so that a chunk of B and C is read once for all blocks. The tensors
may have any strides: tiles are copied (transposed where necessary) into a scratch array that stays in the first-level
cache. Absent channels, tokens and states are zeros there and change nothing.

The states are processed four at a time, so that states and decay rates stay in registers during the loop over tokens.

This module imports numba; import it inside the functions that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.runtime.jit import inner, jit
from umseg.kernels.runtime.layout import CHUNK, LANES, ceil_div
from umseg.kernels.runtime.simd import (
    absolute_maximum,
    broadcast,
    exp2,
    exp2_within,
    largest,
    load,
    sigmoid,
    softplus,
    store,
    zero,
)
from umseg.kernels.runtime.tiles import TILE, fetch_line, read_tile, read_weights, tile_lines, write_tile

LOG2_E = np.float32(1.4426950408889634)
# Exponents up to this size need no clamping (see ``exp2_within``).
LARGEST_EXPONENT = np.float32(126)


@inner
def read_steps(scratch, delta, u, driven, bias, use_softplus):
    """Turn a tile of raw step sizes into step sizes, and write steps * inputs to the tile ``driven``.

    The result is the size of the largest step of each channel.
    """
    shift, longest = load(scratch, bias), zero()
    for t in range(0, TILE, LANES):
        step = load(scratch, delta + t) + shift
        if use_softplus:
            step = softplus(step)
        longest = absolute_maximum(longest, step)
        store(scratch, delta + t, step)
        store(scratch, driven + t, step * load(scratch, u + t))
    return longest


@inner
def measure_rates(scratch, decay, blocks, states, reach):
    """Write the largest size of a decay rate of each channel to ``reach``."""
    for block in range(blocks):
        most = zero()
        for n in range(states):
            most = absolute_maximum(most, load(scratch, decay + (block * states + n) * LANES))
        store(scratch, reach + block * LANES, most)


@inner
def advance(exp2, scratch, decay, state, delta, driven, b, c, pitch, y, later, lines):
    """Advance four states of 16 channels by one chunk: update ``state`` and add <C, h> to the tile ``y``.

    Args:
        exp2: Exponential function: ``exp2``, or ``exp2_within`` where no exponent needs clamping.
        later, lines: Tile that is fetched meanwhile (see ``fetch_line``).
    """
    a0, a1 = load(scratch, decay), load(scratch, decay + LANES)
    a2, a3 = load(scratch, decay + 2 * LANES), load(scratch, decay + 3 * LANES)
    h0, h1 = load(scratch, state), load(scratch, state + LANES)
    h2, h3 = load(scratch, state + 2 * LANES), load(scratch, state + 3 * LANES)
    for t in range(CHUNK):
        step, x = load(scratch, delta + t * LANES), load(scratch, driven + t * LANES)
        fetch_line(later, lines, t)
        total = load(scratch, y + t * LANES)
        i, j = b + t * pitch, c + t * pitch
        h0 = x * broadcast(scratch, i) + exp2(step * a0) * h0
        h1 = x * broadcast(scratch, i + 1) + exp2(step * a1) * h1
        h2 = x * broadcast(scratch, i + 2) + exp2(step * a2) * h2
        h3 = x * broadcast(scratch, i + 3) + exp2(step * a3) * h3
        total = total + h0 * broadcast(scratch, j) + h1 * broadcast(scratch, j + 1)
        total = total + h2 * broadcast(scratch, j + 2) + h3 * broadcast(scratch, j + 3)
        store(scratch, y + t * LANES, total)
    store(scratch, state, h0)
    store(scratch, state + LANES, h1)
    store(scratch, state + 2 * LANES, h2)
    store(scratch, state + 3 * LANES, h3)


@jit(
    "void(float32[:,:,:], float32[:,:,:], float32[:,:], float32[:,:,:], float32[:,:,:], float32[:,:], float32[:,:,:],"
    "float32[:,:], boolean, boolean, boolean, intp, intp, intp, float32[:,:,:], float32[:,:,:,:,::1], float32[::1])"
)
def forward(u, delta, A, B, C, D, z, bias, use_softplus, gated, keep, batch, first, last, out, kept, scratch):
    """Scan channel blocks first .. last - 1 of one batch element.

    Args:
        D, bias: Skip weights and bias, (channels, 1).
        z: Gate, read only where ``gated``.
        keep: Whether to write the state at the start of each chunk to ``kept`` (batch, blocks, chunks, states, 16).
        scratch: Array of at least ``forward_scratch(states, last - first)`` elements.
    """
    blocks = last - first
    states = 4 * ((A.shape[1] + 3) // 4)
    pitch = LANES * ((states + LANES - 1) // LANES)
    decay = 0
    state = decay + blocks * states * LANES
    skip = state + blocks * states * LANES
    shift = skip + blocks * LANES
    reach = shift + blocks * LANES
    tile_b = reach + blocks * LANES
    tile_c = tile_b + CHUNK * pitch
    tile_u = tile_c + CHUNK * pitch
    tile_delta = tile_u + TILE
    tile_x = tile_delta + TILE
    tile_y = tile_x + TILE
    read_weights(A, first, blocks, states, LOG2_E, scratch, decay)
    read_weights(D, first, blocks, 1, np.float32(1), scratch, skip)
    read_weights(bias, first, blocks, 1, np.float32(1), scratch, shift)
    measure_rates(scratch, decay, blocks, states, reach)
    for i in range(state, skip):
        scratch[i] = 0
    for start in range(0, u.shape[2], CHUNK):
        for n in range(0, pitch, LANES):
            read_tile(B, batch, n, start, CHUNK, scratch, tile_b + n, pitch)
            read_tile(C, batch, n, start, CHUNK, scratch, tile_c + n, pitch)
        for block in range(blocks):
            channel = (first + block) * LANES
            # Each group of four states fetches one of the next tiles while it is processed.
            wraps = block == blocks - 1
            next_channel = first * LANES if wraps else channel + LANES
            next_start = start + CHUNK if wraps else start
            read_tile(u, batch, channel, start, CHUNK, scratch, tile_u, LANES)
            read_tile(delta, batch, channel, start, CHUNK, scratch, tile_delta, LANES)
            longest = read_steps(scratch, tile_delta, tile_u, tile_x, shift + block * LANES, use_softplus)
            within = largest(longest * load(scratch, reach + block * LANES)) < LARGEST_EXPONENT
            weight = load(scratch, skip + block * LANES)
            for t in range(0, TILE, LANES):
                store(scratch, tile_y + t, weight * load(scratch, tile_u + t))
            for n in range(0, states, 4):
                at = (block * states + n) * LANES
                if keep:
                    chunks = kept.shape[2]
                    row = ((batch * kept.shape[1] + first + block) * chunks + start // CHUNK) * states + n
                    for i in range(0, 4 * LANES, LANES):
                        store(kept, row * LANES + i, load(scratch, state + at + i))
                k = n // 4 % 4
                later = u if k == 0 else delta if k == 1 else z if k == 2 else out
                lines = tile_lines(later, batch, next_channel, next_start)
                if within:
                    advance(
                        exp2_within, scratch, decay + at, state + at, tile_delta, tile_x, tile_b + n, tile_c + n, pitch,
                        tile_y, later, lines,
                    )  # fmt: skip
                else:
                    advance(
                        exp2, scratch, decay + at, state + at, tile_delta, tile_x, tile_b + n, tile_c + n, pitch,
                        tile_y, later, lines,
                    )  # fmt: skip
            if gated:
                read_tile(z, batch, channel, start, CHUNK, scratch, tile_u, LANES)
                for t in range(0, TILE, LANES):
                    gate = load(scratch, tile_u + t)
                    store(scratch, tile_y + t, load(scratch, tile_y + t) * (gate * sigmoid(gate)))
            write_tile(scratch, tile_y, out, batch, channel, start)


def forward_scratch(states: int, blocks: int) -> int:
    """Number of elements of scratch that ``forward`` needs; ``states`` has to be a multiple of 4."""
    pitch = LANES * ceil_div(states, LANES)
    return blocks * LANES * (2 * states + 3) + 2 * CHUNK * pitch + 4 * TILE
