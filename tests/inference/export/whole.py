"""Label map and probabilities of logits that are in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from umseg.inference.export.label_map import LabelExport
from umseg.inference.export.probabilities import collect_probabilities
from umseg.inference.windows.slab import Slab, Strip
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.case import CaseProperties

SLAB_LOGITS = 2**22

Logits = NDArray[np.float32] | Tensor


def restore_label_map(
    logits: Logits,
    properties: CaseProperties,
    plan: Plan,
    configuration: Configuration,
    region_values: Sequence[int] | None = None,
) -> NDArray[np.unsignedinteger[Any]]:
    """(z, y, x) from logits (outputs, z, y, x)."""
    export = LabelExport(properties, plan, configuration, region_values)
    for slab in slabs_of(logits):
        export.add(slab)
    return export.label_map()


def restore_probabilities(
    logits: Logits, properties: CaseProperties, plan: Plan, configuration: Configuration, *, regions: bool = False
) -> NDArray[np.float32]:
    """(outputs, z, y, x) from logits of this shape."""
    outputs = logits.shape[0]
    return collect_probabilities(slabs_of(logits), outputs, properties, plan, configuration, regions=regions)


def slabs_of(logits: Logits) -> Iterator[Slab]:
    """Logits (outputs, z, y, x) as slabs with weights of one, a few planes at a time."""
    tensor = torch.as_tensor(logits).detach()
    step = max(1, SLAB_LOGITS // max(1, tensor[:, 0].numel()))
    for start in range(0, tensor.shape[1], step):
        part = tensor[:, start : start + step].float()
        sums = part.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
        yield Slab(sums, torch.ones(sums.shape[1:], device=sums.device), start, Strip(0, tensor.shape[2]))
