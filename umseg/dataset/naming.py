"""Which files are which case: nnU-Net v2's file names, ``CASE_0000.ext`` per channel.

A DICOM image is a folder of slices, so its name ends in no ending: ``CASE_0000``, with "" for the ending.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from umseg.common.errors import UserError
from umseg.dataset.check.problems import Problem
from umseg.dataset.description import REMEDY
from umseg.dataset.io.channels import may_hold
from umseg.dataset.io.companions import companions
from umseg.dataset.io.dicom import DICOM_ENDING, series_folders
from umseg.dataset.io.images import count_components
from umseg.dataset.listing import is_folder, list_folder

Grouped = tuple[dict[str, tuple[Path, ...]], list[Problem]]
"""Case to its files in channel order, and what is wrong with all other cases."""

_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")
_SHOWN = 5


def list_files(folder: Path, ending: str) -> tuple[list[Path], list[Path]]:
    """Sorted files of a folder, those with the given ending and the others; hidden files do not count.

    Files that belong to one with the ending are neither (``companions``).

    Raises:
        UserError: The folder is missing, empty or not to be read.
    """
    _require_folder(folder)
    files, _ = list_folder(folder)
    if not files:
        raise UserError(
            f"The folder {folder.name} is empty.", file=folder, expected=f"files ending in {ending}", remedy=REMEDY
        )
    matching = [path for path in files if path.name.endswith(ending)]
    others = [path for path in files if not path.name.endswith(ending)]
    belonging = {file for path in matching for file in companions(path)} if others else set()
    return matching, [path for path in others if path not in belonging]


def list_images(folder: Path, ending: str) -> tuple[list[Path], list[Path]]:
    """The training images of a folder and the other files: as ``list_files``, or for DICOM the folders of slices.

    Raises:
        UserError: The folder is missing or holds no image.
    """
    if ending.lower() != DICOM_ENDING:
        return list_files(folder, ending)
    _require_folder(folder)
    series = series_folders(folder)
    files, _ = list_folder(folder)
    if not series:
        raise UserError(
            f"The folder {folder.name} has no folder of DICOM slices.",
            file=folder,
            found=few(path.name for path in files) or "nothing",
            expected="folders CASE_0000, each with the slices of one series",
            remedy="Put the files of each series into a folder of its own.",
        )
    return series, files


def group_training(files: Sequence[Path], num_channels: int, ending: str) -> Grouped:
    """Sort training images, whose names all have a channel number, into cases."""
    channels, plain = _by_case(files, ending)
    problems = [
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
    cases, more = _complete(channels, num_channels, ending)
    return cases, problems + more


def group_inputs(files: Sequence[Path], num_channels: int, ending: str) -> Grouped:
    """Sort images to predict into cases; names may lack the channel number."""
    channels, plain = _by_case(files, ending)
    if num_channels == 1:
        _release_numbered_names(channels, plain, ending)
    problems = [
        Problem(
            f"Two files claim the case {name}.",
            name,
            plain[name],
            found=f"{plain[name].name} and {next(iter(channels[name].values())).name}",
            expected="one of them",
            remedy="Remove one of them.",
        )
        for name in sorted(set(plain) & set(channels))
    ]
    cases, more = _complete({**channels, **{name: {0: path} for name, path in plain.items()}}, num_channels, ending)
    return cases, problems + more


def sibling_channels(path: Path, num_channels: int, ending: str) -> list[Path]:
    """The file and, if its name has a channel number, the other channels of its case that are there."""
    match = _CHANNEL.match(stem(path, ending))
    if num_channels == 1 or match is None:
        return [path]
    candidates = [path.with_name(f"{match['case']}_{channel:04d}{ending}") for channel in range(num_channels)]
    return [candidate for candidate in candidates if candidate.exists() or candidate == path]


def stem(path: Path, ending: str) -> str:
    """File name without its ending."""
    return path.name.removesuffix(ending)


def few(names: Iterable[str]) -> str:
    """The first names of a list, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def channels_problem(
    name: str, files: Sequence[Path], num_channels: int, expected: str, no_gap: bool = True
) -> Problem | None:
    """What is wrong with a case that does not have all channels: one file each, or one file with all.

    Args:
        name: The case.
        files: In channel order.
        num_channels: That the data set declares.
        expected: For the message.
        no_gap: The files' numbers are 0, 1, 2, ...
    """
    if no_gap and len(files) == num_channels:
        return None
    found = f"{len(files)} files: {few(path.name for path in files)}"
    if no_gap and len(files) == 1:
        try:
            components = count_components(files[0])
        except UserError as error:
            return Problem.from_error(name, files[0], error)
        if may_hold(components, num_channels):
            return None
        found = f"1 file of {components} channel{'s' if components > 1 else ''}: {files[0].name}"
    return Problem(
        "The case has the wrong number of channels.",
        name,
        files[0],
        found=found,
        expected=expected,
        remedy="Add the missing files or remove the surplus ones.",
    )


def _require_folder(folder: Path) -> None:
    if not is_folder(folder):
        raise UserError(f"The folder {folder.name} does not exist.", file=folder, remedy=REMEDY)


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


def _release_numbered_names(channels: dict[str, dict[int, Path]], plain: dict[str, Path], ending: str) -> None:
    """Names such as scan_0007 without a scan_0000 beside them end in a number that is not a channel."""
    for name in [name for name, found in channels.items() if 0 not in found]:
        for path in channels.pop(name).values():
            plain[stem(path, ending)] = path


def _complete(channels: Mapping[str, Mapping[int, Path]], num_channels: int, ending: str) -> Grouped:
    """The cases that have all channels."""
    cases: dict[str, tuple[Path, ...]] = {}
    problems: list[Problem] = []
    last = "" if num_channels == 1 else f" to CASE_{num_channels - 1:04d}{ending}"
    expected = f"{num_channels} channel file{'s' if last else ''}: CASE_0000{ending}{last}"
    for name in sorted(channels):
        found = channels[name]
        files = tuple(found[channel] for channel in sorted(found))
        problem = channels_problem(name, files, num_channels, expected, no_gap=set(found) == set(range(len(found))))
        if problem is None:
            cases[name] = files
        else:
            problems.append(problem)
    return cases, problems
