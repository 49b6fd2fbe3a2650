"""Instance normalisation with activation and residual on an NVIDIA GPU: torch operators around the Triton kernels.

torch's own instance norm copies a channels-last tensor into the default layout, in the forward and backward pass, and
leaves its result in that layout, so that the next convolution copies it back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from umseg.kernels.norm.autograd import gradients_by
from umseg.kernels.runtime.layout import ceil_div
from umseg.kernels.runtime.memory_format import channels_last

# Number of values in a program's tile, 64 per lane of its four warps, and the largest number of channels in a tile.
_TILE, _WIDEST = 8192, 128
_OPTIONS: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": True}
# Tiles and channels that a program of `combine` processes at once.
_COMBINED: dict[str, Any] = {"TILES": 1024, "LANES": 4, "num_warps": 8, "enable_fp_fusion": True}


def norm_act(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
    """leaky_relu(instance_norm(x) + residual) in float32, bfloat16 or float16."""
    out: Tensor = forward_op(x, residual, weight, bias, eps, slope)[0]
    return out


@torch.library.custom_op("umseg::instance_norm_act_triton", mutates_args=())
def forward_op(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, and the mean and reciprocal standard deviation of each sample and channel.

    With TRITON_INTERPRET=1 in the environment the operator also takes tensors on a CPU.
    """
    from umseg.kernels.norm.triton_kernels import combine, measure, normalize
    from umseg.kernels.runtime.triton_math import on_device_of

    x, cut = channels_last(x), _cut(x)
    y, parts = torch.empty_like(x), _parts(x, cut)
    mean, scale = (x.new_empty(x.shape[:2], dtype=torch.float32) for _ in range(2))
    sizes = cut.voxels, cut.channels
    other = x if residual is None else channels_last(residual)
    with on_device_of(x):
        measure[cut.grid](x, parts, *sizes, **cut.tile, **_OPTIONS)
        blocks = ceil_div(cut.channels, _COMBINED["LANES"]), cut.batches
        combine[blocks](parts, mean, scale, *sizes, cut.grid[0], eps, VOXELS=cut.tile["VOXELS"], **_COMBINED)
        normalize[cut.grid](
            x, other, weight, bias, mean, scale, y, *sizes, slope, SUM=residual is not None, **cut.tile, **_OPTIONS
        )
    return y, mean, scale


@forward_op.register_fake
def _(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    statistics = x.new_empty(x.shape[:2], dtype=torch.float32)
    return channels_last(torch.empty_like(x)), statistics, torch.empty_like(statistics)


@torch.library.custom_op("umseg::instance_norm_act_triton_backward", mutates_args=())
def backward_op(
    grad: Tensor, x: Tensor, y: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, with_residual: bool, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, the residual (empty without one), weight and bias."""
    from umseg.kernels.norm.triton_kernels import input_gradients, sum_gradients
    from umseg.kernels.runtime.triton_math import on_device_of

    grad, x, y = (channels_last(t) for t in (grad, x, y))
    cut = _cut(x)
    dx, parts = torch.empty_like(x), _parts(x, cut)
    dresidual = torch.empty_like(x) if with_residual else x.new_empty(0)
    sizes = cut.voxels, cut.channels, slope
    with on_device_of(x):
        sum_gradients[cut.grid](grad, x, y, mean, parts, *sizes, **cut.tile, **_OPTIONS)
        sums = parts.sum(1)
        input_gradients[cut.grid](
            grad, x, y, weight, mean, scale, sums, dx, dresidual, *sizes, SUM=with_residual, **cut.tile, **_OPTIONS
        )
    return dx, dresidual, (sums[:, 1] * scale).sum(0), sums[:, 0].sum(0)


@backward_op.register_fake
def _(
    grad: Tensor, x: Tensor, y: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, with_residual: bool, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dx = channels_last(torch.empty_like(x))
    dresidual = torch.empty_like(dx) if with_residual else x.new_empty(0)
    return dx, dresidual, torch.empty_like(weight), torch.empty_like(weight)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, residual, weight, _, _, slope = inputs
    y, mean, scale = output
    ctx.with_residual, ctx.slope = residual is not None, slope
    # The output is needed only for the sign before the activation: without an activation it need not be kept.
    ctx.save_for_backward(x, x if slope == 1 else y, weight, mean, scale)


forward_op.register_autograd(gradients_by(backward_op), setup_context=_save)


class _Cut(NamedTuple):
    """The division of the voxels and channels of a batch into programs."""

    batches: int
    voxels: int
    channels: int
    grid: tuple[int, int, int]
    tile: dict[str, int]


def _cut(x: Tensor) -> _Cut:
    batches, channels = x.shape[:2]
    voxels = x[0, 0].numel()
    lanes = min(1 << (channels - 1).bit_length(), _WIDEST)
    tile = {"VOXELS": _TILE // lanes, "LANES": lanes}
    grid = ceil_div(voxels, tile["VOXELS"]), ceil_div(channels, lanes), batches
    return _Cut(batches, voxels, channels, grid, tile)


def _parts(x: Tensor, cut: _Cut) -> Tensor:
    return x.new_empty(cut.batches, cut.grid[0], 2, cut.channels, dtype=torch.float32)
