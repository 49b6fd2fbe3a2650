"""Instance normalisation with its activation and the residual sum before it, in one pass over memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from umseg.models import norm_cuda
from umseg.models.scan.interface import OBSTACLES
from umseg.models.threads import run_tasks

NEGATIVE_SLOPE = 0.01

PIECE = 4096
"""Voxels of a piece of work."""


class InstanceNormAct(nn.Module):
    """LeakyReLU(InstanceNorm(x) + residual), slope 0.01, eps 1e-5, affine (facts 2.1). Slope 1 is no activation.

    On a CPU in float32 or bfloat16, and on a GPU where Triton can run, fused kernels over channels-last memory are
    used: normalisation is bound by memory, and torch's own works badly in that layout. Elsewhere it is torch's own.
    """

    def __init__(self, channels: int, eps: float = 1e-5, slope: float = NEGATIVE_SLOPE) -> None:
        super().__init__()
        self.eps = eps
        self.slope = slope
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(batch, channels, *spatial) to the same shape and dtype; ``residual`` has the shape of ``x``."""
        if (fused := _operator(x)) is not None:
            residual = None if residual is None else residual.to(x.dtype)
            out: Tensor = fused(x, residual, self.weight.float(), self.bias.float(), self.eps, self.slope)[0]
            return out
        x = F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        x = x if residual is None else x + residual
        return x if self.slope == 1 else F.leaky_relu_(x, self.slope)


def _operator(x: Tensor) -> Callable[..., tuple[Tensor, Tensor, Tensor]] | None:
    """What computes in the memory, device and dtype of ``x``, if anything but torch does."""
    if x.device.type == "cpu":
        return _fused if x.dtype in (torch.float32, torch.bfloat16) else None
    short = x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return norm_cuda.forward_op if x.device.type == "cuda" and short and OBSTACLES["triton"] is None else None


@torch.library.custom_op("umseg::instance_norm_act", mutates_args=())
def _fused(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, slope: float = NEGATIVE_SLOPE
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and per sample and channel the mean and the reciprocal standard deviation."""
    from umseg.models import norm_kernels

    x = _channels_last(x)
    y = torch.empty_like(x)
    memory, result = _memory(x), _memory(y)
    rest = memory[:, :0] if residual is None else _memory(_channels_last(residual))
    sums = _sum_pieces(memory, np.float64, lambda *piece: norm_kernels.sum_voxels(memory, *piece))
    shift = sums[:, 0] / memory.shape[1]
    first = x.detach().flatten(2)[..., 0].double().numpy()
    with np.errstate(invalid="ignore"):  # an infinite input makes NaN, as it does in torch
        variance = np.maximum(sums[:, 1] / memory.shape[1] - shift**2, 0)
        mean, scale = (first + shift).astype(np.float32), (1 / np.sqrt(variance + eps)).astype(np.float32)
        factor = weight.numpy() * scale
        offset = bias.numpy() - mean * factor

    def apply(b: int, start: int, stop: int) -> None:
        norm_kernels.normalize(memory, rest, b, start, stop, factor[b], offset[b], np.float32(slope), result)

    _run_pieces(memory, apply)
    return y, torch.from_numpy(mean), torch.from_numpy(scale)


@_fused.register_fake
def _(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, slope: float = NEGATIVE_SLOPE
) -> tuple[Tensor, Tensor, Tensor]:
    statistics = x.new_empty(x.shape[:2], dtype=torch.float32)
    return _channels_last(torch.empty_like(x)), statistics, torch.empty_like(statistics)


@torch.library.custom_op("umseg::instance_norm_act_backward", mutates_args=())
def _fused_backward(
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    mean: Tensor,
    scale: Tensor,
    with_residual: bool,
    slope: float = NEGATIVE_SLOPE,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from umseg.models import norm_kernels

    dx = torch.empty_like(_channels_last(x))
    dresidual = torch.empty_like(dx) if with_residual else x.new_empty(0)
    g, memory, result = (_memory(_channels_last(t)) for t in (grad, x, y))
    to_input = _memory(dx)
    to_residual = _memory(dresidual) if with_residual else to_input[:, :0]
    middle, spread, single = mean.numpy(), scale.numpy(), np.float32(slope)

    def add(b: int, start: int, stop: int, sums: NDArray[Any]) -> None:
        norm_kernels.sum_gradients(g, memory, result, b, start, stop, middle[b], single, sums)

    sums = _sum_pieces(memory, np.float32, add)
    along = sums[:, 1] * spread
    factor = weight.numpy() * spread
    shift = (sums[:, 0] / memory.shape[1]).astype(np.float32)
    tilt = (along * spread / memory.shape[1]).astype(np.float32)

    def apply(b: int, start: int, stop: int) -> None:
        norm_kernels.input_gradients(
            g,
            memory,
            result,
            b,
            start,
            stop,
            middle[b],
            factor[b],
            shift[b],
            tilt[b],
            single,
            to_input,
            to_residual,
        )

    _run_pieces(memory, apply)
    dweight, dbias = (torch.from_numpy(total.sum(0).astype(np.float32)) for total in (along, sums[:, 0]))
    return dx, dresidual, dweight, dbias


@_fused_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    mean: Tensor,
    scale: Tensor,
    with_residual: bool,
    slope: float = NEGATIVE_SLOPE,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dx = _channels_last(torch.empty_like(x))
    dresidual = torch.empty_like(dx) if with_residual else x.new_empty(0)
    return dx, dresidual, torch.empty_like(weight), torch.empty_like(weight)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, residual, weight, _, _, slope = inputs
    y, mean, scale = output
    ctx.with_residual, ctx.slope = residual is not None, slope
    # The output only says where the activation was cut off: without one it need not be kept.
    ctx.save_for_backward(x, x if slope == 1 else y, weight, mean, scale)


def _differentiable(forward: Any, backward: Any) -> None:
    """Give the gradients of one operator by the other."""

    def gradients(ctx: Any, grad: Tensor, _mean: Tensor, _scale: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, mean, scale = ctx.saved_tensors
        dx, dresidual, dweight, dbias = backward(grad, x, y, weight, mean, scale, ctx.with_residual, ctx.slope)
        return dx, dresidual if ctx.with_residual else None, dweight, dbias, None, None

    forward.register_autograd(gradients, setup_context=_save)


_differentiable(_fused, _fused_backward)
_differentiable(norm_cuda.forward_op, norm_cuda.backward_op)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)


def _memory(x: Tensor) -> NDArray[np.generic]:
    """A channels-last tensor as an array (batch, voxels, channels) on the same memory; bfloat16 as uint16."""
    x = x.detach().movedim(1, -1).flatten(1, -2)
    return x.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else x.numpy()


def _run_pieces(memory: NDArray[Any], work: Callable[[int, int, int], None]) -> None:
    """Call ``work(sample, first voxel, last voxel)`` for every piece, on as many threads as torch uses."""
    batch, voxels, _ = memory.shape
    pieces = -(-voxels // PIECE)

    def run(task: int) -> None:
        start = task % pieces * PIECE
        work(task // pieces, start, min(start + PIECE, voxels))

    run_tasks(lambda: run, batch * pieces)


def _sum_pieces(
    memory: NDArray[Any], dtype: type[np.floating[Any]], work: Callable[[int, int, int, NDArray[Any]], None]
) -> NDArray[np.float64]:
    """(batch, 2, channels): what ``work`` adds to its last argument, summed over the pieces of each sample."""
    batch, voxels, channels = memory.shape
    pieces = -(-voxels // PIECE)
    sums = np.zeros((batch, pieces, 2, channels), dtype)
    _run_pieces(memory, lambda b, start, stop: work(b, start, stop, sums[b, start // PIECE]))
    total: NDArray[np.float64] = sums.sum(axis=1, dtype=np.float64)
    return total
