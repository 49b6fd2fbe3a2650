from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription, load_description

COMMON = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "k1": 1, "k2": 2},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}
FIRST = {
    "name": "x",
    "tensorImageSize": "4D",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "k1", "2": "k2"},
    "numTraining": 3,
    "training": [{"image": "./imagesTr/c0.nii.gz", "label": "./labelsTr/c0.nii.gz"}],
}


def read(folder: Path, content: dict[str, Any]) -> DatasetDescription:
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return load_description(folder / "dataset.json")


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (FIRST, "modality is taken for channel_names; file_ending is taken for .nii.gz"),
        ({**FIRST, "file_ending": ".nii.gz"}, "labels are taken for names by their values"),
        ({**COMMON, "channel_names": {"MRI": 0}}, "in the other order"),
        ({**COMMON, "channel_names": ["MRI"]}, "list in channel_names"),
        ({**COMMON, "channel_names": {"0": "MRI "}}, "spaces around channel names"),
        ({**COMMON, "labels": {"0": "background", "1": "k1", "2": "k2"}}, "names by their values"),
        ({**COMMON, "labels": {"Background": 0, "k1": 1, "k2": 2}}, "'Background' is taken for 'background'"),
        ({**COMMON, "file_ending": "nii.gz"}, "file_ending is taken for .nii.gz"),
        ({**COMMON, "file_ending": "*.nii.gz"}, "file_ending is taken for .nii.gz"),
        ({**COMMON, "file_ending": " .nii.gz "}, "file_ending is taken for .nii.gz"),
        ({**COMMON, "channel_names": "MRI"}, "name of the only channel"),
    ],
)
def test_other_forms_are_read_with_a_warning(
    tmp_path: Path, content: dict[str, Any], note: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(tmp_path, content) == DatasetDescription(**COMMON)
    assert note in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"labels": {"background": "0", "k1": "1", "k2": "2"}},
        {"labels": {"background": 0, "k1": 1.0, "k2": 2.0}},
        {"channel_names": {"0000": "MRI"}},
        {"numTraining": "3"},
        {"numTraining": 3.0},
    ],
)
def test_numbers_in_other_forms_are_read_in_silence(
    tmp_path: Path, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert read(tmp_path, {**COMMON, **changes}) == DatasetDescription(**COMMON)
    assert not caplog.records


def test_channels_are_sorted_by_their_numbers(tmp_path: Path) -> None:
    names = {str(number): f"c{number}" for number in (10, 1, 0, *range(2, 10))}
    assert list(read(tmp_path, {**COMMON, "channel_names": names}).channel_names) == [str(n) for n in range(11)]


def test_regions_in_other_forms(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": ["1", 2.0], "core": "2"}
    description = read(tmp_path, {**COMMON, "labels": labels, "regions_class_order": ["1", 2.0]})
    assert description.regions == {"whole": (1, 2), "core": (2,)}
    assert description.regions_class_order == (1, 2)


def test_a_class_called_ignore_in_capitals_stays_a_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    description = read(tmp_path, {**COMMON, "labels": {"background": 0, "k1": 1, "Ignore": 2}})
    assert (description.ignore_label, description.foreground) == (None, {"k1": 1, "Ignore": 2})
    assert "write 'ignore'" in caplog.text


def test_what_cannot_be_read_of_the_first_version_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lacks a field: labels") as caught:
        read(tmp_path, {name: value for name, value in FIRST.items() if name != "labels"})
    assert "nnU-Net v1" in str(caught.value.remedy)
    assert "umseg convert msd" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {"0": "background", "1": "k1", "2": "k1"}},
        {"labels": {"0": "1", "1": "0"}},
        {"labels": {"background": "zero", "k1": "one"}},
        {"channel_names": {"MRI": 0, "CT": 0}},
        {"channel_names": {"MRI": 1}},
        {"channel_names": [["MRI"]]},
        {"channel_names": {}},
        {"channel_names": {"0": "MRI", "00": "CT"}},
        {"numTraining": "three"},
        {"numTraining": 3.5},
        {"file_ending": "."},
    ],
)
def test_what_has_no_plain_meaning_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="is not valid: field"):
        read(tmp_path, {**COMMON, **changes})


def test_a_class_that_is_written_twice_is_not_lost(tmp_path: Path) -> None:
    text = json.dumps(COMMON).replace('"k2"', '"k1"')
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="not valid JSON") as caught:
        load_description(tmp_path / "dataset.json")
    assert '"k1" stands twice' in str(caught.value.found)
