"""The choices that users have about the layers of a network; a module without torch."""

from __future__ import annotations

from pydantic import Field

from umseg.common.record import Record


class ModelOptions(Record):
    """Choices that change a network's layers; the descriptions are the help texts of the command line."""

    ssm: bool = Field(
        default=True,
        description="Build the Mamba layers, or take them out of any U-Mamba (for an ablation).",
    )
    ssm_residual: bool = Field(
        default=False,
        description="Add a residual connection around each Mamba layer, so that the layer starts as the identity.",
    )
