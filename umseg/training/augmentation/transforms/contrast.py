"""Contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from umseg.training.augmentation.transform import Context, Floats, around_one
from umseg.training.augmentation.transforms.channels import (
    ChannelParams,
    ChannelTransform,
    all_channels,
    mean,
    per_image,
    spatial_axes,
)


@dataclass(frozen=True)
class Contrast(ChannelTransform):
    """Multiply the distance of every intensity from its channel's mean.

    Attributes:
        probability: Share of the samples that are changed.
        factor: Smallest and largest factor; it lies below 1 as often as above.
    """

    probability: float = 0.15
    factor: tuple[float, float] = (0.75, 1.25)
    name: str = "contrast"

    def draw(self, rng: np.random.Generator, context: Context) -> ChannelParams | None:
        """Draw a factor for each channel."""
        if rng.random() >= self.probability:
            return None
        return all_channels(around_one(rng, self.factor, context.channels))

    def change(self, images: Tensor, values: Floats) -> Tensor:
        """Copies with another contrast."""
        return change_contrast(images, values)


def change_contrast(images: Tensor, factors: Floats) -> Tensor:
    """Multiply the distance from the mean, and clip to the range of the image before."""
    centre, axes = mean(images), spatial_axes(images)
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    return (images - centre).mul_(per_image(factors, images)).add_(centre).clamp_(low, high)
