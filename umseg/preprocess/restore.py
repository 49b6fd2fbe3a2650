"""The way back: from the network's output to a label map on the voxels of the original image (facts 1.12, step 8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.crop import box_slices
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.preprocess import full_spacing
from umseg.preprocess.resample import Resampler

LOGITS_ORDER = 1


def restore_label_map(
    logits: NDArray[np.float32], properties: CaseProperties, plan: Plan, configuration: Configuration
) -> NDArray[np.unsignedinteger[Any]]:
    """Resample logits to the original voxels and take the most probable class.

    A few slices of one class are resampled at a time, so memory beyond the result does not grow with the classes.

    Args:
        logits: (classes, z, y, x) of shape ``properties.shape_after_resampling``.
        properties: As preprocessing returned them.
        plan: Gives the axis order of the original image.
        configuration: The configuration that the logits come from.

    Returns:
        (z, y, x) in the original axis order and shape, uint8 (uint16 for more than 255 classes); background outside the
        nonzero region. Of equal logits the lowest class wins.
    """
    resampler = _resampler(properties, configuration)
    dtype = np.uint8 if logits.shape[0] <= np.iinfo(np.uint8).max else np.uint16
    transposed = np.zeros(properties.shape_before_cropping, dtype=dtype)
    target = np.moveaxis(transposed[box_slices(properties.bbox)], resampler.lead, 0)
    for start, stop in resampler.slabs():
        largest = _slab(resampler, logits[0], start, stop)
        winner = np.zeros(largest.shape, dtype=dtype)
        for number in range(1, logits.shape[0]):
            candidate = _slab(resampler, logits[number], start, stop)
            np.copyto(winner, dtype(number), where=candidate > largest)
            np.maximum(largest, candidate, out=largest)
        target[start:stop] = winner
    return np.ascontiguousarray(transposed.transpose(plan.transpose_backward))


def restore_probabilities(
    logits: NDArray[np.float32], properties: CaseProperties, plan: Plan, configuration: Configuration
) -> NDArray[np.float32]:
    """Resample logits to the original voxels and take the softmax.

    Args:
        logits: (classes, z, y, x) of shape ``properties.shape_after_resampling``.
        properties: As preprocessing returned them.
        plan: Gives the axis order of the original image.
        configuration: The configuration that the logits come from.

    Returns:
        (classes, z, y, x) float32 in the original axis order and shape; outside the nonzero region the background
        has probability 1.
    """
    resampler = _resampler(properties, configuration)
    transposed = np.zeros((logits.shape[0], *properties.shape_before_cropping), dtype=np.float32)
    transposed[0] = 1
    depth, height, width = box_slices(properties.bbox)
    target = np.moveaxis(transposed[:, depth, height, width], resampler.lead + 1, 1)
    for start, stop, slabs in _all_classes(resampler, logits):
        target[:, start:stop] = _softmax(slabs)
    return np.ascontiguousarray(transposed.transpose(0, *(axis + 1 for axis in plan.transpose_backward)))


def _resampler(properties: CaseProperties, configuration: Configuration) -> Resampler:
    return Resampler(
        properties.shape_after_resampling,
        properties.shape_after_cropping,
        full_spacing(configuration, properties.spacing),
        properties.spacing,
        LOGITS_ORDER,
    )


def _slab(resampler: Resampler, volume: NDArray[np.float32], start: int, stop: int) -> NDArray[np.float32]:
    # Interpolated in double and compared in single precision like the published system: near ties fall the same way.
    return resampler.slab(volume, start, stop, np.float64).astype(np.float32)


def _all_classes(resampler: Resampler, logits: NDArray[np.float32]) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    for start, stop in resampler.slabs(volumes=logits.shape[0]):
        yield start, stop, np.stack([_slab(resampler, volume, start, stop) for volume in logits])


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponentials: NDArray[np.float32] = np.exp(logits - logits.max(axis=0))
    exponentials /= exponentials.sum(axis=0)
    return exponentials
