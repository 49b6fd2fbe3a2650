"""One U-Net for all variants: what differs is the block, how many a stage has, and where Mamba layers stand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from umseg.models.blocks import convolution, initialize, transposed_convolution
from umseg.models.ssm import MambaLayer
from umseg.planning.plan import Configuration

Block = Callable[[int, int, Sequence[int], Sequence[int]], nn.Module]
"""Block(in_channels, out_channels, kernel, stride)."""


class UNet(nn.Module):
    """Encoder and decoder with a skip connection at every level.

    An encoder stage is a row of blocks, the first carrying the stride, and a Mamba layer after them where asked for. A
    decoder stage is a transposed convolution with kernel = stride, concatenation with the skip, and a row of blocks. A
    1x1 convolution on every decoder stage gives the class scores.

    Args:
        configuration: Channels, kernels and strides per stage.
        in_channels: Image channels.
        num_classes: Classes including the background.
        block: Constructor of one block.
        encoder_blocks: Blocks per encoder stage.
        decoder_blocks: Blocks per decoder stage, from the deepest up.
        ssm_stages: Encoder stages that end in a Mamba layer.
        ssm_residual: See ``MambaLayer``.
        deep_supervision: Return the scores of every decoder stage.
    """

    def __init__(
        self,
        configuration: Configuration,
        in_channels: int,
        num_classes: int,
        *,
        block: Block,
        encoder_blocks: Sequence[int],
        decoder_blocks: Sequence[int],
        ssm_stages: Collection[int] = (),
        ssm_residual: bool = False,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        features, strides = configuration.features_per_stage, configuration.strides
        kernels, dimensions = configuration.kernel_sizes, configuration.dimensions
        self.encoder = nn.ModuleList()
        for stage, width in enumerate(features):
            rows = _blocks(block, in_channels, width, kernels[stage], strides[stage], encoder_blocks[stage])
            if stage in ssm_stages:
                rows.append(MambaLayer(width, ssm_residual))
            self.encoder.append(nn.Sequential(*rows))
            in_channels = width
        self.upsamplings, self.decoder, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for index, stage in enumerate(reversed(range(len(features) - 1))):
            width, stride, ones = features[stage], tuple(strides[stage + 1]), [1] * dimensions
            upsampling = transposed_convolution(dimensions)(features[stage + 1], width, stride, stride=stride)
            self.upsamplings.append(upsampling)
            rows = _blocks(block, 2 * width, width, kernels[stage], ones, decoder_blocks[index])
            self.decoder.append(nn.Sequential(*rows))
            self.heads.append(convolution(dimensions)(width, num_classes, 1))
        if not self.heads:
            # No pooling at all: the only stage carries the only head.
            self.heads.append(convolution(dimensions)(features[0], num_classes, 1))
        self.apply(initialize)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Class scores (logits).

        Args:
            x: (batch, in_channels, *spatial); every axis divisible by the product of its strides.

        Returns:
            (batch, num_classes, *spatial); with deep supervision a list of them from the full resolution down, one per
            decoder stage.
        """
        skips: list[Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        scores: list[Tensor] = []
        skips.pop()
        for upsampling, stage, head in zip(self.upsamplings, self.decoder, self.heads, strict=False):
            x = stage(torch.cat((upsampling(x), skips.pop()), dim=1))
            if self.deep_supervision:
                scores.append(head(x))
        if self.deep_supervision and scores:
            return scores[::-1]
        full: Tensor = self.heads[-1](x)
        return [full] if self.deep_supervision else full


def _blocks(
    block: Block, in_channels: int, width: int, kernel: Sequence[int], stride: Sequence[int], count: int
) -> list[nn.Module]:
    ones = [1] * len(kernel)
    return [block(in_channels, width, kernel, stride), *(block(width, width, kernel, ones) for _ in range(count - 1))]
