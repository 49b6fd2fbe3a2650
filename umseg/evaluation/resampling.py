"""A prediction on the grid of its reference, where the two were stored on different grids in space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from umseg.dataset.io.grid import Geometry
from umseg.dataset.io.images import LabelMap, array_spacing


def can_resample(prediction: Geometry, reference: Geometry) -> bool:
    """Whether both grids say where they lie in space, with the same number of axes."""
    return prediction.unit == reference.unit == "mm" and prediction.dimensions == reference.dimensions


def resample_nearest(prediction: LabelMap, reference: Geometry) -> LabelMap:
    """The prediction on another grid: each voxel has the label of the nearest one, and 0 beyond the prediction.

    Args:
        prediction: The label map.
        reference: The grid.
    """
    grid = prediction.geometry
    # SimpleITK has no boolean or half types, and no label map needs more than 32 bits here.
    array = prediction.array.astype(np.int32, copy=False)
    image = sitk.GetImageFromArray(array if grid.dimensions == 3 else array[0])
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(reference.size)
    resampler.SetOutputSpacing(reference.spacing)
    resampler.SetOutputOrigin(reference.origin)
    resampler.SetOutputDirection(reference.direction)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor)
    resampler.SetDefaultPixelValue(0)
    found = sitk.GetArrayFromImage(resampler.Execute(image)).astype(prediction.array.dtype)
    return LabelMap(
        found.reshape(reference.shape),
        array_spacing(reference),
        replace(reference, nifti=None),
        prediction.notices,
    )
