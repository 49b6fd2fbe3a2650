"""Forms of ``dataset.json`` that mean the same as nnU-Net v2's, and are read as it.

These are the form of nnU-Net v1 and of the Medical Segmentation Decathlon, numbers that are written as texts or with a
point, names and values that changed places, and an ending without its dot or with the asterisk of a search.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.0*)?")
_FIRST_VERSION = ("modality", "tensorImageSize")
_FIRST_ENDING = ".nii.gz"

FIRST_REMEDY = (
    "This is the dataset.json of nnU-Net v1 or of the Medical Segmentation Decathlon. Write channel_names in place of "
    'modality ({"0": "CT"}), labels as names with values ({"background": 0, "liver": 1}), numTraining, and '
    'file_ending (".nii.gz"); or run `umseg convert msd` if the images have no channel numbers (CASE_0000).'
)


def is_first_version(content: Mapping[str, Any]) -> bool:
    """Whether these are the fields of nnU-Net v1 or of the Medical Segmentation Decathlon."""
    return "channel_names" not in content and any(field in content for field in _FIRST_VERSION)


def in_common_form(content: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fields in nnU-Net v2's form, as far as their meaning is plain, and what was taken for what.

    A field whose meaning is not plain stays as it is; the record's own check refuses it.

    Args:
        content: The JSON object.
    """
    fields, notes = dict(content), []
    if is_first_version(content):
        if "modality" in content:
            fields["channel_names"] = content["modality"]
            notes.append("modality is taken for channel_names")
        if "file_ending" not in content:
            fields["file_ending"] = _FIRST_ENDING
            notes.append(f"file_ending is taken for {_FIRST_ENDING}")
    if "channel_names" in fields:
        fields["channel_names"] = _channels(fields["channel_names"], notes)
    if isinstance(fields.get("labels"), Mapping):
        fields["labels"] = _labels(fields["labels"], notes)
    for field in ("numTraining", "regions_class_order"):
        if field in fields:
            fields[field] = _whole(fields[field])
    ending = fields.get("file_ending")
    written = re.fullmatch(r"\s*\*?\.?([A-Za-z0-9][A-Za-z0-9.]*)\s*", ending) if isinstance(ending, str) else None
    if written is not None and ending != "." + written[1]:
        fields["file_ending"] = "." + written[1]
        notes.append(f"file_ending is taken for {fields['file_ending']}")
    return fields, notes


def _channels(names: object, notes: list[str]) -> object:
    """Channel names by number, in order."""
    if isinstance(names, str):
        notes.append("the text in channel_names is taken for the name of the only channel")
        names = [names]
    elif isinstance(names, list):
        notes.append("the list in channel_names is taken for the names of the channels from 0 on")
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, Mapping):
        return names
    if _swapped(names):
        notes.append("names and numbers in channel_names are taken in the other order")
        names = {str(_whole(number)): name for name, number in names.items()}
    if all(re.fullmatch("[0-9]{1,9}", number) for number in names) and len(set(map(int, names))) == len(names):
        names = {str(int(number)): name for number, name in names.items()}
        names = dict(sorted(names.items(), key=lambda item: int(item[0])))
    stripped = {number: name.strip() if isinstance(name, str) else name for number, name in names.items()}
    if stripped != names:
        notes.append("spaces around channel names are left out")
    return stripped


def _labels(labels: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Label values by name."""
    turned = {name: value for value, name in labels.items() if isinstance(name, str)}
    if len(turned) == len(labels) and all(map(_is_number, turned.values())) and not any(map(_is_number, turned)):
        notes.append("labels are taken for names by their values")
        labels = turned
    result = {name: _whole(value) for name, value in labels.items()}
    background = [name for name in result if name.casefold() == "background"]
    if len(background) == 1 and background != ["background"]:
        notes.append(f"'{background[0]}' is taken for 'background'")
        result = {"background" if name == background[0] else name: value for name, value in result.items()}
    notes += [
        f"'{name}' is taken for a class; write 'ignore' for voxels that were not annotated"
        for name in result
        if name != "ignore" and name.casefold() == "ignore"
    ]
    return result


def _swapped(names: Mapping[str, Any]) -> bool:
    """Whether the keys are names and the values different numbers."""
    numbers = [_whole(value) for value in names.values()]
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    return whole and len(set(numbers)) == len(numbers) > 0 and not any(map(_is_number, names))


def _is_number(text: object) -> bool:
    return isinstance(text, str) and NUMBER.fullmatch(text) is not None


def _whole(value: object) -> object:
    """A whole number that is written as a text or with a point, alone or in a list; anything else unchanged."""
    if isinstance(value, list):
        return [_whole(part) for part in value]
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value
