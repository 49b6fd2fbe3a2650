# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator, assignment, var-annotated"
"""The gradients of the selective scan on an NVIDIA GPU, as Triton kernels.

With g the gradient of <C, h> and a_t = exp(step_t A), the gradient of h_t is dh_t = C_t g_t + a_(t+1) dh_(t+1), which
is the recurrence of the forward pass in reverse. ``summarise_adjoint`` therefore runs every span from zero, and
``carry`` of the forward pass joins the spans. ``gradients`` computes everything else, chunk after chunk from the end of
its span: it runs a chunk forwards from the state kept at its start, stores the states in scratch memory that stays in
the cache, and runs the chunk backwards.

The gradients of B, C, A, D and the bias are written as one part per channel block or span and added up by torch,
without atomics, so that two runs are bit-identical. The memory layout is that of the forward kernels. In ``gradients``
Triton may choose how the tiles are divided among lanes: with four channels and a quarter of the states per lane, sums
over channels are short.

This module imports triton; import it inside the functions that need it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from umseg.kernels.runtime.triton_math import sigmoid, silu_slope, step_size, within
from umseg.kernels.scan.triton_forward import PAIR, QUAD

LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit(do_not_specialize_on_alignment=["decay", "adjoints"])
def summarise_adjoint(
    grad, delta, decay, C, z, bias, adjoints, totals,
    length, channels, batch_b, row_b, count, extent,
    SOFTPLUS: tl.constexpr, GATED: tl.constexpr, PADDED: tl.constexpr, LANES: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Write a dh of the first token of every span, started from zero at its end, and the sum of its steps.

    Grid (spans, channel blocks, batch); shapes as in ``summarise``.
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
    d = tl.zeros([PADDED, LANES], tl.float32)
    total = tl.zeros([LANES], tl.float32)
    for i in tl.range(0, tokens, QUAD, num_stages=STAGES):
        raws, grads, gates, outs = (), (), (), ()
        for j in tl.static_range(QUAD):
            t = tokens - 1 - i - j
            at, mask = first + t * channels, within(c, channels, t >= 0)
            raws += (tl.load(delta + at, mask=mask, other=0.0),)
            grads += (tl.load(grad + at, mask=mask, other=0.0),)
            if GATED:
                gates += (tl.load(z + at, mask=mask, other=0.0),)
            outs += (tl.load(C + row + t * row_b, mask=within(n, count, t >= 0), other=0.0),)
        for j in tl.static_range(QUAD):
            step = step_size(raws[j], shift, within(c, channels, tokens - 1 - i - j >= 0), SOFTPLUS)
            g = grads[j]
            if GATED:
                g *= gates[j] * sigmoid(gates[j])
            d = (d + g[None, :] * outs[j][:, None]) * tl.exp2(rate * step[None, :])
            total += step
    place = batch * tl.num_programs(0) + span
    tl.store(adjoints + place * PADDED * width + tile, d)
    tl.store(totals + place * width + c, total)


@triton.jit
def gradients(
    grad, u, delta, decay, B, C, D, z, bias, kept, adjoints, scratch,
    grad_u, grad_delta, grad_z, grad_a, grad_b, grad_c, grad_d, grad_bias,
    length, channels, batch_b, row_b, count, extent, chunks,
    SOFTPLUS: tl.constexpr, GATED: tl.constexpr, CHUNK: tl.constexpr,
    PADDED: tl.constexpr, LANES: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Write all gradients; grid (spans, channel blocks, batch).

    Args:
        adjoints: Gradients that every span receives from the one after it.
        scratch: Memory (programs, CHUNK, padded states, LANES) for the states of the current chunk.
        grad_a: Parts (batch, spans, padded states, padded channels) of sum_t dh_t a_t h_(t-1) step_t.
        grad_b, grad_c: Parts (batch, channel blocks, length, padded states) of the gradients of B and C.
        grad_d, grad_bias: Parts (batch, spans, padded channels) of the gradients of D and the bias.
    """
    span, batch = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    width = tl.num_programs(1) * LANES
    block = batch * tl.num_programs(1) + tl.program_id(1)
    c, n = tl.program_id(1) * LANES + tl.arange(0, LANES), tl.arange(0, PADDED)
    tile = n[:, None] * width + c[None, :]
    shift, skip, rate = tl.load(bias + c), tl.load(D + c), tl.load(decay + tile)
    sum_a = tl.zeros([PADDED, LANES], tl.float32)
    sum_d, sum_bias = tl.zeros([LANES], tl.float32), tl.zeros([LANES], tl.float32)
    place = batch * tl.num_programs(0) + span
    d = tl.load(adjoints + place * PADDED * width + tile)
    scratch += (block * tl.num_programs(0) + span) * CHUNK * PADDED * LANES
    scratch += n[:, None] * LANES + tl.arange(0, LANES)[None, :]
    in_span = tl.cdiv(tl.minimum(length - span * extent, extent), CHUNK).to(tl.int32)
    for back in range(in_span):
        chunk = span * (extent // CHUNK) + in_span - 1 - back
        start = chunk * CHUNK
        tokens = tl.minimum(length - start, CHUNK).to(tl.int32)
        first = (batch * length + start) * channels + c
        row = batch * batch_b + start * row_b + n
        row_grad = (block * length + start) * PADDED + n
        # A masked token has step and gradient 0, so that it changes neither the state nor the adjoint.
        h = tl.load(kept + (batch * chunks + chunk) * PADDED * width + tile)
        for i in tl.range(0, tokens, PAIR, num_stages=STAGES):
            raws, values, ins = (), (), ()
            for j in tl.static_range(PAIR):
                t = i + j
                at, mask = first + t * channels, within(c, channels, t < tokens)
                raws += (tl.load(delta + at, mask=mask, other=0.0),)
                values += (tl.load(u + at, mask=mask, other=0.0),)
                ins += (tl.load(B + row + t * row_b, mask=within(n, count, t < tokens), other=0.0),)
            for j in tl.static_range(PAIR):
                tl.store(scratch + (i + j) * PADDED * LANES, h)
                step = step_size(raws[j], shift, within(c, channels, i + j < tokens), SOFTPLUS)
                h = tl.exp2(rate * step[None, :]) * h + (step * values[j])[None, :] * ins[j][:, None]
        tl.debug_barrier()
        for i in tl.range(0, tokens, PAIR, num_stages=STAGES):
            raws, values, grads, gates, ins, outs, before = (), (), (), (), (), (), ()
            for j in tl.static_range(PAIR):
                t = tokens - 1 - i - j
                at, mask, known = first + t * channels, within(c, channels, t >= 0), within(n, count, t >= 0)
                raws += (tl.load(delta + at, mask=mask, other=0.0),)
                values += (tl.load(u + at, mask=mask, other=0.0),)
                grads += (tl.load(grad + at, mask=mask, other=0.0),)
                if GATED:
                    gates += (tl.load(z + at, mask=mask, other=0.0),)
                ins += (tl.load(B + row + t * row_b, mask=known, other=0.0),)
                outs += (tl.load(C + row + t * row_b, mask=known, other=0.0),)
                before += (tl.load(scratch + tl.maximum(t, 0) * PADDED * LANES),)
            for j in tl.static_range(PAIR):
                t = tokens - 1 - i - j
                at, mask, owned = first + t * channels, within(c, channels, t >= 0), within(n, PADDED, t >= 0)
                step, v, g, r = step_size(raws[j], shift, mask, SOFTPLUS), values[j], grads[j], outs[j]
                if GATED:
                    out = tl.sum(h * r[:, None], axis=0) + skip * v
                    tl.store(grad_z + at, out * g * silu_slope(gates[j]), mask=mask)
                    g *= gates[j] * sigmoid(gates[j])
                tl.store(grad_c + row_grad + t * PADDED, tl.sum(h * g[None, :], axis=1), mask=owned)
                d += g[None, :] * r[:, None]
                tl.store(grad_b + row_grad + t * PADDED, tl.sum(d * (step * v)[None, :], axis=1), mask=owned)
                from_input = tl.sum(d * ins[j][:, None], axis=0)
                d *= tl.exp2(rate * step[None, :])
                h = before[j]
                through = d * h
                sum_a += through * step[None, :]
                slope = from_input * v + LN_2 * tl.sum(through * rate, axis=0)
                if SOFTPLUS:
                    slope *= sigmoid(raws[j] + shift)
                slope = tl.where(mask, slope, 0.0)
                tl.store(grad_u + at, from_input * step + g * skip, mask=mask)
                tl.store(grad_delta + at, slope, mask=mask)
                sum_d += g * v
                sum_bias += slope
        tl.debug_barrier()
    tl.store(grad_a + place * PADDED * width + tile, sum_a)
    tl.store(grad_d + place * width + c, sum_d)
    tl.store(grad_bias + place * width + c, sum_bias)
