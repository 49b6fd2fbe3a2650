"""What a user may choose about a network, without torch: the names of the models, and options of their layers."""

from __future__ import annotations

from pydantic import Field

from umseg.architectures.monai import BASELINES
from umseg.architectures.unet import ARCHITECTURES
from umseg.common.record import Record


class ModelOptions(Record):
    """Choices that change a network's layers; the descriptions are the help of the command line."""

    ssm: bool = Field(
        default=True,
        description="Build the Mamba layers, or take them out of any U-Mamba (for an ablation).",
    )
    ssm_residual: bool = Field(
        default=False,
        description="Add a residual connection around each Mamba layer, so that the layer starts as the identity.",
    )


def known_models() -> tuple[str, ...]:
    """The names of all models."""
    return (*ARCHITECTURES, *BASELINES)
