from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription, load_description

GOOD: dict[str, Any] = {
    "channel_names": {"0": "CT", "1": "PET"},
    "labels": {"tumour": 2, "background": 0, "organ": 1},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}


def save(folder: Path, **changes: object) -> Path:
    content = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    path = folder / "dataset.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_fields_and_counts(tmp_path: Path) -> None:
    description = load_description(save(tmp_path, licence="CC0", reference={"any": "thing"}))
    assert (description.num_channels, description.num_classes, description.numTraining) == (2, 3, 3)
    assert list(description.foreground.items()) == [("organ", 1), ("tumour", 2)]


def test_plain_labels(tmp_path: Path) -> None:
    description = load_description(save(tmp_path, regions_class_order=[2, 1]))
    assert (description.num_labels, description.ignore_label, description.has_regions) == (3, None, False)
    assert list(description.regions.items()) == [("organ", (1,)), ("tumour", (2,))]
    assert description.foreground == {"organ": 1, "tumour": 2}
    assert (description.foreground_values, description.label_values) == ((1, 2), (0, 1, 2))


def test_ignore_label_is_no_class(tmp_path: Path) -> None:
    description = load_description(save(tmp_path, labels={"ignore": 3, **GOOD["labels"]}))
    assert (description.num_labels, description.num_classes, description.ignore_label) == (4, 3, 3)
    assert description.foreground == {"organ": 1, "tumour": 2}
    assert (description.foreground_values, description.label_values) == ((1, 2), (0, 1, 2, 3))


@pytest.mark.parametrize("ignore", [{}, {"ignore": 4}])
def test_regions(tmp_path: Path, ignore: dict[str, int]) -> None:
    description = load_description(save(tmp_path, labels={**REGIONS, **ignore}, regions_class_order=[1, 2, 3]))
    assert (description.num_labels, description.num_classes, description.has_regions) == (4 + len(ignore), 3, True)
    assert list(description.regions.items()) == [("whole", (1, 2, 3)), ("core", (2, 3)), ("enhancing", (3,))]
    assert list(description.foreground.items()) == [("whole", 1), ("core", 2), ("enhancing", 3)]
    assert description.ignore_label == ignore.get("ignore")
    assert description.foreground_values == (1, 2, 3)
    assert description.label_values == (0, 1, 2, 3, *ignore.values())


def test_one_region_of_several_values_has_one_output(tmp_path: Path) -> None:
    labels = {"background": 0, "any": [2, 1]}
    description = load_description(save(tmp_path, labels=labels, regions_class_order=[2]))
    assert (description.num_classes, description.foreground, description.label_values) == (1, {"any": 2}, (0, 1, 2))


def test_instances(tmp_path: Path) -> None:
    description = load_description(save(tmp_path, task="instance", labels={"background": 0, "cell": 1}))
    assert (description.num_labels, description.num_classes, description.has_regions) == (3, 3, False)
    assert description.foreground == {"interior": 1, "boundary": 2}
    assert description.regions == {"interior": (1,), "boundary": (2,)}
    assert (description.foreground_values, description.label_values, description.ignore_label) == ((1, 2), None, None)


KINDS: list[dict[str, Any]] = [
    {},
    {"labels": {**GOOD["labels"], "ignore": 3}},
    {"labels": REGIONS, "regions_class_order": [1, 2, 3]},
    {"task": "instance", "labels": {"background": 0, "cell": 1}},
]


@pytest.mark.parametrize("changes", KINDS)
def test_survives_json(tmp_path: Path, changes: dict[str, Any]) -> None:
    description = load_description(save(tmp_path, **changes))
    description.save(tmp_path / "again.json")
    assert DatasetDescription.load(tmp_path / "again.json", "") == description
    assert load_description(tmp_path / "again.json") == description


def test_descriptions_of_earlier_versions_load() -> None:
    assert DatasetDescription.from_json(GOOD, Path("model.json"), "").regions_class_order is None


def test_reader_of_another_tool_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_description(save(tmp_path))
    assert not caplog.records
    load_description(save(tmp_path, overwrite_image_reader_writer="SimpleITKIO"))
    assert "SimpleITKIO has no effect" in caplog.text


@pytest.mark.parametrize("field", list(GOOD))
def test_every_field_is_needed(tmp_path: Path, field: str) -> None:
    with pytest.raises(UserError, match=f"lacks a field: {field}") as caught:
        load_description(save(tmp_path, **{field: None}))
    assert f'"{field}": ' in str(caught.value.expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "a": 1, "b": 3}}, "without a gap"),
        ({"labels": {"background": 0}}, "at least one label"),
        ({"labels": {"nothing": 0, "a": 1}}, "background"),
        ({"channel_names": {"0": "CT", "2": "PET"}}, "numbered"),
        ({"channel_names": {}}, "channel_names"),
        ({"file_ending": "nii/gz"}, "file_ending"),
        ({"numTraining": 0}, "numTraining"),
        ({"labels": [1, 2]}, "names and values"),
        ({"labels": {"background": 0, "a": "one"}}, "whole number"),
        ({"labels": {"background": 0, "a": 1.5}}, "whole number"),
        ({"labels": {"a": 1, "b": 2}}, "'background': 0, which is missing"),
        ({"labels": {"background": 1, "a": 0}}, "'background': 0, because"),
        ({"labels": {"background": 0, "a": 1, "b": 5}}, "not in use: 2, 3, 4"),
        ({"labels": {"background": 0, "a": 9, "b": 5}}, "Give the label maps and this file the values b 1, a 2"),
        ({"labels": {"background": 0, "a": 1, "b": 10**18}}, "at most"),
        ({"labels": {"background": 0, "a": 1, "b": -1}}, "-1 cannot be a class"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "1 stands for two names"),
        ({"labels": {"background": 0, "a\u001b[2J": 1}}, "without control characters"),
        ({"channel_names": {"0": "C\nT"}, "x": 0}, "without control characters"),
        ({"channel_names": {"0": "CT" * 200}}, "at most 200 letters"),
        ({"numTraining": 10**30}, "numTraining"),
        ({"labels": {"background": 0, "a": True}}, "whole number"),
        ({"labels": {"background": [0], "a": 1}}, "one whole number for 'background'"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "without a gap"),
        ({"labels": {"background": 0, "a": 1, "ignore": 3}}, "'ignore': 2"),
        ({"labels": {"background": 0, "ignore": 1, "a": 2}}, "without a gap"),
        ({"labels": {"background": 0, "ignore": 1}}, "at least one label"),
        ({"labels": {"background": 0, "a": 1, "ignore": [2]}}, "one whole number for 'ignore'"),
        ({"labels": REGIONS}, "regions_class_order"),
        ({"labels": REGIONS, "regions_class_order": [1, 2]}, "3 different label values from 1 to 3"),
        ({"labels": REGIONS, "regions_class_order": [1, 2, 2]}, "3 different label values"),
        ({"labels": REGIONS, "regions_class_order": [1, 2, 4]}, "3 different label values"),
        ({"labels": REGIONS, "regions_class_order": [0, 1, 2]}, "3 different label values"),
        ({"labels": {**REGIONS, "ignore": 5}, "regions_class_order": [1, 2, 3]}, "'ignore': 4"),
        ({"labels": {"background": 0, "a": [1, 3]}, "regions_class_order": [1]}, "without a gap"),
        ({"labels": {"background": 0, "a": []}, "regions_class_order": [1]}, "region 'a'"),
        ({"labels": {"background": 0, "a": [0, 1]}, "regions_class_order": [1]}, "region 'a'"),
        ({"labels": {"background": 0, "a": [1, 1]}, "regions_class_order": [1]}, "region 'a'"),
        ({"task": "panoptic"}, "field 'task'"),
        ({"task": "instance"}, 'as the task is "instance"'),
        ({"task": "instance", "labels": {"background": 0, "cell": [1]}}, "name of the objects"),
        ({"task": "instance", "labels": {"background": 0, "cell": 1, "ignore": 2}}, "name of the objects"),
        ({"task": "instance", "labels": {"background": 0, "ignore": 1}}, "name of the objects"),
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
