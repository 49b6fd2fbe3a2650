"""From an image as it was recorded to an image as the network sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metadata import Metadata, PredictionError
from .objects import enclosed
from .resampling import Shape, Spacing, resample

Box = tuple[slice, slice, slice]

_SMALLEST_DIVISOR = 1e-8


@dataclass(frozen=True)
class Properties:
    """The geometry of a preprocessed image along the network's axes, by which labels are brought back.

    Attributes:
        spacing: Spacing of the image, mm.
        target: Spacing of the preprocessed image, mm.
        whole: Shape of the image.
        box: The part of it that is not zero.
        cropped: Shape of that part.
        resampled: Shape of the preprocessed image.
    """

    spacing: Spacing
    target: Spacing
    whole: Shape
    box: Box
    cropped: Shape
    resampled: Shape


def preprocess(
    image: NDArray[Any], spacing: Sequence[float], metadata: Metadata
) -> tuple[NDArray[np.float32], Properties]:
    """Transpose, crop to what is not zero, normalise and resample an image, in this order.

    Args:
        image: (channels, z, y, x) along the axes of the training images; a 2-D image is (channels, 1, y, x).
        spacing: mm per voxel along z, y, x.
        metadata: The model.

    Returns:
        (channels, z, y, x) float32 along the network's axes, and the way back.

    Raises:
        PredictionError: The image does not fit the model.
    """
    _check(image, spacing, metadata)
    image = image.transpose(0, *(axis + 1 for axis in metadata.order))
    before = _triple(spacing[axis] for axis in metadata.order)
    target = _triple((before[0], *metadata.spacing) if len(metadata.spacing) == 2 else metadata.spacing)
    box, inside = _nonzero(image)
    cropped = _triple(inside.shape)
    shape = _triple(max(1, round(b / t * n)) for b, t, n in zip(before, target, cropped, strict=True))
    data = np.empty((len(image), *shape), dtype=np.float32)
    for number, channel in enumerate(image[:, box[0], box[1], box[2]]):
        values = np.array(channel, dtype=np.float32, order="C")
        mask = inside if metadata.masked[number] else None
        _normalize(values, metadata.normalizations[number], mask, metadata.intensities.get(str(number)))
        data[number] = resample(values, shape, before, target)
    return data, Properties(before, target, _triple(image.shape[1:]), box, cropped, shape)


def _check(image: NDArray[Any], spacing: Sequence[float], metadata: Metadata) -> None:
    expected = f"{len(metadata.channels)} channels ({', '.join(metadata.channels)})"
    if image.ndim != 4 or len(image) != len(metadata.channels):
        raise PredictionError(f"The image has the shape {image.shape}; expected (channels, z, y, x) with {expected}.")
    if len(spacing) != 3 or not all(0 < size < math.inf for size in spacing):
        raise PredictionError(f"The spacing {tuple(spacing)} is not three positive numbers, along z, y and x in mm.")
    if not np.isfinite(image).all():
        raise PredictionError("The image contains values that are not finite (NaN or infinity).")


def _nonzero(image: NDArray[Any]) -> tuple[Box, NDArray[np.bool_]]:
    """The box of what is not zero in any channel, and the mask in that box with its holes filled; 3-D, six neighbours.

    An image that is zero everywhere is not cropped, and its mask is empty.
    """
    mask = (image != 0).any(axis=0)
    sides = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        sides.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, mask.shape[axis]))
    z, y, x = sides
    mask = mask[z, y, x]
    return (z, y, x), (mask | enclosed(mask) if mask.any() else mask)


def _normalize(
    values: NDArray[np.float32], scheme: str, mask: NDArray[np.bool_] | None, intensities: Mapping[str, float] | None
) -> None:
    """Normalise a channel in place."""
    if scheme == "CTNormalization":
        _normalize_ct(values, intensities)
    elif scheme == "ZScoreNormalization" and mask is None:
        _standardize(values)
    elif scheme == "ZScoreNormalization" and mask is not None and mask.any():
        inside = values[mask]
        _standardize(inside)
        values[mask] = inside
    elif scheme == "RescaleTo01Normalization":
        lowest, highest = float(values.min()), float(values.max())
        values -= np.float32(lowest)
        values /= np.float32(max(highest - lowest, _SMALLEST_DIVISOR))
    elif scheme == "RGBTo01Normalization":
        if values.min() < 0 or values.max() > 255:
            raise PredictionError("The image is not an 8-bit colour image: it has values outside of 0 to 255.")
        values /= np.float32(255)
    elif scheme not in ("NoNormalization", "ZScoreNormalization"):
        raise PredictionError(f"The intensity normalisation {scheme} is not one of umseg's own.")


def _normalize_ct(values: NDArray[np.float32], intensities: Mapping[str, float] | None) -> None:
    if intensities is None:
        raise PredictionError("CT normalisation needs the intensities of the training images, which are missing.")
    low, high = np.float32(intensities["percentile_00_5"]), np.float32(intensities["percentile_99_5"])
    np.clip(values, low, high, out=values)
    values -= np.float32(intensities["mean"])
    values /= np.float32(max(intensities["std"], _SMALLEST_DIVISOR))


def _standardize(values: NDArray[np.float32], block: int = 2**20) -> None:
    """Zero mean and unit deviation, in place."""
    values -= np.float32(values.mean(dtype=np.float64))
    flat = values.ravel()
    parts = (flat[start : start + block] for start in range(0, flat.size, block))
    total = sum(float(np.square(part, dtype=np.float64).sum()) for part in parts)
    values /= np.float32(max(math.sqrt(total / max(flat.size, 1)), _SMALLEST_DIVISOR))


def _triple(values: Any) -> Any:
    first, second, third = values
    return first, second, third
