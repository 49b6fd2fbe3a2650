"""One U-Net for all variants; an ``Architecture`` names its blocks and the places of its Mamba layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from umseg.architectures.blocks import BLOCKS
from umseg.architectures.stage import Stage
from umseg.architectures.unet import Architecture, Row
from umseg.kernels.runtime.saved_activations import recomputing
from umseg.models.blocks import (
    ConvNormAct,
    ResidualBlock,
    convolution,
    initialize,
    transposed_convolution,
)
from umseg.models.fused_upsampling import Joined, joined
from umseg.models.ssm import MambaLayer


class UNet(nn.Module):
    """Encoder and decoder with skip connections.

    An encoder stage is a row of blocks, of which the first has the stride, and a Mamba layer after them where the
    architecture has one. A decoder stage is an upsampling by the stride, the concatenation with the skip, and a row of
    blocks. A 1x1 convolution on every decoder stage gives the class scores.

    Args:
        stages: Channels, kernels and strides, from the full resolution down.
        architecture: Blocks, skips and Mamba layers of the stages.
        in_channels: Number of image channels.
        num_classes: Number of classes, including the background.
        ssm_residual: Whether Mamba layers have a residual connection; see ``MambaLayer``.
        deep_supervision: Whether to return the scores of every decoder stage.
        fused: Whether to leave out upsampled features and concatenations where that saves time; results are the same.

    Attributes:
        checkpoint_activations: Whether to compute activations again in the backward pass instead of keeping them.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        architecture: Architecture,
        in_channels: int,
        num_classes: int,
        *,
        ssm_residual: bool = False,
        deep_supervision: bool = False,
        fused: bool = True,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.checkpoint_activations = False
        self.skips = architecture.skips
        self.only_size = stages[0].size if "channels" in architecture.ssm else None
        top, dimensions = stages[0], len(stages[0].size)
        ones = [1] * dimensions
        self.stem = nn.Sequential(*_blocks(architecture.stem, in_channels, top, ones))
        if architecture.stem:
            in_channels = top.features
        self.encoder = nn.ModuleList()
        for stage, row, tokens in zip(stages, architecture.encoder, architecture.ssm, strict=True):
            layers = _blocks(row, in_channels, stage, stage.stride)
            if tokens:
                width = math.prod(stage.size) if tokens == "channels" else stage.features
                layers.append(MambaLayer(width, ssm_residual, tokens == "channels"))
            self.encoder.append(nn.Sequential(*layers))
            in_channels = stage.features
        self.upsamplings, self.decoder, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for index in reversed(range(len(stages) - 1)):
            stage, below = stages[index], stages[index + 1]
            upsampling = _nearest if architecture.upsampling == "nearest" else _transposed
            self.upsamplings.append(upsampling(below.features, stage.features, below.stride))
            width = (2 if architecture.skips[index] else 1) * stage.features
            self.decoder.append(nn.Sequential(*_blocks(architecture.decoder[index], width, stage, ones)))
            self.heads.append(convolution(dimensions)(stage.features, num_classes, 1))
        self.decoder_kernels = [stage.kernel for stage in reversed(stages[:-1])]
        self.joins = [fused and _takes_joined(row) for row in self.decoder]
        if not self.heads:
            # Without any pooling the only stage has the only head.
            self.heads.append(convolution(dimensions)(top.features, num_classes, 1))
        self.apply(initialize)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Class scores (logits).

        Args:
            x: Images (batch, in_channels, *spatial); every axis has to be divisible by the product of its strides. A
                network with channels as tokens takes the plan's patch size only.

        Returns:
            The scores (batch, num_classes, *spatial); with deep supervision a list of scores from the full resolution
            down, one per decoder stage.

        Raises:
            ValueError: The network has channels as tokens, and the size is not that of its patch.
        """
        if self.only_size is not None and tuple(x.shape[2:]) != self.only_size:
            raise ValueError(
                f"Mamba layers with channels as tokens (umamba_enc_released) fit patches of {self.only_size} only, the "
                f"plan's; got {tuple(x.shape[2:])}. Cut the image into such patches, as umseg.inference does, or use a "
                "model that takes any size, e.g. umamba_enc."
            )
        with recomputing(x.device.type == "cpu" and not self.checkpoint_activations):
            return self._scores(x)

    def _scores(self, x: Tensor) -> Tensor | list[Tensor]:
        x = self.stem(x)
        skips: list[Tensor | None] = []
        for stage, skipping in zip(self.encoder, (*self.skips, False), strict=True):
            x = self._run(stage, x)
            skips.append(x if skipping else None)
        scores: list[Tensor] = []
        skips.pop()
        rows = zip(self.upsamplings, self.decoder, self.decoder_kernels, self.joins, self.heads, strict=False)
        for upsampling, stage, kernel, joins, head in rows:
            x = self._run(stage, joined(x, upsampling, skips.pop(), kernel, joins))
            if self.deep_supervision:
                scores.append(head(x))
        if self.deep_supervision and scores:
            return scores[::-1]
        full: Tensor = self.heads[-1](x)
        return [full] if self.deep_supervision else full

    def _run(self, stage: nn.Module, x: Tensor | Joined) -> Tensor:
        if self.checkpoint_activations and torch.is_grad_enabled():
            out: Tensor = checkpoint(_run_row, stage, x, use_reentrant=False)
            return out
        # A call of `_run_row` would hold the row's input until the last block is done.
        for block in stage.children():
            x = block.forward_joined(x) if isinstance(x, Joined) else block(x)  # type: ignore[operator]
        return cast("Tensor", x)


def _run_row(row: nn.Module, x: Tensor | Joined) -> Tensor:
    for block in row.children():
        x = block.forward_joined(x) if isinstance(x, Joined) else block(x)  # type: ignore[operator]
    return cast("Tensor", x)


def _takes_joined(row: nn.Module) -> bool:
    """Whether the first block of a decoder stage can take a ``Joined``."""
    first = next(row.children(), None)
    return isinstance(first, ConvNormAct | ResidualBlock) and first.joinable


def _blocks(row: Row, in_channels: int, stage: Stage, stride: Sequence[int]) -> list[nn.Module]:
    modules = []
    for index, kind in enumerate(row):
        build: Callable[[int, int, Sequence[int], Sequence[int]], nn.Module] = resolve_name(BLOCKS[kind].builder)
        first = index == 0
        sizes = in_channels if first else stage.features, stage.features
        modules.append(build(*sizes, stage.kernel, stride if first else [1] * len(stride)))
    return modules


def _transposed(in_channels: int, out_channels: int, stride: Sequence[int]) -> nn.Module:
    return transposed_convolution(len(stride))(in_channels, out_channels, tuple(stride), stride=tuple(stride))


def _nearest(in_channels: int, out_channels: int, stride: Sequence[int]) -> nn.Module:
    """A 1x1 convolution and nearest-neighbour upsampling.

    The released network convolves after the upsampling, which gives the same result for more work.
    """
    scale = tuple(float(factor) for factor in stride)
    return nn.Sequential(convolution(len(stride))(in_channels, out_channels, 1), nn.Upsample(scale_factor=scale))
