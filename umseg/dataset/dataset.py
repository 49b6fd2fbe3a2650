"""Which files make up a data set (nnU-Net v2 raw format) or the input of a prediction."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Literal

from umseg.common.errors import UserError
from umseg.common.record import Record
from umseg.dataset.check.problems import Problem
from umseg.dataset.check.report import report_problems
from umseg.dataset.description import REMEDY, DatasetDescription, load_description
from umseg.dataset.dicom_inputs import find_series, unusable_series
from umseg.dataset.filemap import load_file_map, mapped_files
from umseg.dataset.io.dicom import DICOM_ENDING, is_dicom_image, label_ending
from umseg.dataset.listing import is_folder
from umseg.dataset.naming import few, group_inputs, group_training, list_files, list_images, sibling_channels, stem

log = logging.getLogger(__name__)


class Case(Record):
    """One image and, in training, its label map.

    Attributes:
        id: File name without channel number and ending, or the name in the file map.
        images: One file per channel in order, or one file with all channels as components (e.g. RGB). A DICOM image is
            the folder of its slices.
        label: The label map; None in prediction.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None = None

    def label_ending(self, file_ending: str) -> str:
        """Ending of a label map made for this case: ``.nii.gz`` for a DICOM image, else the data set's ending."""
        return label_ending(DICOM_ENDING if is_dicom_image(self.images[0]) else file_ending)


class Dataset(Record):
    """The training cases of a data set.

    Attributes:
        name: The folder's name.
        folder: Absolute path.
        description: The content of ``dataset.json``.
        cases: Sorted by id; all paths are absolute.
    """

    schema_version: Literal[1] = 1
    name: str
    folder: Path
    description: DatasetDescription
    cases: tuple[Case, ...]


def load_dataset(folder: Path) -> Dataset:
    """List the training cases of a folder in nnU-Net v2's raw format; no image is read.

    Raises:
        UserError: The folder, ``dataset.json`` or a folder of images or labels is missing; or, all of them together
            as a ``DatasetError``, labels or channels are missing, files have the wrong ending, labels have no image,
            the number of cases is not ``numTraining``.
    """
    dataset, problems = survey_dataset(folder)
    report_problems(problems, dataset.folder)
    return dataset


def survey_dataset(folder: Path) -> tuple[Dataset, list[Problem]]:
    """List the training cases that have all their files, and what is wrong with the others; no image is read.

    Returns:
        The data set, perhaps without cases, and the problems of the files that are not in it.

    Raises:
        UserError: The folder, ``dataset.json`` or a folder of images or labels is missing, empty or wrong.
    """
    folder = Path(folder).absolute()
    if not is_folder(folder):
        raise UserError("The data set folder does not exist.", file=folder, remedy=REMEDY)
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
                found=f"{count} cases",
                expected=f"{description.numTraining} cases (numTraining in dataset.json)",
                remedy="Add the missing cases, or correct numTraining.",
            )
        )
    return Dataset(name=folder.name, folder=folder, description=description, cases=cases), problems


def find_cases(folder_or_file: Path, num_channels: int, file_ending: str) -> tuple[Case, ...]:
    """List the cases to predict.

    Accepted are a folder, or one file (other channels of its case are looked up beside it); files ``CASE_0000.ext``,
    ``CASE_0001.ext``, ...; one file with ``num_channels`` components per case; and, for one channel, file names
    without a channel number. Files with another ending are skipped with a warning.

    Where there is no such file, DICOM is accepted whatever the model was trained on: a folder of slices, which is one
    case, or a folder of such folders. The headers of all slices are read, so that a series that makes no volume is
    found at once.

    Args:
        folder_or_file: What the user named.
        num_channels: Channels that the model expects.
        file_ending: Ending that the model's data set had, with the dot.

    Returns:
        Cases sorted by id, with absolute paths and no label.

    Raises:
        UserError: Nothing there, or cases with the wrong number of channel files.
    """
    # Not resolved: a link is known by its own name.
    path = Path(os.path.abspath(folder_or_file))
    if not is_folder(path) and not path.is_file():
        raise UserError(
            "The input does not exist.", file=path, remedy="Name a folder of images or one image file with --input."
        )
    images = find_series(path, num_channels, file_ending)
    if images is not None:
        ending = path.suffix if path.is_file() else ""
        cases, problems = group_inputs(images, num_channels, ending)
        problems += unusable_series(cases)
    else:
        files = _inputs(path, file_ending) if path.is_dir() else _with_siblings(path, num_channels, file_ending)
        cases, problems = group_inputs(files, num_channels, file_ending)
    report_problems(problems, path)
    return tuple(Case(id=name, images=cases[name]) for name in cases)


def _folder_cases(folder: Path, description: DatasetDescription) -> tuple[tuple[Case, ...], list[Problem], int]:
    """Complete cases of imagesTr and labelsTr, problems of the others, and the number of cases named by images."""
    ending = description.file_ending
    images, others = list_images(folder / "imagesTr", ending)
    problems = [_wrong_ending(path, ending) for path in others]
    image_ending, ending = "" if ending.lower() == DICOM_ENDING else ending, label_ending(ending)
    labels, more = list_files(folder / "labelsTr", ending)
    problems += [_wrong_ending(path, ending) for path in more]
    complete, incomplete = group_training(images, description.num_channels, image_ending)
    problems += incomplete
    named = set(complete) | {problem.case for problem in incomplete if problem.case}
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


def _wrong_ending(path: Path, ending: str) -> Problem:
    return Problem(
        f"A file in {path.parent.name} has the wrong ending.",
        "",
        path,
        found=path.name,
        expected="folders of DICOM slices" if ending == DICOM_ENDING else f"files ending in {ending}",
        remedy="Convert or remove the file, or correct file_ending in dataset.json.",
    )


def _inputs(folder: Path, ending: str) -> list[Path]:
    """Images of a folder; files with another ending are skipped.

    Raises:
        UserError: There is none.
    """
    files, others = list_files(folder, ending)
    names = few(path.name for path in others)
    if not files:
        raise UserError(
            f"All files in {folder.name} have the wrong ending.",
            file=folder,
            found=names,
            expected=f"files ending in {ending}, or folders of DICOM slices",
            remedy=f"Convert the images to {ending}.",
        )
    if others:
        log.warning("%s: %d files do not end in %s and are skipped: %s", folder, len(others), ending, names)
    return files


def _with_siblings(path: Path, num_channels: int, ending: str) -> list[Path]:
    """The file, with the other channels of its case."""
    if not path.name.endswith(ending):
        raise UserError(
            "The input file has another format than the model was trained on.",
            file=path,
            found=path.name,
            expected=f"a file ending in {ending}",
            remedy=f"Convert the image to {ending}.",
        )
    return sibling_channels(path, num_channels, ending)
