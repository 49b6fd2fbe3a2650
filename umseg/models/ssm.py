"""The Mamba layer of U-Mamba: a feature map seen as one long sequence of voxels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from umseg.models.mamba import MambaBlock


class MambaLayer(nn.Module):
    """Layer norm and a Mamba block over the voxels of a feature map (U-Mamba paper 2.2, Fig. 1a).

    Tokens are the voxels in raster order, last axis fastest; the model dimension is the number of channels.

    Args:
        channels: Channels of the feature map.
        residual: Add the input to the output, with the block's output projection initialised to zero, so that the
            layer starts as the identity. The paper draws no such connection: the output replaces the features.
    """

    def __init__(self, channels: int, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.norm = nn.LayerNorm(channels)
        self.mamba = MambaBlock(channels)
        if residual:
            nn.init.zeros_(self.mamba.out_proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, *spatial) to the same shape and dtype.

        Computed in the dtype of the parameters, which is float32 also under autocast (facts 2.1).
        """
        with torch.autocast(x.device.type, enabled=False):
            tokens = x.flatten(2).transpose(1, 2).to(self.norm.weight.dtype)
            mixed: Tensor = self.mamba(self.norm(tokens)).transpose(1, 2).reshape(x.shape).to(x.dtype)
        return x + mixed if self.residual else mixed
