from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.inference.outputs.segmented import describe
from umseg.common.errors import UserError
from umseg.common.json_file import parse_json
from umseg.dataset.check.problems import Problem
from umseg.dataset.io.grid import Geometry
from umseg.inference.outputs.statistics import case_statistics
from umseg.inference.outputs.summary import CaseSummary, Failure, FoundClass, RunSummary, found_classes

GRID = Geometry((4, 3, 2), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
NOTHING = np.zeros((1, 2, 3, 4), np.float32)


def test_classes_without_a_voxel_are_left_out() -> None:
    label_map = np.zeros((2, 3, 4), np.uint8)
    label_map[0, 0] = 2
    found = found_classes(case_statistics("case", label_map, NOTHING, GRID, describe()))
    assert found == (FoundClass(name="tumour", value=2, voxels=4, volume_ml=0.008),)
    assert "objects" not in found[0].model_dump(mode="json")


def test_objects_are_counted() -> None:
    label_map = np.zeros((2, 3, 4), np.uint8)
    label_map[0, 0], label_map[1, 2, :2] = 1, 5
    description = describe({"background": 0, "cell": 1}, task="instance")
    (found,) = found_classes(case_statistics("case", label_map, NOTHING, GRID, description))
    assert (found.name, found.value, found.voxels, found.objects) == ("cell", None, 6, 2)
    assert found.volume_ml == pytest.approx(0.012)
    assert found_classes(case_statistics("case", 0 * label_map, NOTHING, GRID, description)) == ()


def test_objects_of_a_picture_have_no_volume() -> None:
    picture = Geometry((4, 3), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), None)
    description = describe({"background": 0, "cell": 1}, task="instance")
    label_map = np.ones((1, 3, 4), np.uint8)
    (found,) = found_classes(case_statistics("case", label_map, NOTHING[:, :1], picture, description))
    assert (found.volume_ml, found.objects) == (None, 1)


def summary() -> RunSummary:
    error = UserError("The file is damaged.", found="12 bytes", remedy="Copy it again.")
    failure = Failure.of(Problem.from_error("b", Path("in/b_0000.nii.gz"), error))
    classes = (FoundClass(name="organ", value=1, voxels=3, volume_ml=0.5),)
    return RunSummary(
        umseg_version="1.0",
        models=("models/a",),
        device="cpu",
        precision="float32",
        inputs=("in",),
        output="out",
        settings={"step": 0.5, "mirror": False, "folds": ("0", "1"), "classes": None},
        seconds=3.5,
        files=("out/dataset.json",),
        cases=(
            CaseSummary(
                case="a", status="written", inputs=("in/a_0000.nii.gz",), outputs=("out/a.nii.gz",), seconds=1.25,
                classes=classes, failure=None,
            ),
            CaseSummary(
                case="b", status="failed", inputs=("in/b_0000.nii.gz",), outputs=(), seconds=None, classes=None,
                failure=failure,
            ),
        ),
    )  # fmt: skip


def test_the_summary_is_one_json_object_that_is_read_back() -> None:
    text = summary().to_json()
    content = parse_json(text)
    assert content["schema_version"] == 1
    assert [case["status"] for case in content["cases"]] == ["written", "failed"]
    assert content["cases"][1]["failure"] == {
        "problem": "The file is damaged.",
        "file": str(Path("in/b_0000.nii.gz")),
        "found": "12 bytes",
        "expected": "",
        "remedy": "Copy it again.",
    }
    assert content["settings"] == {"step": 0.5, "mirror": False, "folds": ["0", "1"], "classes": None}
    assert RunSummary.from_json(content, Path("x"), "") == summary()


def test_another_status_is_refused() -> None:
    case = json.loads(summary().to_json())["cases"][0]
    with pytest.raises(ValidationError, match="written"):
        CaseSummary.model_validate(case | {"status": "lost"})
