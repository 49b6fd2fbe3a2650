from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from umseg.common.errors import UserError
from umseg.dataset.description import load_description

GOOD: dict[str, Any] = {
    "channel_names": {"0": "CT", "1": "PET"},
    "labels": {"tumour": 2, "background": 0, "organ": 1},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}


def save(folder: Path, **changes: object) -> Path:
    content = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    path = folder / "dataset.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_fields_and_counts(tmp_path: Path) -> None:
    description = load_description(save(tmp_path, licence="CC0", reference={"any": "thing"}))
    assert (description.num_channels, description.num_classes, description.numTraining) == (2, 3, 3)
    assert list(description.foreground.items()) == [("organ", 1), ("tumour", 2)]


@pytest.mark.parametrize("field", list(GOOD))
def test_every_field_is_needed(tmp_path: Path, field: str) -> None:
    with pytest.raises(UserError, match=f"field '{field}'"):
        load_description(save(tmp_path, **{field: None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "a": 1, "b": 3}}, "without a gap"),
        ({"labels": {"background": 0}}, "at least one label"),
        ({"labels": {"nothing": 0, "a": 1}}, "background"),
        ({"channel_names": {"0": "CT", "2": "PET"}}, "numbered"),
        ({"channel_names": {}}, "channel_names"),
        ({"file_ending": "nii.gz"}, "file_ending"),
        ({"numTraining": 0}, "numTraining"),
        ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "Region-based"),
        ({"labels": {"background": 0, "a": 1, "ignore": 2}}, "ignore label"),
        ({"dataset": {"c": {"images": [], "label": ""}}}, "explicit file map"),
    ],
)
def test_wrong_content_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = save(tmp_path, **changes)
    with pytest.raises(UserError) as raised:
        load_description(path)
    assert message in str(raised.value)
    assert raised.value.file == str(path)


@pytest.mark.parametrize("text", ["[]", "{", '"x"'])
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError):
        load_description(tmp_path / "dataset.json")
