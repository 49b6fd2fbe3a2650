"""What each network is made of, as data: from here ``umseg.models`` builds it and planning counts its memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from umseg.architectures.stage import Stage
from umseg.common.errors import UserError

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


def _row(kind: BlockKind, count: int) -> Row:
    return (kind,) * count


def _umamba(stages: Sequence[Stage], ssm: tuple[Tokens | None, ...]) -> Architecture:
    """The paper's text (2.2): two residual blocks per encoder stage, one per decoder stage."""
    levels = len(stages) - 1
    return Architecture(
        encoder=(_row("residual", 2),) * len(stages),
        decoder=(_row("residual", 1),) * levels,
        skips=(True,) * levels,
        ssm=ssm,
    )


def _umamba_enc(stages: Sequence[Stage]) -> Architecture:
    tokens: Tokens = "voxels"
    return _umamba(stages, (tokens,) * len(stages))


def _umamba_bot(stages: Sequence[Stage]) -> Architecture:
    return _umamba(stages, _bottleneck(stages))


def _bottleneck(stages: Sequence[Stage]) -> tuple[Tokens | None, ...]:
    return (*(None,) * (len(stages) - 1), "voxels")


def _released(stages: Sequence[Stage], ssm: tuple[Tokens | None, ...]) -> Architecture:
    """The released code: an extra stem, fewer blocks in the lower half, no full-resolution skip in 2-D.

    Source: docs/rules.md, Networks.
    """
    count, levels, flat = len(stages), len(stages) - 1, len(stages[0].size) == 2
    half = math.ceil(count / 2)
    two: Row = ("projected", "residual")
    encoder = tuple(two if stage < half else two[:1] for stage in range(count))
    return Architecture(
        stem=encoder[0],
        encoder=encoder,
        # The same count from the deepest decoder stage up.
        decoder=tuple(two if levels - 1 - stage < half else two[:1] for stage in range(levels)),
        skips=tuple(not (flat and stage == 0) for stage in range(levels)),
        upsampling="nearest",
        ssm=ssm,
    )


def _umamba_enc_released(stages: Sequence[Stage]) -> Architecture:
    """A Mamba layer after every stage, in 2-D after every other one so that the last has it.

    It reads channels where there are at least as many of them as voxels.
    """
    every = 2 if len(stages[0].size) == 2 else 1

    def tokens(index: int, stage: Stage) -> Tokens | None:
        if (len(stages) - 1 - index) % every:
            return None
        return "channels" if math.prod(stage.size) <= stage.features else "voxels"

    return _released(stages, tuple(tokens(index, stage) for index, stage in enumerate(stages)))


def _umamba_bot_released(stages: Sequence[Stage]) -> Architecture:
    return _released(stages, _bottleneck(stages))


def _nnunet(stages: Sequence[Stage]) -> Architecture:
    """The plan's convolutions.

    Raises:
        UserError: The plan is for residual encoders.
    """
    encoder: list[Row] = []
    for stage in stages:
        if stage.encoder_convs is None:
            raise UserError(
                "The plain U-Net needs a plan that was made for it.",
                found="a plan for residual encoders (--preset resenc-...)",
                expected="a plan of another preset, e.g. default or nnunet",
                remedy="Plan with another --preset, or train nnunet_resenc or a U-Mamba on this plan.",
            )
        encoder.append(_row("plain", stage.encoder_convs))
    return _nnunet_decoder(tuple(encoder), [stage.decoder_convs for stage in stages[:-1]])


_RESIDUAL_BLOCKS = (1, 3, 4, 6)


def _nnunet_resenc(stages: Sequence[Stage]) -> Architecture:
    """Residual encoder behind one convolution, plain decoder (docs/rules.md, Networks).

    Blocks and convolutions are the plan's if it was made for residual encoders, else those of nnU-Net's presets: 1, 3,
    4, 6, 6, ... blocks, one convolution per decoder stage.
    """
    planned = stages[0].encoder_blocks is not None
    usual = [_RESIDUAL_BLOCKS[min(index, len(_RESIDUAL_BLOCKS) - 1)] for index in range(len(stages))]
    counts = [stage.encoder_blocks or number for stage, number in zip(stages, usual, strict=True)]
    convs = [stage.decoder_convs if planned else 1 for stage in stages[:-1]]
    encoder = tuple(_row("pooled", number) for number in counts)
    return replace(_nnunet_decoder(encoder, convs), stem=("plain",))


def _nnunet_decoder(encoder: tuple[Row, ...], decoder_convs: Sequence[int]) -> Architecture:
    return Architecture(
        encoder=encoder,
        decoder=tuple(_row("plain", number) for number in decoder_convs),
        skips=(True,) * len(decoder_convs),
        ssm=(None,) * len(encoder),
    )


ARCHITECTURES: dict[str, Callable[[Sequence[Stage]], Architecture]] = {
    "umamba_enc": _umamba_enc,
    "umamba_bot": _umamba_bot,
    "umamba_enc_released": _umamba_enc_released,
    "umamba_bot_released": _umamba_bot_released,
    "nnunet": _nnunet,
    "nnunet_resenc": _nnunet_resenc,
}
"""Every U-Net by its model's name."""
