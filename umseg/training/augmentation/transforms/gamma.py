"""Gamma correction, of the image or of its negative."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
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

# Prevents a division by zero in constant images.
_SMALLEST_NORM = 1e-20


@dataclass(frozen=True)
class Gamma(ChannelTransform):
    """Raise intensities to a power; each channel keeps its mean and standard deviation.

    Attributes:
        probability: Share of the samples that are changed.
        exponent: Smallest and largest exponent; it lies below 1 as often as above.
        inverted: Whether the negative of the image is changed.
    """

    probability: float = 0.3
    exponent: tuple[float, float] = (0.7, 1.5)
    inverted: bool = False
    name: str = "gamma"

    def draw(self, rng: np.random.Generator, context: Context) -> ChannelParams | None:
        """Draw an exponent for each channel."""
        if rng.random() >= self.probability:
            return None
        return all_channels(around_one(rng, self.exponent, context.channels))

    def change(self, images: Tensor, values: Floats) -> Tensor:
        """Copies with another gamma."""
        return -change_gamma(-images, values) if self.inverted else change_gamma(images, values)


def change_gamma(images: Tensor, exponents: Floats) -> Tensor:
    """Raise the distance from the minimum to a power, and restore the mean and the standard deviation.

    Because they are restored, scaling the image to [0, 1] first, as batchgenerators does, would make no difference.
    """
    centre = mean(images)
    # Equals pow_, but is faster; 0 stays 0.
    y = (images - images.amin(spatial_axes(images), keepdim=True)).log_().mul_(per_image(exponents, images)).exp_()
    y -= mean(y)
    return y.mul_(_norm(images - centre) / _norm(y).clamp_min_(_SMALLEST_NORM)).add_(centre)


def _norm(images: Tensor) -> Tensor:
    """The standard deviation of images with mean 0, times the root of the number of voxels."""
    norm: Tensor = torch.linalg.vector_norm(images, dim=spatial_axes(images), keepdim=True)
    return norm
