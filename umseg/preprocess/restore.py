"""The way back: from the network's output to a label map on the voxels of the original image (facts 1.12, step 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from umseg.dataset.crop import box_slices
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.preprocess import full_spacing
from umseg.preprocess.resample import Resampler

LOGITS_ORDER = 1


def restore_label_map(
    logits: NDArray[np.float32],
    properties: CaseProperties,
    plan: Plan,
    configuration: Configuration,
    region_values: Sequence[int] | None = None,
) -> NDArray[np.unsignedinteger[Any]]:
    """Resample logits to the original voxels and decide: the most probable class, or every region by itself.

    A few slices of one output are resampled at a time, so memory beyond the result does not grow with the outputs.

    Args:
        logits: (outputs, z, y, x) of shape ``properties.shape_after_resampling``.
        properties: As preprocessing returned them.
        plan: Gives the axis order of the original image.
        configuration: The configuration that the logits come from.
        region_values: With regions: the value of each output. It is written where the region's probability is above
            0.5, later ones over earlier ones. None: output c is class c.

    Returns:
        (z, y, x) in the original axis order and shape, uint8 (uint16 for values above 255); background outside the
        nonzero region. Of equal logits the lowest class wins.
    """
    resampler = _resampler(properties, configuration)
    highest = logits.shape[0] - 1 if region_values is None else max(region_values)
    dtype = np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16
    transposed = np.zeros(properties.shape_before_cropping, dtype=dtype)
    target = np.moveaxis(transposed[box_slices(properties.bbox)], resampler.lead, 0)
    for start, stop in resampler.slabs():
        outputs = (_slab(resampler, output, start, stop) for output in logits)
        if region_values is None:
            target[start:stop] = _most_probable(outputs, dtype)
        else:
            for value, logit in zip(region_values, outputs, strict=True):
                # The logarithm of the odds is positive where the probability is above 0.5.
                np.copyto(target[start:stop], dtype(value), where=logit > 0)
    return np.ascontiguousarray(transposed.transpose(plan.transpose_backward))


def restore_probabilities(
    logits: NDArray[np.float32],
    properties: CaseProperties,
    plan: Plan,
    configuration: Configuration,
    *,
    regions: bool = False,
) -> NDArray[np.float32]:
    """Resample logits to the original voxels and take the softmax, or with regions the sigmoid.

    Args:
        logits: (outputs, z, y, x) of shape ``properties.shape_after_resampling``.
        properties: As preprocessing returned them.
        plan: Gives the axis order of the original image.
        configuration: The configuration that the logits come from.
        regions: Each output is a region by itself.

    Returns:
        (outputs, z, y, x) float32 in the original axis order and shape; outside the nonzero region the background
        has probability 1, every region 0.
    """
    resampler = _resampler(properties, configuration)
    transposed = np.zeros((logits.shape[0], *properties.shape_before_cropping), dtype=np.float32)
    if not regions:
        transposed[0] = 1
    depth, height, width = box_slices(properties.bbox)
    target = np.moveaxis(transposed[:, depth, height, width], resampler.lead + 1, 1)
    for start, stop, slabs in _all_outputs(resampler, logits):
        target[:, start:stop] = expit(slabs) if regions else _softmax(slabs)
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


def _all_outputs(resampler: Resampler, logits: NDArray[np.float32]) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    for start, stop in resampler.slabs(volumes=logits.shape[0]):
        yield start, stop, np.stack([_slab(resampler, volume, start, stop) for volume in logits])


def _most_probable(
    outputs: Iterator[NDArray[np.float32]], dtype: type[np.unsignedinteger[Any]]
) -> NDArray[np.unsignedinteger[Any]]:
    """The number of the largest output; of equal ones the lowest."""
    largest = next(outputs)
    winner = np.zeros(largest.shape, dtype=dtype)
    for number, candidate in enumerate(outputs, start=1):
        np.copyto(winner, dtype(number), where=candidate > largest)
        np.maximum(largest, candidate, out=largest)
    return winner


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponentials: NDArray[np.float32] = np.exp(logits - logits.max(axis=0))
    exponentials /= exponentials.sum(axis=0)
    return exponentials
