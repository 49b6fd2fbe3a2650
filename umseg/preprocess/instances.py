"""From instance maps, which number objects, to the classes that a network learns: interior and boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

INTERIOR, BOUNDARY = 1, 2


def instance_classes(instances: NDArray[np.integer[Any]], width: int) -> NDArray[np.int8]:
    """Mark the interior and the boundary of every object.

    A voxel of an object belongs to its boundary if anything else, background or another object, lies within ``width``
    voxels; so touching objects stay apart. The border of the image is no boundary.

    Args:
        instances: (z, y, x), 0 in the background; every other value is one object.
        width: Voxels; axes of one voxel do not count.

    Returns:
        (z, y, x): 0 background, 1 interior, 2 boundary.
    """
    reach = np.meshgrid(*(np.arange(-width, width + 1) if n > 1 else [0] for n in instances.shape), indexing="ij")
    ball = sum(np.square(offset) for offset in reach) <= width**2
    lowest = ndimage.minimum_filter(instances, footprint=ball, mode="nearest")
    highest = ndimage.maximum_filter(instances, footprint=ball, mode="nearest")
    classes = np.where(lowest == highest, INTERIOR, BOUNDARY).astype(np.int8)
    classes[instances == 0] = 0
    return classes
