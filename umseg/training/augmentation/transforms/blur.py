"""Gaussian blur."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from umseg.training.augmentation.transform import Context, Floats
from umseg.training.augmentation.transforms.channels import ChannelParams, ChannelTransform, per_image, some_channels

_TRUNCATE = 4.0
"""Standard deviations after which scipy cuts off a Gaussian."""


@dataclass(frozen=True)
class Blur(ChannelTransform):
    """Convolve with a Gaussian.

    Attributes:
        probability: Share of the samples that are changed.
        channel_probability: Share of the channels of such a sample that are changed.
        deviation: Smallest and largest standard deviation of the Gaussian, voxels.
        by_axis: Whether the standard deviation is drawn for each axis; otherwise all axes share one.
    """

    probability: float = 0.2
    channel_probability: float = 0.5
    deviation: tuple[float, float] = (0.5, 1.0)
    by_axis: bool = False
    name: str = "blur"

    def draw(self, rng: np.random.Generator, context: Context) -> ChannelParams | None:
        """Draw the channels and the standard deviations, (k, axes)."""
        chosen = some_channels(rng, self.probability, self.channel_probability, context.channels)
        if not len(chosen):
            return None
        axes = len(context.geometry.patch)
        values = rng.uniform(*self.deviation, size=(len(chosen), axes if self.by_axis else 1))
        return ChannelParams(chosen, np.broadcast_to(values, (len(chosen), axes)))

    def change(self, images: Tensor, values: Floats) -> Tensor:
        """Blurred copies."""
        return blur(images, values)


def blur(images: Tensor, deviations: Floats) -> Tensor:
    """Convolve images with a Gaussian; the border is continued like scipy's ``reflect``.

    Args:
        images: (k, *spatial) float32.
        deviations: (k, axes) standard deviations, voxels.
    """
    for axis in range(1, images.dim()):
        weights = _half_gaussian(deviations[:, axis - 1])
        radius, size = weights.shape[1] - 1, images.shape[axis]
        padded = images.index_select(axis, _reflected(size, radius, images.device))
        images = padded.narrow(axis, radius, size) * per_image(weights[:, 0], images)
        for d in range(1, radius + 1):
            both = padded.narrow(axis, radius - d, size) + padded.narrow(axis, radius + d, size)
            images.addcmul_(both, per_image(weights[:, d], images))
    return images


def _half_gaussian(deviations: Floats) -> Floats:
    """(k, radius + 1) weights at the distances 0, 1, ... up to the radius of the widest Gaussian."""
    radius = (_TRUNCATE * deviations[:, None] + 0.5).astype(int)
    distance = np.arange(radius.max() + 1)
    weights = np.exp(-0.5 * (distance / deviations[:, None]) ** 2) * (distance <= radius)
    return np.asarray(weights / (2 * weights.sum(1, keepdims=True) - weights[:, :1]))


def _reflected(size: int, radius: int, device: torch.device) -> Tensor:
    """Positions of an axis with ``radius`` more on either side, the edge repeated: c b a | a b c | c b a."""
    position = torch.arange(-radius, size + radius, device=device) % (2 * size)
    return torch.minimum(position, 2 * size - 1 - position)
