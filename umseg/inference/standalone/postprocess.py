"""From the network's output to a label map on the voxels of the image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metadata import Metadata
from .objects import fill_object_holes, find_instances, remove_small_objects
from .preprocess import Properties
from .resampling import LOGITS_ORDER, along, lead_first, nearest, separate_axis

_SLAB_VOXELS = 2**19

LabelMap = NDArray[np.unsignedinteger[Any]]


def postprocess(logits: NDArray[np.float32], properties: Properties, metadata: Metadata) -> LabelMap:
    """Resample logits linearly to the voxels of the image, and decide for the most probable class or for regions.

    Args:
        logits: (classes, z, y, x) of the preprocessed image.
        properties: What ``preprocess`` returned.
        metadata: The model.

    Returns:
        (z, y, x) label map of the image: values of classes; in an instance task numbers of objects.
    """
    values = metadata.region_values
    highest = metadata.num_classes - 1 if values is None else max(values)
    label_map = np.zeros(properties.whole, dtype=np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16)
    separate = separate_axis(properties.target, properties.spacing)
    target = np.moveaxis(label_map[properties.box], separate or 0, 0)
    for rows, slabs in _slabs(logits, properties, separate):
        target[rows] = _most_probable(slabs) if values is None else _regions(slabs, values, label_map.dtype)
    back = [metadata.order.index(axis) for axis in range(3)]
    label_map = np.ascontiguousarray(label_map.transpose(back))
    return _objects(label_map, metadata) if metadata.instances else label_map


def _slabs(
    logits: NDArray[np.float32], properties: Properties, separate: int | None
) -> Iterator[tuple[slice, Iterator[NDArray[np.float32]]]]:
    """Ranges of slices of the image, with every output resampled to them, one after the other."""
    lead = separate or 0
    length, height, width = (properties.cropped[axis] for axis in lead_first(lead))
    moved = np.moveaxis(logits, lead + 1, 1)
    size = max(math.prod(moved.shape[2:]), height * width, math.prod(moved.shape[1:]) // length)
    step = max(1, _SLAB_VOXELS // size)
    for start in range(0, length, step):
        rows = slice(start, min(start + step, length))
        yield rows, (_slab(output, rows, (length, height, width), separate) for output in moved)


def _slab(
    output: NDArray[np.float32], rows: slice, shape: tuple[int, int, int], separate: int | None
) -> NDArray[np.float32]:
    if output.shape == shape:
        return output[rows]
    length, height, width = shape
    if separate is None:
        planes, places = along(output.astype(np.float64), 0, length, LOGITS_ORDER, rows), None
    else:
        used, places = np.unique(nearest(len(output), length)[rows], return_inverse=True)
        planes = output[used].astype(np.float64)
    planes = along(along(planes, 1, height, LOGITS_ORDER), 2, width, LOGITS_ORDER).astype(np.float32)
    return planes if places is None else planes[places]


def _most_probable(outputs: Iterator[NDArray[np.float32]]) -> NDArray[np.intp]:
    """The number of the largest output, the first of equal ones."""
    largest = next(outputs)
    winner = np.zeros(largest.shape, dtype=np.intp)
    for number, candidate in enumerate(outputs, start=1):
        winner[candidate > largest] = number
        largest = np.maximum(largest, candidate)
    return winner


def _regions(outputs: Iterator[NDArray[np.float32]], values: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The value of the last region that is more likely than not, or 0."""
    label: NDArray[Any] | None = None
    for value, logit in zip(values, outputs, strict=True):
        label = np.zeros(logit.shape, dtype=dtype) if label is None else label
        label[logit > 0] = value
    assert label is not None
    return label


def _objects(classes: LabelMap, metadata: Metadata) -> LabelMap:
    """The numbered objects that interior and boundary show, cleaned as the validation chose it."""
    instances, cleaning = find_instances(classes), metadata.cleaning
    if cleaning is None:
        return instances
    if cleaning.smallest > 1:
        instances = remove_small_objects(instances, cleaning.smallest)
    return fill_object_holes(instances) if cleaning.fill_holes else instances
