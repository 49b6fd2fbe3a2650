"""Where the foreground is: voxel coordinates per class, from which training draws patches."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MOST_LOCATIONS = 10_000
LEAST_SHARE = 0.01
SEED = 1234


def sample_class_locations(label: NDArray[Any], classes: Iterable[int] | None = None) -> dict[int, NDArray[np.int32]]:
    """Draw voxels of each class without replacement (facts 1.6): at most 10,000, yet at least one in a hundred.

    The draw depends on the label map alone (a fixed seed per case), so that preprocessing twice gives the same files.

    Args:
        label: (z, y, x), a resampled label map.
        classes: Foreground values, all > 0; those that do not occur get an empty array. None: all that occur.

    Returns:
        Class to (n, 3) int32 coordinates (z, y, x).
    """
    generator = np.random.RandomState(SEED)
    # One pass finds every class's box, so that a hundred classes do not mean a hundred passes.
    boxes = {value: box for value, box in enumerate(ndimage.find_objects(label), start=1) if box is not None}
    wanted = boxes if classes is None else classes
    return {value: _sample(label, value, boxes.get(value), generator) for value in sorted(wanted)}


def _sample(
    label: NDArray[Any], value: int, box: tuple[slice, ...] | None, generator: np.random.RandomState
) -> NDArray[np.int32]:
    if box is None:
        return np.empty((0, 3), dtype=np.int32)
    region = label[box]
    positions = np.flatnonzero(region == value)
    wanted = max(min(MOST_LOCATIONS, positions.size), math.ceil(LEAST_SHARE * positions.size))
    chosen = generator.choice(positions, wanted, replace=False)
    corner = [part.start for part in box]
    coordinates: NDArray[np.intp] = np.stack(np.unravel_index(chosen, region.shape), axis=1) + corner
    return coordinates.astype(np.int32)
