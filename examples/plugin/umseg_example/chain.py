"""A network that is no U-Net: convolutions at full resolution, one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from umseg.architectures.registry import ModelSpec
from umseg.architectures.stage import Stage

if TYPE_CHECKING:
    from torch import nn

    from umseg.architectures.options import ModelOptions


def build(
    stages: Sequence[Stage], in_channels: int, num_classes: int, deep_supervision: bool, options: ModelOptions
) -> nn.Module:
    """A module from (batch, in_channels, *patch) to logits (batch, num_classes, *patch)."""
    from torch import nn

    convolution = {2: nn.Conv2d, 3: nn.Conv3d}[len(stages[0].size)]
    return nn.Sequential(
        convolution(in_channels, 8, kernel_size=3, padding=1),
        nn.LeakyReLU(),
        convolution(8, num_classes, kernel_size=3, padding=1),
    )


CHAIN = ModelSpec(
    name="chain",
    origin="the example package",
    build=build,
    defaults={"optimizer": "adamw", "lr": 1e-2},
    follows_plan=False,
    package="umseg-example",
)
