"""What is done to the first stage's segmentation in training, so that the second learns to correct it.

docs/rules.md, Augmentation, as U-Mamba has it. Channels of zeros and ones are kept as one label map: what a class gains
others lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

P_MORPHOLOGY, P_REMOVAL = 0.4, 0.2
RADIUS = (1.0, 8.0)
LARGEST_REMOVED = 0.15
"""Share of the patch below which a component may be removed."""
OPERATIONS = ("dilate", "erode", "open", "close")

Mask = NDArray[np.bool_]


def disturb(label: NDArray[np.int16], values: Sequence[int], rng: np.random.Generator) -> None:
    """Grow, shrink, open or close the classes of a patch, and remove a component of each, by chance; in place.

    Args:
        label: (*spatial) segmentation of the first stage.
        values: Foreground values.
        rng: Source of randomness.
    """
    if rng.random() < P_MORPHOLOGY:
        for value in rng.permutation(np.asarray(values)).tolist():
            change_shape(label, value, OPERATIONS[int(rng.integers(4))], float(rng.uniform(*RADIUS)))
    if rng.random() < P_REMOVAL:
        for value in values:
            remove_component(label, value, rng)


def change_shape(label: NDArray[np.int16], value: int, operation: str, radius: float) -> None:
    """Apply a morphological operation with a ball to one class, in place.

    Voxels that the class loses become background; those that it gains, other classes lose.

    Args:
        label: (*spatial).
        value: The class.
        operation: One of ``OPERATIONS``.
        radius: Of the ball, voxels.
    """
    mask = label == value
    if not mask.any():
        return
    changed = _OPERATIONS[operation](mask, radius)
    label[mask & ~changed] = 0
    label[changed] = value


def remove_component(label: NDArray[np.int16], value: int, rng: np.random.Generator) -> None:
    """Set one of the small components of a class to background, in place."""
    components, _ = ndimage.label(label == value)
    sizes = np.bincount(components.ravel())[1:]
    small = np.flatnonzero(sizes < LARGEST_REMOVED * label.size) + 1
    if len(small):
        label[components == rng.choice(small)] = 0


def dilate(mask: Mask, radius: float) -> Mask:
    """Voxels within ``radius`` of the mask: dilation by a ball, by way of the distance to the mask."""
    if not mask.any():
        return mask
    return np.asarray(_distance(~mask) <= radius)


def erode(mask: Mask, radius: float) -> Mask:
    """Voxels farther than ``radius`` from everything else; beyond the border of the patch there is nothing."""
    if mask.all():
        return mask
    return np.asarray(_distance(mask) > radius)


def _distance(mask: Mask) -> NDArray[np.float64]:
    """From every voxel to the next one outside the mask."""
    return np.asarray(ndimage.distance_transform_edt(mask))


_OPERATIONS: dict[str, Any] = {
    "dilate": dilate,
    "erode": erode,
    "open": lambda mask, radius: dilate(erode(mask, radius), radius),
    "close": lambda mask, radius: erode(dilate(mask, radius), radius),
}
