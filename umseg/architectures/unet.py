"""The description of a U-Net as data, from which ``umseg.models`` builds it and its memory is counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from umseg.architectures.blocks import BLOCKS

Tokens = Literal["voxels", "channels"]
"""The tokens of the sequence that a Mamba layer reads.

With ``channels`` the model dimension is the number of voxels, so that the weights fit one patch size only.
"""

Row = tuple[str, ...]
"""Names of kinds of blocks (``umseg.architectures.blocks``), in the order in which features pass them."""


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

    def __post_init__(self) -> None:
        """Refuse blocks that are in no table.

        Raises:
            ValueError: Names the first unknown kind.
        """
        for kind in chain(self.stem, *self.encoder, *self.decoder):
            if kind not in BLOCKS:
                raise ValueError(f"unknown kind of block '{kind}'; known kinds are {', '.join(BLOCKS)}")

    def without_ssm(self) -> Architecture:
        """The same network with its Mamba layers taken out."""
        return replace(self, ssm=(None,) * len(self.encoder))


def row(kind: str, count: int) -> Row:
    """A row of ``count`` blocks of one kind."""
    return (kind,) * count
