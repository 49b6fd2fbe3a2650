"""Convolutions: right for thin inputs too, and without the bias where a norm follows."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from umseg.models.device import THIN
from umseg.models.fused_upsampling import Joined


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` whose bias may be idle (``before_norm``)."""

    idle_bias = False

    def forward(self, input: Tensor | Joined) -> Tensor:
        """(batch, in_channels, y, x) to (batch, out_channels, ...)."""
        if isinstance(input, Joined):
            return input.convolved(self.weight, None if self.idle_bias else self.bias, not self.idle_bias)
        out: Tensor = self._conv_forward(input, self.weight, None if self.idle_bias else self.bias)
        return out


class Conv3d(nn.Conv3d):
    """``nn.Conv3d`` that computes in float32 where autocast on a CPU would make wrong gradients; likewise."""

    idle_bias = False

    def forward(self, input: Tensor | Joined) -> Tensor:
        """(batch, in_channels, z, y, x) to (batch, out_channels, ...)."""
        bias = None if self.idle_bias else self.bias
        if isinstance(input, Joined):
            return input.convolved(self.weight, bias, not self.idle_bias)
        if input.device.type == "cpu" and min(input.shape[2:]) < THIN and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                out: Tensor = self._conv_forward(input.float(), self.weight, bias)
        else:
            out = self._conv_forward(input, self.weight, bias)
        return out


Convolution = TypeVar("Convolution", bound=Conv2d | Conv3d)


def before_norm(layer: Convolution) -> Convolution:
    """Neither add nor train the bias of a convolution that instance normalisation follows.

    The norm takes it away again with the mean, and its gradient is zero. Weights of others have it, so it stays in the
    state dict; but a GPU adds it, and sums its gradient, in passes over memory of their own.
    """
    layer.idle_bias = True
    if layer.bias is not None:
        layer.bias.requires_grad_(False)
    return layer


def replace_convolutions(network: nn.Module) -> None:
    """Give the 3-D convolutions of a network that somebody else built this behaviour."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = Conv3d
