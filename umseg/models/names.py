"""The names of the models, without torch."""

from __future__ import annotations

from umseg.architectures.monai import BASELINES
from umseg.architectures.unet import ARCHITECTURES


def known_models() -> tuple[str, ...]:
    """The names of all models."""
    return (*ARCHITECTURES, *BASELINES)
