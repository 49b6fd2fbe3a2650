"""Convolutional building blocks, in 2-D and 3-D.

All of umseg's own networks consist of convolutions, instance normalisation and leaky ReLU (U-Mamba paper 2.2;
docs/rules.md, Networks: convolutions with bias, InstanceNorm eps 1e-5 with affine parameters, LeakyReLU slope 0.01).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from umseg.models.convolution import Conv2d, Conv3d, before_norm
from umseg.models.fused_upsampling import Joined
from umseg.models.norm import NEGATIVE_SLOPE, InstanceNormAct

Shortcut = Callable[[int, int, Sequence[int]], nn.Module]
"""A function ``shortcut(in_channels, out_channels, stride)`` that builds a shortcut."""


def convolution(dimensions: int) -> Callable[..., Conv2d | Conv3d]:
    """The convolution class for 2-D or 3-D data."""
    return Conv2d if dimensions == 2 else Conv3d


def transposed_convolution(dimensions: int) -> Callable[..., nn.ConvTranspose2d | nn.ConvTranspose3d]:
    """The transposed convolution class for 2-D or 3-D data."""
    return nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d


class ConvNormAct(nn.Sequential):
    """Convolution, instance normalisation, leaky ReLU: one layer of the plain U-Net."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__(
            before_norm(_padded_convolution(in_channels, out_channels, kernel, stride)),
            InstanceNormAct(out_channels),
        )

    joinable = True

    def forward_joined(self, parts: Joined) -> Tensor:
        """The result of ``forward`` for the concatenation of upsampled features and skip, which is never stored."""
        out: Tensor = self[1](cast("Conv2d | Conv3d", self[0]).forward_joined(parts))
        return out


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut around them (He et al. 2016; U-Mamba paper 2.2 and Fig. 1a).

    The activation follows the sum.

    Args:
        in_channels: Number of channels of the input.
        out_channels: Number of channels of the output.
        kernel: Size of the kernel of both convolutions.
        stride: Stride of the first convolution.
        shortcut: Function of (in_channels, out_channels, stride) that builds the shortcut.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        shortcut: Shortcut | None = None,
    ) -> None:
        super().__init__()
        self.first = ConvNormAct(in_channels, out_channels, kernel, stride)
        self.second = before_norm(_padded_convolution(out_channels, out_channels, kernel, [1] * len(kernel)))
        self.norm = InstanceNormAct(out_channels)
        self.shortcut = (shortcut or identity_or_projection)(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, *spatial) to (batch, out_channels, *spatial // stride)."""
        out: Tensor = self.norm(self.second(self.first(x)), residual=self.shortcut(x))
        return out

    @property
    def joinable(self) -> bool:
        """Whether the shortcut also begins with a convolution of the input."""
        return isinstance(self.shortcut, Conv2d | Conv3d)

    def forward_joined(self, parts: Joined) -> Tensor:
        """The result of ``forward`` for the concatenation of upsampled features and skip, which is never stored."""
        assert isinstance(self.shortcut, Conv2d | Conv3d)
        features = self.second(self.first.forward_joined(parts))
        out: Tensor = self.norm(features, residual=self.shortcut.forward_joined(parts))
        return out


def projected_block(in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]) -> ResidualBlock:
    """A residual block with a projection even where shapes match: the released U-Mamba's block A.

    Source: docs/rules.md, Networks.
    """
    return ResidualBlock(in_channels, out_channels, kernel, stride, projection)


def pooled_block(in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]) -> ResidualBlock:
    """The residual block of nnU-Net's residual encoder, which starts as its shortcut because its last norm is zero.

    Source: docs/rules.md, Optimisation.

    He et al. 2019 ("Bag of tricks", ResNet-D) proposed both the pooling shortcut and the norm that starts at zero.
    """
    block = ResidualBlock(in_channels, out_channels, kernel, stride, pooled_projection)
    nn.init.zeros_(block.norm.weight)
    return block


def identity_or_projection(in_channels: int, out_channels: int, stride: Sequence[int]) -> nn.Module:
    """The identity where shapes match, otherwise a projection."""
    if in_channels == out_channels and math.prod(stride) == 1:
        return nn.Identity()
    return projection(in_channels, out_channels, stride)


def projection(in_channels: int, out_channels: int, stride: Sequence[int]) -> nn.Module:
    """A 1x1 convolution with the block's stride."""
    return _padded_convolution(in_channels, out_channels, [1] * len(stride), stride)


def pooled_projection(in_channels: int, out_channels: int, stride: Sequence[int]) -> nn.Module:
    """An average pool where there is a stride, then a 1x1 convolution and norm where the channels differ."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if math.prod(stride) > 1:
        layers["pool"] = AveragePool(stride)
    if in_channels != out_channels:
        layers["conv"] = convolution(len(stride))(in_channels, out_channels, 1, bias=False)
        layers["norm"] = InstanceNormAct(out_channels, slope=1)
    return nn.Sequential(layers)


class AveragePool(nn.Module):
    """The mean over blocks of ``stride`` voxels."""

    def __init__(self, stride: Sequence[int]) -> None:
        super().__init__()
        self.stride = tuple(stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, *spatial) to (batch, channels, *spatial // stride)."""
        flat = len(self.stride) == 2
        if x.device.type != "cpu":
            return (F.avg_pool2d if flat else F.avg_pool3d)(x, self.stride, self.stride)
        # On a CPU torch pools volumes in float32 only and does not keep the channels-last layout. A depthwise
        # convolution took a fiftieth of the time of the pool and its conversions.
        channels = x.shape[1]
        weight = x.new_full((channels, 1, *self.stride), 1 / math.prod(self.stride))
        return (F.conv2d if flat else F.conv3d)(x, weight, stride=self.stride, groups=channels)


def initialize(module: nn.Module) -> None:
    """Give image convolutions Kaiming-normal weights and zero biases; for use with ``Module.apply``.

    Source: docs/rules.md, Optimisation.

    1-D convolutions and linear layers belong to the Mamba blocks, which bring their own initialisation.
    """
    if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _padded_convolution(
    in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]
) -> Conv2d | Conv3d:
    padding = tuple(k // 2 for k in kernel)
    return convolution(len(kernel))(in_channels, out_channels, tuple(kernel), stride=tuple(stride), padding=padding)
