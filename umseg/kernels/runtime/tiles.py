# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Copies of tiles of 16 channels by ``CHUNK`` tokens between tensors of any strides and a scratch array in the cache.

This module imports numba; import it inside the functions that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.runtime.jit import inner
from umseg.kernels.runtime.layout import CHUNK, LANES
from umseg.kernels.runtime.simd import load, load_bytes, load_transposed, prefetch, store, store_bytes, store_transposed

TILE = CHUNK * LANES
# Size of a cache line in bytes; a wrong value only makes prefetching less useful.
LINE = 64


@inner
def read_tile(source, batch, first, start, count, scratch, at, pitch):
    """scratch[at + t * pitch + c] = source[batch, first + c, start + t] for 16 c and ``count`` t, zero outside."""
    rows = min(LANES, source.shape[1] - first)
    origin = batch * source.strides[0] + first * source.strides[1]
    for t0 in range(0, count, LANES):
        inside = rows == LANES and start + t0 >= 0 and start + t0 + LANES <= source.shape[2] and t0 + LANES <= count
        base = origin + (start + t0) * source.strides[2]
        if inside and source.strides[2] == 4:
            load_transposed(source, base, source.strides[1], scratch, at + t0 * pitch, pitch)
        elif inside and source.strides[1] == 4:
            for t in range(LANES):
                store(scratch, at + (t0 + t) * pitch, load_bytes(source, base + t * source.strides[2]))
        else:
            for t in range(t0, min(t0 + LANES, count)):
                for c in range(LANES):
                    value = np.float32(0)
                    if c < rows and 0 <= start + t < source.shape[2]:
                        value = source[batch, first + c, start + t]
                    scratch[at + t * pitch + c] = value


@inner
def write_tile(scratch, at, target, batch, first, start):
    """target[batch, first + c, start + t] = scratch[at + 16 * t + c] for 16 c and CHUNK t, as far as they exist."""
    rows = min(LANES, target.shape[1] - first)
    origin = batch * target.strides[0] + first * target.strides[1]
    for t0 in range(0, CHUNK, LANES):
        tokens = min(LANES, target.shape[2] - start - t0)
        base = origin + (start + t0) * target.strides[2]
        if rows == LANES and tokens == LANES and target.strides[2] == 4:
            store_transposed(scratch, at + t0 * LANES, target, base, target.strides[1])
        elif rows == LANES and tokens == LANES and target.strides[1] == 4:
            for t in range(LANES):
                store_bytes(target, base + t * target.strides[2], load(scratch, at + (t0 + t) * LANES))
        else:
            for t in range(tokens):
                for c in range(rows):
                    target[batch, first + c, start + t0 + t] = scratch[at + (t0 + t) * LANES + c]


@inner
def read_weights(source, first, blocks, states, scale, scratch, at):
    """scratch[at + ((block * states) + n) * 16 + c] = scale * source[channel, n], zero for absent channels."""
    for block in range(blocks):
        for n in range(states):
            for c in range(LANES):
                channel = (first + block) * LANES + c
                value = np.float32(0)
                if channel < source.shape[0] and n < source.shape[1]:
                    value = scale * source[channel, n]
                scratch[at + (block * states + n) * LANES + c] = value


@inner
def tile_lines(source, batch, first, start):
    """The places of the 32 cache lines of a tile: line i is at byte origin + i // 2 * pair + i % 2 * single."""
    origin = batch * source.strides[0] + first * source.strides[1] + start * source.strides[2]
    if source.strides[2] == 4:
        return origin, source.strides[1], LINE
    return origin, 2 * source.strides[2], source.strides[2]


@inner
def fetch_line(source, lines, i):
    """Bring line i of 32 (see ``tile_lines``) into the cache while the processor continues.

    Processors cannot predict which tile comes next. A request for all lines at once would stall them, so that the calls
    should be spread over a tile.
    """
    origin, pair, single = lines
    prefetch(source, origin + i // 2 * pair + i % 2 * single)
