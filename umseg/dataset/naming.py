"""Which files belong to which case: nnU-Net v2's file names, ``CASE_0000.ext`` per channel.

A DICOM image is a folder of slices, whose name has no ending: ``CASE_0000``, with "" for the ending.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.names import check_component
from umseg.common.text import counted, few
from umseg.dataset.check.problems import Problem
from umseg.dataset.description import REMEDY
from umseg.dataset.io.channels import may_hold
from umseg.dataset.io.images import count_components
from umseg.dataset.io.registry import FORMATS, format_of, format_with_ending
from umseg.dataset.listing import is_folder, list_folder, refuse_lost

Grouped = tuple[dict[str, tuple[Path, ...]], list[Problem]]
"""The files of each complete case in channel order, and what is wrong with the other cases."""

_COPY = re.compile(r"^(?P<original>.+?)( - Copy)?( \(\d+\)| copy( \d+)?| - Copy)$")
"""What file managers and browsers call a second file of the same name."""
_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")


def list_images(folder: Path, ending: str) -> tuple[list[Path], list[Path]]:
    """The images or label maps of a folder, sorted, and the files that do not belong to them; hidden ones do not count.

    Args:
        folder: The folder.
        ending: The ending of their files, which chooses the format; of some formats the images are folders.

    Raises:
        UserError: The folder is missing, empty or unreadable.
    """
    refuse_lost(folder)
    if not is_folder(folder):
        raise UserError(f"The folder {folder.name} does not exist.", file=folder, remedy=REMEDY)
    entry = format_with_ending(ending)
    expected = entry.describe_images(ending)
    files, folders = list_folder(folder)
    if not files and not folders:
        raise UserError(f"The folder {folder.name} is empty.", file=folder, expected=expected, remedy=REMEDY)
    images = entry.images_in(folder, ending)
    if not files and not images:
        raise UserError(
            f"The folder {folder.name} has no {expected}.",
            file=folder,
            found="folders: " + few(path.name for path in folders),
            expected=f"{expected} in this folder itself",
            remedy=REMEDY,
        )
    found = set(images)
    others = [path for path in files if path not in found]
    # Companions are looked up only where they can explain a file: headers are read for it.
    belonging = {file for path in images for file in entry.companions(path)} if others else set()
    return images, [path for path in others if path not in belonging]


def skip_strays(
    images: Sequence[Path], others: Sequence[Path], ending: str, expected: str
) -> tuple[list[Path], list[Problem]]:
    """The images or label maps of a folder without second copies, and what is said of the files that are skipped.

    A file that has the ending of no image format (``Thumbs.db``, notes, checksums) does not stop the work, nor does a
    copy beside its original (``CASE_0000 (1).nii.gz``). A file of another image format does.

    Args:
        images: Files with the right ending.
        others: Further files of the folder.
        ending: The ending of the images' names.
        expected: The right files, for messages.
    """
    copies = second_copies(images, ending)
    problems = [
        Problem(
            f"A file in {path.parent.name} has the wrong ending.",
            "",
            path,
            found=path.name,
            expected=expected,
            remedy="Convert or remove the file, or correct file_ending in dataset.json.",
        )
        for path in others
        if not images or any(entry.ending_of(path) for entry in FORMATS.values())
    ]
    wrong = {problem.file for problem in problems}
    problems += [
        Problem(
            f"Files in {path.parent.name} that are no images of the data set are skipped.",
            "",
            path,
            found=f"{path.name}, a second copy" if path in copies else path.name,
            expected=expected,
            remedy="Remove them, so that nothing else takes them for images.",
            severity="warning",
        )
        for path in (*others, *copies)
        if path not in wrong
    ]
    return [path for path in images if path not in copies], problems


def second_copies(files: Sequence[Path], ending: str) -> list[Path]:
    """The files that are named as file managers name a second copy, beside their original: ``CASE (1).nii.gz``."""
    names = {stem(path, ending) for path in files}
    return [path for path in files if (match := _COPY.match(stem(path, ending))) and match["original"] in names]


def group_training(files: Sequence[Path], num_channels: int, ending: str) -> Grouped:
    """Group training images, whose names all need a channel number, by case."""
    channels, plain = _by_case(files, ending)
    problems = same_names(files, ending)
    problems += [
        Problem(
            "An image file has no channel number.",
            "",
            path,
            found=path.name,
            expected=f"CASE_0000{ending}, and CASE_0001{ending}, ... for further channels",
            remedy="Rename the file.",
        )
        for path in plain.values()
    ]
    cases, incomplete = _complete(channels, num_channels, ending)
    return cases, problems + incomplete


def group_inputs(files: Sequence[Path], num_channels: int, ending: str) -> Grouped:
    """Group images to predict by case; their names may lack the channel number."""
    channels, plain = _by_case(files, ending)
    _release_numbered_names(channels, plain, num_channels, ending)
    problems = same_names(files, ending)
    problems += [
        _two_files(name, plain[name], next(iter(channels[name].values())))
        for name in sorted(set(plain) & set(channels))
    ]
    twice = {problem.case for problem in problems}
    found = {**channels, **{name: {0: path} for name, path in plain.items()}}
    cases, incomplete = _complete({name: found[name] for name in found.keys() - twice}, num_channels, ending)
    return cases, problems + incomplete


def sibling_channels(path: Path, num_channels: int, ending: str) -> list[Path]:
    """The file and, if its name has a channel number, the other channels of its case that are there."""
    match = _CHANNEL.match(stem(path, ending))
    if num_channels == 1 or match is None:
        return [path]
    names = {f"{match['case']}_{channel:04d}" for channel in range(num_channels)}
    files, folders = list_folder(path.parent)
    if f"{match['case']}_0000" not in {_stem_of(file, ending) for file in files} and _holds_all(path, num_channels):
        return [path]
    # A folder of DICOM slices has no ending, and a link that leads nowhere is no file.
    beside = files if format_with_ending(ending).ending_of(path) else [*files, *folders]
    return sorted({path, *(file for file in beside if _stem_of(file, ending) in names)})


def same_names(files: Sequence[Path], ending: str) -> list[Problem]:
    """A problem for each file that has the name of another one, but for its ending or for capitals in the ending."""
    first: dict[str, Path] = {}
    problems = []
    for file in files:
        name = stem(file, ending)
        one = first.setdefault(name, file)
        if one != file:
            match = _CHANNEL.match(name)
            problems.append(_two_files(name if match is None else match["case"], one, file))
    return problems


def stem(path: Path, ending: str) -> str:
    """File name without its ending, which may be in capitals, or another one of the same format."""
    found = _stem_of(path, ending)
    return path.name if found is None else found


def _stem_of(path: Path, ending: str) -> str | None:
    return format_with_ending(ending).stem(path.name, ending)


def _two_files(name: str, one: Path, other: Path) -> Problem:
    return Problem(
        f"Two files claim the case {name}.",
        name,
        one,
        found=f"{one.name} and {other.name}",
        expected="one of them",
        remedy="Remove one of them.",
    )


def channels_problem(
    name: str, files: Sequence[Path], num_channels: int, expected: str, no_gap: bool = True
) -> Problem | None:
    """The problem of a case that does not have all channels; None if it has one file for each, or one file with all.

    Args:
        name: The case.
        files: Files of the case, in channel order.
        num_channels: Number of channels that the data set declares.
        expected: What the message names as expected.
        no_gap: Whether the files' numbers are 0, 1, 2, ...
    """
    if no_gap and len(files) == num_channels:
        return None
    found = f"{counted(len(files), 'file')}: {few(path.name for path in files)}"
    remedy = "Add the missing files or remove the surplus ones."
    if no_gap and len(files) == 1:
        try:
            components = count_components(files[0])
        except UserError as error:
            return Problem.from_error(name, files[0], error)
        if may_hold(components, num_channels):
            return None
        found = f"1 file of {components} channel{'s' if components > 1 else ''}: {files[0].name}"
        remedy = format_of(files[0]).channels_hint(files[0]) or remedy
    return Problem(
        "The case has the wrong number of channels.",
        name,
        files[0],
        found=found,
        expected=expected,
        remedy=remedy,
    )


def _by_case(files: Sequence[Path], ending: str) -> tuple[dict[str, dict[int, Path]], dict[str, Path]]:
    """Case to channel to file, and the files without a channel number."""
    channels: dict[str, dict[int, Path]] = {}
    plain: dict[str, Path] = {}
    for path in files:
        match = _CHANNEL.match(stem(path, ending))
        if match is None:
            plain[stem(path, ending)] = path
        else:
            channels.setdefault(match["case"], {})[int(match["channel"])] = path
    return channels, plain


def _release_numbered_names(
    channels: dict[str, dict[int, Path]], plain: dict[str, Path], num_channels: int, ending: str
) -> None:
    """Take names such as scan_0007 without a scan_0000 as a case's whole name: the number is no channel.

    With several channels, the files must be such as hold all of them, as a picture in colours does.
    """
    for name in [name for name, found in channels.items() if 0 not in found]:
        if num_channels == 1 or all(_holds_all(path, num_channels) for path in channels[name].values()):
            for path in channels.pop(name).values():
                plain[stem(path, ending)] = path


def _holds_all(path: Path, num_channels: int) -> bool:
    """Whether a file can hold all channels of a case; one that cannot be read does not."""
    try:
        return may_hold(count_components(path), num_channels)
    except UserError:
        return False


def _name_problem(name: str, file: Path) -> Problem | None:
    """The problem of a case after whose name no file can be named, or whose name cannot be shown."""
    try:
        check_component(name)
    except ValueError as error:
        return Problem(
            "The name of a case cannot be used.",
            "",
            file,
            found=ascii(name[:200]),
            expected=str(error),
            remedy="Rename the files of the case.",
        )
    return None


def _complete(channels: Mapping[str, Mapping[int, Path]], num_channels: int, ending: str) -> Grouped:
    """The cases that have all channels."""
    cases: dict[str, tuple[Path, ...]] = {}
    problems: list[Problem] = []
    last = "" if num_channels == 1 else f" to CASE_{num_channels - 1:04d}{ending}"
    expected = f"{num_channels} channel file{'s' if last else ''}: CASE_0000{ending}{last}"
    if num_channels > 1:
        expected += f"; or one file with all {num_channels} channels, as a picture in colours has them"
    for name in sorted(channels):
        found = channels[name]
        files = tuple(found[channel] for channel in sorted(found))
        no_gap = set(found) == set(range(len(found)))
        problem = _name_problem(name, files[0]) or channels_problem(name, files, num_channels, expected, no_gap)
        if problem is None:
            cases[name] = files
        else:
            problems.append(problem)
    return cases, problems
