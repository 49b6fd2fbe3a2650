"""A transform that darkens one side of the image, as an uneven coil does in MRI."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from umseg.training.augmentation import Context, Transform


@dataclass(frozen=True)
class Shade(Transform[tuple[int, float]]):
    """Multiply intensities by a ramp along a random axis."""

    probability: float = 0.2
    name: str = "shade"

    def draw(self, rng: np.random.Generator, context: Context) -> tuple[int, float] | None:
        """The axis of the ramp and its smallest factor; None leaves the sample unchanged."""
        if rng.random() >= self.probability:
            return None
        return int(rng.integers(len(context.geometry.patch))), float(rng.uniform(0.5, 1.0))

    def apply(self, image: Tensor, label: Tensor, params: tuple[int, float]) -> tuple[Tensor, Tensor]:
        """The shaded image, and the label map as it is."""
        axis, darkest = params
        ramp = torch.linspace(1.0, darkest, image.shape[axis + 1], device=image.device)
        shape = [1] * image.dim()
        shape[axis + 1] = -1
        return image * ramp.view(shape), label


SHADE = Shade()
