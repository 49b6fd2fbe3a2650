"""The Mamba layer of U-Mamba: a feature map seen as one long sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from umseg.models.mamba import MambaBlock


class MambaLayer(nn.Module):
    """Layer norm and a Mamba block over the tokens of a feature map (U-Mamba paper 2.2, Fig. 1a).

    The tokens are the voxels in raster order, last axis fastest, and the model dimension is the number of channels.
    Alternatively the tokens are the channels (docs/rules.md, Networks); the layer then takes feature maps of one size
    only.

    Args:
        width: Model dimension: number of channels of the feature map, or of its voxels where channels are the tokens.
        residual: Whether to add the input to the output, with the block's output projection initialised to zero, so
            that the layer starts as the identity. The paper draws no such connection: the output replaces the
            features.
        channel_tokens: Whether the channels are the tokens.
    """

    def __init__(self, width: int, residual: bool = False, channel_tokens: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.channel_tokens = channel_tokens
        self.norm = nn.LayerNorm(width)
        self.mamba = MambaBlock(width)
        if residual:
            nn.init.zeros_(self.mamba.out_proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, *spatial) to the same shape and dtype.

        The layer computes in the dtype of its parameters, which is float32 even under autocast (docs/rules.md,
        Networks).
        """
        with torch.autocast(x.device.type, enabled=False):
            mixed = self._mix(x.flatten(2).to(self.norm.weight.dtype)).reshape(x.shape).to(x.dtype)
        return x + mixed if self.residual else mixed

    def _mix(self, features: Tensor) -> Tensor:
        """Map (batch, channels, voxels) to the same shape."""
        tokens = features if self.channel_tokens else features.transpose(1, 2)
        mixed: Tensor = self.mamba(self.norm(tokens))
        return mixed if self.channel_tokens else mixed.transpose(1, 2)
