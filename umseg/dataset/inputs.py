"""Which files are the input of a prediction."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.dataset.check.problems import Problem
from umseg.dataset.io.format import Format
from umseg.dataset.io.images import read_geometry
from umseg.dataset.io.registry import FORMATS, format_with_ending, is_image
from umseg.dataset.listing import is_folder, list_folder
from umseg.dataset.naming import Grouped, group_inputs, list_images, sibling_channels

log = logging.getLogger(__name__)


def find_inputs(folder_or_file: Path, num_channels: int, file_ending: str) -> Grouped:
    """The images to predict, by case, and what is wrong with the others; see ``dataset.find_cases``.

    Raises:
        UserError: There is no image, or a file or folder cannot be read.
    """
    # Links are not resolved, because a link is known by its own name; `Path.absolute` would keep ".." in the path.
    path = Path(os.path.abspath(folder_or_file))  # noqa: PTH100
    if not is_folder(path) and not path.is_file():
        raise UserError(
            "The input does not exist.", file=path, remedy="Name a folder of images or one image file with --input."
        )
    trained_on = format_with_ending(file_ending)
    if not trained_on.interchange:
        if path.name.endswith(file_ending) and is_image(path):
            ending = trained_on.name_ending(file_ending)
            return group_inputs(sibling_channels(path, num_channels, ending), num_channels, ending)
        if path.is_dir() and trained_on.images_in(path, file_ending):
            return _in_folder(path, num_channels, file_ending)
    for entry in FORMATS.values():
        found = _of_any_model(path, entry, num_channels) if entry.interchange else []
        if found:
            ending = path.suffix if path.is_file() else entry.name_ending(entry.endings[0])
            cases, problems = group_inputs(found, num_channels, ending)
            return cases, problems + _unusable(cases)
    raise _no_image(path, file_ending)


def _in_folder(folder: Path, num_channels: int, file_ending: str) -> Grouped:
    """The images of a folder that have the ending of the model's data set; all else is skipped."""
    images, others = list_images(folder, file_ending)
    if others:
        names = few(path.name for path in others)
        log.warning("%s: %d files do not end in %s and are skipped: %s", folder, len(others), file_ending, names)
    for entry in FORMATS.values():
        # What cannot be read (lost+found) is none of the model's images.
        with contextlib.suppress(UserError):
            if entry.interchange:
                _warn_of_skipped(folder, entry)
    return group_inputs(images, num_channels, format_with_ending(file_ending).name_ending(file_ending))


def _warn_of_skipped(folder: Path, entry: Format) -> None:
    found = entry.images_in(folder, entry.endings[0])
    if found:
        description = entry.describe_images(entry.endings[0])
        log.warning("%s: %d %s are skipped: %s", folder, len(found), description, few(path.name for path in found))


def _of_any_model(path: Path, entry: Format, num_channels: int) -> list[Path]:
    """The images of a format at a place: those in a folder, or the file or folder itself with its other channels."""
    images = entry.images_in(path, entry.endings[0]) if path.is_dir() else []
    if images:
        _refuse_loose(path, entry, images)
        return images
    if not entry.matches(path):
        return []
    return sibling_channels(path, num_channels, path.suffix if path.is_file() else "")


def _refuse_loose(path: Path, entry: Format, images: Sequence[Path]) -> None:
    """Refuse a folder that is an image and holds images: either of them may be meant."""
    files = entry.files(path) if entry.matches(path) else []
    if files:
        raise UserError(
            f"The input has {entry.name} files beside {entry.describe_images(entry.endings[0])}.",
            file=path,
            found=f"{few(file.name for file in files)}; and the folders {few(image.name for image in images)}",
            expected="the files of one image, or a folder for each image",
            remedy="Put these files into a separate folder, or name one of the folders.",
        )


def _unusable(cases: Mapping[str, tuple[Path, ...]]) -> list[Problem]:
    """What is wrong with the headers of these cases, which are all read."""
    problems = []
    for name, images in cases.items():
        for image in images:
            try:
                read_geometry(image)
            except UserError as error:
                problems.append(Problem.from_error(name, image, error))
    return problems


def _no_image(path: Path, file_ending: str) -> UserError:
    others = [
        entry.describe_images(entry.endings[0])
        for entry in FORMATS.values()
        if entry.interchange and entry is not format_with_ending(file_ending)
    ]
    if path.is_file():
        return UserError(
            "The input file has another format than the model was trained on.",
            file=path,
            found=path.name,
            expected=f"a file ending in {file_ending}",
            remedy=f"Convert the image to {file_ending}.",
        )
    files, folders = list_folder(path)
    return UserError(
        f"The folder {path.name} has no image that the model can segment.",
        file=path,
        found=few(entry.name for entry in (*files, *folders)) or "an empty folder",
        expected=" or ".join([format_with_ending(file_ending).describe_images(file_ending), *others]),
        remedy=f"Name a folder that has such images with --input, or convert the images to {file_ending}.",
    )
