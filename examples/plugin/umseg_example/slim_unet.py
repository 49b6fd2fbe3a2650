"""A U-Net of known blocks: one residual block per encoder stage, one plain block per decoder stage."""

from __future__ import annotations

from collections.abc import Sequence

from umseg.architectures.registry import ModelSpec
from umseg.architectures.stage import Stage
from umseg.architectures.unet import Architecture


def describe(stages: Sequence[Stage]) -> Architecture:
    """The blocks of every stage, from the full resolution down."""
    levels = len(stages) - 1
    return Architecture(
        encoder=(("residual",),) * len(stages),
        decoder=(("plain",),) * levels,
        skips=(True,) * levels,
        ssm=(None,) * len(stages),
    )


SLIM_UNET = ModelSpec(name="slim_unet", origin="the example package", describe=describe)
