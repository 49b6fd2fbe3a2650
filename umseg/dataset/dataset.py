"""Which files make up a data set (nnU-Net v2 raw format) or the input of a prediction."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from umseg.common.errors import UserError
from umseg.common.record import Record
from umseg.dataset.description import REMEDY, DatasetDescription, load_description
from umseg.dataset.images import count_components

log = logging.getLogger(__name__)

_CHANNEL = re.compile(r"^(?P<case>.+)_(?P<channel>\d{4})$")
_SHOWN = 5


class Case(Record):
    """One image and, in training, its label map.

    Attributes:
        id: File name without channel number and ending.
        images: One file per channel in order, or one file with all channels as components (e.g. RGB).
        label: The label map; None in prediction.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None = None


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
        UserError: The folder, ``dataset.json``, a folder of images or labels, a label or a channel is missing, a file
            has the wrong ending, a label has no image, or the number of cases is not ``numTraining``.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise UserError("The data set folder does not exist.", file=folder, remedy=REMEDY)
    description = load_description(folder / "dataset.json")
    images = _files(folder / "imagesTr", description.file_ending)
    labels = _files(folder / "labelsTr", description.file_ending)
    cases = _group(images, description.num_channels, description.file_ending, need_suffix=True)
    label_of = {_stem(path, description.file_ending): path for path in labels}
    _check_pairs([case.id for case in cases], label_of, folder)
    if len(cases) != description.numTraining:
        raise UserError(
            "The number of training cases is not what dataset.json says.",
            file=folder / "imagesTr",
            found=f"{len(cases)} cases",
            expected=f"{description.numTraining} cases (numTraining in dataset.json)",
            remedy="Add the missing cases, or correct numTraining.",
        )
    paired = tuple(case.model_copy(update={"label": label_of[case.id]}) for case in cases)
    return Dataset(name=folder.name, folder=folder, description=description, cases=paired)


def find_cases(folder_or_file: Path, num_channels: int, file_ending: str) -> tuple[Case, ...]:
    """List the cases to predict.

    Accepted are a folder, or one file (other channels of its case are looked up beside it); files ``CASE_0000.ext``,
    ``CASE_0001.ext``, ...; one file with ``num_channels`` components per case; and, for one channel, file names
    without a channel number. Files with another ending are skipped with a warning.

    Args:
        folder_or_file: What the user named.
        num_channels: Channels that the model expects.
        file_ending: Ending that the model's data set had, with the dot.

    Returns:
        Cases sorted by id, with absolute paths and no label.

    Raises:
        UserError: Nothing there, or a case with the wrong number of channel files.
    """
    path = Path(folder_or_file).absolute()
    if path.is_dir():
        files = _files(path, file_ending, skip_others=True)
    elif path.is_file():
        files = _with_sibling_channels(path, num_channels, file_ending)
    else:
        raise UserError(
            "The input does not exist.", file=path, remedy="Name a folder of images or one image file with --input."
        )
    return _group(files, num_channels, file_ending, need_suffix=False)


def _with_sibling_channels(path: Path, num_channels: int, ending: str) -> list[Path]:
    """The file and, if its name has a channel number, the other channels of its case."""
    if not path.name.endswith(ending):
        raise UserError(
            "The input file has another format than the model was trained on.",
            file=path,
            found=path.name,
            expected=f"a file ending in {ending}",
            remedy=f"Convert the image to {ending}.",
        )
    match = _CHANNEL.match(_stem(path, ending))
    if num_channels == 1 or match is None:
        return [path]
    candidates = [path.with_name(f"{match['case']}_{channel:04d}{ending}") for channel in range(num_channels)]
    return [candidate for candidate in candidates if candidate.is_file() or candidate == path]


def _files(folder: Path, ending: str, *, skip_others: bool = False) -> list[Path]:
    """Sorted files of a folder with the given ending; hidden files do not count.

    Raises:
        UserError: The folder is missing or has no such file; or has others, unless ``skip_others``.
    """
    if not folder.is_dir():
        raise UserError(f"The folder {folder.name} does not exist.", file=folder, remedy=REMEDY)
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    others = [path.name for path in files if not path.name.endswith(ending)]
    matching = [path for path in files if path.name.endswith(ending)]
    if others and matching and skip_others:
        log.warning("%s: %d files do not end in %s and are skipped: %s", folder, len(others), ending, _few(others))
    elif others:
        raise UserError(
            f"{len(others)} files in {folder.name} have the wrong ending.",
            file=folder,
            found=_few(others),
            expected=f"files ending in {ending}",
            remedy="Convert or remove them, or correct file_ending in dataset.json.",
        )
    if not matching:
        raise UserError(
            f"The folder {folder.name} is empty.", file=folder, expected=f"files ending in {ending}", remedy=REMEDY
        )
    return matching


def _group(files: Sequence[Path], num_channels: int, ending: str, *, need_suffix: bool) -> tuple[Case, ...]:
    """Sort files into cases by their names.

    Raises:
        UserError: A case has not exactly the expected channels; two files claim one case.
    """
    channels: dict[str, dict[int, Path]] = {}
    plain: dict[str, Path] = {}
    for path in files:
        stem = _stem(path, ending)
        match = _CHANNEL.match(stem)
        if match is None:
            plain[stem] = path
        else:
            channels.setdefault(match["case"], {})[int(match["channel"])] = path
    if need_suffix and plain:
        raise UserError(
            f"{len(plain)} image files have no channel number.",
            file=files[0].parent,
            found=_few(path.name for path in plain.values()),
            expected=f"CASE_0000{ending}, and CASE_0001{ending}, ... for further channels",
            remedy="Rename the files.",
        )
    if num_channels == 1 and not need_suffix:
        _release_numbered_names(channels, plain, ending)
    cases = {name: _channel_files(name, found, num_channels, ending) for name, found in channels.items()}
    for name, path in plain.items():
        if name in cases:
            raise UserError(
                f"Two files claim the case {name}.",
                file=path,
                found=f"{path.name} and {cases[name][0].name}",
                remedy="Remove one of them.",
            )
        cases[name] = _channel_files(name, {0: path}, num_channels, ending)
    return tuple(Case(id=name, images=cases[name]) for name in sorted(cases))


def _release_numbered_names(channels: dict[str, dict[int, Path]], plain: dict[str, Path], ending: str) -> None:
    """Names such as scan_0007 without a scan_0000 beside them end in a number that is not a channel."""
    for name in [name for name, found in channels.items() if 0 not in found]:
        for path in channels.pop(name).values():
            plain[_stem(path, ending)] = path


def _channel_files(name: str, found: dict[int, Path], num_channels: int, ending: str) -> tuple[Path, ...]:
    """The case's files in channel order."""
    if sorted(found) == list(range(num_channels)):
        return tuple(found[channel] for channel in range(num_channels))
    if list(found) == [0] and count_components(found[0]) == num_channels:
        return (found[0],)
    anywhere = next(iter(found.values()))
    raise UserError(
        f"Case {name} has the wrong number of channels.",
        file=anywhere.parent,
        found=f"{len(found)} files: {_few(found[channel].name for channel in sorted(found))}",
        expected=f"{num_channels} channel files {name}_0000{ending} to {name}_{num_channels - 1:04d}{ending}"
        if num_channels > 1
        else f"one file {name}_0000{ending}",
        remedy="Add the missing files or remove the surplus ones.",
    )


def _check_pairs(ids: Sequence[str], label_of: dict[str, Path], folder: Path) -> None:
    """Every image has a label and every label an image."""
    unlabelled = [name for name in ids if name not in label_of]
    if unlabelled:
        raise UserError(
            f"{len(unlabelled)} training cases have no label map.",
            file=folder / "labelsTr",
            found=f"no label for {_few(unlabelled)}",
            expected="for every CASE_0000 in imagesTr a file CASE in labelsTr",
            remedy="Add the label maps, or move the images to imagesTs.",
        )
    orphans = sorted(set(label_of) - set(ids))
    if orphans:
        raise UserError(
            f"{len(orphans)} label maps have no image.",
            file=folder / "imagesTr",
            found=f"no image for {_few(orphans)}",
            expected="for every CASE in labelsTr a file CASE_0000 in imagesTr",
            remedy="Add the images or remove the label maps.",
        )


def _stem(path: Path, ending: str) -> str:
    return path.name[: -len(ending)]


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
