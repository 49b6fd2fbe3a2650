"""Volumes for the viewer in the page: small NIfTI files, cropped to the classes and thinned out until they fit."""

from __future__ import annotations

import base64
import gzip
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.io.grid import Geometry
from umseg.reports.page.pictures.planes import Maps, colour_numbers, shown_box
from umseg.reports.preview.colouring import intensity_window

_MOST_STEP = 16


def draw_volumes(maps: Maps, geometry: Geometry, budget: int) -> dict[str, str]:
    """The image and the label maps of a 3-D case as ``.nii.gz`` in base64.

    Args:
        maps: The case.
        geometry: The grid of its arrays.
        budget: Characters that all files may take together.

    Returns:
        The files by the names of their layers; nothing for an image of a single slice, or where no size fits.
    """
    if min(maps.image.shape[1:]) == 1:
        return {}
    box = shown_box(maps)
    labels = np.zeros(maps.image.shape[1:], np.bool_)
    for known in maps.label_maps:
        labels |= known > 0
    low, high = intensity_window(maps.image, labels, box)
    named = {"reference": maps.reference} | {f"prediction-{n}": found for n, found in enumerate(maps.predictions)}
    step = 1
    while step <= _MOST_STEP:
        steps = _steps(maps.spacing, step)
        cut = tuple(slice(part.start, part.stop, every) for part, every in zip(box, steps, strict=True))
        image = np.clip((maps.image[0][cut].astype(np.float32) - low) * (255 / max(high - low, 1e-30)), 0, 255)
        affine = _affine(geometry, cut)
        files = {"image": _file(np.round(image).astype(np.uint8), affine)}
        for name, found in named.items():
            if found is not None:
                files[name] = _file(_colours(maps, found[cut]), affine)
        size = sum(map(len, files.values()))
        if size <= budget:
            return files
        # The size falls with about the third power of the step.
        step = max(step + 1, math.floor(step * (size / budget) ** (1 / 3)))
    return {}


def _steps(spacing: tuple[float, float, float], step: int) -> tuple[int, ...]:
    """The step along each axis: axes with longer voxels are thinned out later."""
    longest = min(spacing) * step
    return tuple(max(1, math.floor(longest / size + 1e-6)) for size in spacing)


def _colours(maps: Maps, labels: NDArray[Any]) -> NDArray[np.uint8]:
    numbers = colour_numbers(maps.description, int(labels.max(initial=0)))[labels]
    return np.where(numbers > 0, (numbers - 1) % 255 + 1, 0).astype(np.uint8)


def _affine(geometry: Geometry, cut: tuple[slice, ...]) -> NDArray[np.float64]:
    """The matrix from voxels (x, y, z) of a part of the image to mm to the right, front and top, as in NIfTI."""
    direction = np.asarray(geometry.direction, np.float64).reshape(3, 3)
    first = np.array([part.start for part in reversed(cut)], np.float64)
    steps = np.array([part.step for part in reversed(cut)], np.float64)
    spacing = np.asarray(geometry.spacing, np.float64)
    affine = np.eye(4)
    affine[:3, :3] = direction * (spacing * steps)
    affine[:3, 3] = np.asarray(geometry.origin, np.float64) + direction @ (spacing * first)
    # ITK's axes grow to the left and to the back.
    affine[:2] *= -1
    return affine


def _file(values: NDArray[np.uint8], affine: NDArray[np.float64]) -> str:
    return base64.b64encode(_nifti(values, affine)).decode("ascii")


def as_nifti(values: NDArray[Any], geometry: Geometry) -> bytes:
    """The bytes of a ``.nii.gz`` file.

    Args:
        values: (z, y, x).
        geometry: Its grid, of three axes.
    """
    return _nifti(values, _affine(geometry, tuple(slice(0, size, 1) for size in values.shape)))


def _nifti(values: NDArray[Any], affine: NDArray[np.float64]) -> bytes:
    from nibabel.nifti1 import Nifti1Image

    return gzip.compress(Nifti1Image(values.transpose(2, 1, 0), affine).to_bytes(), 9, mtime=0)
