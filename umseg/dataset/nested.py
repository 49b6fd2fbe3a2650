"""Images in folders within folders, whose cases keep the folder in their names: ``ward_3/CASE``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from umseg.common.errors import UserError
from umseg.common.names import check_component
from umseg.dataset.check.problems import Problem
from umseg.dataset.dataset import Case
from umseg.dataset.inputs import expanded, find_inputs, named_twice
from umseg.dataset.io.registry import FORMATS, format_with_ending
from umseg.dataset.listing import is_folder, list_folder
from umseg.dataset.naming import Grouped

PlacedCase = tuple[PurePosixPath, Case]
"""A case, and the folder in which it was found, from the one that the user named."""


def survey_nested(
    inputs: Sequence[Path], num_channels: int, file_ending: str, skip: Callable[[Path], bool]
) -> tuple[list[PlacedCase], list[Problem]]:
    """List the cases in folders and in all folders below them, and what is wrong with the others.

    Links to folders are not followed, and the folders of an image, such as that of its DICOM slices, not searched.

    Args:
        inputs: The inputs that the user named; files and patterns too.
        num_channels: Number of channels that the model expects.
        file_ending: Ending of the images in the model's data set, with the dot.
        skip: Whether a folder is left out, such as one of predictions.

    Returns:
        Cases sorted by folder and id, and the problems of the others, with the folder in the names of their cases.

    Raises:
        UserError: An input does not exist or has no image.
    """
    found: dict[tuple[PurePosixPath, str], tuple[Path, ...]] = {}
    problems: list[Problem] = []
    for named in (path for given in inputs for path in expanded(given)):
        for place, (cases, wrong) in _each_folder(named, num_channels, file_ending, skip):
            problems += [replace(problem, case=_name(place, problem.case)) for problem in wrong]
            for name, images in cases.items():
                other = found.setdefault((place, name), images)
                if other != images:
                    problems.append(named_twice(_name(place, name), images[0], other[0]))
    twice = {problem.case for problem in problems}
    placed = [
        (place, Case(id=name, images=images))
        for (place, name), images in sorted(found.items(), key=lambda item: (str(item[0][0]), item[0][1]))
        if _name(place, name) not in twice
    ]
    return placed, problems


def _name(place: PurePosixPath, case: str) -> str:
    """The name of a case in messages; of a problem of no single case that of its folder, if that is not the input."""
    return "" if place == PurePosixPath() and not case else str(place / case)


def _each_folder(
    named: Path, num_channels: int, file_ending: str, skip: Callable[[Path], bool]
) -> Iterator[tuple[PurePosixPath, Grouped]]:
    """The cases of a file or folder, and of each folder below it that has images."""
    places = [] if not is_folder(named) else list(_folders(named, file_ending, skip))
    if not places or (places == [named]):
        # Nothing below it: as without a search, with its messages.
        yield PurePosixPath(), find_inputs(named, num_channels, file_ending)
        return
    for folder in places:
        place = PurePosixPath(folder.relative_to(named).as_posix())
        try:
            for part in place.parts:
                check_component(part)
            yield place, find_inputs(folder, num_channels, file_ending)
        except UserError as error:
            yield place, ({}, [Problem.from_error("", folder, error)])
        except ValueError as error:
            yield place, ({}, [_unusable_name(folder, str(error))])


def _folders(folder: Path, file_ending: str, skip: Callable[[Path], bool]) -> Iterator[Path]:
    """The folders that have images of a model's format or of one that any model segments."""
    formats = [(format_with_ending(file_ending), file_ending)]
    formats += [(entry, entry.endings[0]) for entry in FORMATS.values() if entry.interchange]
    waiting = [folder]
    while waiting:
        current = waiting.pop(0)
        try:
            images = {image for entry, ending in formats for image in entry.images_in(current, ending)}
            below = [path for path in list_folder(current)[1] if path not in images and not path.is_symlink()]
        except UserError:
            # Whoever lists its images says why that is impossible.
            yield current
            continue
        if images:
            yield current
        waiting += [path for path in below if not skip(path)]


def _unusable_name(folder: Path, expected: str) -> Problem:
    return Problem(
        "The name of a folder cannot be used.",
        "",
        folder,
        found=ascii(folder.name[:200]),
        expected=expected,
        remedy="Rename the folder.",
    )
