"""Instance normalisation with activation and residual on a CPU: torch operators around numba kernels.

Normalisation is bound by memory, and torch's own backward pass is over ten times slower in channels-last memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.kernels.norm.autograd import gradients_by
from umseg.kernels.runtime.direct import is_direct
from umseg.kernels.runtime.memory_format import channels_last
from umseg.kernels.runtime.saved_activations import computed_again
from umseg.kernels.runtime.threads import run_tasks

PIECE = 4096
"""Number of voxels of a piece of work."""


def norm_act(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
    """leaky_relu(instance_norm(x) + residual) in float32 or bfloat16; autograd need not keep it without a residual."""
    if is_direct(x):
        return _forward(x, residual, weight, bias, eps, slope)[0]
    out, mean, scale = forward_op(x, residual, weight, bias, eps, slope)
    if residual is not None:
        return cast("Tensor", out)
    known = [t.detach() for t in (x, weight, bias, mean, scale)]
    return computed_again(out, partial(_again, *known, slope))


def _forward(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, and the mean and reciprocal standard deviation of each sample and channel."""
    from umseg.kernels.norm import cpu_kernels

    x = channels_last(x)
    memory = _memory(x)
    sums = _sum_pieces(memory, torch.float64, lambda *piece: cpu_kernels.sum_voxels(memory, *piece))
    shift = sums[:, 0] / memory.shape[1]
    first = x.detach().flatten(2)[..., 0].double().numpy()
    with np.errstate(invalid="ignore"):  # an infinite input gives NaN, as in torch
        variance = np.maximum(sums[:, 1] / memory.shape[1] - shift**2, 0)
        mean, scale = (torch.from_numpy(a.astype(np.float32)) for a in (first + shift, 1 / np.sqrt(variance + eps)))
    return _normalized(x, residual, _Line.of(weight, bias, mean, scale), slope), mean, scale


forward_op = torch.library.custom_op("umseg::instance_norm_act", _forward, mutates_args=())
"""The same as an operator of torch."""


@dataclass(frozen=True)
class _Line:
    """The normalisation as (batch, channels) factors and offsets of the input."""

    factor: NDArray[np.float32]
    offset: NDArray[np.float32]

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor) -> _Line:
        with np.errstate(invalid="ignore"):
            factor = weight.numpy() * scale.numpy()
            return cls(factor, bias.numpy() - mean.numpy() * factor)


def _normalized(x: Tensor, residual: Tensor | None, line: _Line, slope: float) -> Tensor:
    from umseg.kernels.norm import cpu_kernels

    x = channels_last(x)
    y = torch.empty_like(x)
    memory, result = _memory(x), _memory(y)
    rest = memory[:, :0] if residual is None else _memory(channels_last(residual))

    def apply(b: int, start: int, stop: int) -> None:
        cpu_kernels.normalize(memory, rest, b, start, stop, line.factor[b], line.offset[b], np.float32(slope), result)

    _run_pieces(memory, apply)
    return y


@forward_op.register_fake
def _(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    statistics = x.new_empty(x.shape[:2], dtype=torch.float32)
    return channels_last(torch.empty_like(x)), statistics, torch.empty_like(statistics)


@torch.library.custom_op("umseg::instance_norm_act_again", mutates_args=())
def _again(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor, slope: float) -> Tensor:
    """Return the output without a residual, computed from the tensors that the forward pass kept."""
    return _normalized(x, None, _Line.of(weight, bias, mean, scale), slope)


@_again.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor, slope: float) -> Tensor:
    return channels_last(torch.empty_like(x))


@torch.library.custom_op("umseg::instance_norm_act_backward", mutates_args=())
def backward_op(
    grad: Tensor,
    x: Tensor,
    y: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    scale: Tensor,
    with_residual: bool,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from umseg.kernels.norm import cpu_kernels

    dx = torch.empty_like(channels_last(x))
    dresidual = torch.empty_like(dx) if with_residual else x.new_empty(0)
    g, memory = (_memory(channels_last(t)) for t in (grad, x))
    # The output is needed only for the sign before the activation, which without a residual follows from the input too.
    result = memory[:, :0] if y is None else _memory(channels_last(y))
    to_input = _memory(dx)
    to_residual = _memory(dresidual) if with_residual else to_input[:, :0]
    middle, spread, single = mean.numpy(), scale.numpy(), np.float32(slope)
    line = _Line.of(weight, bias, mean, scale)

    def add(b: int, start: int, stop: int, sums: NDArray[Any]) -> None:
        cpu_kernels.sum_gradients(
            g, memory, result, b, start, stop, middle[b], line.factor[b], line.offset[b], single, sums
        )

    sums = _sum_pieces(memory, torch.float32, add)
    along = sums[:, 1] * spread
    shift = (sums[:, 0] / memory.shape[1]).astype(np.float32)
    tilt = (along * spread / memory.shape[1]).astype(np.float32)

    def apply(b: int, start: int, stop: int) -> None:
        cpu_kernels.input_gradients(
            g,
            memory,
            result,
            b,
            start,
            stop,
            middle[b],
            line.factor[b],
            line.offset[b],
            shift[b],
            tilt[b],
            single,
            to_input,
            to_residual,
        )

    _run_pieces(memory, apply)
    dweight, dbias = (torch.from_numpy(total.sum(0).astype(np.float32)) for total in (along, sums[:, 0]))
    return dx, dresidual, dweight, dbias


@backward_op.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    y: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    scale: Tensor,
    with_residual: bool,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dx = channels_last(torch.empty_like(x))
    dresidual = torch.empty_like(dx) if with_residual else x.new_empty(0)
    return dx, dresidual, torch.empty_like(weight), torch.empty_like(weight)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, residual, weight, bias, _, slope = inputs
    y, mean, scale = output
    ctx.with_residual, ctx.slope = residual is not None, slope
    ctx.save_for_backward(x, None if residual is None or slope == 1 else y, weight, bias, mean, scale)


forward_op.register_autograd(gradients_by(backward_op), setup_context=_save)


def _memory(x: Tensor) -> NDArray[np.generic]:
    """A channels-last tensor as an array (batch, voxels, channels) in the same memory; bfloat16 becomes uint16."""
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
    memory: NDArray[Any], dtype: torch.dtype, work: Callable[[int, int, int, NDArray[Any]], None]
) -> NDArray[np.float64]:
    """The sums (batch, 2, channels) that ``work`` adds to its last argument, over the pieces of each sample."""
    batch, voxels, channels = memory.shape
    pieces = -(-voxels // PIECE)
    # torch's memory begins at a cache line, numpy's does not: sums that straddle two lines take three times as long.
    sums = torch.zeros(batch, pieces, 2, channels, dtype=dtype).numpy()
    _run_pieces(memory, lambda b, start, stop: work(b, start, stop, sums[b, start // PIECE]))
    total: NDArray[np.float64] = sums.sum(axis=1, dtype=np.float64)
    return total
