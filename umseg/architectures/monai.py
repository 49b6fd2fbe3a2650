"""The networks that the paper compares with, as data: how MONAI builds them (paper 3.3; docs/rules.md, Baselines)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SegResNet:
    """Arguments of MONAI's SegResNet.

    Attributes:
        init_filters: Channels at full resolution; they double with every level.
        blocks_down: Residual blocks per encoder level.
        blocks_up: Residual blocks per decoder level, from the deepest up.
    """

    init_filters: int = 32
    blocks_down: tuple[int, ...] = (1, 2, 2, 4)
    blocks_up: tuple[int, ...] = (1, 1, 1)


@dataclass(frozen=True)
class UNETR:
    """Arguments of MONAI's UNETR.

    Attributes:
        feature_size: Channels at full resolution.
        hidden_size: Channels of a token.
        mlp_dim: Inner channels of the transformer's perceptrons.
        num_heads: Attention heads.
        proj_type: How patches become tokens: ``conv`` is a strided convolution.
        norm_name: Norm of the convolutional blocks.
        res_block: The convolutional blocks have a shortcut.
    """

    feature_size: int = 16
    hidden_size: int = 768
    mlp_dim: int = 3072
    num_heads: int = 12
    proj_type: str = "conv"
    norm_name: str = "instance"
    res_block: bool = True


@dataclass(frozen=True)
class SwinUNETR:
    """Arguments of MONAI's SwinUNETR.

    Attributes:
        feature_size: Channels at full and at half resolution; they double with every level below.
        depths: Transformer blocks per level.
        num_heads: Attention heads per level.
        window_size: Tokens per axis of an attention window.
    """

    feature_size: int = 48
    depths: tuple[int, ...] = (2, 2, 2, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 7


@dataclass(frozen=True)
class Baseline:
    """A network of MONAI.

    Attributes:
        settings: Arguments of the class in ``monai.networks.nets`` that has the same name.
        divisor: Every axis of the patch is a multiple of it.
        sized: The class is built for one patch size.
    """

    settings: SegResNet | UNETR | SwinUNETR
    divisor: int
    sized: bool = False


BASELINES = {
    "segresnet": Baseline(SegResNet(), 8),
    "unetr": Baseline(UNETR(), 16, sized=True),
    "swin_unetr": Baseline(SwinUNETR(), 32),
}


def rounded_patch(model: str, patch: Sequence[int]) -> tuple[int, ...]:
    """The patch, rounded up to what the network's strides ask for, and large enough for a norm over its last stage."""
    divisor = BASELINES[model].divisor
    steps = [-(-size // divisor) for size in patch]
    if max(steps) == 1:
        steps = [2] * len(steps)
    return tuple(step * divisor for step in steps)
