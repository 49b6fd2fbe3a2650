"""The table of blocks that U-Nets are made of: how each is built, drawn, and counted in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from umseg.architectures.memory.layers import Device

Shortcut = Literal["none", "where shapes differ", "always", "pooled"]
"""What leads around the convolutions of a block.

``none`` is nothing; ``where shapes differ`` is the identity, or else a 1x1 convolution; ``always`` is that convolution;
``pooled`` is an average pool for the stride, then a 1x1 convolution with norm where the channels differ.
"""


@dataclass(frozen=True)
class BlockSpec:
    """A kind of block: convolutions with norm and activation, and what leads around them.

    Attributes:
        name: Name in the rows of an ``Architecture``.
        title: Name in pictures.
        builder: ``module:function`` of what builds it from (in_channels, out_channels, kernel, stride).
        convolutions: Number of convolutions, each with a norm.
        shortcut: What leads around the convolutions.
        passing: Feature maps that the backward pass of the block holds at once, by device; fitted to the peaks of
            whole networks by benchmarks/memory.py.
    """

    name: str
    title: str
    builder: str
    convolutions: int
    shortcut: Shortcut
    passing: Mapping[Device, int]

    @property
    def is_residual(self) -> bool:
        """Whether something leads around the convolutions."""
        return self.shortcut != "none"


_SPECS = (
    BlockSpec(
        "plain",
        title="convolution",
        builder="umseg.models.blocks:ConvNormAct",
        convolutions=1,
        shortcut="none",
        passing={"cpu": 2, "cuda": 4},
    ),
    BlockSpec(
        "residual",
        title="residual block",
        builder="umseg.models.blocks:ResidualBlock",
        convolutions=2,
        shortcut="where shapes differ",
        passing={"cpu": 3, "cuda": 4},
    ),
    BlockSpec(
        "projected",
        title="residual block, projected",
        builder="umseg.models.blocks:projected_block",
        convolutions=2,
        shortcut="always",
        passing={"cpu": 3, "cuda": 5},
    ),
    BlockSpec(
        "pooled",
        title="residual block, pooled shortcut",
        builder="umseg.models.blocks:pooled_block",
        convolutions=2,
        shortcut="pooled",
        passing={"cpu": 3, "cuda": 4},
    ),
)

BLOCKS: Mapping[str, BlockSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})
"""Every kind of block by its name."""
