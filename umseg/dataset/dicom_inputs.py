"""DICOM series as the input of a prediction."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from umseg.common.errors import UserError
from umseg.dataset.dicom import DICOM_ENDING, is_dicom, is_series, open_series, series_folders
from umseg.dataset.naming import few, sibling_channels
from umseg.dataset.problems import Problem

log = logging.getLogger(__name__)


def find_series(path: Path, num_channels: int, file_ending: str) -> list[Path] | None:
    """The DICOM images at a place: a folder of slices, the folders of slices in a folder, or a single file.

    Args:
        path: An existing file or folder.
        num_channels: Other channels of a single image's case are looked up beside it.
        file_ending: Of the model's data set.

    Returns:
        None where there is no DICOM, or where files with the model's ending go first.
    """
    wanted = file_ending.lower() != DICOM_ENDING
    if path.is_file():
        other = not (wanted and path.name.endswith(file_ending)) and is_dicom(path)
        return sibling_channels(path, num_channels, path.suffix) if other else None
    fitting = wanted and any(file.name.endswith(file_ending) for file in path.iterdir() if file.is_file())
    folders = series_folders(path)
    if fitting:
        if folders:
            names = few(folder.name for folder in folders)
            log.warning("%s: %d folders of DICOM slices are skipped: %s", path, len(folders), names)
        return None
    if is_series(path):
        return sibling_channels(path, num_channels, "")
    return folders or None


def unusable_series(cases: Mapping[str, tuple[Path, ...]]) -> list[Problem]:
    """What is wrong with the series of these cases; the headers of all slices are read."""
    problems = []
    for name, images in cases.items():
        for image in images:
            try:
                open_series(image)
            except UserError as error:
                problems.append(Problem.from_error(name, image, error))
    return problems
