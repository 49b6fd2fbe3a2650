"""The U-Mamba networks: those of the paper's text, and those of its released code."""

from __future__ import annotations

import math
from collections.abc import Sequence

from umseg.architectures.spec import ModelSpec
from umseg.architectures.stage import Stage
from umseg.architectures.unet import Architecture, Row, Tokens, row


def _umamba(stages: Sequence[Stage], ssm: tuple[Tokens | None, ...]) -> Architecture:
    """The network of the paper's text (2.2): two residual blocks per encoder stage, one per decoder stage."""
    levels = len(stages) - 1
    return Architecture(
        encoder=(row("residual", 2),) * len(stages),
        decoder=(row("residual", 1),) * levels,
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
    """The network of the released code: an extra stem, fewer blocks in the lower half, no full-resolution skip in 2-D.

    Source: docs/rules.md, Networks.
    """
    count, levels, flat = len(stages), len(stages) - 1, len(stages[0].size) == 2
    half = math.ceil(count / 2)
    two: Row = ("projected", "residual")
    encoder = tuple(two if stage < half else two[:1] for stage in range(count))
    return Architecture(
        stem=encoder[0],
        encoder=encoder,
        # The decoder has the same numbers of blocks, but counted from its deepest stage up.
        decoder=tuple(two if levels - 1 - stage < half else two[:1] for stage in range(levels)),
        skips=tuple(not (flat and stage == 0) for stage in range(levels)),
        upsampling="nearest",
        ssm=ssm,
    )


def _umamba_enc_released(stages: Sequence[Stage]) -> Architecture:
    """The released U-Mamba_Enc, with a Mamba layer after every stage, or in 2-D after every other one up to the last.

    A Mamba layer reads channels as tokens where there are at least as many channels as voxels.
    """
    every = 2 if len(stages[0].size) == 2 else 1

    def tokens(index: int, stage: Stage) -> Tokens | None:
        if (len(stages) - 1 - index) % every:
            return None
        return "channels" if math.prod(stage.size) <= stage.features else "voxels"

    return _released(stages, tuple(tokens(index, stage) for index, stage in enumerate(stages)))


def _umamba_bot_released(stages: Sequence[Stage]) -> Architecture:
    return _released(stages, _bottleneck(stages))


_OPTIONS = frozenset({"ssm", "ssm_residual"})

NETWORKS = (
    ModelSpec("umamba_enc", "U-Mamba paper, section 2.2: Mamba layers in every stage", _umamba_enc, options=_OPTIONS),
    ModelSpec("umamba_bot", "U-Mamba paper, section 2.2: one Mamba layer, lowest stage", _umamba_bot, options=_OPTIONS),
    ModelSpec(
        "umamba_enc_released",
        "U-Mamba_Enc of the released code, weight for weight",
        _umamba_enc_released,
        options=_OPTIONS,
    ),
    ModelSpec(
        "umamba_bot_released",
        "U-Mamba_Bot of the released code, weight for weight",
        _umamba_bot_released,
        options=_OPTIONS,
    ),
)
