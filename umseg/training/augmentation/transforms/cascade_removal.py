"""Removal of small components from the first stage's segmentation, so that the second stage learns to find them.

Source: docs/rules.md, Augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from umseg.training.augmentation.transform import Context, Transform


class Removal(NamedTuple):
    """The component of one class that is removed.

    Attributes:
        value: Label value of the class.
        position: Place among the small components, from 0 to 1 without 1.
    """

    value: int
    position: float


@dataclass(frozen=True)
class CascadeRemoval(Transform[tuple[Removal, ...]]):
    """Set one of the small components of every class of the first stage's segmentation to background.

    Attributes:
        probability: Share of the samples that are changed.
        largest: Share of the patch below which a component is small.
    """

    probability: float = 0.2
    largest: float = 0.15
    name: str = "cascade_removal"

    on_gpu = False

    def draw(self, rng: np.random.Generator, context: Context) -> tuple[Removal, ...] | None:
        """Draw a component for each class."""
        if rng.random() >= self.probability:
            return None
        return tuple(Removal(value, float(rng.random())) for value in context.first_stage_values)

    def apply(self, image: Tensor, label: Tensor, params: tuple[Removal, ...]) -> tuple[Tensor, Tensor]:
        """Change the second plane of the label map in place."""
        for removal in params:
            remove_component(label[1].numpy(), *removal, self.largest)
        return image, label


def remove_component(label: NDArray[np.int16], value: int, position: float, largest: float = 0.15) -> None:
    """Set one of the small components of a class to background, in place.

    Args:
        label: (*spatial).
        value: Label value of the class.
        position: Place among the small components, from 0 to 1 without 1.
        largest: Share of the patch below which a component is small.
    """
    components, _ = ndimage.label(label == value)
    sizes = np.bincount(components.ravel())[1:]
    small = np.flatnonzero(sizes < largest * label.size) + 1
    if len(small):
        label[components == small[int(position * len(small))]] = 0
