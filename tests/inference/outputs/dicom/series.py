"""Small DICOM series along any axes, segmented cases of them, and what objects derived from them say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.dataset.dicom_builder import write_series
from umseg.dataset.dataset import Case
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.images import read_image
from umseg.inference.outputs.case_output import SegmentedCase

SPACING = (0.5, 0.75, 2.0)
"""Of columns, rows and slices in mm."""
ORIGIN = (10.0, -20.0, 30.0)
FRAME_OF_REFERENCE = "1.2.826.0.1.9"
_TILT = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0], [0.48, 0.64, 0.6]])


def _signed_permutations() -> list[NDArray[np.float64]]:
    return [
        np.eye(3)[:, list(places)] * signs
        for places in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]


STRAIGHT = _signed_permutations()
"""All 48 ways in which the directions of x, y and z (columns) can lie along the axes of the body."""
OBLIQUE = [_TILT @ axes for axes in STRAIGHT]
"""The same, far from these axes."""


def describe(labels: dict[str, Any] | None = None, **fields: Any) -> DatasetDescription:
    labels = labels or {"background": 0, "liver": 1, "left kidney": 2, "tumour": 3}
    return DatasetDescription(channel_names={"0": "CT"}, labels=labels, numTraining=1, file_ending=".nii.gz", **fields)


def make_labels(shape: tuple[int, int, int] = (4, 7, 9), highest: int = 3) -> NDArray[np.int16]:
    return np.random.default_rng(1).integers(0, highest + 1, shape).astype(np.int16)


def segment(
    folder: Path, labels: NDArray[np.integer], description: DatasetDescription | None = None, **series: Any
) -> SegmentedCase:
    """Write a series whose values are labels, and take them for its segmentation."""
    fields = {"spacing": SPACING, "origin": ORIGIN, **series}
    fields["tags"] = {"0020|0052": FRAME_OF_REFERENCE, **fields.get("tags", {})}
    write_series(folder, labels, **fields)
    return read_again(folder, description)


def read_again(path: Path, description: DatasetDescription | None = None) -> SegmentedCase:
    """A case whose label map is its image."""
    image = read_image([path])
    return SegmentedCase(
        case=Case(id=path.name.split(".")[0], images=(path,)),
        label_map=image.array[0].astype(np.uint16),
        geometry=image.geometry,
        description=description or describe(),
        read_image=lambda: image.array,
    )


def places(shape: Sequence[int], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the voxels (z, y, x) of a series lie that was written along these axes, in mm: (z, y, x, 3)."""
    z, y, x = np.indices(shape)
    steps = np.stack([x, y, z], axis=-1) * np.asarray(SPACING)
    found: NDArray[np.float64] = np.asarray(ORIGIN) + steps @ axes.T
    return found
