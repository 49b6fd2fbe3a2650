"""What a decoder stage takes: features upsampled from the stage below, beside those of the skip connection.

A transposed convolution whose kernel is its stride, followed by a convolution, is one transposed convolution with a
larger kernel. So the upsampled features need not exist: the convolution after the concatenation is a sum of that
transposed convolution of the features below and a convolution of the skip. With kernels of 3, strides of 2 and half as
many channels above as below this takes 0.77 of the multiplications in 3-D and 0.85 in 2-D, and neither the upsampled
features nor the concatenation take memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umseg.models.device import THIN, channels_last
from umseg.models.recompute import concatenated

WORTH = 8
"""Multiplications that must be saved per one that it takes to compose the weights, which is done in every pass and in
float32."""


@dataclass(frozen=True)
class Joined:
    """Upsampled features beside those of the skip connection, not computed yet.

    Attributes:
        below: (batch, channels below, *spatial // stride).
        upsampling: Kernel equal to its stride.
        skip: (batch, channels, *spatial).
    """

    below: Tensor
    upsampling: nn.ConvTranspose2d | nn.ConvTranspose3d
    skip: Tensor

    def convolved(self, weight: Tensor, bias: Tensor | None, constant_matters: bool) -> Tensor:
        """``conv(cat(upsampling(below), skip))`` with an odd kernel, zero-padded to the same size.

        Args:
            weight: (out_channels, upsampled + skip channels, *kernel).
            bias: (out_channels).
            constant_matters: Whether a constant per output channel has to be right; a norm would take it away.
        """
        upsampled = self.upsampling.weight.shape[1]
        to_upsampled, to_skip = weight.split([upsampled, weight.shape[1] - upsampled], dim=1)
        padding = [k // 2 for k in weight.shape[2:]]
        table = None
        if self.upsampling.bias is not None:
            sizes = [min(n, k) for n, k in zip(self.skip.shape[2:], weight.shape[2:], strict=True)]
            table = _constant(self.upsampling.bias, to_upsampled, sizes)
            middle = table
            for size in sizes:
                middle = middle.select(1, size // 2)
            table = table - middle.view(-1, *[1] * len(sizes))
            if constant_matters:
                bias = middle if bias is None else bias + middle
        convolve, convolve_transposed = _FUNCTIONS[weight.dim() - 2]
        out = convolve(self.skip, channels_last(to_skip), bias, padding=padding)
        composed = _composed(self.upsampling.weight, to_upsampled)
        out += convolve_transposed(self.below, composed, stride=self.upsampling.stride, padding=padding)
        if table is not None:
            _add_borders(out, table.to(out.dtype), 2)
        return out


def joined(below: Tensor, upsampling: nn.Module, skip: Tensor | None, kernel: Sequence[int]) -> Tensor | Joined:
    """The input of a decoder stage whose first convolution has this kernel and as many channels as the skip.

    Measured on CPUs only: elsewhere the tensors are upsampled and concatenated.
    """
    if skip is None:
        out: Tensor = upsampling(below)
        return out
    if isinstance(upsampling, nn.ConvTranspose2d | nn.ConvTranspose3d) and _pays(below, upsampling, skip, kernel):
        return Joined(below, upsampling, skip)
    return concatenated(upsampling(below), skip)


def _pays(
    below: Tensor, upsampling: nn.ConvTranspose2d | nn.ConvTranspose3d, skip: Tensor, kernel: Sequence[int]
) -> bool:
    if below.device.type != "cpu" or min(below.shape[2:]) < THIN:
        return False
    low, high = upsampling.weight.shape[:2]
    out, taps, factor = skip.shape[1], math.prod(kernel), math.prod(upsampling.stride)
    composed_taps = math.prod(k + s - 1 for k, s in zip(kernel, upsampling.stride, strict=True))
    saved_per_voxel = low * high + taps * high * out - composed_taps / factor * low * out
    saved = skip.shape[0] * math.prod(skip.shape[2:]) * saved_per_voxel
    return saved >= WORTH * factor * taps * low * high * out


_FUNCTIONS = {2: (F.conv2d, F.conv_transpose2d), 3: (F.conv3d, F.conv_transpose3d)}


def _composed(transposed: Tensor, weight: Tensor) -> Tensor:
    """One transposed convolution's weight for that of a transposed convolution and of a convolution after it.

    (below, between, *stride) and (out, between, *kernel) to (below, out, *(stride + kernel - 1)), in float32 at least.
    """
    convolve_transposed = _FUNCTIONS[weight.dim() - 2][1]
    axes = tuple(range(2, weight.dim()))
    with torch.autocast(weight.device.type, enabled=False):
        return channels_last(convolve_transposed(transposed, weight.flip(axes).transpose(0, 1)))


def _constant(value: Tensor, weight: Tensor, sizes: Sequence[int]) -> Tensor:
    """The convolution of a constant image: (out_channels, *sizes).

    Sizes are at most the kernel's: in a larger image, the middle is repeated.
    """
    image = value.view(1, -1, *[1] * len(sizes)).expand(1, -1, *sizes)
    with torch.autocast(weight.device.type, enabled=False):
        out: Tensor = _FUNCTIONS[len(sizes)][0](image, weight, padding=[k // 2 for k in weight.shape[2:]])
    return out[0]


def _add_borders(out: Tensor, table: Tensor, axis: int) -> None:
    """Add ``table`` (channels, *sizes), zero in the middle, to the borders of ``out`` (batch, channels, *spatial).

    From this axis on; along the axes before it both have been narrowed to their middle.
    """
    if axis == out.dim():
        return
    size, length = table.shape[axis - 1], out.shape[axis]
    middle = size // 2
    for i in range(size):
        if i != middle:
            border = table.narrow(axis - 1, i, 1)
            for later in range(axis + 1, out.dim()):
                border = border.index_select(later - 1, _rows(table.shape[later - 1], out.shape[later]))
            out.narrow(axis, i if i < middle else length - size + i, 1).add_(border)
    rest = out.narrow(axis, middle, length - size + 1)
    _add_borders(rest, table.narrow(axis - 1, middle, 1), axis + 1)


def _rows(size: int, length: int) -> Tensor:
    """Which of ``size`` rows of a table each of ``length`` voxels takes: those between the borders the middle one."""
    rows = torch.arange(length)
    return torch.where(rows < size // 2, rows, torch.clamp(rows - (length - size), min=size // 2))
