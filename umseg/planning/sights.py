"""What the page of a data set shows of each case: sizes and places of its classes, intensities, and a small picture.

It is gathered while the case is in memory for the fingerprint, from few of its voxels.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from umseg.common.record import Record
from umseg.dataset.description import DatasetDescription
from umseg.planning.intensity import Draw

_GRID_OF_VOLUMES, _GRID_OF_SLICES = (16, 16, 16), (1, 64, 64)
"""Points along each axis of the sample by which images are compared."""
_PER_POINT = 4
"""Voxels along each axis that are averaged for a point, at most."""
_SCALE = 40.0
"""Steps of a sample for one standard deviation."""
_SIDE = 80
"""Longer side of a picture in pixels."""
_PLACES = 96
"""Voxels along each axis by which the places of classes are found, at most."""
MOST_PICTURES = 2000
"""Cases up to which a data set has a picture of each."""


class CaseSight(Record):
    """One case.

    Attributes:
        sizes: Class to its volume in mm³; an area in mm², or pixels, in 2-D images. 0 for classes that it lacks.
        centres: Class to its mean place along z, y and x, from 0 to 1 of the image; only classes that it has.
        intensities: 5th, 50th and 95th percentile of the foreground, by channel; empty without a foreground.
        sample: The image on a coarse grid, standardised, as bytes in base64; empty if it is the same value everywhere.
        grid: Shape (channels, z, y, x) of the sample.
        picture: PNG of the plane with most foreground, in base64; empty in large data sets.
        labels: PNG with the label values of this plane, in base64; values above 255 begin again at 1.
        size: Height and width of the plane, in mm or pixels.
    """

    sizes: dict[str, float]
    centres: dict[str, tuple[float, float, float]]
    intensities: tuple[tuple[float, float, float], ...]
    sample: str
    grid: tuple[int, int, int, int]
    picture: str
    labels: str
    size: tuple[float, float]


def see_case(
    image: NDArray[np.float32],
    label: NDArray[np.integer[Any]],
    spacing: Sequence[float],
    description: DatasetDescription,
    sizes: dict[str, float],
    draws: Sequence[Draw],
    *,
    picture: bool,
) -> CaseSight:
    """What is shown of a case.

    Args:
        image: (channels, z, y, x).
        label: Label map (z, y, x).
        spacing: Size of a voxel along z, y, x.
        description: Names and values of the classes.
        sizes: Sizes of the classes (``measure_classes``).
        draws: Intensities of the foreground, one draw per channel.
        picture: Whether there is a picture.
    """
    grid = _GRID_OF_SLICES if image.shape[1] == 1 else _GRID_OF_VOLUMES
    shown, labels, size = _picture(image, label, spacing) if picture else ("", "", (0.0, 0.0))
    return CaseSight(
        sizes=sizes,
        centres=_centres(label, description),
        intensities=tuple(_percentiles(draw) for draw in draws if draw.values.size),
        sample=base64.b64encode(_sample(image, grid).tobytes()).decode("ascii"),
        grid=(len(image), *grid),
        picture=shown,
        labels=labels,
        size=size,
    )


def sample_of(sight: CaseSight) -> NDArray[np.int8]:
    """The sample of an image as numbers in the order of its grid; empty where there is none."""
    return np.frombuffer(base64.b64decode(sight.sample), np.int8)


def _percentiles(draw: Draw) -> tuple[float, float, float]:
    """The smallest values below or at which 5, 50 and 95 % of the draws lie."""
    ranks = np.cumsum(draw.counts, dtype=np.int64)
    places = np.searchsorted(ranks, np.ceil(np.array([0.05, 0.5, 0.95]) * ranks[-1]))
    low, middle, high = (float(value) for value in draw.values[places])
    return low, middle, high


def _centres(label: NDArray[np.integer[Any]], description: DatasetDescription) -> dict[str, tuple[float, float, float]]:
    steps = [_step(size, _PLACES) for size in label.shape]
    thin = label[tuple(slice(_first(size, step), None, step) for size, step in zip(label.shape, steps, strict=True))]
    if description.task == "instance":
        members = {name: () for name, value in description.labels.items() if value == 1}
        masks = dict.fromkeys(members, thin > 0)
        return {name: place for name, mask in masks.items() if (place := _centre(mask)) is not None}
    values = thin.ravel()
    count = int(values.max(initial=0)) + 1
    voxels = np.bincount(values, minlength=count)
    means = []
    for axis, size in enumerate(thin.shape):
        places = (np.arange(size) + 0.5) / size
        along = np.broadcast_to(places.reshape([size if other == axis else 1 for other in range(3)]), thin.shape)
        means.append(np.bincount(values, weights=along.ravel(), minlength=count))
    centres = {}
    for name, of_class in description.regions.items():
        own = [value for value in of_class if value < count]
        total = int(voxels[own].sum())
        if total:
            z, y, x = (round(float(mean[own].sum()) / total, 4) for mean in means)
            centres[name] = (z, y, x)
    return centres


def _centre(mask: NDArray[np.bool_]) -> tuple[float, float, float] | None:
    found = np.argwhere(mask)
    if not len(found):
        return None
    z, y, x = (round(float(value), 4) for value in (found.mean(axis=0) + 0.5) / mask.shape)
    return z, y, x


def _step(size: int, most: int) -> int:
    return max(1, math.ceil(size / most))


def _first(size: int, step: int) -> int:
    """The first of the voxels that are looked at, so that as many lie before it as behind the last."""
    return (size - 1) % step // 2


def _sample(image: NDArray[np.float32], grid: tuple[int, int, int]) -> NDArray[np.int8]:
    """The means of some voxels around each point of a coarse grid, as standard scores; empty for a constant image."""
    steps = [max(1, size // (points * _PER_POINT)) for size, points in zip(image.shape[1:], grid, strict=True)]
    z, y, x = (slice(_first(size, step), None, step) for size, step in zip(image.shape[1:], steps, strict=True))
    values = image[:, z, y, x].astype(np.float64)
    if values.min() == values.max():
        return np.empty(0, np.int8)
    for axis, points in enumerate(grid, start=1):
        values = np.moveaxis(np.moveaxis(values, axis, -1) @ _means(values.shape[axis], points).T, -1, axis)
    # Noise can cancel out within the stretches.
    scores = (values - values.mean()) / max(float(values.std()), 1e-30)
    found: NDArray[np.int8] = np.clip(np.round(_SCALE * scores), -127, 127).astype(np.int8)
    return found


def _means(size: int, points: int) -> NDArray[np.float64]:
    """The matrix (points, size) that averages an axis over equal stretches, also of parts of a voxel.

    It is the same from both ends, so that the sample of a mirrored image is the mirrored sample.
    """
    ends = np.arange(points + 1) * (size / points)
    voxels = np.arange(size)
    covered = np.minimum(ends[1:, None], voxels + 1) - np.maximum(ends[:-1, None], voxels)
    means: NDArray[np.float64] = np.clip(covered, 0, None) * (points / size)
    return means


def _picture(
    image: NDArray[np.float32], label: NDArray[np.integer[Any]], spacing: Sequence[float]
) -> tuple[str, str, tuple[float, float]]:
    """The plane across the axis of the largest spacing that has most foreground, as two PNG files, and its size."""
    flat = image.shape[1] == 1
    axis = 0 if flat else int(np.argmax(spacing))
    others = tuple(other for other in range(3) if other != axis)
    areas = np.count_nonzero(label, axis=others)
    place = int(areas.argmax()) if areas.any() else label.shape[axis] // 2
    channels = 3 if flat and len(image) == 3 else 1
    plane = np.moveaxis(np.take(image[:channels], place, axis + 1), 0, -1)
    step = max(_step(size, _SIDE) for size in plane.shape[:2])
    thin = plane[::step, ::step]
    low, high = np.percentile(thin, (0.5, 99.5))
    grey = np.clip((thin - low) * (255 / max(float(high - low), 1e-30)), 0, 255).astype(np.uint8)
    values = np.take(label, place, axis)[::step, ::step].astype(np.int64)
    labels = np.where(values > 0, (values - 1) % 255 + 1, 0).astype(np.uint8)
    rows, columns = (plane.shape[n] * (1.0 if flat else float(spacing[other])) for n, other in enumerate(others))
    return _png(grey[..., 0] if channels == 1 else grey), _png(labels), (rows, columns)


def _png(pixels: NDArray[np.uint8]) -> str:
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, "PNG", compress_level=1)
    return base64.b64encode(content.getvalue()).decode("ascii")
