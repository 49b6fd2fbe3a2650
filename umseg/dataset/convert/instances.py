"""Data sets from folders of pictures and instance maps, in which each object has its own number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.processes.parallel import map_cases
from umseg.dataset.check.problems import Problem
from umseg.dataset.check.report import report_problems
from umseg.dataset.convert.manifest import USUAL_COLUMNS, Columns, write_groups
from umseg.dataset.convert.pairs import list_cases
from umseg.dataset.convert.pictures import save_picture, smallest_type
from umseg.dataset.convert.target import copy_file, new_folder, require_free, write_description
from umseg.dataset.dataset import Case
from umseg.dataset.io.channels import fit_channels
from umseg.dataset.io.images import count_components, read_image, read_label
from umseg.dataset.labels import check_instance_labels

# The largest value in a 16-bit PNG.
_PNG_LIMIT = np.iinfo(np.uint16).max
_COLOURS = {1: ("grey",), 3: ("red", "green", "blue")}


@dataclass(frozen=True)
class Survey:
    """The findings about a case.

    Attributes:
        channels: 1 for greyscale, 3 for colour; a constant transparency does not count.
        fits_png: Whether image and instance map can be stored as PNG without loss.
        problems: The problems of the case.
    """

    channels: int
    fits_png: bool
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Form:
    """The form of all files in the new data set.

    Attributes:
        channels: Number of channels, 1 or 3.
        ending: Ending of images and label maps, ``.png`` or ``.tif``.
    """

    channels: int
    ending: str


def convert_instances(
    source: Path,
    destination: Path,
    *,
    object_name: str = "object",
    columns: Columns = USUAL_COLUMNS,
    workers: int = 0,
    quiet: bool = False,
) -> Path:
    """Make a data set of an instance task in nnU-Net v2's raw format from pictures and instance maps.

    Pictures and maps become PNG files, or TIFF files if a PNG cannot hold one of them. If one picture has colours, all
    are stored in colour. Instances keep their ids unless these exceed 16 bits. ``source/manifest.csv``, if it exists,
    says which cases are for training (``imagesTr``, ``labelsTr``; all others go to ``imagesTs``, ``labelsTs``) and
    which belong together (``groups.csv``, for the training cases).

    Args:
        source: Folder with ``images/`` and ``instances/``. The names of image and map differ only in their ending; maps
            may be called ``CASE_label``.
        destination: The folder to create; it may exist if it is empty.
        object_name: Name of an instance, e.g. ``nucleus``.
        columns: Columns of the manifest.
        workers: Number of worker processes; 0 works in this process.
        quiet: Whether to hide the progress bar.

    Returns:
        ``destination``.

    Raises:
        UserError: The manifest or the object's name is wrong, or the destination is in use.
        DatasetError: Files are missing, damaged or do not fit each other or the manifest; all of them are reported
            together.
    """
    source, destination = Path(source), Path(destination)
    labels = _labels(object_name)
    require_free(destination)
    rows, cases, problems = list_cases(source, columns)
    names = [case.id for case in cases]
    surveys = list(map_cases(survey_case, cases, names, workers=workers, title="check", quiet=quiet))
    report_problems([*problems, *(problem for survey in surveys for problem in survey.problems)], source)
    form = choose_form(surveys)
    with new_folder(destination) as folder:
        parts = [(case, "Tr" if rows[case.id].training else "Ts") for case in cases]
        write = partial(_write_case, folder=folder, form=form)
        list(map_cases(write, parts, names, workers=workers, title="convert", quiet=quiet))
        training = {name: row for name, row in rows.items() if row.training}
        if any(row.group for row in training.values()):
            write_groups(folder / "groups.csv", training)
        write_description(
            folder,
            _COLOURS[form.channels],
            labels,
            len(training),
            form.ending,
            task="instance",
        )
    return destination


def survey_case(case: Case) -> Survey:
    """Read a case to find what it needs and what is wrong with it."""
    problems = []
    channels, fits = 1, True
    shapes = []
    try:
        image = read_colours(case.images[0])
        channels, fits = len(image), smallest_type(image) != np.float32
        shapes.append(image.shape[1:])
    except UserError as error:
        problems.append(Problem.from_error(case.id, case.images[0], error))
    try:
        instances = read_instances(_map_of(case))
        fits = fits and int(instances.max()) <= _PNG_LIMIT
        shapes.append(instances.shape)
    except UserError as error:
        problems.append(Problem.from_error(case.id, _map_of(case), error))
    if len(shapes) == 2 and shapes[0] != shapes[1]:
        problems.append(
            Problem(
                "Image and instance map differ in size.",
                case.id,
                _map_of(case),
                found=f"map {_size(shapes[1])} (width x height)",
                expected=f"{_size(shapes[0])}, as the image",
                remedy="Pair the right files; do not scale instance maps with interpolation.",
            )
        )
    return Survey(channels, fits, tuple(problems))


def choose_form(surveys: Sequence[Survey]) -> Form:
    """The form that suits every case: colour if any image has it, PNG if that can hold all of them."""
    return Form(
        channels=max(survey.channels for survey in surveys),
        ending=".png" if all(survey.fits_png for survey in surveys) else ".tif",
    )


def read_colours(path: Path) -> NDArray[np.float32]:
    """Read a picture as (channels, y, x): one channel, or three.

    Raises:
        UserError: The file cannot be read, or has another number of channels.
    """
    values = read_image([path]).array
    colours, _ = fit_channels(values, 1 if len(values) == 2 else 3, path)
    if len(colours) not in _COLOURS:
        last = f", the last from {values[-1].min():g} to {values[-1].max():g}" if len(values) in (2, 4) else ""
        raise UserError(
            "A picture is neither greyscale nor RGB.",
            file=path,
            found=f"{len(colours)} channels{last}",
            expected="1 or 3 channels, and a transparency only if it is the same everywhere",
            remedy="Save the picture as greyscale or RGB without transparency.",
        )
    return colours[:, 0]


def read_instances(path: Path) -> NDArray[np.integer[Any]]:
    """Read an instance map as (y, x); ids that do not fit 16 bits are replaced by 1, 2, 3, ... in their order.

    Raises:
        UserError: The file cannot be read, or has negative values.
    """
    values = read_label(path).array[0]
    if int(values.min()) < 0:
        raise UserError(
            "An instance map has negative values.",
            file=path,
            found=f"{int(values.min())}",
            expected="0 in the background, and a positive number for each instance",
            remedy="Number the instances from 1.",
        )
    return values if int(values.max()) <= _PNG_LIMIT else renumber(values)


def renumber(instances: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Replace ids by 1, 2, 3, ... in ascending order; 0 stays 0."""
    ids = np.unique(instances[instances > 0])
    return np.where(instances > 0, np.searchsorted(ids, instances) + 1, 0)


def _labels(object_name: str) -> dict[str, int]:
    labels = {"background": 0, object_name: 1}
    try:
        check_instance_labels(labels)
    except ValueError as error:
        raise UserError(
            "The instances cannot have this name.",
            found=object_name,
            expected=str(error),
            remedy="Choose another name with --object-name, e.g. nucleus.",
        ) from error
    return labels


def _write_case(part: tuple[Case, str], folder: Path, form: Form) -> None:
    case, split = part
    image = folder / f"images{split}" / f"{case.id}_0000{form.ending}"
    original = case.images[0]
    if original.suffix.lower() == form.ending and count_components(original) == form.channels:
        copy_file(original, image)
    else:
        colours = read_colours(original)
        save_picture(
            image, np.broadcast_to(colours, (form.channels, *colours.shape[1:])).astype(smallest_type(colours))
        )
    instances = read_instances(_map_of(case))
    wide = np.uint16 if int(instances.max()) <= _PNG_LIMIT else np.uint32
    save_picture(folder / f"labels{split}" / f"{case.id}{form.ending}", instances[None].astype(wide))


def _map_of(case: Case) -> Path:
    if case.label is None:
        raise ValueError(f"case {case.id} has no instance map")
    return case.label


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} x {shape[0]}"
