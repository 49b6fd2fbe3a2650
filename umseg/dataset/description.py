"""``dataset.json``: the meaning of the channels and labels of a data set (nnU-Net v2 raw format)."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from umseg.common.errors import UserError
from umseg.common.json_file import read_json
from umseg.common.record import Record
from umseg.common.text import few, printable
from umseg.dataset.forms import FIRST_REMEDY, in_common_form, is_first_version
from umseg.dataset.labels import check_class_order, check_instance_labels, check_labels
from umseg.dataset.listing import refuse_lost

log = logging.getLogger(__name__)

REMEDY = (
    "A data set is a folder with dataset.json, imagesTr/ and labelsTr/ in nnU-Net v2's raw format; "
    "the README shows one."
)

# The file map is read elsewhere; umseg picks the reader by itself.
_NOT_OF_THE_DESCRIPTION = ("dataset", "overwrite_image_reader_writer")
MOST_CHANNELS = 1000
MOST_LABELS = 2**15
"""Label maps are stored with 16 bits and a sign."""
_INSTANCE_CLASSES = {"interior": 1, "boundary": 2}


def _shown(name: str) -> str:
    if len(name) > 200 or not all(letter.isprintable() for letter in name):
        raise ValueError("a name of at most 200 letters without control characters")
    return name


ShownName = Annotated[str, AfterValidator(_shown)]
"""A name that messages, tables and pictures show."""


_EXAMPLES = {
    "channel_names": '{"0": "CT"}',
    "labels": '{"background": 0, "liver": 1}',
    "numTraining": "20",
    "file_ending": '".nii.gz"',
}
"""The fields that every dataset.json has, each with a value that it may have."""


class DatasetDescription(Record):
    """The channels and labels that ``dataset.json`` declares, under nnU-Net's field names.

    There are three kinds of labels. Plain ones: each name has one value. Regions: names with lists of values, which
    may overlap; the network predicts each region by itself. Instances (``task``, umseg's own): label files number the
    objects, and the network learns their interior and their boundary.

    Attributes:
        channel_names: Channel index ("0", "1", ...) to the channel's name, e.g. ``{"0": "CT"}``. The name chooses
            the normalisation.
        task: ``instance``: label files are 0 in the background and number the objects in any way.
        labels: Label name to label value, or to the values of a region. ``background`` is 0, the other values are 1,
            2, ... without a gap; ``ignore``, where there is one, is the highest.
        regions_class_order: With regions: the value that is written for each of them, in the order of ``labels``.
            Later regions are written over earlier ones.
        numTraining: Number of training cases.
        file_ending: Ending of every image and label file, with the dot, e.g. ``.nii.gz``; it chooses the format. With
            ``.dcm`` the images are folders of DICOM slices and the label maps end in ``.nii.gz``.
    """

    most_bytes: ClassVar[int] = 2**24

    channel_names: dict[str, ShownName] = Field(min_length=1, max_length=MOST_CHANNELS)
    task: Literal["semantic", "instance"] = "semantic"
    labels: dict[ShownName, int | tuple[int, ...]] = Field(max_length=MOST_LABELS)
    regions_class_order: tuple[int, ...] | None = Field(default=None, validate_default=True)
    numTraining: int = Field(ge=1, le=10**9)
    file_ending: str = Field(max_length=50)

    @field_validator("channel_names")
    @classmethod
    def _channels_are_numbered(cls, names: dict[str, str]) -> dict[str, str]:
        if list(names) != [str(i) for i in range(len(names))]:
            last = len(names) - 1
            raise ValueError(
                'one channel, numbered "0"' if last == 0 else f'channels numbered "0" to "{last}" in order'
            )
        return names

    @field_validator("labels", mode="before")
    @classmethod
    def _labels_fit_the_task(cls, labels: object, info: ValidationInfo) -> object:
        if info.data.get("task") == "instance":
            return check_instance_labels(labels)
        return check_labels(labels)

    @field_validator("regions_class_order")
    @classmethod
    def _every_region_has_a_value(cls, order: tuple[int, ...] | None, info: ValidationInfo) -> tuple[int, ...] | None:
        # Wrong labels are reported by their own validator.
        return check_class_order(order, info.data["labels"]) if "labels" in info.data else order

    @field_validator("file_ending")
    @classmethod
    def _ending_has_letters_behind_a_dot(cls, ending: str) -> str:
        if not re.fullmatch(r"\.[A-Za-z0-9.]+", ending):
            raise ValueError('the ending of the files, with its dot, e.g. ".nii.gz"')
        return ending

    @property
    def num_channels(self) -> int:
        """Number of input channels."""
        return len(self.channel_names)

    @property
    def num_labels(self) -> int:
        """Number of entries in ``labels``, with background and ignore, as planning counts; 3 in an instance task."""
        return 3 if self.task == "instance" else len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of outputs of the network: one per region, or else the background and each foreground class."""
        return len(self.regions) if self.has_regions else 1 + len(self.foreground)

    @property
    def ignore_label(self) -> int | None:
        """The label value of voxels that were not annotated."""
        value = self.labels.get("ignore")
        return value if isinstance(value, int) else None

    @property
    def has_regions(self) -> bool:
        """Whether the classes are regions, which may overlap."""
        return any(not isinstance(value, int) for value in self.labels.values())

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        """The label values that make up each foreground class, in the order of the network's outputs.

        Regions are ordered as in ``labels``, plain classes by their value.
        """
        if not self.has_regions:
            return {name: (value,) for name, value in self.foreground.items()}
        return {name: _as_tuple(value) for name, value in self.labels.items() if name not in ("background", "ignore")}

    @property
    def foreground(self) -> dict[str, int]:
        """The value that a predicted label map has for each foreground class, without background and ignore."""
        if self.task == "instance":
            return dict(_INSTANCE_CLASSES)
        if self.regions_class_order is not None and self.has_regions:
            return dict(zip(self.regions, self.regions_class_order, strict=True))
        values = {name: value for name, value in self.labels.items() if isinstance(value, int) and name != "ignore"}
        return {name: value for name, value in sorted(values.items(), key=lambda item: item[1]) if value > 0}

    @property
    def foreground_values(self) -> tuple[int, ...]:
        """Foreground values in training label maps (in an instance task: after their conversion to classes)."""
        return tuple(sorted({value for values in self.regions.values() for value in values}))

    @property
    def label_values(self) -> tuple[int, ...] | None:
        """Values that label files may hold: 0, 1, 2, ... with the ignore label; None in an instance task."""
        if self.task == "instance":
            return None
        ignore = () if self.ignore_label is None else (self.ignore_label,)
        return (0, *self.foreground_values, *ignore)


def load_description(path: Path) -> DatasetDescription:
    """Read ``dataset.json``.

    Fields that other tools add (licence, reference, ...) are skipped, because the format is shared and
    a data set that trains elsewhere must load here. Other forms of the same meaning are accepted with a warning.

    Raises:
        UserError: The file is missing or wrong.
    """
    content = read_description_fields(path)
    if content.get("overwrite_image_reader_writer"):
        log.warning(
            "%s: overwrite_image_reader_writer = %s has no effect: umseg picks the reader by the file's format",
            path,
            printable(str(content["overwrite_image_reader_writer"])),
        )
    common, notes = in_common_form(content)
    if notes:
        log.warning("%s is not in nnU-Net v2's form: %s.", path, "; ".join(notes))
    fields = {key: value for key, value in common.items() if key in DatasetDescription.model_fields}
    skipped = sorted(set(content) - set(fields) - set(_NOT_OF_THE_DESCRIPTION))
    if skipped:
        log.debug("%s: fields not used: %s", path, few(map(printable, skipped), 20))
    remedy = FIRST_REMEDY if is_first_version(content) else "Correct this field in dataset.json."
    missing = [field for field in _EXAMPLES if field not in fields]
    if missing:
        raise UserError(
            f"dataset.json lacks {'a field' if len(missing) == 1 else 'fields'}: {', '.join(missing)}.",
            file=path,
            found="the fields " + few([printable(field) for field in content], 20) if content else "no fields",
            expected=", ".join(f'"{field}": {_EXAMPLES[field]}' for field in missing) + ", for example",
            remedy=FIRST_REMEDY if is_first_version(content) else "Add what is missing, as it is in this data set.",
        )
    return DatasetDescription.from_json(fields, path, remedy)


def read_description_fields(path: Path) -> dict[str, Any]:
    """The JSON object in ``dataset.json``.

    Raises:
        UserError: The file is missing or holds something else.
    """
    refuse_lost(path)
    content = read_json(path, REMEDY)
    if not isinstance(content, dict):
        raise UserError("dataset.json is not a JSON object.", file=path, found=type(content).__name__, remedy=REMEDY)
    return content


def _as_tuple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else value
