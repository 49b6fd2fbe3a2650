"""Small data sets in nnU-Net's raw format, made for a test."""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

CHANNELS = {"0": "CT"}
LABELS = {"background": 0, "organ": 1, "tumour": 2}


def write_image(
    path: Path,
    array: NDArray[np.generic],
    spacing: tuple[float, ...] | None = None,
    origin: tuple[float, ...] | None = None,
    direction: tuple[float, ...] | None = None,
    is_vector: bool = False,
) -> Path:
    """Write an array; spacing, origin and direction in file order (x, y[, z])."""
    image = sitk.GetImageFromArray(array, isVector=is_vector)
    if spacing:
        image.SetSpacing(spacing)
    if origin:
        image.SetOrigin(origin)
    if direction:
        image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def names_in(folder: Path) -> list[str]:
    """The sorted names of what a folder holds."""
    return sorted(path.name for path in folder.iterdir())


def make_case(seed: int, shape: tuple[int, ...] = (6, 10, 12)) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """An image with two structures in the middle, and its label map."""
    random = np.random.default_rng(seed)
    label = np.zeros(shape, dtype=np.uint8)
    label[tuple(slice(n // 4, n - n // 4) for n in shape)] = 1
    label[tuple(slice(n // 2, n // 2 + 1) for n in shape)] = 2
    image = (random.normal(size=shape) * 50 + 100 * label + 1000).astype(np.int16)
    return image, label


def write_description(folder: Path, num_training: int, **fields: object) -> None:
    """Write dataset.json."""
    content: dict[str, object] = {
        "channel_names": CHANNELS,
        "labels": LABELS,
        "numTraining": num_training,
        "file_ending": ".nii.gz",
        **fields,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def write_dataset(
    folder: Path,
    num_cases: int = 3,
    channel_names: Mapping[str, str] = CHANNELS,
    spacing: tuple[float, float, float] = (1.0, 1.5, 2.0),
) -> Path:
    """Write cases case_0, case_1, ...; all channels of a case are alike."""
    write_description(folder, num_cases, channel_names=dict(channel_names))
    for number in range(num_cases):
        image, label = make_case(number)
        for channel in range(len(channel_names)):
            write_image(folder / "imagesTr" / f"case_{number}_{channel:04d}.nii.gz", image + channel, spacing)
        write_image(folder / "labelsTr" / f"case_{number}.nii.gz", label, spacing)
    return folder
