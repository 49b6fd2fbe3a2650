"""What a manifest may say: paths of a model folder alone, and the classes as label maps have them."""

from __future__ import annotations

from typing import Any

import pytest

from umseg.dataset.description import DatasetDescription
from umseg.inference.bundle.manifest import is_known_path, labels_of

FIELDS: dict[str, Any] = {"channel_names": {"0": "CT"}, "numTraining": 3, "file_ending": ".nii.gz"}


@pytest.mark.parametrize(
    "path",
    [
        "model.json",
        "fold_0/weights_final.safetensors",
        "fold_all/postprocessing.json",
        "fold_9999/validation/metrics.json",
        "first_stage/model.json",
        "first_stage/fold_3/weights_final.safetensors",
    ],
)
def test_files_of_a_model_folder_are_known(path: str) -> None:
    assert is_known_path(path)


@pytest.mark.parametrize(
    "path",
    ["bundle.json", "fold_0/checkpoint_latest.safetensors", "fold_0/config.json", "fold_10000/postprocessing.json",
     "model.json\n", "first_stage/first_stage/model.json", "first_stage", "fold_٣/postprocessing.json"],
)  # fmt: skip
def test_other_files_are_not_known(path: str) -> None:
    assert not is_known_path(path)


def test_plain_labels_have_their_values_and_colours() -> None:
    labels = labels_of(DatasetDescription(labels={"background": 0, "b": 2, "a": 1, "ignore": 3}, **FIELDS))
    assert [(label.name, label.value) for label in labels] == [("a", 1), ("b", 2)]
    assert [label.colour for label in labels] == ["#1f77b4", "#ff7f0e"]


def test_regions_have_the_values_that_are_written() -> None:
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    found = labels_of(DatasetDescription(labels=labels, regions_class_order=(1, 2), **FIELDS))
    assert [(label.name, label.value) for label in found] == [("whole", 1), ("core", 2)]


def test_objects_have_no_value() -> None:
    found = labels_of(DatasetDescription(labels={"background": 0, "nucleus": 1}, task="instance", **FIELDS))
    assert [(label.name, label.value) for label in found] == [("nucleus", None)]
