"""The networks of nnU-Net v2: the plain U-Net and the one with a residual encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from umseg.architectures.spec import ModelSpec
from umseg.architectures.stage import Stage
from umseg.architectures.unet import Architecture, Row, row
from umseg.common.errors import UserError

_RESIDUAL_BLOCKS = (1, 3, 4, 6)


def _nnunet(stages: Sequence[Stage]) -> Architecture:
    """The plain U-Net, with the plan's numbers of convolutions.

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
        encoder.append(row("plain", stage.encoder_convs))
    return _plain_decoder(tuple(encoder), [stage.decoder_convs for stage in stages[:-1]])


def _nnunet_resenc(stages: Sequence[Stage]) -> Architecture:
    """The U-Net with a residual encoder behind one convolution and a plain decoder (docs/rules.md, Networks).

    The numbers of blocks and convolutions are the plan's if it was made for residual encoders. Otherwise they are those
    of nnU-Net's presets: 1, 3, 4, 6, 6, ... blocks, and one convolution per decoder stage.
    """
    planned = stages[0].encoder_blocks is not None
    usual = [_RESIDUAL_BLOCKS[min(index, len(_RESIDUAL_BLOCKS) - 1)] for index in range(len(stages))]
    counts = [stage.encoder_blocks or number for stage, number in zip(stages, usual, strict=True)]
    convs = [stage.decoder_convs if planned else 1 for stage in stages[:-1]]
    encoder = tuple(row("pooled", number) for number in counts)
    return replace(_plain_decoder(encoder, convs), stem=("plain",))


def _plain_decoder(encoder: tuple[Row, ...], decoder_convs: Sequence[int]) -> Architecture:
    return Architecture(
        encoder=encoder,
        decoder=tuple(row("plain", number) for number in decoder_convs),
        skips=(True,) * len(decoder_convs),
        ssm=(None,) * len(encoder),
    )


NETWORKS = (
    ModelSpec("nnunet", "nnU-Net v2: the plain U-Net", _nnunet),
    ModelSpec("nnunet_resenc", "nnU-Net v2: the U-Net with a residual encoder", _nnunet_resenc),
)
