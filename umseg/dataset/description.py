"""``dataset.json``: what the channels and the labels of a data set mean (nnU-Net v2 raw format)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from umseg.common.errors import UserError
from umseg.common.record import Record, read_json

log = logging.getLogger(__name__)

REMEDY = (
    "A data set is a folder with dataset.json, imagesTr/ and labelsTr/ in nnU-Net v2's raw format; "
    "the README shows one."
)


class DatasetDescription(Record):
    """The part of ``dataset.json`` that umseg uses, under nnU-Net's field names.

    Attributes:
        channel_names: Channel index ("0", "1", ...) to the channel's name, e.g. ``{"0": "CT"}``. The name chooses
            the normalisation.
        labels: Label name to label value; ``background`` is 0, the others 1, 2, ... without a gap.
        numTraining: Number of training cases.
        file_ending: Ending of every image and label file, with the dot, e.g. ``.nii.gz``.
    """

    channel_names: dict[str, str] = Field(min_length=1)
    labels: dict[str, int]
    numTraining: int = Field(ge=1)
    file_ending: str = Field(pattern=r"^\.[A-Za-z0-9.]+$")

    @field_validator("channel_names")
    @classmethod
    def _channels_are_numbered(cls, names: dict[str, str]) -> dict[str, str]:
        if list(names) != [str(i) for i in range(len(names))]:
            raise ValueError(f"channels numbered '0' to '{len(names) - 1}' in order")
        return names

    @field_validator("labels")
    @classmethod
    def _labels_are_consecutive(cls, labels: dict[str, int]) -> dict[str, int]:
        if sorted(labels.values()) != list(range(len(labels))) or labels.get("background") != 0:
            raise ValueError("'background': 0 and the other labels 1, 2, 3, ... without a gap")
        if len(labels) < 2:
            raise ValueError("at least one label besides the background")
        return labels

    @property
    def num_channels(self) -> int:
        """Number of input channels."""
        return len(self.channel_names)

    @property
    def num_classes(self) -> int:
        """Number of classes including the background."""
        return len(self.labels)

    @property
    def foreground(self) -> dict[str, int]:
        """Label name to value without the background, in ascending order of the value."""
        return {name: value for name, value in sorted(self.labels.items(), key=lambda item: item[1]) if value > 0}


def load_description(path: Path) -> DatasetDescription:
    """Read ``dataset.json``.

    Other tools add fields of their own (licence, reference, ...); they are skipped, because the format is shared and
    a data set that trains elsewhere must load here.

    Raises:
        UserError: The file is missing or wrong, or asks for regions or an ignore label.
    """
    content = read_json(path, REMEDY)
    if not isinstance(content, dict):
        raise UserError("dataset.json is not a JSON object.", file=path, found=type(content).__name__, remedy=REMEDY)
    _refuse_unsupported(content, path)
    known = {key: value for key, value in content.items() if key in DatasetDescription.model_fields}
    skipped = sorted(set(content) - set(known))
    if skipped:
        log.debug("%s: fields not used: %s", path, ", ".join(skipped))
    return DatasetDescription.from_json(known, path, "Correct this field in dataset.json.")


def _refuse_unsupported(content: dict[str, Any], path: Path) -> None:
    labels = content.get("labels")
    if not isinstance(labels, dict):
        return
    regions = [name for name, value in labels.items() if isinstance(value, list)]
    if regions or "ignore" in labels:
        raise UserError(
            "Region-based labels and the ignore label are not supported by this version.",
            file=path,
            found=f"labels {', '.join(regions or ['ignore'])}",
            expected="one whole number per label",
            remedy="Give every label one value; voxels to be ignored become background.",
        )
    if "dataset" in content:
        raise UserError(
            "An explicit file map ('dataset') is not supported by this version.",
            file=path,
            found="the field 'dataset'",
            expected="images in imagesTr/, labels in labelsTr/",
            remedy="Place the files in imagesTr/ and labelsTr/ and remove the field.",
        )
