"""Locations of the foreground: voxel coordinates per class, from which training draws patches."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from umseg.dataset.description import DatasetDescription

MOST_LOCATIONS = 10_000
LEAST_SHARE = 0.01
SEED = 1234
_MOST_LISTED = 2**20
ANNOTATED = 0
"""Key of the voxels that carry an annotation, where a data set has an ignore label."""


def location_classes(description: DatasetDescription) -> dict[int, tuple[int, ...]]:
    """The classes that locations are drawn for: output number, from 1, to the label values of a class or region.

    With an ignore label there is also ``ANNOTATED``: all values but that one, including the background and the voxels
    outside the nonzero region.
    """
    classes = dict(enumerate(description.regions.values(), start=1))
    if description.ignore_label is not None:
        classes[ANNOTATED] = (-1, *range(description.ignore_label))
    return classes


def sample_class_locations(
    label: NDArray[Any], classes: Mapping[int, Collection[int]] | None = None
) -> dict[int, NDArray[np.int32]]:
    """Draw voxels of each class without replacement: at most 10,000, but at least one in a hundred.

    Source: docs/rules.md, Preprocessing.

    The draw depends on the label map alone (a fixed seed per case), so that preprocessing twice gives the same files.
    It takes one byte of memory per voxel and a few bytes per location.

    Args:
        label: (z, y, x), a resampled label map.
        classes: Class to its label values; a class that does not occur gets an empty array. None: every value > 0 that
            occurs.

    Returns:
        Class to (n, 3) int32 coordinates (z, y, x).
    """
    generator = np.random.RandomState(SEED)
    # One pass finds every value's box, so that a hundred classes do not mean a hundred passes.
    boxes = {value: box for value, box in enumerate(ndimage.find_objects(label), start=1) if box is not None}
    chosen = {value: (value,) for value in boxes} if classes is None else classes
    return {
        key: _sample(label, values, _box(label, values, boxes), generator) for key, values in sorted(chosen.items())
    }


def _box(
    label: NDArray[Any], values: Collection[int], boxes: Mapping[int, tuple[slice, ...]]
) -> tuple[slice, ...] | None:
    """A box around all voxels with one of the values; None if no voxel has one. Values <= 0 may be anywhere."""
    if min(values) <= 0:
        return tuple(slice(0, n) for n in label.shape)
    parts = [boxes[value] for value in values if value in boxes]
    if not parts:
        return None
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*parts, strict=True))


def _sample(
    label: NDArray[Any],
    values: Collection[int],
    box: tuple[slice, ...] | None,
    generator: np.random.RandomState,
) -> NDArray[np.int32]:
    if box is None:
        return np.empty((0, 3), dtype=np.int32)
    mask = np.empty(label[box].shape, dtype=np.bool_)
    # Slice by slice, because the search for several values takes many bytes per voxel.
    for part, plane in zip(mask, label[box], strict=True):
        part[:] = np.isin(plane, list(values))
    count = int(np.count_nonzero(mask))
    number = max(min(MOST_LOCATIONS, count), math.ceil(LEAST_SHARE * count))
    if count > _MOST_LISTED:
        chosen = _draw(mask.reshape(-1), count, number, generator)
    else:
        chosen = generator.choice(np.flatnonzero(mask), number, replace=False)
    corner = [side.start for side in box]
    coordinates: NDArray[np.intp] = np.stack(np.unravel_index(chosen, mask.shape), axis=1) + corner
    return coordinates.astype(np.int32)


def _draw(mask: NDArray[np.bool_], count: int, number: int, generator: np.random.RandomState) -> NDArray[np.int64]:
    """Draw ``number`` of the ``count`` voxels of a flat mask without listing them all.

    Positions are drawn anywhere until enough of them lie in the mask. As only a hundredth of its voxels is drawn,
    hardly any comes twice.
    """
    chosen = np.empty(0, dtype=np.int64)
    while chosen.size < number:
        tries = math.ceil((number - chosen.size) * mask.size / count)
        places = generator.randint(mask.size, size=tries, dtype=np.int64)
        chosen = np.concatenate([chosen, places[mask[places]]])
        _, first = np.unique(chosen, return_index=True)
        chosen = chosen[np.sort(first)]
    return chosen[:number]
