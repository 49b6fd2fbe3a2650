"""The layout of the Medical Segmentation Decathlon: one file per case, channels as a fourth axis."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from pydantic import ConfigDict, Field, field_validator

from umseg.common.errors import UserError
from umseg.common.json_file import read_json
from umseg.common.names import FileText
from umseg.common.processes.parallel import map_cases
from umseg.common.record import Record
from umseg.common.text import by, few
from umseg.dataset.check.problems import Problem
from umseg.dataset.check.report import report_problems
from umseg.dataset.convert.nifti import FILE_ENDING, checked_grid, write_channels
from umseg.dataset.convert.target import new_folder, require_free, write_description
from umseg.dataset.dataset import Case
from umseg.dataset.io.formats.nifti.format import Nifti
from umseg.dataset.labels import check_labels

log = logging.getLogger(__name__)

REMEDY = "Name the unpacked folder of one task, e.g. Task04_Hippocampus: dataset.json, imagesTr/, labelsTr/, imagesTs/."
# Whoever passes the data on has to name the authors and the licence.
_KEPT = ("name", "description", "reference", "licence", "release")


class _Foreign(Record):
    """A document of another tool, whose other fields are skipped."""

    model_config = ConfigDict(extra="ignore")


class MsdPair(_Foreign):
    """A training case: paths within the folder."""

    image: FileText
    label: FileText


class MsdDescription(_Foreign):
    """The fields of the Decathlon's ``dataset.json`` that are needed.

    Attributes:
        modality: Name of each channel, by its number ("0", "1", ...).
        labels: Name of each label, by its value ("0", "1", ...).
        training: The training cases.
        test: Paths of the images without a public label map.
        numTraining: Number of training cases as the authors counted them.

    Hidden files are left out: macOS puts a ``._x.nii.gz`` beside each ``x.nii.gz`` in its archives.
    """

    modality: dict[str, str] = Field(min_length=1)
    labels: dict[str, str]
    training: tuple[MsdPair, ...]
    test: tuple[FileText, ...] = ()
    numTraining: int | None = None

    @field_validator("modality")
    @classmethod
    def _channels_are_numbered(cls, modality: dict[str, str]) -> dict[str, str]:
        numbers = [str(number) for number in range(len(modality))]
        if set(modality) != set(numbers):
            raise ValueError(f"channels numbered '0' to '{len(modality) - 1}'")
        return {number: modality[number] for number in numbers}

    @field_validator("labels")
    @classmethod
    def _labels_are_valid(cls, labels: dict[str, str]) -> dict[str, str]:
        if not all(value.isascii() and value.isdigit() for value in labels):
            raise ValueError("label values and names, as in {'0': 'background', '1': 'liver'}")
        twice = [name for name, count in Counter(_names(labels).values()).items() if count > 1]
        if twice:
            raise ValueError(f"a name of its own for every value, not '{twice[0]}' twice")
        check_labels({name: value for value, name in _names(labels).items()})
        return labels

    @field_validator("training")
    @classmethod
    def _some_are_visible(cls, training: tuple[MsdPair, ...]) -> tuple[MsdPair, ...]:
        visible = tuple(pair for pair in training if not _is_hidden(pair.image))
        if not visible:
            raise ValueError("at least one training case")
        return visible

    @field_validator("test")
    @classmethod
    def _only_visible(cls, test: tuple[FileText, ...]) -> tuple[str, ...]:
        return tuple(image for image in test if not _is_hidden(image))

    @property
    def label_values(self) -> dict[str, int]:
        """Value of each label by its name, in ascending order; 0 is called ``background``."""
        return {name: value for value, name in sorted(_names(self.labels).items())}


def convert_msd(source: Path, destination: Path, *, workers: int = 0, quiet: bool = False) -> Path:
    """Make a data set in nnU-Net v2's raw format from a task of the Medical Segmentation Decathlon.

    Files of one channel are copied byte for byte. A file of several channels becomes one file per channel, with its
    affine, data type and scaling. What ``dataset.json`` does not list is left out.

    Args:
        source: Folder of the task: ``dataset.json``, ``imagesTr/``, ``labelsTr/``, ``imagesTs/``.
        destination: The folder to create; it may exist if it is empty.
        workers: Number of worker processes; 0 works in this process.
        quiet: Whether to hide the progress bar.

    Returns:
        ``destination``.

    Raises:
        UserError: ``dataset.json`` is missing or wrong, or the destination is in use.
        DatasetError: Files are missing, damaged, outside of ``source`` or do not fit ``dataset.json``; all of them are
            reported together.
    """
    source, destination = Path(source), Path(destination)
    require_free(destination)
    content = read_json(source / "dataset.json", REMEDY)
    description = MsdDescription.from_json(content, source / "dataset.json", REMEDY)
    cases, problems = list_cases(source, description)
    names = [case.id for case in cases]
    check = partial(check_case, num_channels=len(description.modality))
    for found in map_cases(check, cases, names, workers=workers, title="check", quiet=quiet):
        problems += found
    report_problems(problems, source)
    _warn_of_surplus(source, description, cases)
    with new_folder(destination) as folder:
        write = partial(_write_case, folder=folder, num_channels=len(description.modality))
        list(map_cases(write, cases, names, workers=workers, title="convert", quiet=quiet))
        write_description(
            folder,
            list(description.modality.values()),
            description.label_values,
            len(description.training),
            FILE_ENDING,
            **{key: content[key] for key in _KEPT if key in content},
        )
    return destination


def list_cases(source: Path, description: MsdDescription) -> tuple[list[Case], list[Problem]]:
    """The cases that ``dataset.json`` lists, training cases first; test cases have no label.

    Returns:
        Cases whose paths lie within ``source``, and the problems of the others.
    """
    pairs: list[tuple[str, str | None]] = [(pair.image, pair.label) for pair in description.training]
    pairs += [(image, None) for image in description.test]
    cases: dict[tuple[str, bool], Case] = {}
    problems = []
    for image, label in pairs:
        name = _stem(image)
        try:
            file = _located(source, image)
            case = Case(id=name, images=(file,), label=None if label is None else _located(source, label))
        except UserError as error:
            problems.append(Problem.from_error(name, source / image, error))
            continue
        if cases.setdefault((name, label is None), case) is not case:
            problems.append(_listed_twice(case, source))
    return list(cases.values()), problems


def check_case(case: Case, num_channels: int) -> list[Problem]:
    """Are the files of a case whole, and do they have the channels and the grid that they should have?

    Compressed files are read to their end; memory stays small.
    """
    problems = []
    grids = []
    for file, channels in ((case.images[0], num_channels), (case.label, 1)):
        if file is not None:
            try:
                grids.append(checked_grid(file, channels))
            except UserError as error:
                problems.append(Problem.from_error(case.id, file, error))
    if case.label is not None and len(grids) == 2 and grids[0] != grids[1]:
        problems.append(
            Problem(
                "Image and label map differ in shape.",
                case.id,
                case.label,
                found=f"label {by(grids[1])} (x, y, z)",
                expected=f"{by(grids[0])}, as the image",
                remedy="Pair the right files in dataset.json, or resample the label map to the image's grid.",
            )
        )
    return problems


def _write_case(case: Case, folder: Path, num_channels: int) -> None:
    images = folder / ("imagesTs" if case.label is None else "imagesTr")
    write_channels(
        case.images[0], [images / f"{case.id}_{channel:04d}{FILE_ENDING}" for channel in range(num_channels)]
    )
    if case.label is not None:
        write_channels(case.label, [folder / "labelsTr" / f"{case.id}{FILE_ENDING}"])


def _located(source: Path, entry: str) -> Path:
    """The file that ``dataset.json`` names. It lists files of the data set only: a foreign list is not to be trusted.

    Raises:
        UserError: The path leaves the folder, or the format is another one.
    """
    path = os.path.normpath(entry)
    # A path with an anchor is absolute; on Windows also one that has only a drive or only a leading slash.
    if Path(path).anchor or Path(path).parts[:1] == ("..",) or "\\" in entry:
        raise _outside(source, entry)
    target = Path(os.path.realpath(source / path))
    if not target.is_relative_to(os.path.realpath(source)):
        raise _outside(source, f"{entry}, a link to {target}")
    if not path.lower().endswith(Nifti.endings):
        raise UserError(
            "dataset.json names a file that is not NIfTI.",
            file=source / path,
            found=entry,
            expected=" or ".join(Nifti.endings),
            remedy="Convert the file to .nii.gz and correct dataset.json.",
        )
    return source / path


def _outside(source: Path, found: str) -> UserError:
    return UserError(
        "dataset.json names a file outside of the data set.",
        file=source / "dataset.json",
        found=found,
        expected="a path within the folder, such as ./imagesTr/x.nii.gz",
        remedy="Copy the file into the folder and correct dataset.json.",
    )


def _listed_twice(case: Case, source: Path) -> Problem:
    return Problem(
        "dataset.json lists a case twice.",
        case.id,
        source / "dataset.json",
        found=str(case.images[0].relative_to(source)),
        expected="one entry per name of an image",
        remedy="Remove one of the entries, or rename a file.",
    )


def _warn_of_surplus(source: Path, description: MsdDescription, cases: Sequence[Case]) -> None:
    listed = {path for case in cases for path in (*case.images, case.label)}
    folders = sorted({path.parent for path in listed if path is not None})
    others = [path for folder in folders for path in sorted(folder.iterdir()) if path not in listed]
    visible = [path.name for path in others if path.is_file() and not _is_hidden(path.name)]
    if visible:
        log.warning("Files that dataset.json does not list are left out: %s", few(visible))
    if description.numTraining not in (None, len(description.training)):
        log.warning(
            "%s: numTraining is %s, but %d training cases are listed: the list is followed",
            source / "dataset.json",
            description.numTraining,
            len(description.training),
        )


def _names(labels: Mapping[str, str]) -> dict[int, str]:
    return {int(value): "background" if int(value) == 0 else name for value, name in labels.items()}


def _file_name(entry: str) -> str:
    # Paths in dataset.json have slashes on every system. `Path` would take the folder's name where one ends in a slash.
    return entry.rpartition("/")[2]


def _is_hidden(entry: str) -> bool:
    return _file_name(entry).startswith(".")


def _stem(entry: str) -> str:
    name = _file_name(entry)
    return next((name[: -len(ending)] for ending in Nifti.endings if name.lower().endswith(ending)), name)
