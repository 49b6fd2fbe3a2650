"""Random changes of shape in the first stage's segmentation, so that the second stage learns to correct it.

Source: docs/rules.md, Augmentation. The published channels of zeros and ones are kept as one label map: voxels that one
class gains are lost by the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from umseg.training.augmentation.transform import Context, Transform

OPERATIONS = ("dilate", "erode", "open", "close")

Mask = NDArray[np.bool_]


class Operation(NamedTuple):
    """A morphological operation on one class.

    Attributes:
        value: Label value of the class.
        kind: One of ``OPERATIONS``.
        radius: Radius of the ball, voxels.
    """

    value: int
    kind: str
    radius: float


@dataclass(frozen=True)
class CascadeShape(Transform[tuple[Operation, ...]]):
    """Grow, shrink, open or close every class of the first stage's segmentation, in random order.

    Attributes:
        probability: Share of the samples that are changed.
        radius: Smallest and largest radius, voxels.
    """

    probability: float = 0.4
    radius: tuple[float, float] = (1.0, 8.0)
    name: str = "cascade_shape"

    on_gpu = False

    def draw(self, rng: np.random.Generator, context: Context) -> tuple[Operation, ...] | None:
        """Draw the order of the classes, and an operation and a radius for each."""
        if rng.random() >= self.probability:
            return None
        order = rng.permutation(np.asarray(context.first_stage_values)).tolist()
        return tuple(
            Operation(value, OPERATIONS[int(rng.integers(len(OPERATIONS)))], float(rng.uniform(*self.radius)))
            for value in order
        )

    def apply(self, image: Tensor, label: Tensor, params: tuple[Operation, ...]) -> tuple[Tensor, Tensor]:
        """Change the second plane of the label map in place."""
        for operation in params:
            change_shape(label[1].numpy(), *operation)
        return image, label


def change_shape(label: NDArray[np.int16], value: int, operation: str, radius: float) -> None:
    """Apply a morphological operation with a ball to one class, in place.

    Voxels that the class loses become background; those that it gains are lost by other classes.

    Args:
        label: (*spatial).
        value: Label value of the class.
        operation: One of ``OPERATIONS``.
        radius: Radius of the ball, voxels.
    """
    mask = label == value
    if not mask.any():
        return
    changed = _FUNCTIONS[operation](mask, radius)
    label[mask & ~changed] = 0
    label[changed] = value


def dilate(mask: Mask, radius: float) -> Mask:
    """Voxels within ``radius`` of the mask: dilation by a ball, computed from the distance to the mask."""
    if not mask.any():
        return mask
    return np.asarray(_distance(~mask) <= radius)


def erode(mask: Mask, radius: float) -> Mask:
    """Voxels farther than ``radius`` from every voxel outside the mask; the border of the patch does not count."""
    if mask.all():
        return mask
    return np.asarray(_distance(mask) > radius)


def _distance(mask: Mask) -> NDArray[np.float64]:
    """Distance of every voxel from the nearest one outside the mask."""
    return np.asarray(ndimage.distance_transform_edt(mask))


_FUNCTIONS: dict[str, Any] = {
    "dilate": dilate,
    "erode": erode,
    "open": lambda mask, radius: dilate(erode(mask, radius), radius),
    "close": lambda mask, radius: erode(dilate(mask, radius), radius),
}
