"""The check that image, label map and dataset.json of a case agree (docs/rules.md, Data set)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from umseg.common.text import counted, few
from umseg.dataset.check.problems import Problem
from umseg.dataset.dataset import Case
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.channels import has_transparency
from umseg.dataset.io.grid import placement_difference, spacings_agree
from umseg.dataset.io.images import Image, LabelMap
from umseg.dataset.io.registry import format_of


def check_case(case: Case, image: Image, label: LabelMap, description: DatasetDescription) -> list[Problem]:
    """Compare the image of a training case with its label map and with ``dataset.json``.

    The number of channels, NaN or infinity in the image, undeclared label values, and different shapes or spacings of
    image and label map are errors. Different origins or directions and the reader's notices are warnings.
    """
    if case.label is None:
        raise ValueError(f"case {case.id} has no label file")
    return [
        *(Problem(case=case.id, severity="warning", **asdict(notice)) for notice in (*image.notices, *label.notices)),
        *check_image(case, image, description.num_channels),
        *_check_values(case, case.label, label, description),
        *_check_grid(case, case.label, image, label),
    ]


def check_image(case: Case, image: Image, num_channels: int) -> list[Problem]:
    """The problems of an image by itself: its number of channels, and NaN or infinity in it."""
    problems = []
    if image.array.shape[0] != num_channels:
        problems.append(_wrong_channels(case, image.array.shape[0], num_channels))
    for channel, values in enumerate(image.array):
        # A sum is finite only if every term is; it needs no array of its own.
        with np.errstate(invalid="ignore"):
            total = np.sum(values, dtype=np.float64)
        if not np.isfinite(total):
            count = int(np.count_nonzero(~np.isfinite(values)))
            problems.append(
                Problem(
                    "The image has values that are not numbers.",
                    case.id,
                    case.images[min(channel, len(case.images) - 1)],
                    found=f"{count} voxels that are NaN or infinite in channel {channel}",
                    expected="finite values",
                    remedy="Replace NaN and infinite values, e.g. by the value of the background.",
                )
            )
    return problems


def _wrong_channels(case: Case, found: int, declared: int) -> Problem:
    file = case.images[0]
    transparent = has_transparency(found, file)
    remedy = format_of(file).channels_hint(file) or (
        "Save the image without transparency, or as greyscale where one channel is declared; or correct channel_names."
        if format_of(file).is_picture
        else "Split a time series or a vector image into one file per channel (CASE_0000, CASE_0001, ...); or correct "
        "channel_names."
    )
    return Problem(
        "The image has the wrong number of channels.",
        case.id,
        file,
        found=counted(found, "channel") + (", the last a transparency that varies" if transparent else ""),
        expected=f"{counted(declared, 'channel')} (channel_names in dataset.json)",
        remedy=remedy,
    )


def expected_values(description: DatasetDescription) -> str:
    """The values that label maps may hold, in words."""
    if description.label_values is None:
        return "0 (background), and whole numbers from 1 that number the objects"
    ignore = "" if description.ignore_label is None else ", the last for voxels to be ignored"
    return f"values 0 to {description.label_values[-1]}{ignore}"


def _check_values(case: Case, file: Path, label: LabelMap, description: DatasetDescription) -> list[Problem]:
    # Declared labels are 0, 1, 2, ... without a gap, so that the extremes suffice; the list is only for the message.
    low, high = int(label.array.min()), int(label.array.max())
    declared = description.label_values
    if low >= 0 and (declared is None or high <= declared[-1]):
        return []
    values = [int(value) for value in np.unique(label.array)]
    remedy = "Declare these labels in dataset.json, or renumber or remove them in the label maps."
    if values in ([0, 255], [255]):
        remedy = "This looks like a mask of 0 and 255: renumber 255 to 1 (ImageJ: Process, Math, Divide by 255)."
    unknown = [value for value in values if value < 0 or (declared is not None and value > declared[-1])]
    return [
        Problem(
            "The label map has values that dataset.json does not declare.",
            case.id,
            file,
            found="values " + few(map(str, unknown)),
            expected=expected_values(description),
            remedy=remedy,
        )
    ]


def _check_grid(case: Case, file: Path, image: Image, label: LabelMap) -> list[Problem]:
    shape = image.array.shape[1:]
    if label.array.shape != shape:
        return [
            Problem(
                "Image and label map differ in shape.",
                case.id,
                file,
                found=f"label {_triple(label.array.shape)} (z, y, x)",
                expected=f"{_triple(shape)}, as the image",
                remedy="Pair the right files, or resample the label map to the image's grid.",
            )
        ]
    if not spacings_agree(label.geometry, image.geometry):
        return [
            Problem(
                "Image and label map differ in spacing.",
                case.id,
                file,
                found=f"label {_triple(label.spacing)} {label.geometry.unit} (z, y, x)",
                expected=f"{_triple(image.spacing)} {image.geometry.unit}, as the image",
                remedy="Correct the image's header if it is the wrong one; else plan with --fix-geometry.",
            )
        ]
    difference = placement_difference(label.geometry, image.geometry)
    if difference is None:
        return []
    return [
        Problem(
            "Image and label map differ in origin or direction.",
            case.id,
            file,
            found=f"label {difference[0]}",
            expected=f"{difference[1]}, as the image",
            remedy="Voxels are paired by their index: check in a viewer that label and image overlap, and plan with "
            "--fix-geometry if they do not.",
            severity="warning",
        )
    ]


def _triple(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
