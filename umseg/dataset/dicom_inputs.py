"""DICOM series as the input of a prediction."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.dataset.check.problems import Problem
from umseg.dataset.io.dicom import DICOM_ENDING, is_dicom, is_series, open_series, series_files, series_folders
from umseg.dataset.listing import list_folder
from umseg.dataset.naming import few, sibling_channels

log = logging.getLogger(__name__)


def find_series(path: Path, num_channels: int, file_ending: str) -> list[Path] | None:
    """The DICOM images at a place: a folder of slices, the folders of slices in a folder, or a single file.

    Args:
        path: An existing file or folder.
        num_channels: Other channels of a single image's case are looked up beside it.
        file_ending: Of the model's data set.

    Returns:
        None where there is no DICOM, or where files with the model's ending go first.

    Raises:
        UserError: A file or folder cannot be read, or there are slices beside folders of slices.
    """
    wanted = file_ending.lower() != DICOM_ENDING
    if path.is_file():
        other = not (wanted and path.name.endswith(file_ending)) and is_dicom(path)
        return sibling_channels(path, num_channels, path.suffix) if other else None
    if wanted and any(file.name.endswith(file_ending) for file in list_folder(path)[0]):
        # What cannot be read (lost+found) need not be: it is none of the model's files.
        with contextlib.suppress(UserError):
            _warn_of_skipped(path, series_folders(path))
        return None
    folders = series_folders(path)
    if folders:
        _refuse_loose(path, series_files(path), folders)
        return folders
    return sibling_channels(path, num_channels, "") if is_series(path) else None


def _warn_of_skipped(path: Path, folders: Sequence[Path]) -> None:
    if folders:
        names = few(folder.name for folder in folders)
        log.warning("%s: %d folders of DICOM slices are skipped: %s", path, len(folders), names)


def _refuse_loose(path: Path, slices: Sequence[Path], folders: Sequence[Path]) -> None:
    """Are the folders the images, or are the files one?"""
    if slices:
        raise UserError(
            "The input has DICOM files beside folders of DICOM slices.",
            file=path,
            found=f"{few(file.name for file in slices)}; and the folders {few(folder.name for folder in folders)}",
            expected="the slices of one image, or a folder for each image",
            remedy="Put these files into a folder of their own, or name one of the folders.",
        )


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
