# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator, assignment, var-annotated"
"""The selective scan on an NVIDIA GPU, as Triton kernels.

A sequence is divided into spans. ``summarise`` runs all spans at the same time from the zero state, and stores the
state at the end of each span and the sum of its step sizes. ``carry`` joins the spans, whose decay is exp(A sum of
steps). ``outputs`` runs every span again from the state before it. A program is one warp, and a lane is a channel that
holds its states in registers, so that nothing crosses lanes. For this reason the alignment of the tiles of states is
hidden from Triton, which would otherwise load four channels per lane and keep them so.

In memory u, delta, z and all tensors of their shape are (batch, length, channels). B and C are (batch, length, states)
with strides ``batch_b`` and ``row_b``. A span has ``extent`` tokens, a multiple of those that are loaded together.
``decay`` (A log2 e), ``bias``, ``D`` and all states end in (padded states, padded channels) or (padded channels) and
are zero in the padding, so that only the other inputs are masked. Offsets are 64 bits wide up to the start of a span
and 32 bits wide within it.

This module imports triton; import it inside the functions that need it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from umseg.kernels.runtime.triton_math import sigmoid, step_size, within

# Number of tokens whose values are all loaded before the first is used. The compiler keeps the order of loads and uses,
# and every load that a program waits for costs the latency of memory. More tokens need more registers, so that fewer
# programs run.
QUAD = tl.constexpr(4)
PAIR = tl.constexpr(2)
# Number of spans that ``carry`` loads together; without this its loop would wait for memory at every span.
AHEAD = tl.constexpr(16)


@triton.jit(do_not_specialize_on_alignment=["decay", "states"])
def summarise(
    u, delta, decay, B, bias, states, totals,
    length, channels, batch_b, row_b, count, extent,
    SOFTPLUS: tl.constexpr, PADDED: tl.constexpr, LANES: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Write the last local state (batch, spans, padded states, padded channels) and the sum of steps of every span.

    Grid (spans, channel blocks, batch); ``count`` is the number of states.
    """
    span, batch = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    width = tl.num_programs(1) * LANES
    c, n = tl.program_id(1) * LANES + tl.arange(0, LANES), tl.arange(0, PADDED)
    tile = n[:, None] * width + c[None, :]
    start = span * extent
    first = (batch * length + start) * channels + c
    row = batch * batch_b + start * row_b + n
    tokens = tl.minimum(length - start, extent).to(tl.int32)
    shift, rate = tl.load(bias + c), tl.load(decay + tile)
    h = tl.zeros([PADDED, LANES], tl.float32)
    total = tl.zeros([LANES], tl.float32)
    for i in tl.range(0, tokens, QUAD, num_stages=STAGES):
        raws, values, ins = (), (), ()
        for j in tl.static_range(QUAD):
            t = i + j
            at, mask = first + t * channels, within(c, channels, t < tokens)
            raws += (tl.load(delta + at, mask=mask, other=0.0),)
            values += (tl.load(u + at, mask=mask, other=0.0),)
            ins += (tl.load(B + row + t * row_b, mask=within(n, count, t < tokens), other=0.0),)
        for j in tl.static_range(QUAD):
            step = step_size(raws[j], shift, within(c, channels, i + j < tokens), SOFTPLUS)
            h = tl.exp2(rate * step[None, :]) * h + (step * values[j])[None, :] * ins[j][:, None]
            total += step
    place = batch * tl.num_programs(0) + span
    tl.store(states + place * PADDED * width + tile, h)
    tl.store(totals + place * width + c, total)


@triton.jit
def carry(states, totals, decay, spans, REVERSE: tl.constexpr, LANES: tl.constexpr):
    """Replace the last local state of every span by the true state before it.

    In reverse, the value that a span passes to the one before it is replaced by the value that it receives from the one
    after it. Grid (channel blocks, padded states, batch).
    """
    batch = tl.program_id(2).to(tl.int64)
    width = tl.num_programs(0).to(tl.int64) * LANES
    slab = tl.num_programs(1) * width
    c = tl.program_id(0) * LANES + tl.arange(0, LANES)
    rate = tl.load(decay + tl.program_id(1) * width + c)
    states += batch * spans * slab + tl.program_id(1) * width + c
    totals += batch * spans * width + c
    h = tl.zeros([LANES], tl.float32)
    for i in range(0, spans, AHEAD):
        ends, sums = (), ()
        for j in tl.static_range(AHEAD):
            span = spans - 1 - i - j if REVERSE else i + j
            ends += (tl.load(states + span * slab, mask=within(c, width, i + j < spans), other=0.0),)
            sums += (tl.load(totals + span * width, mask=within(c, width, i + j < spans), other=0.0),)
        for j in tl.static_range(AHEAD):
            span = spans - 1 - i - j if REVERSE else i + j
            tl.store(states + span * slab, h, mask=within(c, width, i + j < spans))
            h = tl.exp2(rate * sums[j]) * h + ends[j]


@triton.jit(do_not_specialize_on_alignment=["decay", "states", "kept"])
def outputs(
    u, delta, decay, B, C, D, z, bias, states, y, kept,
    length, channels, batch_b, row_b, count, extent, chunks,
    SOFTPLUS: tl.constexpr, GATED: tl.constexpr, KEEP: tl.constexpr, CHUNK: tl.constexpr,
    PADDED: tl.constexpr, LANES: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write y and, where ``KEEP``, the state before every chunk (batch, chunks, padded states, padded channels).

    Grid (spans, channel blocks, batch); ``states`` holds the state before every span.
    """
    span, batch = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    width = tl.num_programs(1) * LANES
    c, n = tl.program_id(1) * LANES + tl.arange(0, LANES), tl.arange(0, PADDED)
    tile = n[:, None] * width + c[None, :]
    start = span * extent
    first = (batch * length + start) * channels + c
    row = batch * batch_b + start * row_b + n
    tokens = tl.minimum(length - start, extent).to(tl.int32)
    shift, skip, rate = tl.load(bias + c), tl.load(D + c), tl.load(decay + tile)
    h = tl.load(states + (batch * tl.num_programs(0) + span) * PADDED * width + tile)
    for i in tl.range(0, tokens, PAIR, num_stages=STAGES):
        if KEEP:
            chunk = batch * chunks + (start + i) // CHUNK
            tl.store(kept + chunk * PADDED * width + tile, h, mask=within(n, PADDED, i % CHUNK == 0)[:, None])
        raws, values, gates, ins, outs = (), (), (), (), ()
        for j in tl.static_range(PAIR):
            t = i + j
            at, mask, known = first + t * channels, within(c, channels, t < tokens), within(n, count, t < tokens)
            raws += (tl.load(delta + at, mask=mask, other=0.0),)
            values += (tl.load(u + at, mask=mask, other=0.0),)
            if GATED:
                gates += (tl.load(z + at, mask=mask, other=0.0),)
            ins += (tl.load(B + row + t * row_b, mask=known, other=0.0),)
            outs += (tl.load(C + row + t * row_b, mask=known, other=0.0),)
        for j in tl.static_range(PAIR):
            mask = within(c, channels, i + j < tokens)
            step = step_size(raws[j], shift, mask, SOFTPLUS)
            h = tl.exp2(rate * step[None, :]) * h + (step * values[j])[None, :] * ins[j][:, None]
            out = skip * values[j] + tl.sum(h * outs[j][:, None], axis=0)
            if GATED:
                out *= gates[j] * sigmoid(gates[j])
            tl.store(y + first + (i + j) * channels, out, mask=mask)
