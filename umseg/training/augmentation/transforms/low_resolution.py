"""Simulated low resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from umseg.training.augmentation.axis_operators import enlarging, kept_voxels
from umseg.training.augmentation.transform import Context, Floats
from umseg.training.augmentation.transforms.channels import ChannelParams, ChannelTransform, some_channels


@dataclass(frozen=True)
class LowResolution(ChannelTransform):
    """Keep some of the voxels of each axis and enlarge the image again.

    Attributes:
        probability: Share of the samples that are changed.
        channel_probability: Share of the channels of such a sample that are changed.
        share: Smallest and largest share of the voxels of an axis that are kept.
        splines: Whether the image is enlarged by cubic splines, otherwise linearly.
    """

    probability: float = 0.25
    channel_probability: float = 0.5
    share: tuple[float, float] = (0.5, 1.0)
    splines: bool = True
    name: str = "low_resolution"

    def draw(self, rng: np.random.Generator, context: Context) -> ChannelParams | None:
        """Draw the channels and the share that they keep, (k, axes); 1 for an axis that keeps its resolution."""
        chosen = some_channels(rng, self.probability, self.channel_probability, context.channels)
        if not len(chosen):
            return None
        values = np.repeat(rng.uniform(*self.share, size=(len(chosen), 1)), len(context.geometry.patch), axis=1)
        if context.geometry.in_plane:
            values[:, 0] = 1.0
        return ChannelParams(chosen, values)

    def change(self, images: Tensor, values: Floats) -> Tensor:
        """Copies with a lower resolution."""
        pairs = zip(images, values.tolist(), strict=True)
        return torch.stack([lower_resolution(image, shares, self.splines) for image, shares in pairs])


def lower_resolution(image: Tensor, shares: Sequence[float], splines: bool = True) -> Tensor:
    """Keep a share of the voxels of each axis, by nearest neighbour, and enlarge again.

    Args:
        image: One image, (*spatial).
        shares: Share of the voxels that each axis keeps; an axis with share 1 is left alone.
        splines: Whether to enlarge by cubic splines, otherwise linearly.
    """
    device = image.device
    kept = {axis: max(1, round(image.shape[axis] * share)) for axis, share in enumerate(shares) if share != 1}
    small = image
    for axis, count in kept.items():
        small = small.index_select(axis, kept_voxels(count, image.shape[axis], device))
    large = small
    for axis, count in kept.items():
        large = enlarging(count, image.shape[axis], device, splines)(large, axis)
    # Splines overshoot; scikit-image clips to the range of the image that it enlarges.
    return large.clamp(small.amin(), small.amax())
