"""Export as its definition says it, with everything in memory at once, and slabs to feed the real one with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.preprocess.cases import make_configuration, make_plan
from umseg.dataset.crop import box_slices
from umseg.inference.windows.slab import Slab, Strip
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.foresight import full_spacing
from umseg.preprocess.resampling.axis import axis_operator, nearest_indices, separate_axis

ISOTROPIC = (1.0, 1.0, 1.0)
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Grids:
    """The network's grid and the grid of the image."""

    properties: CaseProperties
    plan: Plan
    configuration: Configuration

    @classmethod
    def of(
        cls,
        old: Shape,
        new: Shape,
        spacing: tuple[float, ...] = ISOTROPIC,
        margin: int = 0,
        order: Shape = (0, 1, 2),
    ) -> Grids:
        """``old`` voxels that become ``new`` ones, in an image with a margin; ``spacing`` is the network's."""
        configuration = make_configuration(spacing)
        box = tuple((margin, margin + size) for size in new)
        whole = tuple(size + 2 * margin for size in new)
        properties = CaseProperties.model_validate(
            {
                "spacing": ISOTROPIC,
                "shape_before_cropping": whole,
                "bbox": box,
                "shape_after_cropping": new,
                "shape_after_resampling": old,
            }
        )
        return cls(properties, make_plan(order, any=configuration), configuration)

    def interpolated(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (outputs, z, y, x) at all voxels of the crop: one axis after the other in double, then rounded."""
        values = logits.astype(np.float64)
        spacing = full_spacing(self.configuration, self.properties.spacing)
        separate = separate_axis(spacing, self.properties.spacing)
        for axis, (old, new) in enumerate(zip(logits.shape[1:], self.properties.shape_after_cropping, strict=True)):
            if axis == separate:
                values = values.take(nearest_indices(old, new), axis + 1)
                continue
            low, high, weights = neighbours(axis_operator(old, new, 1))
            lower, upper = (np.moveaxis(values.take(index, axis + 1), axis + 1, -1) for index in (low, high))
            values = np.moveaxis(weights[:, 0] * lower + weights[:, 1] * upper, -1, axis + 1)
        return values.astype(np.float32)

    def label_map(self, logits: NDArray[np.float32], region_values: Sequence[int] | None) -> NDArray[Any]:
        """The label map, uint16."""
        values = self.interpolated(logits)
        labels = np.zeros(values.shape[1:], dtype=np.uint16)
        if region_values is None:
            labels[:] = values.argmax(axis=0)
        else:
            for value, region in zip(region_values, values, strict=True):
                labels[region > 0] = value
        whole = np.zeros(self.properties.shape_before_cropping, dtype=np.uint16)
        whole[box_slices(self.properties.bbox)] = labels
        back: NDArray[Any] = whole.transpose(self.plan.transpose_backward)
        return back


def neighbours(operator: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """The first and the last column that count in each row of an operator, and their entries."""
    used = operator != 0
    low, high = used.argmax(axis=1), operator.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
    rows = np.arange(len(operator))
    return low, high, np.stack([operator[rows, low], np.where(low == high, 0, operator[rows, high])], axis=1)


def slabs(
    sums: NDArray[np.float32],
    weights: NDArray[np.float32],
    *,
    height: int = 3,
    strips: Sequence[int] = (),
    classes_last: bool = True,
) -> Iterator[Slab]:
    """Sums (outputs, z, y, x) in slabs whose memory is overwritten once the next slab is asked for.

    Args:
        sums: Sums of weighted logits.
        weights: Their weights, (z, y, x).
        height: Planes of a slab.
        strips: Rows at which one strip ends and the next begins; the last strip comes first.
        classes_last: Whether classes are innermost in memory, as the sliding window gives them.
    """
    edges = [0, *strips, sums.shape[2] - 1]
    for first, last in reversed(list(itertools.pairwise(edges))):
        strip = Strip(first, last + 1)
        for start in range(0, sums.shape[1], height):
            part = torch.tensor(sums[:, start : start + height, first : last + 1])
            if classes_last:
                part = part.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
            weight = torch.tensor(weights[start : start + height, first : last + 1])
            yield Slab(part, weight, start, strip)
            part.fill_(torch.nan)
            weight.fill_(torch.nan)
