"""What a U-Net is made of, as data: ``umseg.models`` builds it from this, and its memory is counted from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from umseg.architectures.blocks import BLOCKS

Tokens = Literal["voxels", "channels"]
"""What a Mamba layer reads as a sequence. With ``channels`` the model dimension is the number of voxels, so that its
weights fit one patch size only."""

Row = tuple[str, ...]
"""Names of kinds of blocks (``umseg.architectures.blocks``), in the order in which features pass them."""


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
    """``count`` blocks of one kind."""
    return (kind,) * count
