"""Choices by which users change a network's layers."""

from __future__ import annotations

from umseg.common.record import Record


class ModelOptions(Record):
    """Choices that change a network's layers.

    Attributes:
        ssm: Build the Mamba layers; False takes them out of any U-Mamba, for the honest ablation.
        ssm_residual: Add a residual connection around every Mamba layer, its output projection initialised to zero.
    """

    ssm: bool = True
    ssm_residual: bool = False
