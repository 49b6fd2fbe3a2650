"""Causal depthwise convolution with SiLU on an NVIDIA GPU: torch operators around the Triton kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from umseg.kernels.runtime.layout import ceil_div
from umseg.kernels.runtime.memory_format import channels_innermost, empty_innermost

# Tokens and channels per program. They give 16 numbers per lane of four warps, enough to compute with while other
# numbers are being loaded.
_TOKENS, _LANES = 64, 32
_OPTIONS: dict[str, Any] = {"TOKENS": _TOKENS, "LANES": _LANES, "num_warps": 4, "enable_fp_fusion": True}


@torch.library.custom_op("umseg::causal_conv1d_silu_triton", mutates_args=())
def forward_op(x: Tensor, weights: Tensor) -> Tensor:
    """Return the result of the convolution and SiLU with the channels innermost in memory.

    The last column of ``weights`` (channels, width + 1) is the bias. With TRITON_INTERPRET=1 in the environment the
    operator also takes tensors on a CPU.
    """
    from umseg.kernels.conv1d.triton_kernels import forward
    from umseg.kernels.runtime.triton_math import on_device_of

    x, y, weights = channels_innermost(x), empty_innermost(x), weights.contiguous()
    with on_device_of(x):
        forward[_grid(x)](x, weights, y, x.shape[2], x.shape[1], WIDTH=weights.shape[1] - 1, **_OPTIONS)
    return y


@forward_op.register_fake
def _(x: Tensor, weights: Tensor) -> Tensor:
    return empty_innermost(x)


@torch.library.custom_op("umseg::causal_conv1d_silu_triton_backward", mutates_args=())
def backward_op(grad: Tensor, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and of the weights; the convolution is computed again instead of kept."""
    from umseg.kernels.conv1d.triton_kernels import backward
    from umseg.kernels.runtime.triton_math import on_device_of

    x, grad, weights = channels_innermost(x), channels_innermost(grad), weights.contiguous()
    channels, columns = weights.shape
    grad_x, grid = empty_innermost(x), _grid(x)
    parts = x.new_empty(grid[0] * grid[2], columns, grid[1] * _LANES)
    with on_device_of(x):
        backward[grid](x, weights, grad, grad_x, parts, x.shape[2], channels, WIDTH=columns - 1, **_OPTIONS)
    return grad_x, parts.sum(0)[:, :channels].t().contiguous()


@backward_op.register_fake
def _(grad: Tensor, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    return empty_innermost(x), weights.new_empty(weights.shape)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, weights = ctx.saved_tensors
    gradients: tuple[Tensor, Tensor] = backward_op(grad, x, weights)
    return gradients


forward_op.register_autograd(_backward, setup_context=_setup_context)


def _grid(x: Tensor) -> tuple[int, int, int]:
    batches, channels, length = x.shape
    return ceil_div(length, _TOKENS), ceil_div(channels, _LANES), batches
