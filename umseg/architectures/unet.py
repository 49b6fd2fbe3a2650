"""What a U-Net is made of, as data: ``umseg.models`` builds it from this, and its memory is counted from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

BlockKind = Literal["plain", "residual", "projected", "pooled"]
"""``plain``: convolution, norm, activation. The others have two convolutions and a shortcut: ``residual`` the identity,
or a 1x1 convolution where shapes differ; ``projected`` always that convolution; ``pooled`` an average pool for the
stride, then a 1x1 convolution with norm where the channels differ, and a last norm that starts at zero."""

Tokens = Literal["voxels", "channels"]
"""What a Mamba layer reads as a sequence. With ``channels`` the model dimension is the number of voxels, so that its
weights fit one patch size only."""

Row = tuple[BlockKind, ...]


@dataclass(frozen=True)
class Architecture:
    """A U-Net on given stages. Tuples go from the full resolution down.

    Attributes:
        encoder: Blocks per encoder stage; the first carries the stride.
        decoder: Blocks per decoder stage, one fewer than encoder stages.
        skips: Per decoder stage: whether it takes the encoder's features.
        ssm: Per encoder stage: the tokens of the Mamba layer that ends it, None where there is none.
        stem: Blocks at full resolution before the first stage, with its channels and kernel.
        upsampling: A transposed convolution with kernel = stride, or a 1x1 convolution with nearest-neighbour
            upsampling.
    """

    encoder: tuple[Row, ...]
    decoder: tuple[Row, ...]
    skips: tuple[bool, ...]
    ssm: tuple[Tokens | None, ...]
    stem: Row = ()
    upsampling: Literal["transposed", "nearest"] = "transposed"

    def without_ssm(self) -> Architecture:
        """The same network with its Mamba layers taken out."""
        return replace(self, ssm=(None,) * len(self.encoder))


def row(kind: BlockKind, count: int) -> Row:
    """``count`` blocks of one kind."""
    return (kind,) * count
