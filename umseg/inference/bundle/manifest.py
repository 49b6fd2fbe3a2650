"""``bundle.json``, the first file in a bundle: what the model is for, what it was trained on, and every other file."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from umseg.common.colours import class_colours
from umseg.common.names import Component, Name
from umseg.common.record import FieldError, Record, SparseRecord
from umseg.dataset.description import MOST_CHANNELS, MOST_LABELS, DatasetDescription, ShownName
from umseg.planning.consistency import Length, Voxels
from umseg.training.data.splits import MOST_FOLDS
from umseg.workspace import CARD, FINAL, METRICS, POSTPROCESSING, WeightsName

MANIFEST = "bundle.json"
"""Name of the manifest in a bundle, and in the model folder that a bundle becomes."""
ENDING = ".umseg"
FIRST_STAGE = "first_stage"
"""Folder of a cascade's first stage in its model folder."""
MOST_FILES = 1000
MOST_LETTERS = 20_000
"""Longest text about a model."""

_FOLD = "(?:0|[1-9][0-9]{0,3}|all)"
_OF_FOLD = (FINAL, POSTPROCESSING, f"validation/{METRICS}")
_FILE = re.compile(f"(?:{FIRST_STAGE}/)?(?:{re.escape(CARD)}|fold_{_FOLD}/(?:{'|'.join(map(re.escape, _OF_FOLD))}))")


def is_known_path(path: str) -> bool:
    """Whether a bundle may hold a file of this path; all that a path may be is spelt out, so that none leads outside.

    That excludes absolute paths, ``..``, backslashes, drives, names that Windows reserves, names that differ only in
    case, and archives within the archive.
    """
    return _FILE.fullmatch(path) is not None


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
        training: The data that the model was trained on.
        files: All other files of the bundle.
    """

    most_bytes: ClassVar[int] = 2**24
    sparse = ("licence", "intended_use", "notes")

    schema_version: Literal[1] = 1
    umseg_version: Annotated[str, Field(max_length=100)]
    name: Name
    weights: WeightsName
    licence: Annotated[ShownName, AfterValidator(_text)] | None = None
    intended_use: Text | None = None
    notes: Text | None = None
    labels: Annotated[tuple[BundledLabel, ...], Field(min_length=1, max_length=MOST_LABELS)]
    training: TrainingData
    files: Annotated[tuple[BundledFile, ...], Field(min_length=2, max_length=MOST_FILES)]

    @model_validator(mode="after")
    def _is_a_model(self) -> Manifest:
        paths = [file.path for file in self.files]
        if len(set(paths)) < len(paths):
            raise FieldError("files", paths, "every path once")
        for stage in ("", f"{FIRST_STAGE}/"):
            of_stage = {path for path in paths if path.startswith(f"{FIRST_STAGE}/") == bool(stage)}
            if (of_stage or not stage) and f"{stage}{CARD}" not in of_stage:
                raise FieldError("files", paths, f"{stage}{CARD} among them")
            if of_stage and not any(path.endswith(FINAL) for path in of_stage):
                raise FieldError("files", paths, f"{stage}fold_*/{FINAL} among them")
        return self


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
