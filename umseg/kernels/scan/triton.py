"""The selective scan on an NVIDIA GPU: torch operators around the Triton kernels."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from umseg.kernels.runtime.layout import ceil_div
from umseg.kernels.runtime.memory_format import channels_innermost, empty_innermost
from umseg.kernels.scan.operator import Gradients, differentiable, empty_gate, empty_gradients, sum_groups

# Number of tokens between two kept states. Fewer tokens keep more memory for the backward pass; with more tokens the
# states no longer fit into the cache.
CHUNK = 16
# Number of channels per program: the lanes of a warp.
_LANES = 32
# Bounds of the tokens per span, which are multiples of CHUNK, and the number of programs per multiprocessor for which
# the span is chosen.
_SHORTEST, _LONGEST = 64, 1024
_PROGRAMS = 48
# Number of groups of tokens that are loaded from memory while one is processed, plus one.
_STAGES = 3


@torch.library.custom_op("umseg::selective_scan_triton", mutates_args=())
def forward_op(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Return the output and, where ``keep``, the states at the start of each chunk for the backward pass."""
    from umseg.kernels.runtime.triton_math import OPTIONS, on_device_of
    from umseg.kernels.scan.triton_forward import carry, outputs, summarise

    y, kept = _forward_outputs(u, A, keep)
    cut = _cut(u, A)
    inputs = _prepare(u, delta, A, B, C, D, z, delta_bias, cut)
    states = u.new_zeros(u.shape[0], cut.spans, cut.padded, cut.width)
    sizes = u.shape[2], u.shape[1], *inputs.strides, A.shape[1], cut.span
    constants: dict[str, Any] = {"PADDED": cut.padded, "LANES": cut.lanes, "STAGES": _STAGES, **OPTIONS}
    with on_device_of(u):
        if cut.spans > 1:
            totals = u.new_empty(u.shape[0], cut.spans, cut.width)
            summarise[cut.grid](
                inputs.u, inputs.delta, inputs.decay, inputs.B, inputs.bias, states, totals, *sizes,
                SOFTPLUS=delta_softplus, **constants,
            )  # fmt: skip
            carry[cut.carry_grid](states, totals, inputs.decay, cut.spans, REVERSE=False, LANES=cut.lanes, **OPTIONS)
        outputs[cut.grid](
            inputs.u, inputs.delta, inputs.decay, inputs.B, inputs.C, inputs.D, inputs.z, inputs.bias, states,
            y, kept, *sizes, kept.shape[1],
            SOFTPLUS=delta_softplus, GATED=z is not None, KEEP=keep, CHUNK=CHUNK, **constants,
        )  # fmt: skip
    return y, kept


@forward_op.register_fake
def _(*inputs: Any) -> tuple[Tensor, Tensor]:
    u, _, A, *_, keep = inputs
    return _forward_outputs(u, A, keep)


@torch.library.custom_op("umseg::selective_scan_triton_backward", mutates_args=())
def backward_op(
    grad: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    kept: Tensor,
) -> Gradients:
    """Return the gradients of all inputs; see ``Gradients``."""
    from umseg.kernels.runtime.triton_math import OPTIONS, on_device_of
    from umseg.kernels.scan.triton_backward import gradients, summarise_adjoint
    from umseg.kernels.scan.triton_forward import carry

    batches, channels, length = u.shape
    cut = _cut(u, A)
    inputs = _prepare(u, delta, A, B, C, D, z, delta_bias, cut)
    grad = channels_innermost(grad)
    grad_u, grad_delta, grad_z = empty_innermost(u), empty_innermost(u), empty_gate(u, z, empty_innermost)
    adjoints = u.new_zeros(batches, cut.spans, cut.padded, cut.width)
    grad_a = torch.empty_like(adjoints)
    grad_b = u.new_empty(batches, cut.blocks, length, cut.padded)
    grad_c = torch.empty_like(grad_b)
    grad_d = u.new_empty(batches, cut.spans, cut.width)
    grad_bias = torch.empty_like(grad_d)
    scratch = u.new_empty(math.prod(cut.grid), CHUNK, cut.padded, cut.lanes)
    sizes = length, channels, *inputs.strides, A.shape[1], cut.span
    constants: dict[str, Any] = {"PADDED": cut.padded, "LANES": cut.lanes, "STAGES": _STAGES, **OPTIONS}
    constants |= {"SOFTPLUS": delta_softplus, "GATED": z is not None}
    with on_device_of(u):
        if cut.spans > 1:
            totals = torch.empty_like(grad_d)
            summarise_adjoint[cut.grid](
                grad, inputs.delta, inputs.decay, inputs.C, inputs.z, inputs.bias, adjoints, totals, *sizes,
                **constants,
            )  # fmt: skip
            carry[cut.carry_grid](adjoints, totals, inputs.decay, cut.spans, REVERSE=True, LANES=cut.lanes, **OPTIONS)
        gradients[cut.grid](
            grad, inputs.u, inputs.delta, inputs.decay, inputs.B, inputs.C, inputs.D, inputs.z, inputs.bias,
            kept, adjoints, scratch, grad_u, grad_delta, grad_z, grad_a, grad_b, grad_c, grad_d, grad_bias,
            *sizes, kept.shape[1], CHUNK=CHUNK, **constants,
        )  # fmt: skip
    return (
        grad_u,
        grad_delta,
        grad_a.sum((0, 1)).t()[:channels, : A.shape[1]].contiguous(),
        sum_groups(grad_b, A.shape[1]),
        sum_groups(grad_c, A.shape[1]),
        grad_d.sum((0, 1))[:channels].clone(),
        grad_z,
        grad_bias.sum((0, 1))[:channels].clone(),
    )


@backward_op.register_fake
def _(*inputs: Any) -> Gradients:
    _, u, _, A, _, _, _, z, *_ = inputs
    return empty_gradients(u, A, z, empty_innermost)


scan = differentiable(forward_op, backward_op)
"""The scan of float32 tensors on a CUDA device; shapes as in :func:`umseg.kernels.scan.interface.selective_scan`.

The scan is fastest where the channels, or the states of B and C, are innermost in memory; other tensors are copied
into that layout first. The result has the same layout. With TRITON_INTERPRET=1 in the environment the scan also takes
tensors on a CPU.
"""


class _Cut(NamedTuple):
    """The division of a scan into programs: ``spans`` of ``span`` tokens, ``blocks`` of ``lanes`` channels."""

    batches: int
    span: int
    spans: int
    padded: int
    lanes: int
    blocks: int

    @property
    def width(self) -> int:
        """Number of padded channels."""
        return self.blocks * self.lanes

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.spans, self.blocks, self.batches

    @property
    def carry_grid(self) -> tuple[int, int, int]:
        return self.blocks, self.padded, self.batches


class _Inputs(NamedTuple):
    """The inputs of the kernels (see ``triton_forward``); an absent z is never read, an absent D or bias is zero."""

    u: Tensor
    delta: Tensor
    decay: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    z: Tensor
    bias: Tensor
    strides: tuple[int, int]


def _cut(u: Tensor, A: Tensor) -> _Cut:
    batches, channels, length = u.shape
    lanes, padded = min(_LANES, _power_of_two(channels)), _power_of_two(A.shape[1])
    blocks = ceil_div(channels, lanes)
    processors = torch.cuda.get_device_properties(u.device).multi_processor_count if u.is_cuda else 1
    spans = ceil_div(_PROGRAMS * processors, batches * blocks)
    span = min(max(CHUNK * ceil_div(length, CHUNK * spans), _SHORTEST), _LONGEST)
    return _Cut(batches, span, ceil_div(length, span), padded, lanes, blocks)


def _prepare(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    cut: _Cut,
) -> _Inputs:
    more = cut.width - u.shape[1]
    u = channels_innermost(u)
    if B.stride() != C.stride() or B.stride(1) != 1:
        B, C = channels_innermost(B), channels_innermost(C)
    return _Inputs(
        u,
        channels_innermost(delta),
        # Without padding the product would have the memory layout of A.
        F.pad(A.t() * math.log2(math.e), (0, more, 0, cut.padded - A.shape[1])).contiguous(),
        B,
        C,
        u.new_zeros(cut.width) if D is None else F.pad(D, (0, more)),
        u if z is None else channels_innermost(z),
        u.new_zeros(cut.width) if delta_bias is None else F.pad(delta_bias, (0, more)),
        (B.stride(0), B.stride(2)),
    )


def _forward_outputs(u: Tensor, A: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    batches, channels, length = u.shape
    lanes = min(_LANES, _power_of_two(channels))
    chunks = ceil_div(length, CHUNK) if keep else 0
    kept = u.new_empty(batches, chunks, _power_of_two(A.shape[1]), lanes * ceil_div(channels, lanes))
    return empty_innermost(u), kept


def _power_of_two(n: int) -> int:
    """The smallest power of two that is at least ``n``."""
    return 1 << (n - 1).bit_length()
