"""Which files make up a data set (nnU-Net v2 raw format) or the input of a prediction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from umseg.common.errors import UserError
from umseg.common.names import Component, FilePath, require_component
from umseg.common.record import Record
from umseg.common.text import counted
from umseg.dataset.check.problems import Problem
from umseg.dataset.check.report import report_problems
from umseg.dataset.description import REMEDY, DatasetDescription, load_description
from umseg.dataset.filemap import load_file_map, mapped_files
from umseg.dataset.inputs import find_all_inputs
from umseg.dataset.io.orientation import AxisCodes
from umseg.dataset.io.registry import format_of, format_with_ending
from umseg.dataset.listing import is_folder, refuse_lost
from umseg.dataset.naming import group_training, list_images, same_names, skip_strays, stem


class Case(Record):
    """One image and, in training, its label map.

    Attributes:
        id: File name without channel number and ending, or the name in the file map.
        images: One file per channel in order, or one file with all channels as components (e.g. RGB). Of some formats
            an image is a folder, e.g. that of its DICOM slices.
        label: The label map; None in prediction.
    """

    id: Component
    images: tuple[FilePath, ...] = Field(min_length=1)
    label: FilePath | None = None

    def label_ending(self, file_ending: str) -> str:
        """Ending of a label map that is made for this case.

        Args:
            file_ending: Ending of the images in the model's data set.
        """
        return format_of(self.images[0]).label_ending(file_ending)


class Dataset(Record):
    """The training cases of a data set.

    Attributes:
        name: The folder's name.
        folder: Absolute path.
        description: The content of ``dataset.json``.
        cases: Sorted by id; all paths are absolute.
        orientation: Axis codes, e.g. RAS, to which images and label maps are turned when they are read: those that all
            images have, or those that the user chose. None: they are used as they are stored.
    """

    schema_version: Literal[1] = 1
    name: Component
    folder: FilePath
    description: DatasetDescription
    cases: tuple[Case, ...]
    orientation: AxisCodes | None = None


def load_dataset(folder: Path) -> Dataset:
    """List the training cases of a folder in nnU-Net v2's raw format; no image is read.

    Raises:
        UserError: The folder, ``dataset.json`` or a folder of images or labels is missing.
        DatasetError: Labels or channels are missing, files have the wrong ending, labels have no image, or the number
            of cases is not ``numTraining``; all of them are reported together.
    """
    dataset, problems = survey_dataset(folder)
    report_problems(problems, dataset.folder)
    return dataset


def require_folder(folder: Path) -> Path:
    """The absolute path of a data set's folder.

    Raises:
        UserError: There is no such folder.
    """
    # `Path.absolute` would keep ".." in the path, and with it in the data set's name.
    folder = Path(os.path.abspath(folder))  # noqa: PTH100
    refuse_lost(folder)
    if not is_folder(folder):
        raise UserError("The data set folder does not exist.", file=folder, remedy=REMEDY)
    return folder


def survey_dataset(folder: Path) -> tuple[Dataset, list[Problem]]:
    """List the training cases that have all their files, and what is wrong with the others; no image is read.

    Returns:
        The data set, perhaps without cases, and the problems of the files that are not in it.

    Raises:
        UserError: The folder, ``dataset.json`` or a folder of images or labels is missing, empty or wrong.
    """
    folder = require_folder(folder)
    require_component(folder.name, "The name of the data set's folder")
    description = load_description(folder / "dataset.json")
    entries = load_file_map(folder / "dataset.json")
    if entries is None:
        cases, problems, count = _folder_cases(folder, description)
    else:
        files, problems = mapped_files(entries, folder, description.num_channels)
        cases = tuple(Case(id=name, images=images, label=label) for name, (images, label) in files.items())
        count = len(entries)
    if count != description.numTraining:
        problems.append(
            Problem(
                "The number of training cases is not what dataset.json says.",
                "",
                folder / ("imagesTr" if entries is None else "dataset.json"),
                found=counted(count, "case"),
                expected=f"{counted(description.numTraining, 'case')} (numTraining in dataset.json)",
                remedy="Add the missing cases, or correct numTraining.",
            )
        )
    return Dataset(name=folder.name, folder=folder, description=description, cases=cases), problems


def find_cases(folder_or_file: Path, num_channels: int, file_ending: str) -> tuple[Case, ...]:
    """List the cases to predict, all of which must be complete; see ``survey_cases``.

    Raises:
        UserError: The input does not exist or has no image, or cases have the wrong number of channel files.
    """
    cases, problems = survey_cases([folder_or_file], num_channels, file_ending)
    report_problems(problems, Path(folder_or_file).absolute())
    return cases


def survey_cases(inputs: Sequence[Path], num_channels: int, file_ending: str) -> tuple[tuple[Case, ...], list[Problem]]:
    """List the cases to predict, and what is wrong with those that cannot be predicted.

    Accepted are folders, single files (other channels of their case are looked up beside them) and patterns such as
    ``patients/*/*.nii.gz``; files ``CASE_0000.ext``,
    ``CASE_0001.ext``, ...; one file with ``num_channels`` components per case; and, for one channel, file names
    without a channel number. Files with another ending are skipped with a warning.

    Where there is no such file, DICOM is accepted whatever the model was trained on: a folder of slices, which is one
    case, or a folder of such folders. The headers of all slices are read, so that a series that makes no volume is
    found at once.

    Args:
        inputs: The inputs that the user named.
        num_channels: Number of channels that the model expects.
        file_ending: Ending of the images in the model's data set, with the dot.

    Returns:
        Cases sorted by id, with absolute paths and without label maps, and the problems of the others.

    Raises:
        UserError: An input does not exist or has no image.
    """
    cases, problems = find_all_inputs(inputs, num_channels, file_ending)
    return tuple(Case(id=name, images=cases[name]) for name in sorted(cases)), problems


def _folder_cases(folder: Path, description: DatasetDescription) -> tuple[tuple[Case, ...], list[Problem], int]:
    """The complete cases of imagesTr and labelsTr, problems of the others, and the number of cases with an image."""
    ending = description.file_ending
    images, others = list_images(folder / "imagesTr", ending)
    form = format_with_ending(ending)
    expected, image_ending = form.describe_images(ending), form.name_ending(ending)
    images, problems = skip_strays(images, others, image_ending, expected)
    ending = form.label_ending(ending)
    labels, skipped = skip_strays(*list_images(folder / "labelsTr", ending), ending, f"files ending in {ending}")
    problems += skipped
    complete, incomplete = group_training(images, description.num_channels, image_ending)
    problems += incomplete
    named = set(complete) | {problem.case for problem in incomplete if problem.case}
    problems += same_names(labels, ending)
    label_of = {stem(path, ending): path for path in labels}
    problems += [
        Problem(
            "A training case has no label map.",
            name,
            folder / "labelsTr" / f"{name}{ending}",
            found="no such file",
            expected="for every CASE_0000 in imagesTr a file CASE in labelsTr",
            remedy="Add the label map, or move the image to imagesTs.",
        )
        for name in sorted(named - set(label_of))
    ]
    problems += [
        Problem(
            "A label map has no image.",
            name,
            label_of[name],
            found=f"no {name}_0000{image_ending} in imagesTr",
            expected="for every CASE in labelsTr a file CASE_0000 in imagesTr",
            remedy="Add the image or remove the label map.",
        )
        for name in sorted(set(label_of) - named)
    ]
    usable = [name for name in sorted(complete) if name in label_of]
    return tuple(Case(id=name, images=complete[name], label=label_of[name]) for name in usable), problems, len(named)
