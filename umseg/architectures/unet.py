"""The description of a U-Net as data, from which ``umseg.models`` builds it and its memory is counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

BlockKind = Literal["plain", "residual", "projected", "pooled"]
"""The kinds of blocks.

``plain`` is a convolution, norm and activation. The other kinds have two convolutions and a shortcut. The shortcut of
``residual`` is the identity, or a 1x1 convolution where shapes differ. The shortcut of ``projected`` is always a 1x1
convolution. The shortcut of ``pooled`` is an average pool for the stride, then a 1x1 convolution with norm where the
channels differ; the last norm of the block starts at zero.
"""

Tokens = Literal["voxels", "channels"]
"""The tokens of the sequence that a Mamba layer reads.

With ``channels`` the model dimension is the number of voxels, so that the weights fit one patch size only.
"""

Row = tuple[BlockKind, ...]


@dataclass(frozen=True)
class Architecture:
    """A U-Net on given stages; tuples go from the full resolution down.

    Attributes:
        encoder: Blocks of each encoder stage, of which the first has the stride.
        decoder: Blocks of each decoder stage; there is one decoder stage fewer than encoder stages.
        skips: Whether each decoder stage takes the encoder's features.
        ssm: Tokens of the Mamba layer at the end of each encoder stage; None where there is no such layer.
        stem: Blocks at full resolution before the first stage, with the channels and kernel of that stage.
        upsampling: Kind of upsampling: a transposed convolution with kernel = stride, or a 1x1 convolution with
            nearest-neighbour upsampling.
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
    """A row of ``count`` blocks of one kind."""
    return (kind,) * count
