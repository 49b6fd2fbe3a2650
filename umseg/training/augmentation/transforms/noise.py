"""Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from umseg.training.augmentation.transform import Context, Transform


class NoiseParams(NamedTuple):
    """The noise of one sample.

    Attributes:
        deviation: Standard deviation.
        seed: Seed of the voxels' noise.
    """

    deviation: float
    seed: int


@dataclass(frozen=True)
class Noise(Transform[NoiseParams]):
    """Add Gaussian noise of the same standard deviation to all channels.

    Attributes:
        probability: Share of the samples that are changed.
        deviation: Smallest and largest standard deviation.
    """

    probability: float = 0.1
    deviation: tuple[float, float] = (0.0, 0.1)
    name: str = "noise"

    def draw(self, rng: np.random.Generator, context: Context) -> NoiseParams | None:
        """Draw the standard deviation."""
        if rng.random() >= self.probability:
            return None
        return NoiseParams(float(rng.uniform(*self.deviation)), int(rng.integers(2**63)))

    def apply(self, image: Tensor, label: Tensor, params: NoiseParams) -> tuple[Tensor, Tensor]:
        """Add noise in place; a GPU draws other noise than a CPU."""
        generator = torch.Generator(image.device).manual_seed(params.seed)
        image.add_(torch.empty_like(image).normal_(generator=generator), alpha=params.deviation)
        return image, label
