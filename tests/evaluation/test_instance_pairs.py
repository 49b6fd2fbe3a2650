"""Evaluation of folders of instance maps."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.conftest import Writer
from umseg.common.errors import UserError
from umseg.evaluation import evaluate_folder, format_table, instance_f1, write_metrics
from umseg.evaluation.records import InstanceMetrics, load_metrics

Folders = tuple[Path, Path]
Maps = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def maps() -> Maps:
    """Case to prediction and reference: one object of two found; one too many; nothing there."""
    reference = np.zeros((12, 15), np.uint16)
    reference[1:5, 2:6] = 300
    reference[6:10, 8:13] = 2
    partly = np.where(reference == 300, 1, 0).astype(np.uint16)
    more = reference.copy()
    more[10, 2] = 9
    empty = np.zeros_like(reference)
    return {"a": (partly, reference), "b": (more, reference), "c": (empty, empty)}


@pytest.fixture
def folders(write_maps: Writer, maps: Maps) -> Folders:
    predictions = write_maps("pred", {f"{case}.png": pair[0] for case, pair in maps.items()})
    reference = write_maps("data/labelsTr", {f"{case}.png": pair[1] for case, pair in maps.items()})
    content: dict[str, Any] = {
        "channel_names": {"0": "grey"},
        "task": "instance",
        "labels": {"background": 0, "nucleus": 1},
    }
    content.update(numTraining=3, file_ending=".png")
    (reference.parent / "dataset.json").write_text(json.dumps(content))
    return predictions, reference


@pytest.fixture
def metrics(folders: Folders) -> InstanceMetrics:
    found = evaluate_folder(*folders, quiet=True)
    assert isinstance(found, InstanceMetrics)
    return found


def test_scores_of_a_folder(metrics: InstanceMetrics, maps: Maps) -> None:
    assert (metrics.object_name, metrics.threshold, metrics.border) == ("nucleus", 0.5, 0)
    for case in metrics.cases:
        assert repr(case.objects) == repr(instance_f1(*maps[case.case]))
    assert (metrics.n_cases, metrics.n_not_evaluable) == (2, 1)
    assert metrics.F1.mean == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert metrics.precision.mean == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.recall.mean == pytest.approx((1 / 2 + 1) / 2)
    assert (metrics.total.TP, metrics.total.FP, metrics.total.FN) == (3, 1, 1)
    assert pytest.approx(6 / 8) == metrics.total.F1
    assert metrics.cases[0].Dice == pytest.approx(2 * 16 / (16 + 36))
    assert math.isnan(metrics.cases[2].Dice)


def test_threshold_and_border(folders: Folders) -> None:
    strict = evaluate_folder(*folders, quiet=True, threshold=1.0, border=2)
    assert isinstance(strict, InstanceMetrics)
    # Object 300 begins in the second row and column: it reaches into the frame.
    assert (strict.threshold, strict.border, strict.total.TP, strict.total.FN) == (1.0, 2, 1, 1)


def test_scores_at_several_thresholds(folders: Folders, write_maps: Writer, maps: Maps, tmp_path: Path) -> None:
    """The first threshold is that of F1; of the objects of all cases together AP and PQ are those of their sums."""
    prediction = maps["b"][0].copy()
    prediction[1:3, 2:6] = 0  # half of the object 300
    write_maps("pred", {"b.png": prediction})
    found = evaluate_folder(*folders, quiet=True, threshold=[0.7, 0.5, 0.3])
    assert isinstance(found, InstanceMetrics)
    assert (found.threshold, found.total.TP) == (0.7, 2)
    assert [entry.threshold for entry in found.thresholds] == [0.7, 0.5, 0.3]
    assert [entry.total.TP for entry in found.thresholds] == [2, 3, 3]
    assert [entry.total.AP for entry in found.thresholds[:2]] == pytest.approx([2 / 6, 3 / 5])
    assert [entry.total.SQ for entry in found.thresholds[:2]] == pytest.approx([1, (1 + 1 + 0.5) / 3])
    half = found.thresholds[1]
    assert half.PQ.mean == pytest.approx((1 * 2 / 3 + 0.75 * 4 / 5) / 2)
    assert half.AP.mean == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert "At an IoU of 0.5: F1 0.733, AP 0.583, panoptic quality 0.633; of all" in " ".join(
        format_table(found).split()
    )
    document, _ = write_metrics(found, tmp_path)
    assert repr(load_metrics(document)) == repr(found)


@pytest.mark.parametrize("thresholds", [[], [0.5, 0.5], [0.5, 0.0]])
def test_thresholds_that_make_no_sense(folders: Folders, thresholds: list[float]) -> None:
    with pytest.raises(UserError, match="rule by which objects match"):
        evaluate_folder(*folders, quiet=True, threshold=thresholds)


def test_an_option_says_that_values_are_objects(folders: Folders) -> None:
    (folders[1].parent / "dataset.json").unlink()
    told = evaluate_folder(*folders, instances=True, quiet=True)
    assert isinstance(told, InstanceMetrics)
    assert (told.object_name, told.total.TP) == ("object", 3)


def test_labels_say_that_values_are_classes(folders: Folders) -> None:
    found = evaluate_folder(*folders, labels={"cell": [1, 2, 9, 300]}, quiet=True)
    assert not isinstance(found, InstanceMetrics)
    assert found.classes["cell"].n_cases == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tolerance": 2.0}, "tolerance"),
        ({"instances": True, "labels": {"cell": 1}}, "labels"),
        ({"labels": {"cell": [1, 2, 9, 300]}, "threshold": 0.5}, "IoU"),
        ({"labels": {"cell": [1, 2, 9, 300]}, "border": 0}, "border"),
    ],
)
def test_options_that_would_do_nothing_are_refused(folders: Folders, options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match="not apply to") as caught:
        evaluate_folder(*folders, quiet=True, **options)
    assert named in str(caught.value.found)


@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": 1.5}, {"border": -1}])
def test_a_rule_that_makes_no_sense(folders: Folders, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="rule by which objects match"):
        evaluate_folder(*folders, quiet=True, **options)


def test_negative_numbers_are_refused(write_maps: Writer) -> None:
    folders = [write_maps(name, {"a.nii.gz": np.full((2, 3, 3), -1, np.int16)}) for name in ("pred", "ref")]
    with pytest.raises(UserError, match="negative") as caught:
        evaluate_folder(*folders, instances=True, quiet=True)
    assert str(caught.value.file).endswith("a.nii.gz")


def test_files(metrics: InstanceMetrics, tmp_path: Path) -> None:
    document, table = write_metrics(metrics, tmp_path)
    assert load_metrics(document).model_dump_json() == metrics.model_dump_json()
    with table.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["case"], row["class"], row["TP"], row["FP"], row["FN"]) for row in rows] == [
        ("a", "nucleus", "1", "0", "1"),
        ("b", "nucleus", "2", "1", "0"),
        ("c", "nucleus", "0", "0", "0"),
    ]
    assert (rows[0]["F1"], rows[0]["precision"], rows[2]["F1"], rows[2]["Dice"]) == (repr(2 / 3), "1.0", "", "")


def test_table(metrics: InstanceMetrics) -> None:
    text = format_table(metrics)
    lines = text.splitlines()
    assert lines[2].split()[:5] == ["nucleus", "2", "0.733", "±", "0.067"]
    assert lines[3].split() == ["all", "cases", "together", "0.750", "0.750", "0.750"]
    unwrapped = " ".join(text.split())
    assert "with a reference object is at least 0.5. 3 found, 1 false positive, 1 missed." in unwrapped
    assert "neither reference nor prediction has an object: 1 case." in unwrapped
    assert "outermost" not in text
    start = next(i for i, line in enumerate(lines) if line.startswith("worst cases"))
    assert [line.split()[:2] for line in lines[start + 2 :]] == [["a", "0.667"], ["b", "0.800"]]
    assert "outermost 2 voxels" in format_table(metrics.model_copy(update={"border": 2}))
