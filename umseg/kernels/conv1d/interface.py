"""Causal depthwise convolution along a sequence, followed by SiLU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from umseg.kernels.conv1d import triton
from umseg.kernels.runtime.direct import is_direct
from umseg.kernels.runtime.layout import LANES, ceil_div
from umseg.kernels.runtime.obstacles import OBSTACLES
from umseg.kernels.runtime.threads import run_tasks

# Number of tokens per piece of work: a multiple of the kernels' chunk, large enough to make the cost of a call
# negligible.
_SEGMENT = 4096


def causal_conv1d_silu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """silu(sum_k weight[c, 0, k] x[b, c, t - width + 1 + k] + bias[c]), with zeros before the first token.

    Fused kernels compute float32 on a CPU, where torch's grouped convolution is over ten times slower, and on a GPU
    where Triton can run, whose kernel keeps the channels innermost, as the scan needs them. torch's own convolution and
    SiLU compute everything else.

    Args:
        x: Sequences (batch, channels, length) with any strides.
        weight: Weights (channels, 1, width).
        bias: Bias (channels,).

    Returns:
        The result (batch, channels, length) in the dtype of ``x``.

    Raises:
        ValueError: The shapes do not fit, or a size is 0.
    """
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"x must be (batch, channels, length), every size > 0, got {tuple(x.shape)}")
    if weight.ndim != 3 or tuple(weight.shape[:2]) != (x.shape[1], 1):
        raise ValueError(f"weight must be ({x.shape[1]}, 1, width), got {tuple(weight.shape)}")
    if bias is not None and tuple(bias.shape) != (x.shape[1],):
        raise ValueError(f"bias must be ({x.shape[1]},), got {tuple(bias.shape)}")
    fused = _fused(x.device.type)
    if fused is not None and {x.dtype, weight.dtype} == {torch.float32}:
        bias = x.new_zeros(x.shape[1]) if bias is None else bias
        if fused is forward_op and is_direct(x):
            fused = _forward
        y: Tensor = fused(x, torch.cat([weight[:, 0], bias[:, None]], dim=1))
        return y
    width = weight.shape[-1]
    return F.silu(F.conv1d(F.pad(x, (width - 1, 0)), weight, bias, groups=x.shape[1]))


def _fused(device: str) -> Callable[[Tensor, Tensor], Tensor] | None:
    if device == "cuda":
        return triton.forward_op if OBSTACLES["triton"] is None else None
    return forward_op if device == "cpu" else None


def _forward(x: Tensor, weights: Tensor) -> Tensor:
    """Return the convolution and SiLU of x; the last column of ``weights`` (channels, width + 1) is the bias."""
    from umseg.kernels.conv1d.cpu_kernels import forward, scratch_size

    y = torch.empty_like(x)
    arrays = x.detach().numpy(), weights.detach().numpy()
    out = y.numpy()
    pieces = _pieces(x)

    def make_worker() -> Callable[[int], None]:
        scratch = torch.empty(scratch_size(x.shape[1], weights.shape[1] - 1)).numpy()
        return lambda i: forward(*arrays, *pieces[i], out, scratch)

    run_tasks(make_worker, len(pieces))
    return y


forward_op = torch.library.custom_op("umseg::causal_conv1d_silu_cpu", _forward, mutates_args=(), device_types="cpu")
"""The same as an operator of torch."""


@forward_op.register_fake
def _(x: Tensor, weights: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("umseg::causal_conv1d_silu_cpu_backward", mutates_args=(), device_types="cpu")
def backward_op(grad: Tensor, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and of the weights; the convolution is computed again instead of kept."""
    from umseg.kernels.conv1d.cpu_kernels import backward, scratch_size

    channels, columns = weights.shape
    grad_x = torch.empty_like(x)
    arrays = x.detach().numpy(), weights.detach().numpy(), grad.detach().numpy()
    out = grad_x.numpy()
    pieces = _pieces(x)
    blocks = ceil_div(channels, LANES)
    parts = torch.empty(len(pieces), blocks * columns * LANES)

    def make_worker() -> Callable[[int], None]:
        scratch = torch.empty(scratch_size(channels, columns - 1)).numpy()
        return lambda i: backward(*arrays, *pieces[i], out, parts.numpy(), i, scratch)

    run_tasks(make_worker, len(pieces))
    total = parts.sum(0).view(blocks, columns, LANES).transpose(1, 2).reshape(-1, columns)
    return grad_x, total[:channels].clone()


@backward_op.register_fake
def _(grad: Tensor, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), weights.new_empty(weights.shape)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, weights = ctx.saved_tensors
    gradients: tuple[Tensor, Tensor] = backward_op(grad, x, weights)
    return gradients


forward_op.register_autograd(_backward, setup_context=_setup_context)


def _pieces(x: Tensor) -> list[tuple[int, int, int]]:
    """The triple (batch, first token, token after the last) of every piece of work."""
    batches, _, length = x.shape
    return [(b, t, min(t + _SEGMENT, length)) for b in range(batches) for t in range(0, length, _SEGMENT)]
