"""Segmented cases for the tests of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.dataset import Case
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.images import read_image, read_label
from umseg.inference.outputs.case_output import SegmentedCase


def describe(
    labels: dict[str, Any] | None = None, channels: Sequence[str] = ("CT",), **fields: Any
) -> DatasetDescription:
    """A description with the classes organ (1) and tumour (2), unless it is given others."""
    return DatasetDescription(
        channel_names={str(number): name for number, name in enumerate(channels)},
        labels=labels or {"background": 0, "organ": 1, "tumour": 2},
        numTraining=1,
        file_ending=".nii.gz",
        **fields,
    )


def segmented(
    image: Path, label_map: Path | NDArray[Any], description: DatasetDescription | None = None
) -> SegmentedCase:
    """A case of one file, whose label map is that of a file, or an array on the grid of the image."""
    read = read_image([image])
    return SegmentedCase(
        case=Case(id=image.name.partition("_0000")[0], images=(image,)),
        label_map=label_map if isinstance(label_map, np.ndarray) else read_label(label_map).array,
        geometry=read.geometry,
        description=description or describe(),
        read_image=lambda: read_image([image]).array,
    )
