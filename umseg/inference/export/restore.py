"""Label map and probabilities of logits that are in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.dataset.crop import box_slices
from umseg.inference.export.grid import OutputGrid
from umseg.inference.export.label_map import LabelExport
from umseg.inference.export.probabilities import probability_chunks
from umseg.inference.windows.slab import Slab, Strip
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.case import CaseProperties

_SLAB_LOGITS = 2**22


def restore_label_map(
    logits: NDArray[np.float32] | Tensor,
    properties: CaseProperties,
    plan: Plan,
    configuration: Configuration,
    region_values: Sequence[int] | None = None,
    device: torch.device | None = None,
) -> NDArray[np.unsignedinteger[Any]]:
    """The label map of an image from all its logits.

    Args:
        logits: (outputs, z, y, x) of shape ``properties.shape_after_resampling``.
        properties: Properties that preprocessing returned for the case.
        plan: Plan that gives the axis order of the original image.
        configuration: Configuration that the logits were computed for.
        region_values: With regions: the value of each output (see ``LabelExport``).
        device: Device to resample on; None: the device of the logits.

    Returns:
        (z, y, x) in the original axis order and shape, uint8 (uint16 for values above 255).
    """
    export = LabelExport(properties, plan, configuration, region_values)
    for slab in slabs_of(logits, device):
        export.add(slab)
    return export.label_map()


def restore_probabilities(
    logits: NDArray[np.float32] | Tensor,
    properties: CaseProperties,
    plan: Plan,
    configuration: Configuration,
    *,
    regions: bool = False,
    device: torch.device | None = None,
) -> NDArray[np.float32]:
    """The softmax, or with regions the sigmoid, on the voxels of an image, from all its logits.

    Args:
        logits: (outputs, z, y, x) of shape ``properties.shape_after_resampling``.
        properties: Properties that preprocessing returned for the case.
        plan: Plan that gives the axis order of the original image.
        configuration: Configuration that the logits were computed for.
        regions: Whether each output is a region by itself.
        device: Device to resample on; None: the device of the logits.

    Returns:
        Probabilities as those of ``collect_probabilities``.
    """
    outputs = logits.shape[0]
    return collect_probabilities(slabs_of(logits, device), outputs, properties, plan, configuration, regions=regions)


def collect_probabilities(
    slabs: Iterable[Slab],
    outputs: int,
    properties: CaseProperties,
    plan: Plan,
    configuration: Configuration,
    *,
    regions: bool = False,
) -> NDArray[np.float32]:
    """The probabilities of all slabs of a case in one array.

    Args:
        slabs: Finished planes; slabs of a strip in ascending order without gaps.
        outputs: Number of outputs of the network.
        properties: Properties that preprocessing returned for the case.
        plan: Plan that gives the axis order of the original image.
        configuration: Configuration that the logits were computed for.
        regions: Whether each output is a region by itself.

    Returns:
        (outputs, z, y, x) float32 in the original axis order and shape; outside the nonzero region the probability is
        1 for the background and 0 for every region.
    """
    shape = [properties.shape_before_cropping[axis] for axis in plan.transpose_backward]
    probabilities = np.zeros((outputs, *shape), dtype=np.float32)
    if not regions:
        probabilities[0] = 1
    order = (0, *(axis + 1 for axis in plan.transpose_forward))
    depth, height, width = box_slices(properties.bbox)
    target = probabilities.transpose(order)[:, depth, height, width]
    for chunk in probability_chunks(slabs, OutputGrid.of(properties, configuration), regions=regions):
        target[:, chunk.planes, chunk.rows] = chunk.values
    return probabilities


def slabs_of(logits: NDArray[np.float32] | Tensor, device: torch.device | None = None) -> Iterator[Slab]:
    """Logits (outputs, z, y, x) as slabs with weights of one, a few planes at a time."""
    tensor = torch.as_tensor(logits).detach()
    step = max(1, _SLAB_LOGITS // max(1, tensor[:, 0].numel()))
    for start in range(0, tensor.shape[1], step):
        part = tensor[:, start : start + step].to(device or tensor.device).float()
        sums = part.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
        yield Slab(sums, torch.ones(sums.shape[1:], device=sums.device), start, Strip(0, tensor.shape[2]))
