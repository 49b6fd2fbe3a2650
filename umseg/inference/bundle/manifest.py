"""``bundle.json``, the first file in a bundle: what the model is for, what it was trained on, and every other file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from umseg.common.colours import class_colours
from umseg.common.names import Component, Name
from umseg.common.record import FieldError, Record, SparseRecord
from umseg.dataset.description import MOST_CHANNELS, MOST_LABELS, DatasetDescription, ShownName
from umseg.planning.consistency import Length, Voxels
from umseg.training.data.splits import MOST_FOLDS
from umseg.workspace import BEST_CHOICE, CARD, FINAL, METRICS, POSTPROCESSING, WeightsName

MANIFEST = "bundle.json"
"""Name of the manifest in a bundle, and in the model folder that a bundle becomes."""
ENDING = ".umseg"
FIRST_STAGE = "first_stage"
"""Folder of a cascade's first stage in its model folder."""
MOST_MEMBERS = 10
"""Most models that predict together."""
MOST_FILES = 1000
MOST_LETTERS = 20_000
"""Longest text about a model."""

_FOLD = "(?:0|[1-9][0-9]{0,3}|all)"
_OF_FOLD = (FINAL, POSTPROCESSING, f"validation/{METRICS}")
_MEMBER = "models/model_(?:[1-9]|10)/"
_IN_STAGE = f"{re.escape(CARD)}|fold_{_FOLD}/(?:{'|'.join(map(re.escape, _OF_FOLD))})"
_FILE = re.compile(f"(?:{_MEMBER})?(?:{FIRST_STAGE}/)?(?:{_IN_STAGE})|{re.escape(BEST_CHOICE)}")
_JOINT_SCORES = re.compile(f"fold_{_FOLD}/validation/{re.escape(METRICS)}")


def is_known_path(path: str) -> bool:
    """Whether a bundle may hold a file of this path; all that a path may be is spelt out, so that none leads outside.

    That excludes absolute paths, ``..``, backslashes, drives, names that Windows reserves, names that differ only in
    case, and archives within the archive.
    """
    return _FILE.fullmatch(path) is not None


def member_name(number: int) -> str:
    """The folder of a model in a bundle of several: ``model_1`` for number 0. What a user called it may not be safe."""
    return f"model_{number + 1}"


def member_folder(number: int) -> str:
    """The path of that folder in the bundle, with a slash behind it."""
    return f"models/{member_name(number)}/"


def _known(path: str) -> str:
    if not is_known_path(path):
        raise ValueError(f"a file of a model folder, such as {CARD} or fold_0/{FINAL}")
    return path


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("a text that is not empty")
    return text


Text = Annotated[str, Field(max_length=MOST_LETTERS), AfterValidator(_text)]
FoldName = Annotated[str, Field(pattern=rf"^{_FOLD}$")]
Count = Annotated[int, Field(ge=0, le=10**9)]


class BundledFile(Record):
    """A file in a bundle.

    Attributes:
        path: Where it lies in the model folder, with slashes.
        size: Its bytes.
        sha256: Its checksum.
    """

    path: Annotated[str, Field(max_length=200), AfterValidator(_known)]
    size: Annotated[int, Field(ge=0, lt=2**63)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class BundledLabel(Record):
    """A class that the model segments.

    Attributes:
        name: Its name.
        value: Its value in label maps; None where label maps number objects.
        colour: Its colour in pictures, as in ``#1f77b4``.
    """

    name: ShownName
    value: int | None
    colour: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]


class FoldCases(Record):
    """How a fold was trained; None where that is not recorded.

    Attributes:
        fold: Its name.
        training_cases: Number of cases that its weights have seen.
        validation_cases: Number of cases that were held out.
        epochs: Number of epochs.
        iterations: Training batches per epoch.
    """

    fold: FoldName
    training_cases: Count | None
    validation_cases: Count | None
    epochs: Count | None
    iterations: Count | None


class TrainingData(Record):
    """The data that the model was trained on.

    Attributes:
        dataset: Name of the data set.
        cases: Number of its training cases.
        channels: Names of the image channels, in their order.
        median_spacing: Median voxel size of the images in mm, in the plan's axis order.
        median_shape: Median number of voxels per axis, in the same order.
        folds: How each fold was trained.
    """

    dataset: Component
    cases: Count
    channels: Annotated[tuple[ShownName, ...], Field(min_length=1, max_length=MOST_CHANNELS)]
    median_spacing: tuple[Length, Length, Length]
    median_shape: tuple[Voxels, Voxels, Voxels]
    folds: Annotated[tuple[FoldCases, ...], Field(min_length=1, max_length=MOST_FOLDS)]


class BundledMember(Record):
    """A model of a bundle that ``umseg best`` chose; its files lie in ``models/model_1`` if it is the first.

    Attributes:
        name: Name of the model folder that it came from.
        folds: How each of its folds was trained.
    """

    name: Component
    folds: Annotated[tuple[FoldCases, ...], Field(min_length=1, max_length=MOST_FOLDS)]


class Manifest(SparseRecord):
    """What a bundle says about its model and its files.

    Attributes:
        umseg_version: Version of umseg that wrote the bundle.
        name: Name of the model, of which its folder is made.
        weights: Which weights of the training these are: those of the last epoch, or those of the best. In the model
            folder they are ``weights_final.safetensors`` in both cases.
        licence: Terms of use, best by an SPDX identifier such as ``CC-BY-4.0``.
        intended_use: What the model is for, and what not.
        notes: Anything else.
        labels: The classes, in the order of the card.
        training: The data that the model, or the first of several, was trained on.
        members: The models that ``best.json`` names, in its order; None in a bundle of one model without that file.
        files: All other files of the bundle.
    """

    most_bytes: ClassVar[int] = 2**24
    sparse = ("licence", "intended_use", "notes", "members")

    schema_version: Literal[1] = 1
    umseg_version: Annotated[str, Field(max_length=100)]
    name: Name
    weights: WeightsName
    licence: Annotated[ShownName, AfterValidator(_text)] | None = None
    intended_use: Text | None = None
    notes: Text | None = None
    labels: Annotated[tuple[BundledLabel, ...], Field(min_length=1, max_length=MOST_LABELS)]
    training: TrainingData
    members: Annotated[tuple[BundledMember, ...], Field(min_length=1, max_length=MOST_MEMBERS)] | None = None
    files: Annotated[tuple[BundledFile, ...], Field(min_length=2, max_length=MOST_FILES)]

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the models in the bundle, with a slash behind each; the bundle itself if it is one model."""
        return ("",) if self.members is None else tuple(map(member_folder, range(len(self.members))))

    @model_validator(mode="after")
    def _holds_models(self) -> Manifest:
        paths = [file.path for file in self.files]
        if len(set(paths)) < len(paths):
            raise FieldError("files", paths, "every path once")
        rest = set(paths)
        if self.members is not None:
            if BEST_CHOICE not in rest:
                raise FieldError("files", paths, f"{BEST_CHOICE} among them, because there are members")
            rest -= {path for path in paths if path == BEST_CHOICE or _JOINT_SCORES.fullmatch(path)}
        for folder in self.folders:
            rest -= _of_model(folder, paths)
        if rest:
            raise FieldError("files", sorted(rest), "files of the models alone")
        return self


def _of_model(folder: str, paths: Sequence[str]) -> set[str]:
    """The files of one model of a bundle, after a check that its card and its weights are among them.

    Raises:
        FieldError: One is missing.
    """
    found: set[str] = set()
    for stage in (folder, f"{folder}{FIRST_STAGE}/"):
        of_stage = {path for path in paths if re.fullmatch(f"{re.escape(stage)}(?:{_IN_STAGE})", path)}
        if (of_stage or stage == folder) and f"{stage}{CARD}" not in of_stage:
            raise FieldError("files", list(paths), f"{stage}{CARD} among them")
        if of_stage and not any(path.endswith(FINAL) for path in of_stage):
            raise FieldError("files", list(paths), f"{stage}fold_*/{FINAL} among them")
        found |= of_stage
    return found


def labels_of(description: DatasetDescription) -> tuple[BundledLabel, ...]:
    """The classes of a data set with the values that a predicted label map has for them."""
    if description.task == "instance":
        names = [name for name in description.labels if name != "background"]
        values: dict[str, int | None] = dict.fromkeys(names)
    else:
        values = dict(description.foreground)
    return tuple(
        BundledLabel(name=name, value=value, colour="#" + "".join(f"{round(255 * part):02x}" for part in colour))
        for (name, value), colour in zip(values.items(), class_colours(len(values)), strict=True)
    )
