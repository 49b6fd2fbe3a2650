"""The results of preprocessing: what training reads, and what restoring the original geometry needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from umseg.common.record import Record


class CaseProperties(Record):
    """The geometry of a preprocessed case, by which a prediction is brought back to the original voxels.

    All fields are in the plan's transposed axis order.

    Attributes:
        spacing: Spacing of the original image, mm.
        shape_before_cropping: Voxels per axis of the original image.
        bbox: Half-open range per axis of the crop to the nonzero region, in original voxels.
        shape_after_cropping: Voxels per axis of the crop.
        shape_after_resampling: Voxels per axis of the preprocessed image.
    """

    spacing: tuple[float, float, float]
    shape_before_cropping: tuple[int, int, int]
    bbox: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    shape_after_cropping: tuple[int, int, int]
    shape_after_resampling: tuple[int, int, int]

    @model_validator(mode="after")
    def _fits_together(self) -> CaseProperties:
        if not all(0 < size < math.inf for size in self.spacing):
            raise ValueError("a spacing of positive numbers")
        sides = tuple(stop - start for start, stop in self.bbox)
        ranges = zip(self.bbox, self.shape_before_cropping, strict=True)
        inside = all(start >= 0 and stop <= whole for (start, stop), whole in ranges)
        if not inside or sides != self.shape_after_cropping:
            raise ValueError("a bbox inside of shape_before_cropping, of the size shape_after_cropping")
        if min(*sides, *self.shape_after_resampling) < 1:
            raise ValueError("shapes of at least one voxel per axis")
        return self


@dataclass(frozen=True)
class PreprocessedCase:
    """One case as the network sees it.

    Attributes:
        data: (channels, z, y, x) float32, transposed, cropped, normalised and resampled.
        label: (z, y, x) int8 or int16, -1 outside the nonzero region; None at prediction.
        class_locations: Foreground class to (n, 3) int32 voxel coordinates in ``label`` for oversampling; empty at
            prediction.
        properties: Geometry of the case, to bring predictions back to the original voxels.
    """

    data: NDArray[np.float32]
    label: NDArray[np.integer] | None
    class_locations: dict[int, NDArray[np.int32]]
    properties: CaseProperties
