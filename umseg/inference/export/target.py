"""The label map in the making: voxels in the plan's axis order, of which only the crop is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.crop import box_slices
from umseg.planning.plan import Plan
from umseg.preprocess.case import CaseProperties

LabelArray = NDArray[np.unsignedinteger[Any]]


def label_numbers(outputs: int, region_values: Sequence[int] | None) -> LabelArray:
    """The label of each leader (see ``umseg.kernels.interpolation.label_kernels``), in the dtype of the label map.

    Args:
        outputs: Number of outputs of the network.
        region_values: With regions: the value of each output. None: output c is class c.
    """
    numbers = range(outputs) if region_values is None else (0, *region_values)
    return np.asarray(numbers, dtype=np.uint8 if max(numbers) <= np.iinfo(np.uint8).max else np.uint16)


class LabelTarget:
    """A label map of background, and its crop in which labels are written.

    Attributes:
        crop: The crop, (z, y, x) in the plan's axis order: a view of the label map.
        missing: Which planes and rows of the crop have not been written, bool (z, y).
    """

    def __init__(self, properties: CaseProperties, plan: Plan, dtype: np.dtype[Any]) -> None:
        self._transposed: LabelArray = np.zeros(properties.shape_before_cropping, dtype=dtype)
        self._plan = plan
        self.crop: LabelArray = self._transposed[box_slices(properties.bbox)]
        self.missing = np.ones(self.crop.shape[:2], dtype=bool)

    @property
    def flat(self) -> LabelArray:
        """All voxels of the label map in a row."""
        return self._transposed.reshape(-1)

    def base(self, plane: int) -> int:
        """The place in ``flat`` of the first voxel of a plane of the crop."""
        start = self.crop[plane:, :1, :1].ctypes.data - self._transposed.ctypes.data
        return start // self._transposed.itemsize

    @property
    def pitches(self) -> tuple[int, int]:
        """Steps in ``flat`` from plane to plane and from row to row."""
        z, y, _ = (step // self._transposed.itemsize for step in self._transposed.strides)
        return z, y

    def label_map(self) -> LabelArray:
        """The finished label map (z, y, x) in the original axis order.

        Raises:
            ValueError: Some voxels have not been written.
        """
        if self.missing.any():
            raise ValueError(f"{int(self.missing.sum())} of {self.missing.size} rows of the label map are missing")
        return np.ascontiguousarray(self._transposed.transpose(self._plan.transpose_backward))
