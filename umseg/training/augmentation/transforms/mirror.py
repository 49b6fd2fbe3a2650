"""Mirroring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from umseg.training.augmentation.transform import Context, Transform

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Mirror(Transform[Axes]):
    """Reverse spatial axes of the image and the label map; the parameters are these axes, counted from the last.

    Attributes:
        probability: Probability of each axis.
    """

    probability: float = 0.5
    name: str = "mirror"

    def draw(self, rng: np.random.Generator, context: Context) -> Axes | None:
        """Draw the axes; only those of ``--mirror-axes`` are possible."""
        axes = len(context.geometry.patch)
        reversed_axes = np.flatnonzero(rng.random(axes) < self.probability).tolist()
        return tuple(axis - axes for axis in reversed_axes if axis in context.geometry.mirror_axes) or None

    def apply(self, image: Tensor, label: Tensor, params: Axes) -> tuple[Tensor, Tensor]:
        """Mirrored copies."""
        return image.flip(params), label.flip(params)
