"""Convolutions that are also right for thin inputs, and leave out the bias where a norm follows."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from umseg.models.device import THIN
from umseg.models.fused_upsampling import Joined


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` whose bias may be idle (``before_norm``)."""

    idle_bias = False

    def forward(self, input: Tensor) -> Tensor:
        """Map (batch, in_channels, y, x) to (batch, out_channels, ...)."""
        out: Tensor = self._conv_forward(input, self.weight, None if self.idle_bias else self.bias)
        return out

    def forward_joined(self, parts: Joined) -> Tensor:
        """The result of ``forward`` for the concatenation of upsampled features and skip, which is never stored."""
        return parts.convolved(self.weight, None if self.idle_bias else self.bias, not self.idle_bias)


class Conv3d(nn.Conv3d):
    """``nn.Conv3d`` that computes in float32 where autocast on a CPU would give wrong gradients.

    Its bias may also be idle (``before_norm``).
    """

    idle_bias = False

    def forward(self, input: Tensor) -> Tensor:
        """Map (batch, in_channels, z, y, x) to (batch, out_channels, ...)."""
        bias = None if self.idle_bias else self.bias
        if input.device.type == "cpu" and min(input.shape[2:]) < THIN and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                out: Tensor = self._conv_forward(input.float(), self.weight, bias)
        else:
            out = self._conv_forward(input, self.weight, bias)
        return out

    def forward_joined(self, parts: Joined) -> Tensor:
        """The result of ``forward`` for the concatenation of upsampled features and skip, which is never stored."""
        return parts.convolved(self.weight, None if self.idle_bias else self.bias, not self.idle_bias)


Convolution = TypeVar("Convolution", bound=Conv2d | Conv3d)


def before_norm(layer: Convolution) -> Convolution:
    """Neither add nor train the bias of a convolution that instance normalisation follows.

    The norm subtracts the bias again with the mean, and the gradient of the bias is zero. The bias stays in the state
    dict, because weights from other programs contain it; but a GPU would need separate passes over memory to add it and
    to sum its gradient.
    """
    layer.idle_bias = True
    if layer.bias is not None:
        layer.bias.requires_grad_(False)
    return layer


def replace_convolutions(network: nn.Module) -> None:
    """Turn every ``nn.Conv3d`` of a network from another package into a ``Conv3d`` with the same parameters.

    The class of the module changes in place, because the network may keep references to it outside its submodules.
    ``Conv3d`` adds methods and a class attribute only, so that nothing else has to be set up.
    """
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = Conv3d
