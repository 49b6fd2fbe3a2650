"""The input of a decoder stage: features upsampled from the stage below, joined with those of the skip connection.

A transposed convolution whose kernel is its stride, followed by a convolution, equals one transposed convolution with a
larger kernel. The upsampled features therefore need not be stored: the convolution after the concatenation is the sum
of that transposed convolution of the features below and a convolution of the skip. With kernels of 3, strides of 2 and
half as many channels above as below this takes 0.77 of the multiplications in 3-D and 0.85 in 2-D, and neither the
upsampled features nor the concatenation take memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umseg.kernels.runtime.memory_format import channels_last
from umseg.kernels.runtime.saved_activations import concatenated
from umseg.models.device import THIN

WORTH = 8
"""Number of multiplications that must be saved for each one that composing the weights takes.

The weights are composed in every forward pass, in float32.
"""


@dataclass(frozen=True)
class Joined:
    """Upsampled features joined with those of the skip connection, not computed yet.

    Blocks take this input in their method ``forward_joined``.

    Attributes:
        below: Features of the stage below, (batch, channels below, *spatial // stride).
        upsampling: Transposed convolution whose kernel is its stride.
        skip: Features of the skip connection, (batch, channels, *spatial).
    """

    below: Tensor
    upsampling: nn.ConvTranspose2d | nn.ConvTranspose3d
    skip: Tensor

    def convolved(self, weight: Tensor, bias: Tensor | None, constant_matters: bool) -> Tensor:
        """``conv(cat(upsampling(below), skip))`` with an odd kernel, zero-padded to the same size.

        Args:
            weight: Weights of the convolution, (out_channels, upsampled + skip channels, *kernel).
            bias: Bias of the convolution, (out_channels).
            constant_matters: Whether a constant per output channel has to be right; a norm would remove it.
        """
        upsampled = self.upsampling.weight.shape[1]
        to_upsampled, to_skip = weight.split([upsampled, weight.shape[1] - upsampled], dim=1)
        padding = [k // 2 for k in weight.shape[2:]]
        constants = None
        if self.upsampling.bias is not None:
            constants = _constants(self.upsampling.bias, to_upsampled, self.skip.shape[2:], constant_matters)
        convolve, convolve_transposed = _FUNCTIONS[weight.dim() - 2]
        out = convolve(self.skip, channels_last(to_skip), bias, padding=padding)
        composed = _composed(self.upsampling.weight, to_upsampled)
        out += convolve_transposed(self.below, composed, stride=self.upsampling.stride, padding=padding)
        if constants is not None:
            out += constants.to(out.dtype)
        return out


def joined(
    below: Tensor, upsampling: nn.Module, skip: Tensor | None, kernel: Sequence[int], allowed: bool = True
) -> Tensor | Joined:
    """The input of a decoder stage whose first convolution has this kernel and as many channels as the skip.

    Args:
        below: Features of the stage below.
        upsampling: Module that upsamples these features to the size of the skip.
        skip: Features of the skip connection; None where the stage has none.
        kernel: Size of the kernel of the stage's first convolution.
        allowed: Whether the first block of the stage can take a ``Joined``.

    Returns:
        A ``Joined`` where that saves time, which was measured on CPUs only; otherwise the concatenated features.
    """
    if skip is None:
        out: Tensor = upsampling(below)
        return out
    if (
        allowed
        and isinstance(upsampling, nn.ConvTranspose2d | nn.ConvTranspose3d)
        and _pays(below, upsampling, skip, kernel)
    ):
        return Joined(below, upsampling, skip)
    return concatenated(upsampling(below), skip)


def _pays(
    below: Tensor, upsampling: nn.ConvTranspose2d | nn.ConvTranspose3d, skip: Tensor, kernel: Sequence[int]
) -> bool:
    if below.device.type != "cpu" or min(below.shape[2:]) < THIN:
        return False
    low, high = upsampling.weight.shape[:2]
    out, taps, factor = skip.shape[1], math.prod(kernel), math.prod(upsampling.stride)
    composed_taps = math.prod([k + s - 1 for k, s in zip(kernel, upsampling.stride, strict=True)])
    saved_per_voxel = low * high + taps * high * out - composed_taps / factor * low * out
    saved = skip.shape[0] * math.prod(skip.shape[2:]) * saved_per_voxel
    return saved >= WORTH * factor * taps * low * high * out


_FUNCTIONS = {2: (F.conv2d, F.conv_transpose2d), 3: (F.conv3d, F.conv_transpose3d)}


def _composed(transposed: Tensor, weight: Tensor) -> Tensor:
    """The weight of the one transposed convolution that equals a transposed convolution followed by a convolution.

    It maps (below, between, *stride) and (out, between, *kernel) to (below, out, *(stride + kernel - 1)), in float32 or
    float64.
    """
    convolve_transposed = _FUNCTIONS[weight.dim() - 2][1]
    axes = tuple(range(2, weight.dim()))
    with torch.autocast(weight.device.type, enabled=False):
        return channels_last(convolve_transposed(transposed, weight.flip(axes).transpose(0, 1)))


def _constants(value: Tensor, weight: Tensor, sizes: Sequence[int], middle_matters: bool) -> Tensor:
    """The convolution of an image with one value per channel: (out_channels, *sizes), channels innermost in memory.

    The result differs from its value in the middle only near the borders, where zeros are padded. The middle is set to
    zero if it does not matter.
    """
    kernel = weight.shape[2:]
    small = [min(n, k) for n, k in zip(sizes, kernel, strict=True)]
    image = value.view(1, -1, *[1] * len(small)).expand(1, -1, *small)
    with torch.autocast(weight.device.type, enabled=False):
        table: Tensor = _FUNCTIONS[len(small)][0](image, weight, padding=[k // 2 for k in kernel])
    table = table[0].movedim(0, -1)
    if not middle_matters:
        middle = table
        for n in small:
            middle = middle[n // 2]
        table = table - middle
    for axis, (n, rows) in enumerate(zip(sizes, small, strict=True)):
        table = table.index_select(axis, _rows(rows, n))
    return table.movedim(-1, 0)


def _rows(size: int, length: int) -> Tensor:
    """The index among ``size`` rows for each of ``length`` voxels; voxels between the borders have the middle row."""
    voxels = torch.arange(length)
    return torch.where(voxels < size // 2, voxels, torch.clamp(voxels - (length - size), min=size // 2))
