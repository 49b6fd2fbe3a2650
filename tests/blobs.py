"""A small data set on which a network can learn something: two bright balls in noise, told apart by brightness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from umseg.dataset.description import DatasetDescription

LABELS = {"background": 0, "left blob": 1, "right blob": 2}
SHAPE = (12, 20, 16)
SPACING = (2.0, 1.0, 1.5)


def make_blobs(seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image and label map (z, y, x)."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"))
    label = np.zeros(SHAPE, np.uint8)
    for value, centre in ((1, (6, 6, 8)), (2, (6, 14, 8))):
        middle = np.array(centre) + rng.integers(-1, 2, 3)
        label[((grid - middle.reshape(3, 1, 1, 1)) ** 2).sum(0) < 9] = value
    image = rng.normal(0, 10, SHAPE) + 100 * (label == 1) + 200 * (label == 2) + 300
    return image.astype(np.float32), label


def write_blobs(folder: Path, num_cases: int) -> Path:
    """Write blob_0, blob_1, ... in nnU-Net v2's raw format."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(num_cases):
        image, label = make_blobs(number)
        for array, path in (
            (image, folder / "imagesTr" / f"blob_{number}_0000.nii.gz"),
            (label, folder / "labelsTr" / f"blob_{number}.nii.gz"),
        ):
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing(SPACING[::-1])
            volume.SetOrigin((5.0, -7.0, 11.0))
            sitk.WriteImage(volume, str(path))
    DatasetDescription(channel_names={"0": "MRI"}, labels=LABELS, numTraining=num_cases, file_ending=".nii.gz").save(
        folder / "dataset.json"
    )
    return folder
