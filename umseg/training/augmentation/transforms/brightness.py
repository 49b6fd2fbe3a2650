"""Brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from umseg.training.augmentation.transform import Context, Floats
from umseg.training.augmentation.transforms.channels import ChannelParams, ChannelTransform, all_channels, per_image


@dataclass(frozen=True)
class Brightness(ChannelTransform):
    """Multiply every channel by a factor.

    Attributes:
        probability: Share of the samples that are changed.
        factor: Smallest and largest factor.
    """

    probability: float = 0.15
    factor: tuple[float, float] = (0.75, 1.25)
    name: str = "brightness"

    def draw(self, rng: np.random.Generator, context: Context) -> ChannelParams | None:
        """Draw a factor for each channel."""
        if rng.random() >= self.probability:
            return None
        return all_channels(rng.uniform(*self.factor, size=context.channels))

    def change(self, images: Tensor, values: Floats) -> Tensor:
        """Multiplied copies."""
        return images * per_image(values, images)
