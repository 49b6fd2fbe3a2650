"""A 3-D convolution that is right for thin inputs too."""

from __future__ import annotations

import torch
from torch import Tensor, nn

THIN = 3
"""Voxels below which oneDNN's bfloat16 gradients of the weights were found to be memory that nobody wrote to: an axis
of 2 under a 3x3x3 kernel, of 1 under a stride (torch 2.13, AVX-512). Three voxels and more were right."""


class Conv3d(nn.Conv3d):
    """``nn.Conv3d`` that computes in float32 where autocast on a CPU would make wrong gradients."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, in_channels, z, y, x) to (batch, out_channels, ...)."""
        if input.device.type == "cpu" and min(input.shape[2:]) < THIN and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.float())
        return super().forward(input)


def replace_convolutions(network: nn.Module) -> None:
    """Give the 3-D convolutions of a network that somebody else built this behaviour."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = Conv3d
