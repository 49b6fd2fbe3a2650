"""Which files are the input of a prediction."""

from __future__ import annotations

import contextlib
import glob
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
from umseg.dataset.listing import is_folder, list_folder, refuse_lost
from umseg.dataset.naming import Grouped, group_inputs, list_images, sibling_channels

log = logging.getLogger(__name__)


_MOST_FOLDERS = 1000
"""Number of folders that are searched for images where there are none at the place that the user named."""


def find_all_inputs(inputs: Sequence[Path], num_channels: int, file_ending: str) -> Grouped:
    """The images of all inputs, by case, and what is wrong with the others.

    Raises:
        UserError: An input does not exist or has no image, or cannot be read.
    """
    cases: dict[str, tuple[Path, ...]] = {}
    problems: list[Problem] = []
    for path in (path for named in inputs for path in expanded(named)):
        found, wrong = find_inputs(path, num_channels, file_ending)
        problems += wrong
        for name, images in found.items():
            if cases.setdefault(name, images) != images:
                problems.append(named_twice(name, images[0], cases[name][0]))
    twice = {problem.case for problem in problems}
    return {name: images for name, images in cases.items() if name not in twice}, problems


def expanded(named: Path) -> list[Path]:
    """The paths that a pattern stands for, which the shell has left as it is; any other path itself."""
    if not glob.has_magic(str(named)) or os.path.lexists(named):
        return [Path(named)]
    return [Path(path) for path in sorted(glob.glob(str(named), recursive=True))] or [Path(named)]  # noqa: PTH207


def named_twice(name: str, path: Path, other: Path) -> Problem:
    """The problem of two inputs that would have the same label map."""
    return Problem(
        f"Two inputs claim the case {name}.",
        name,
        path,
        found=f"{path} and {other}",
        expected="one of them: label maps are named after their images",
        remedy="Rename one of the images, or segment them into two output folders.",
    )


def missing_input(path: Path) -> UserError:
    """The error for an input that does not exist."""
    return UserError(
        "The input does not exist.", file=path, remedy="Name a folder of images or one image file with --input."
    )


def find_inputs(folder_or_file: Path, num_channels: int, file_ending: str) -> Grouped:
    """The images to predict, by case, and what is wrong with the others; see ``dataset.find_cases``.

    Raises:
        UserError: There is no image, or a file or folder cannot be read.
    """
    # Links are not resolved, because a link is known by its own name; `Path.absolute` would keep ".." in the path.
    path = Path(os.path.abspath(folder_or_file))  # noqa: PTH100
    refuse_lost(path)
    if not is_folder(path) and not path.is_file():
        raise missing_input(path)
    trained_on = format_with_ending(file_ending)
    if not trained_on.interchange:
        if trained_on.stem(path.name, file_ending) is not None and is_image(path):
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
        log.warning("%s: files without the ending %s are skipped: %s", folder, file_ending, names)
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
        log.warning("%s: %s are skipped: %s", folder, description, few(path.name for path in found))


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
    described = format_with_ending(file_ending).describe_images(file_ending)
    below = _folders_with_images(path, file_ending)
    if below:
        count = f"{len(below)} folders" if len(below) > 1 else "1 folder"
        return UserError(
            f"The folder {path.name} has no images itself.",
            file=path,
            found=f"{count} below with {described}: {few(str(folder.relative_to(path)) for folder in below)}",
            expected=f"{described} in the folder that is named",
            remedy="Name one of these folders with --input, or several of them: every image becomes a case of its "
            "name. Files of several channels are called CASE_0000, CASE_0001, ...",
        )
    return UserError(
        f"The folder {path.name} has no image that the model can segment.",
        file=path,
        found=few(entry.name for entry in (*files, *folders)) or "an empty folder",
        expected=" or ".join([described, *others]),
        remedy=f"Name a folder that has such images with --input, or convert the images to {file_ending}.",
    )


def _folders_with_images(folder: Path, file_ending: str) -> list[Path]:
    """The folders below that have images of a model's format or of one that any model segments, among the first."""
    entries = [(format_with_ending(file_ending), file_ending)]
    entries += [(entry, entry.endings[0]) for entry in FORMATS.values() if entry.interchange]
    found, waiting, searched = [], [folder], 0
    while waiting and searched < _MOST_FOLDERS:
        current = waiting.pop(0)
        searched += 1
        # What cannot be read has no images that could be named.
        with contextlib.suppress(UserError):
            if current != folder and any(entry.images_in(current, ending) for entry, ending in entries):
                found.append(current)
            else:
                waiting += [path for path in list_folder(current)[1] if not path.is_symlink()]
    return found
