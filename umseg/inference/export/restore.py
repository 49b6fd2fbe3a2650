"""The label map of logits that are in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.inference.export.label_map import LabelExport
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


def slabs_of(logits: NDArray[np.float32] | Tensor, device: torch.device | None = None) -> Iterator[Slab]:
    """Logits (outputs, z, y, x) as slabs with weights of one, a few planes at a time."""
    tensor = torch.as_tensor(logits).detach()
    step = max(1, _SLAB_LOGITS // max(1, tensor[:, 0].numel()))
    for start in range(0, tensor.shape[1], step):
        part = tensor[:, start : start + step].to(device or tensor.device).float()
        sums = part.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
        yield Slab(sums, torch.ones(sums.shape[1:], device=sums.device), start, Strip(0, tensor.shape[2]))
