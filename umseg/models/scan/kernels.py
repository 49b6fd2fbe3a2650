"""The selective scan and its gradients on CPU, as numba kernels.

One call works on one batch element and a range of channel blocks; a block is 16 channels, the lanes of a vector.
Time goes by in chunks of ``CHUNK`` tokens, outermost, so that a chunk of B and C is read once for all blocks. The
tensors may have any strides: tiles of 16 channels by 16 tokens are copied (transposed where need be) into a scratch
array that stays in the first-level cache. Absent channels, tokens and states are zeros there and change nothing.

The states are taken four at a time, so that states, decay rates and their gradients live in registers while time
runs. Forward keeps the state at the start of each chunk; backward computes the states of a chunk again, four at a
time, and never holds more than that.

This module imports numba; import it inside the functions that need it.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from umseg.models.scan.simd import (
    LANES,
    broadcast,
    exp2,
    fold4,
    load,
    load_bytes,
    load_transposed,
    one,
    sigmoid,
    softplus,
    store,
    store_bytes,
    store_fold,
    store_transposed,
    zero,
)

CHUNK = 32
LOG2_E = np.float32(1.4426950408889634)

_TILE = CHUNK * LANES
_INLINE = {"nogil": True, "error_model": "numpy"}


def jit(*signatures: str) -> Any:
    """Compile on import for the given signatures, from the cache on disk where one can be written."""

    def decorate(function: Any) -> Any:
        try:
            return numba.njit(list(signatures), cache=True, **_INLINE)(function)
        except RuntimeError:  # numba found no folder that it may write to
            return numba.njit(list(signatures), **_INLINE)(function)

    return decorate


@numba.njit(**_INLINE)
def read_tile(source, batch, first, start, scratch, at, pitch):
    """scratch[at + t * pitch + c] = source[batch, first + c, start + t] for 16 c and CHUNK t, zero outside."""
    rows = min(LANES, source.shape[1] - first)
    origin = batch * source.strides[0] + first * source.strides[1]
    for t0 in range(0, CHUNK, LANES):
        tokens = min(LANES, source.shape[2] - start - t0)
        base = origin + (start + t0) * source.strides[2]
        if rows == LANES and tokens == LANES and source.strides[2] == 4:
            load_transposed(source, base, source.strides[1], scratch, at + t0 * pitch, pitch)
        elif rows == LANES and tokens == LANES and source.strides[1] == 4:
            for t in range(LANES):
                store(scratch, at + (t0 + t) * pitch, load_bytes(source, base + t * source.strides[2]))
        else:
            for t in range(LANES):
                for c in range(LANES):
                    value = np.float32(0)
                    if c < rows and t < tokens:
                        value = source[batch, first + c, start + t0 + t]
                    scratch[at + (t0 + t) * pitch + c] = value


@numba.njit(**_INLINE)
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


@numba.njit(**_INLINE)
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


@numba.njit(**_INLINE)
def read_steps(scratch, delta, u, driven, bias, use_softplus):
    """Turn a tile of raw step sizes into step sizes, and write steps * inputs to the tile ``driven``."""
    shift = load(scratch, bias)
    for t in range(0, _TILE, LANES):
        step = load(scratch, delta + t) + shift
        if use_softplus:
            step = softplus(step)
        store(scratch, delta + t, step)
        store(scratch, driven + t, step * load(scratch, u + t))


@numba.njit(**_INLINE)
def advance(scratch, decay, state, delta, driven, b, c, pitch, y):
    """Four states of 16 channels over one chunk: update ``state`` and add <C, h> to the tile ``y``."""
    a0, a1 = load(scratch, decay), load(scratch, decay + LANES)
    a2, a3 = load(scratch, decay + 2 * LANES), load(scratch, decay + 3 * LANES)
    h0, h1 = load(scratch, state), load(scratch, state + LANES)
    h2, h3 = load(scratch, state + 2 * LANES), load(scratch, state + 3 * LANES)
    for t in range(CHUNK):
        step, x = load(scratch, delta + t * LANES), load(scratch, driven + t * LANES)
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
        D, bias: (channels, 1).
        z: Read only where ``gated``.
        keep: Write the state at the start of each chunk to ``kept`` (batch, blocks, chunks, states, 16).
        scratch: At least ``forward_scratch(states, last - first)`` elements.
    """
    blocks = last - first
    states = 4 * ((A.shape[1] + 3) // 4)
    pitch = LANES * ((states + LANES - 1) // LANES)
    decay = 0
    state = decay + blocks * states * LANES
    skip = state + blocks * states * LANES
    shift = skip + blocks * LANES
    tile_b = shift + blocks * LANES
    tile_c = tile_b + CHUNK * pitch
    tile_u = tile_c + CHUNK * pitch
    tile_delta = tile_u + _TILE
    tile_x = tile_delta + _TILE
    tile_y = tile_x + _TILE
    read_weights(A, first, blocks, states, LOG2_E, scratch, decay)
    read_weights(D, first, blocks, 1, np.float32(1), scratch, skip)
    read_weights(bias, first, blocks, 1, np.float32(1), scratch, shift)
    for i in range(state, skip):
        scratch[i] = 0
    for start in range(0, u.shape[2], CHUNK):
        for n in range(0, pitch, LANES):
            read_tile(B, batch, n, start, scratch, tile_b + n, pitch)
            read_tile(C, batch, n, start, scratch, tile_c + n, pitch)
        for block in range(blocks):
            channel = (first + block) * LANES
            read_tile(u, batch, channel, start, scratch, tile_u, LANES)
            read_tile(delta, batch, channel, start, scratch, tile_delta, LANES)
            read_steps(scratch, tile_delta, tile_u, tile_x, shift + block * LANES, use_softplus)
            weight = load(scratch, skip + block * LANES)
            for t in range(0, _TILE, LANES):
                store(scratch, tile_y + t, weight * load(scratch, tile_u + t))
            for n in range(0, states, 4):
                at = (block * states + n) * LANES
                if keep:
                    for i in range(4):
                        for c in range(LANES):
                            kept[batch, first + block, start // CHUNK, n + i, c] = scratch[state + at + i * LANES + c]
                advance(
                    scratch, decay + at, state + at, tile_delta, tile_x, tile_b + n, tile_c + n, pitch, tile_y
                )
            if gated:
                read_tile(z, batch, channel, start, scratch, tile_u, LANES)
                for t in range(0, _TILE, LANES):
                    gate = load(scratch, tile_u + t)
                    store(scratch, tile_y + t, load(scratch, tile_y + t) * (gate * sigmoid(gate)))
            write_tile(scratch, tile_y, out, batch, channel, start)


@numba.njit(**_INLINE)
def replay(scratch, decay, delta, driven, b, c, pitch, y, states, decays):
    """``advance`` that stores every state and decay of the chunk; ``states`` begins with the state before it."""
    a0, a1 = load(scratch, decay), load(scratch, decay + LANES)
    a2, a3 = load(scratch, decay + 2 * LANES), load(scratch, decay + 3 * LANES)
    h0, h1 = load(scratch, states), load(scratch, states + LANES)
    h2, h3 = load(scratch, states + 2 * LANES), load(scratch, states + 3 * LANES)
    for t in range(CHUNK):
        step, x = load(scratch, delta + t * LANES), load(scratch, driven + t * LANES)
        total = load(scratch, y + t * LANES)
        i, j = b + t * pitch, c + t * pitch
        e0, e1, e2, e3 = exp2(step * a0), exp2(step * a1), exp2(step * a2), exp2(step * a3)
        h0 = x * broadcast(scratch, i) + e0 * h0
        h1 = x * broadcast(scratch, i + 1) + e1 * h1
        h2 = x * broadcast(scratch, i + 2) + e2 * h2
        h3 = x * broadcast(scratch, i + 3) + e3 * h3
        total = total + h0 * broadcast(scratch, j) + h1 * broadcast(scratch, j + 1)
        total = total + h2 * broadcast(scratch, j + 2) + h3 * broadcast(scratch, j + 3)
        store(scratch, y + t * LANES, total)
        k = t * 4 * LANES
        store(scratch, decays + k, e0)
        store(scratch, decays + k + LANES, e1)
        store(scratch, decays + k + 2 * LANES, e2)
        store(scratch, decays + k + 3 * LANES, e3)
        k = states + k + 4 * LANES
        store(scratch, k, h0)
        store(scratch, k + LANES, h1)
        store(scratch, k + 2 * LANES, h2)
        store(scratch, k + 3 * LANES, h3)


@numba.njit(**_INLINE)
def retreat(scratch, decay, adjoint, rate, delta, driven, grad, b, c, pitch, states, decays, s, q, grad_b, grad_c, row):
    """Gradients of four states of 16 channels over one chunk, last token first.

    Args:
        adjoint: The gradient with respect to the state after the chunk; becomes the one before it.
        rate: Adds sum_t dh_t e_t h_(t-1) step_t, the gradient of the decay rates A.
        grad: Tile of the gradient with respect to <C, h>.
        s, q: Tiles that receive <dh, B> and <dh e h_(t-1), A log2(e)>, summed over states.
        grad_b, grad_c: Receive the gradients of B and C, folded (see ``fold4``), ``row`` elements per token.
    """
    a0, a1 = load(scratch, decay), load(scratch, decay + LANES)
    a2, a3 = load(scratch, decay + 2 * LANES), load(scratch, decay + 3 * LANES)
    d0, d1 = load(scratch, adjoint), load(scratch, adjoint + LANES)
    d2, d3 = load(scratch, adjoint + 2 * LANES), load(scratch, adjoint + 3 * LANES)
    r0, r1 = load(scratch, rate), load(scratch, rate + LANES)
    r2, r3 = load(scratch, rate + 2 * LANES), load(scratch, rate + 3 * LANES)
    for back in range(CHUNK):
        t = CHUNK - 1 - back
        g = load(scratch, grad + t * LANES)
        step, x = load(scratch, delta + t * LANES), load(scratch, driven + t * LANES)
        i, j, k = b + t * pitch, c + t * pitch, t * 4 * LANES
        after = states + k + 4 * LANES
        folded = fold4(
            g * load(scratch, after),
            g * load(scratch, after + LANES),
            g * load(scratch, after + 2 * LANES),
            g * load(scratch, after + 3 * LANES),
        )
        at = grad_c + t * row
        store(scratch, at, load(scratch, at) + folded)
        d0 = d0 + g * broadcast(scratch, j)
        d1 = d1 + g * broadcast(scratch, j + 1)
        d2 = d2 + g * broadcast(scratch, j + 2)
        d3 = d3 + g * broadcast(scratch, j + 3)
        at = grad_b + t * row
        store(scratch, at, load(scratch, at) + fold4(x * d0, x * d1, x * d2, x * d3))
        total = load(scratch, s + t * LANES) + d0 * broadcast(scratch, i) + d1 * broadcast(scratch, i + 1)
        total = total + d2 * broadcast(scratch, i + 2) + d3 * broadcast(scratch, i + 3)
        store(scratch, s + t * LANES, total)
        d0 = d0 * load(scratch, decays + k)
        d1 = d1 * load(scratch, decays + k + LANES)
        d2 = d2 * load(scratch, decays + k + 2 * LANES)
        d3 = d3 * load(scratch, decays + k + 3 * LANES)
        p0, p1 = d0 * load(scratch, states + k), d1 * load(scratch, states + k + LANES)
        p2, p3 = d2 * load(scratch, states + k + 2 * LANES), d3 * load(scratch, states + k + 3 * LANES)
        r0, r1, r2, r3 = r0 + p0 * step, r1 + p1 * step, r2 + p2 * step, r3 + p3 * step
        total = load(scratch, q + t * LANES) + p0 * a0 + p1 * a1 + p2 * a2 + p3 * a3
        store(scratch, q + t * LANES, total)
    store(scratch, adjoint, d0)
    store(scratch, adjoint + LANES, d1)
    store(scratch, adjoint + 2 * LANES, d2)
    store(scratch, adjoint + 3 * LANES, d3)
    store(scratch, rate, r0)
    store(scratch, rate + LANES, r1)
    store(scratch, rate + 2 * LANES, r2)
    store(scratch, rate + 3 * LANES, r3)


@numba.njit(**_INLINE)
def gate_gradients(scratch, z, y, grad):
    """With y = <C, h> + D u: replace tile ``z`` by dz, and tile ``grad`` (of y silu(z)) by the gradient of y."""
    for t in range(0, _TILE, LANES):
        gate, g = load(scratch, z + t), load(scratch, grad + t)
        open_ = sigmoid(gate)
        store(scratch, z + t, g * load(scratch, y + t) * (open_ * (one() + gate * (one() - open_))))
        store(scratch, grad + t, g * (gate * open_))
