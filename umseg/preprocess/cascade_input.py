"""The segmentation of a cascade's first stage as an input of its second stage (docs/rules.md, Cascade)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.crop import box_slices
from umseg.dataset.instances import instance_classes
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.foresight import full_spacing
from umseg.preprocess.resampling.resample import resample_label


def fit_label_map(
    label: NDArray[np.integer[Any]], properties: CaseProperties, plan: Plan, configuration: Configuration
) -> NDArray[np.integer[Any]]:
    """Bring a label map to the voxels of the preprocessed image.

    Args:
        label: (z, y, x) on the voxels of the original image, in its axis order; in an instance task numbers of objects.
        properties: Properties of the preprocessed image.
        plan: Plan that gives the axis order.
        configuration: Configuration that the image was preprocessed for.

    Returns:
        The label map of shape ``properties.shape_after_resampling``, in the plan's axis order.

    Raises:
        ValueError: The label map and the image differ in shape.
    """
    if plan.boundary_width is not None:
        label = instance_classes(label, plan.boundary_width)
    transposed = label.transpose(plan.transpose_forward)
    if transposed.shape != properties.shape_before_cropping:
        raise ValueError(
            f"the label map has the shape {transposed.shape}, its image {properties.shape_before_cropping}"
        )
    return resample_label(
        np.ascontiguousarray(transposed[box_slices(properties.bbox)]),
        properties.shape_after_resampling,
        properties.spacing,
        full_spacing(configuration, properties.spacing),
    )


def one_hot(label: NDArray[np.integer[Any]], values: Sequence[int]) -> NDArray[np.float32]:
    """Turn a (*spatial) label map into (values, *spatial) channels of zeros and ones, as inputs of a network."""
    return np.stack([label == value for value in values]).astype(np.float32)
