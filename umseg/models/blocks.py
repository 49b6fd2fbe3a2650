"""Convolutional building blocks, in 2-D and 3-D.

Every network here is made of convolution, instance normalisation and leaky ReLU (U-Mamba paper 2.2; facts 2.1:
convolutions with bias, InstanceNorm eps 1e-5 with affine parameters, LeakyReLU slope 0.01).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from umseg.models.norm import NEGATIVE_SLOPE, InstanceNormAct


def convolution(dimensions: int) -> Callable[..., nn.Conv2d | nn.Conv3d]:
    """The convolution class for 2-D or 3-D data."""
    return nn.Conv2d if dimensions == 2 else nn.Conv3d


def transposed_convolution(dimensions: int) -> Callable[..., nn.ConvTranspose2d | nn.ConvTranspose3d]:
    """The transposed convolution class for 2-D or 3-D data."""
    return nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d


class ConvNormAct(nn.Sequential):
    """Convolution, instance normalisation, leaky ReLU: one layer of the plain U-Net."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__(
            _padded_convolution(in_channels, out_channels, kernel, stride),
            InstanceNormAct(out_channels),
        )


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut around them (He et al. 2016; U-Mamba paper 2.2 and Fig. 1a).

    The shortcut is the identity where shapes allow it, else a 1x1 convolution with the block's stride. Activation
    follows the sum.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        ones = [1] * len(kernel)
        self.first = ConvNormAct(in_channels, out_channels, kernel, stride)
        self.second = _padded_convolution(out_channels, out_channels, kernel, ones)
        self.norm = InstanceNormAct(out_channels)
        same_shape = in_channels == out_channels and all(s == 1 for s in stride)
        self.shortcut: nn.Module = (
            nn.Identity() if same_shape else _padded_convolution(in_channels, out_channels, ones, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, *spatial) to (batch, out_channels, *spatial // stride)."""
        out: Tensor = self.norm(self.second(self.first(x)), residual=self.shortcut(x))
        return out


def initialize(module: nn.Module) -> None:
    """Kaiming-normal weights and zero biases for the image convolutions (facts 1.11); use with ``Module.apply``.

    1-D convolutions and linear layers belong to the Mamba blocks, which bring their own initialisation.
    """
    if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _padded_convolution(
    in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]
) -> nn.Conv2d | nn.Conv3d:
    padding = tuple(k // 2 for k in kernel)
    return convolution(len(kernel))(in_channels, out_channels, tuple(kernel), stride=tuple(stride), padding=padding)
