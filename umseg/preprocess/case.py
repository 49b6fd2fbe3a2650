"""What preprocessing hands to training and to the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umseg.common.record import Record


class CaseProperties(Record):
    """What is needed to bring a prediction back to the geometry of the input.

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


@dataclass(frozen=True)
class PreprocessedCase:
    """An image as the network sees it.

    Attributes:
        data: (channels, z, y, x) float32, transposed, cropped, normalised, resampled.
        label: (z, y, x) int8 or int16, -1 outside the nonzero region; None at prediction.
        class_locations: Foreground class to (n, 3) int32 voxel coordinates in ``label`` for oversampling; empty at
            prediction.
        properties: The way back.
    """

    data: NDArray[np.float32]
    label: NDArray[np.integer] | None
    class_locations: dict[int, NDArray[np.int32]]
    properties: CaseProperties
