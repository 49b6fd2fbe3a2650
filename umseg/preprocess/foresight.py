"""What preprocessing will make of an image, and in how much memory, known before it begins."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.crop import BoundingBox, nonzero_box
from umseg.planning.plan import Configuration, Plan
from umseg.planning.rules.normalizations import by_voxel
from umseg.planning.rules.spacing import permute, resampled_shape
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.resampling.resample import as_shape

_SINGLE = 4
_SLABS = 20_000_000
"""Bytes of the slabs in which images are normalised and resampled, whatever their size."""


def foreseen_properties(
    images: NDArray[Any], spacing: tuple[float, float, float], plan: Plan, configuration: Configuration
) -> CaseProperties:
    """The geometry of a case that has not been preprocessed yet.

    Args:
        images: (channels, z, y, x) as read from the files.
        spacing: mm per voxel along z, y, x.
        plan: Plan that gives the axis order.
        configuration: A configuration of the plan.
    """
    order = plan.transpose_forward
    images = images.transpose(0, *(axis + 1 for axis in order))
    return properties_of(images.shape[1:], nonzero_box(images), permute(spacing, order), configuration)


def properties_of(
    shape: tuple[int, ...], box: BoundingBox, spacing: tuple[float, float, float], configuration: Configuration
) -> CaseProperties:
    """The geometry of a case, in the plan's axis order.

    Args:
        shape: Voxels of the image, (z, y, x).
        box: Its nonzero region.
        spacing: mm per voxel along z, y, x.
        configuration: The configuration for which it is resampled.
    """
    cropped = as_shape([stop - start for start, stop in box])
    return CaseProperties(
        spacing=spacing,
        shape_before_cropping=as_shape(shape),
        bbox=box,
        shape_after_cropping=cropped,
        shape_after_resampling=as_shape(resampled_shape(spacing, cropped, full_spacing(configuration, spacing))),
    )


def full_spacing(configuration: Configuration, case_spacing: tuple[float, float, float]) -> tuple[float, float, float]:
    """The configuration's spacing per axis; a 2-D one keeps the spacing of the case along the first axis."""
    if configuration.dimensions == 2:
        return case_spacing[0], configuration.spacing[0], configuration.spacing[1]
    z, y, x = configuration.spacing
    return z, y, x


def preprocessed_bytes(properties: CaseProperties, channels: int) -> int:
    """Bytes of the preprocessed image.

    Args:
        properties: Geometry of the case.
        channels: Number of channels.
    """
    return _SINGLE * channels * math.prod(properties.shape_after_resampling)


def preprocessing_bytes(properties: CaseProperties, configuration: Configuration) -> int:
    """Bytes that preprocessing takes at once beside the image that was read.

    These are the preprocessed image, a float32 copy of one channel where its normalisation looks at all voxels before
    it changes the first, and the mask of the nonzero region where a normalisation asks for it. Temporary arrays of some
    megabytes are not counted.

    Args:
        properties: Geometry of the case.
        configuration: The configuration.
    """
    schemes = configuration.normalization_schemes
    cropped = math.prod(properties.shape_after_cropping)
    resampled = properties.shape_after_cropping != properties.shape_after_resampling
    copied = resampled and not all(map(by_voxel, schemes))
    pairs = zip(configuration.use_mask_for_norm, schemes, strict=True)
    masked = any(use and not by_voxel(scheme) for use, scheme in pairs)
    whole = preprocessed_bytes(properties, len(schemes))
    mask = math.prod(properties.shape_before_cropping) * np.dtype(bool).itemsize
    return _SLABS + whole + (_SINGLE * cropped if copied else 0) + (mask if masked else 0)
