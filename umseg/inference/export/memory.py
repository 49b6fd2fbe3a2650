"""The memory that export needs, known before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from umseg.inference.export.device import temporary_bytes
from umseg.inference.windows.slab import Strip
from umseg.planning.plan import Plan
from umseg.preprocess.case import CaseProperties

_SINGLE, _DOUBLE = 4, 8


@dataclass(frozen=True)
class ExportMemory:
    """The most bytes that the label map of a case takes at once, beside the slabs that it is made from.

    Attributes:
        label_map: The label map alone.
        host: In the computer's memory: the label map and, where the sums are there, two planes.
        device: In the memory of the device that keeps the sums; 0 for the CPU.
    """

    label_map: int
    host: int
    device: int


def export_memory(
    properties: CaseProperties,
    plan: Plan,
    outputs: int,
    *,
    highest: int,
    strips: Sequence[Strip],
    planes: int,
    on_device: bool,
) -> ExportMemory:
    """The memory that ``LabelExport`` needs for a case whose strips come one after the other.

    Args:
        properties: Geometry of the case.
        plan: Plan that gives the axis order of the original image.
        outputs: Number of outputs of the network.
        highest: Highest label.
        strips: The strips.
        planes: Planes of the largest slab.
        on_device: Whether the sums are kept on a device such as a GPU.
    """
    label_map = math.prod(properties.shape_before_cropping) * (1 if highest < 2**8 else 2)
    # In the end the axes are brought into the original order.
    copy = 0 if plan.transpose_forward == (0, 1, 2) else label_map
    voxels = max(strip.stop - strip.start for strip in strips) * properties.shape_after_resampling[2]
    # Sums, weights and leaders of the last plane, and the leaders of the next.
    if not on_device:
        return ExportMemory(label_map, label_map + max(copy, voxels * _SINGLE * (outputs + 3)), 0)
    # On a device the last plane is copied a second time, together with the next one.
    kept = 3 * voxels * (_SINGLE * (outputs + 1) + _DOUBLE)
    return ExportMemory(label_map, label_map + copy, kept + planes * voxels * _DOUBLE + temporary_bytes())
