"""The segmentation of a cascade's first stage, as an input of its second (docs/rules.md, Cascade)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.crop import box_slices
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.instances import instance_classes
from umseg.preprocess.preprocess import full_spacing
from umseg.preprocess.resampling.resample import resample_label


def fit_label_map(
    label: NDArray[np.integer[Any]], properties: CaseProperties, plan: Plan, configuration: Configuration
) -> NDArray[np.integer[Any]]:
    """Bring a label map to the voxels of the preprocessed image.

    Args:
        label: (z, y, x) on the voxels of the original image, in its axis order; in an instance task numbers of objects.
        properties: Of the preprocessed image.
        plan: Gives the axis order.
        configuration: That the image was preprocessed for.

    Returns:
        Of shape ``properties.shape_after_resampling``, in the plan's axis order.

    Raises:
        ValueError: The label map has another shape than the image.
    """
    if plan.boundary_width is not None:
        label = instance_classes(label, plan.boundary_width)
    transposed = label.transpose(plan.transpose_forward)
    if transposed.shape != properties.shape_before_cropping:
        raise ValueError(f"label map of shape {transposed.shape} for {properties.shape_before_cropping} voxels")
    return resample_label(
        np.ascontiguousarray(transposed[box_slices(properties.bbox)]),
        properties.shape_after_resampling,
        properties.spacing,
        full_spacing(configuration, properties.spacing),
    )


def one_hot(label: NDArray[np.integer[Any]], values: Sequence[int]) -> NDArray[np.float32]:
    """(*spatial) label map to (values, *spatial) channels of zeros and ones, which a network takes beside the image."""
    return np.stack([label == value for value in values]).astype(np.float32)
