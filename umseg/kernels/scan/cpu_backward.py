# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""The gradients of the selective scan on CPU, as numba kernels.

The layout is that of the forward kernels. The loop over chunks runs from the last to the first. The states of a chunk
are computed again from the state kept at its start, four at a time, and no more than these are held. The contributions
of the 16 channels of a block to the gradients of B and C are folded to four partial sums in registers and summed over
the blocks in the scratch array. The blocks of different calls write to different parts of the output, so that results
do not depend on which thread is faster.

This module imports numba; import it inside the functions that need it.
"""

from __future__ import annotations

import numpy as np

from umseg.kernels.runtime.jit import inner, jit
from umseg.kernels.runtime.layout import CHUNK, LANES, ceil_div
from umseg.kernels.runtime.simd import (
    broadcast,
    exp2,
    exp2_within,
    fold4,
    largest,
    ln_2,
    load,
    one,
    prefetch,
    sigmoid,
    store,
    store_fold,
    zero,
)
from umseg.kernels.runtime.tiles import TILE, fetch_line, read_tile, read_weights, tile_lines, write_tile
from umseg.kernels.scan.cpu_forward import LARGEST_EXPONENT, LOG2_E, measure_rates, read_steps


@inner
def replay(exp2, scratch, decay, delta, driven, b, c, pitch, y, states, decays, later, lines):
    """A variant of ``advance`` that stores every state and decay of the chunk, after the state before the chunk."""
    a0, a1 = load(scratch, decay), load(scratch, decay + LANES)
    a2, a3 = load(scratch, decay + 2 * LANES), load(scratch, decay + 3 * LANES)
    h0, h1 = load(scratch, states), load(scratch, states + LANES)
    h2, h3 = load(scratch, states + 2 * LANES), load(scratch, states + 3 * LANES)
    for t in range(CHUNK):
        step, x = load(scratch, delta + t * LANES), load(scratch, driven + t * LANES)
        fetch_line(later, lines, t)
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


@inner
def retreat(
    scratch, decay, adjoint, rate, delta, driven, grad, b, c, pitch, states, decays, s, q, grad_b, grad_c, row,
    later, lines,
):  # fmt: skip
    """Compute the gradients of four states of 16 channels over one chunk, from the last token to the first.

    Args:
        adjoint: Gradient with respect to the state after the chunk, which is replaced by that before the chunk.
        rate: Sum to which sum_t dh_t e_t h_(t-1) step_t, the gradient of the decay rates A, is added.
        grad: Tile of the gradient with respect to <C, h>.
        s, q: Tiles that receive <dh, B> and <dh e h_(t-1), A log2(e)>, summed over states.
        grad_b, grad_c: Tiles that receive the gradients of B and C, folded (see ``fold4``), ``row`` elements per token.
        later, lines: Tile that is fetched meanwhile, as in ``advance``.
    """
    a0, a1 = load(scratch, decay), load(scratch, decay + LANES)
    a2, a3 = load(scratch, decay + 2 * LANES), load(scratch, decay + 3 * LANES)
    d0, d1 = load(scratch, adjoint), load(scratch, adjoint + LANES)
    d2, d3 = load(scratch, adjoint + 2 * LANES), load(scratch, adjoint + 3 * LANES)
    r0, r1, r2, r3 = zero(), zero(), zero(), zero()
    for back in range(CHUNK):
        t = CHUNK - 1 - back
        fetch_line(later, lines, t)
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
    store(scratch, rate, load(scratch, rate) + r0)
    store(scratch, rate + LANES, load(scratch, rate + LANES) + r1)
    store(scratch, rate + 2 * LANES, load(scratch, rate + 2 * LANES) + r2)
    store(scratch, rate + 3 * LANES, load(scratch, rate + 3 * LANES) + r3)


@inner
def read_slopes(scratch, delta, slope, bias, use_softplus):
    """Write the derivative of the step sizes with respect to the raw ones in the tile ``delta``."""
    shift = load(scratch, bias)
    for t in range(0, TILE, LANES):
        raw = load(scratch, delta + t) + shift
        store(scratch, slope + t, sigmoid(raw) if use_softplus else one())


@inner
def open_gate(scratch, z, grad):
    """Replace the gradient of y silu(z) in the tile ``grad`` by that of y, and z by the gradient of z divided by y."""
    for t in range(0, TILE, LANES):
        gate, g = load(scratch, z + t), load(scratch, grad + t)
        opened = sigmoid(gate)
        store(scratch, z + t, g * (opened * (one() + gate * (one() - opened))))
        store(scratch, grad + t, g * (gate * opened))


@inner
def finish(scratch, u, delta, slope, grad, s, q, skip, sum_skip, sum_bias):
    """Turn the tile ``s`` into du and ``q`` into the gradient of the raw step sizes; add to those of D and the bias."""
    weight = load(scratch, skip)
    total_skip, total_bias = zero(), zero()
    for t in range(0, TILE, LANES):
        x, g, from_b = load(scratch, u + t), load(scratch, grad + t), load(scratch, s + t)
        raw = (load(scratch, q + t) * ln_2() + from_b * x) * load(scratch, slope + t)
        store(scratch, s + t, from_b * load(scratch, delta + t) + weight * g)
        store(scratch, q + t, raw)
        total_skip = total_skip + g * x
        total_bias = total_bias + raw
    store(scratch, sum_skip, load(scratch, sum_skip) + total_skip)
    store(scratch, sum_bias, load(scratch, sum_bias) + total_bias)


@inner
def write_folded(scratch, at, target, row, states, tokens):
    """Write the folded sums of ``tokens`` tokens to ``target`` (.., states), beginning with the row ``row``."""
    for t in range(tokens):
        for n in range(0, states, 4):
            store_fold(target, (row + t) * states + n, load(scratch, at + 4 * (t * states + n)))


@inner
def clear(scratch, at, size):
    for i in range(at, at + size, LANES):
        store(scratch, i, zero())


@jit(
    "void(float32[:,:,:], float32[:,:,:], float32[:,:], float32[:,:,:], float32[:,:,:], float32[:,:], float32[:,:,:],"
    "float32[:,:], boolean, boolean, intp, intp, intp, intp, float32[:,:,:,:,::1], float32[:,:,:], float32[:,:,:],"
    "float32[:,:,:], float32[:,:,:], float32[:,:,:,::1], float32[:,:,:,::1], float32[:,:,:,::1], float32[:,:,:,::1],"
    "float32[::1])"
)
def backward(
    u, delta, A, B, C, D, z, bias, use_softplus, gated, batch, group, first, last, kept, grad,
    grad_u, grad_delta, grad_z, grad_a, grad_b, grad_c, grad_channel, scratch,
):  # fmt: skip
    """Write the gradients of channel blocks first .. last - 1 of one batch element.

    The arguments that are not listed here are those of ``forward``.

    Args:
        group: Where to write in ``grad_b`` and ``grad_c``.
        kept: From ``forward``.
        grad: Gradient of the output.
        grad_u, grad_delta, grad_z: Receive the gradients (z's only where ``gated``).
        grad_a: (batch, blocks, states, 16), grad_b, grad_c: (batch, groups, length, states), states a multiple of 4.
        grad_channel: (batch, blocks, 2, 16), the gradients of D and the bias.
        scratch: At least ``backward_scratch(states, last - first)`` elements.
    """
    blocks = last - first
    length = u.shape[2]
    states = kept.shape[3]
    pitch = LANES * ((states + LANES - 1) // LANES)
    weights = blocks * states * LANES
    decay = 0
    adjoint = decay + weights
    rate = adjoint + weights
    skip = rate + weights
    shift = skip + blocks * LANES
    reach = shift + blocks * LANES
    sums = reach + blocks * LANES
    tile_b = sums + 2 * blocks * LANES
    tile_c = tile_b + CHUNK * pitch
    tile_u = tile_c + CHUNK * pitch
    tile_delta, tile_x, tile_y = tile_u + TILE, tile_u + 2 * TILE, tile_u + 3 * TILE
    tile_slope, tile_z, tile_grad = tile_u + 4 * TILE, tile_u + 5 * TILE, tile_u + 6 * TILE
    tile_s, tile_q = tile_u + 7 * TILE, tile_u + 8 * TILE
    decays = tile_u + 9 * TILE
    history = decays + 4 * TILE
    sum_b = history + 4 * TILE + 4 * LANES
    sum_c = sum_b + CHUNK * states * 4
    read_weights(A, first, blocks, states, LOG2_E, scratch, decay)
    read_weights(D, first, blocks, 1, np.float32(1), scratch, skip)
    read_weights(bias, first, blocks, 1, np.float32(1), scratch, shift)
    measure_rates(scratch, decay, blocks, states, reach)
    clear(scratch, adjoint, 2 * weights)
    clear(scratch, sums, 2 * blocks * LANES)
    chunks = kept.shape[2]
    for back in range(chunks):
        chunk = chunks - 1 - back
        start = chunk * CHUNK
        for n in range(0, pitch, LANES):
            read_tile(B, batch, n, start, CHUNK, scratch, tile_b + n, pitch)
            read_tile(C, batch, n, start, CHUNK, scratch, tile_c + n, pitch)
        clear(scratch, sum_b, 2 * CHUNK * states * 4)
        for block in range(blocks):
            channel = (first + block) * LANES
            wraps = block == blocks - 1
            next_channel = first * LANES if wraps else channel + LANES
            next_start = start - CHUNK if wraps else start
            weight = skip + block * LANES
            read_tile(u, batch, channel, start, CHUNK, scratch, tile_u, LANES)
            read_tile(delta, batch, channel, start, CHUNK, scratch, tile_delta, LANES)
            read_tile(grad, batch, channel, start, CHUNK, scratch, tile_grad, LANES)
            read_slopes(scratch, tile_delta, tile_slope, shift + block * LANES, use_softplus)
            longest = read_steps(scratch, tile_delta, tile_u, tile_x, shift + block * LANES, use_softplus)
            within = largest(longest * load(scratch, reach + block * LANES)) < LARGEST_EXPONENT
            skipped = load(scratch, weight)
            for t in range(0, TILE, LANES):
                store(scratch, tile_y + t, skipped * load(scratch, tile_u + t))
            if gated:
                read_tile(z, batch, channel, start, CHUNK, scratch, tile_z, LANES)
                open_gate(scratch, tile_z, tile_grad)
            clear(scratch, tile_s, 2 * TILE)
            for n in range(0, states, 4):
                at = (block * states + n) * LANES
                row = ((batch * kept.shape[1] + first + block) * chunks + chunk) * states + n
                for i in range(0, 4 * LANES, LANES):
                    store(scratch, history + i, load(kept, row * LANES + i))
                    prefetch(kept, 4 * ((row - states) * LANES + i))
                k = n // 4 % 4
                later = u if k == 0 else delta if k == 1 else grad if k == 2 else z
                lines = tile_lines(later, batch, next_channel, next_start)
                if within:
                    replay(
                        exp2_within, scratch, decay + at, tile_delta, tile_x, tile_b + n, tile_c + n, pitch, tile_y,
                        history, decays, later, lines,
                    )  # fmt: skip
                else:
                    replay(
                        exp2, scratch, decay + at, tile_delta, tile_x, tile_b + n, tile_c + n, pitch, tile_y,
                        history, decays, later, lines,
                    )  # fmt: skip
                later = grad_u if k == 0 else grad_delta if k == 1 else grad_z if gated else grad_u
                lines = tile_lines(later, batch, next_channel, next_start)
                retreat(
                    scratch, decay + at, adjoint + at, rate + at, tile_delta, tile_x, tile_grad, tile_b + n, tile_c + n,
                    pitch, history, decays, tile_s, tile_q, sum_b + 4 * n, sum_c + 4 * n, 4 * states, later, lines,
                )  # fmt: skip
            if gated:
                for t in range(0, TILE, LANES):
                    store(scratch, tile_z + t, load(scratch, tile_z + t) * load(scratch, tile_y + t))
                write_tile(scratch, tile_z, grad_z, batch, channel, start)
            finish(
                scratch, tile_u, tile_delta, tile_slope, tile_grad, tile_s, tile_q, weight,
                sums + 2 * block * LANES, sums + (2 * block + 1) * LANES,
            )  # fmt: skip
            write_tile(scratch, tile_s, grad_u, batch, channel, start)
            write_tile(scratch, tile_q, grad_delta, batch, channel, start)
        row = (batch * grad_b.shape[1] + group) * length + start
        write_folded(scratch, sum_b, grad_b, row, states, min(CHUNK, length - start))
        write_folded(scratch, sum_c, grad_c, row, states, min(CHUNK, length - start))
    at = (batch * kept.shape[1] + first) * LANES
    for i in range(0, weights, LANES):
        store(grad_a, at * states + i, load(scratch, rate + i))
    for i in range(0, 2 * blocks * LANES, LANES):
        store(grad_channel, 2 * at + i, load(scratch, sums + i))


def backward_scratch(states: int, blocks: int) -> int:
    """Number of elements of scratch that ``backward`` needs; ``states`` has to be a multiple of 4."""
    pitch = LANES * ceil_div(states, LANES)
    weights = blocks * LANES * (3 * states + 5)
    return weights + 2 * CHUNK * pitch + 17 * TILE + 4 * LANES + 2 * CHUNK * states * 4
