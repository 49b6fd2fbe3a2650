"""Restoring the original geometry: from the network's output to a label map on the voxels of the original image.

Source: docs/rules.md, Inference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from umseg.dataset.crop import box_slices
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.preprocess import full_spacing
from umseg.preprocess.resampling.arrays import Array, Arrays, NumpyArrays
from umseg.preprocess.resampling.resampler import Resampler
from umseg.preprocess.resampling.tensors import TorchArrays, has_room

LOGITS_ORDER = 1


def restore_label_map(
    logits: NDArray[np.float32] | Tensor,
    properties: CaseProperties,
    plan: Plan,
    configuration: Configuration,
    region_values: Sequence[int] | None = None,
    device: torch.device | None = None,
) -> NDArray[np.unsignedinteger[Any]]:
    """Resample logits to the original voxels and decide for the most probable class, or on every region by itself.

    A few slices of one output are resampled at a time, so that memory beyond the result does not grow with the number
    of outputs.

    Args:
        logits: (outputs, z, y, x) of shape ``properties.shape_after_resampling``.
        properties: Properties that preprocessing returned for the case.
        plan: Plan that gives the axis order of the original image.
        configuration: Configuration that the logits were computed for.
        region_values: With regions: the value of each output, written where the region's probability is above 0.5;
            later regions overwrite earlier ones. None: output c is class c.
        device: Device to compute on; None: the device of the logits. If its memory does not suffice, the CPU is used.

    Returns:
        (z, y, x) in the original axis order and shape, uint8 (uint16 for values above 255); background outside the
        nonzero region. Where logits are equal, the lowest class wins.
    """
    resampler = _resampler(properties, configuration)
    logits, arrays = _place(logits, device, resampler)
    highest = logits.shape[0] - 1 if region_values is None else max(region_values)
    small = highest <= np.iinfo(np.uint8).max
    numbers = arrays.library.asarray(
        list(region_values or range(highest + 1)),
        # torch supports hardly any operation on uint16.
        dtype=arrays.library.uint8 if small else arrays.library.int32,
    )
    decide = _most_probable if region_values is None else _likely_regions
    transposed = np.zeros(properties.shape_before_cropping, dtype=np.uint8 if small else np.uint16)
    target = np.moveaxis(transposed[box_slices(properties.bbox)], resampler.lead, 0)
    for start, stop in resampler.slabs(arrays):
        outputs = (_slab(resampler, output, start, stop, arrays) for output in logits)
        target[start:stop] = arrays.to_host(decide(outputs, numbers, arrays.library))
    return np.ascontiguousarray(transposed.transpose(plan.transpose_backward))


def restore_probabilities(
    logits: NDArray[np.float32] | Tensor,
    properties: CaseProperties,
    plan: Plan,
    configuration: Configuration,
    *,
    regions: bool = False,
    device: torch.device | None = None,
) -> NDArray[np.float32]:
    """Resample logits to the original voxels and take the softmax, or with regions the sigmoid.

    Args:
        logits: (outputs, z, y, x) of shape ``properties.shape_after_resampling``.
        properties: Properties that preprocessing returned for the case.
        plan: Plan that gives the axis order of the original image.
        configuration: Configuration that the logits were computed for.
        regions: Whether each output is a region by itself.
        device: Device to resample on; None: the device of the logits. If its memory does not suffice, the CPU is used.

    Returns:
        (outputs, z, y, x) float32 in the original axis order and shape; outside the nonzero region the probability is
        1 for the background and 0 for every region.
    """
    resampler = _resampler(properties, configuration)
    logits, arrays = _place(logits, device, resampler)
    transposed = np.zeros((logits.shape[0], *properties.shape_before_cropping), dtype=np.float32)
    if not regions:
        transposed[0] = 1
    depth, height, width = box_slices(properties.bbox)
    target = np.moveaxis(transposed[:, depth, height, width], resampler.lead + 1, 1)
    for start, stop in resampler.slabs(arrays, volumes=logits.shape[0]):
        slabs = np.stack([arrays.to_host(_slab(resampler, volume, start, stop, arrays)) for volume in logits])
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


def _place(logits: Array, device: torch.device | None, resampler: Resampler) -> tuple[Array, Arrays]:
    """The logits and the library to resample them with: torch on a GPU with enough memory, else numpy."""
    on_host = isinstance(logits, np.ndarray)
    device = device or (torch.device("cpu") if on_host else logits.device)
    if device.type != "cpu" and has_room(device, max(TorchArrays.slab_voxels, resampler.slice_voxels)):
        return torch.as_tensor(logits).detach(), TorchArrays(device)
    return logits if on_host else logits.detach().cpu().float().numpy(), NumpyArrays(np.float32)


def _slab(resampler: Resampler, volume: Array, start: int, stop: int, arrays: Arrays) -> Array:
    # Interpolated in double and compared in single precision, as in the published system, so that near ties are decided
    # alike.
    return arrays.load(resampler.slab(volume, start, stop, arrays.double()))


def _most_probable(outputs: Iterator[Array], numbers: Array, library: Any) -> Array:
    """The number of the largest output, the first of equal ones. Numbers count from 0."""
    largest = next(outputs)
    winner = library.zeros_like(largest, dtype=numbers.dtype)
    for number, candidate in zip(numbers[1:], outputs, strict=True):
        # The last output that exceeds all earlier ones has the largest number; this is quicker than masked writing.
        library.maximum(winner, (candidate > largest) * number, out=winner)
        largest = library.maximum(largest, candidate)
    return winner


def _likely_regions(outputs: Iterator[Array], numbers: Array, library: Any) -> Array:
    """The number of the last region that is more likely than not, or 0."""
    # The logarithm of the odds is positive where the probability is above 0.5.
    label = (next(outputs) > 0) * numbers[0]
    for number, logit in zip(numbers[1:], outputs, strict=True):
        label[logit > 0] = number
    return label


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponentials: NDArray[np.float32] = np.exp(logits - logits.max(axis=0))
    exponentials /= exponentials.sum(axis=0)
    return exponentials
