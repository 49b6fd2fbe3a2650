"""What the recorded values of the published scripts do not show, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.dataset.builder import write_image
from umseg.cli.app import app
from umseg.common.errors import UserError
from umseg.dataset.instances import find_instances, instance_classes
from umseg.evaluation import (
    InstanceMetrics,
    Metrics,
    dice,
    evaluate_folder,
    format_table,
    instance_f1,
    surface_dice,
    write_metrics,
)
from umseg.evaluation.protocols import microscopy
from umseg.evaluation.protocols.microscopy import published_cells
from umseg.evaluation.records import load_metrics

Maps = Mapping[str, tuple[np.ndarray, np.ndarray]]


def evaluate(root: Path, maps: Maps, ending: str = ".nii.gz", **options: Any) -> Metrics | InstanceMetrics:
    for case, arrays in maps.items():
        for folder, array in zip(("pred", "ref"), arrays, strict=True):
            write_image(root / folder / f"{case}{ending}", array)
    return evaluate_folder(root / "pred", root / "ref", quiet=True, **options)


def of_classes(root: Path, maps: Maps, ending: str = ".nii.gz", **options: Any) -> Metrics:
    metrics = evaluate(root, maps, ending, **options)
    assert isinstance(metrics, Metrics)
    return metrics


def abdomen(slices: slice, value: int) -> tuple[np.ndarray, np.ndarray]:
    """An organ in some slices of the reference, and in all slices of the prediction."""
    reference, prediction = np.zeros((2, 8, 9, 10), np.uint8)
    reference[slices, 2:6, 2:6] = value
    prediction[:, 2:6, 2:7] = value
    return prediction, reference


def test_the_last_slice_of_the_aorta_is_left_out_as_published(tmp_path: Path) -> None:
    prediction, reference = abdomen(slice(2, 6), 5)
    prediction[5] = 0
    aorta = of_classes(tmp_path, {"a": (prediction, reference)}, protocol="abdomen").cases[0].classes["aorta"]
    # Slices beyond the reference do not count.
    assert aorta.scores["dsc_published"] == round(2 * 16 / (16 + 20), 4)
    inside = prediction[2:6] == 5, reference[2:6] == 5
    assert aorta.scores["dsc"] == pytest.approx(dice(*inside))
    assert aorta.scores["nsd"] == pytest.approx(surface_dice(*inside, (1, 1, 1), 2))
    assert (aorta.TP, aorta.FP, aorta.FN) == (3 * 16, 3 * 4, 16)
    assert aorta.n_pred == 60
    assert aorta.volume_pred_ml == pytest.approx(0.06)


def test_an_aorta_of_one_slice_has_no_published_score(tmp_path: Path) -> None:
    aorta = of_classes(tmp_path, {"a": abdomen(slice(3, 4), 5)}, protocol="abdomen").cases[0].classes["aorta"]
    assert math.isnan(aorta.scores["dsc_published"])
    assert math.isnan(aorta.scores["nsd_published"])
    assert aorta.scores["dsc"] == pytest.approx(2 * 16 / 36)


def test_organs_that_are_in_neither_map_or_only_predicted(tmp_path: Path) -> None:
    prediction, _ = abdomen(slice(0, 8), 10)
    case = of_classes(tmp_path, {"a": (prediction, np.zeros_like(prediction))}, protocol="abdomen").cases[0]
    liver, esophagus = case.classes["liver"].scores, case.classes["esophagus"].scores
    assert (liver["dsc_published"], liver["nsd_published"]) == (1, 1)
    assert math.isnan(liver["dsc"])
    assert set(esophagus.values()) == {0}
    assert case.scores["dsc_published"] == pytest.approx(12 / 13)
    assert case.scores["dsc"] == 0


def test_a_data_set_with_other_organs_is_refused(tmp_path: Path) -> None:
    maps = {"a": abdomen(slice(2, 6), 5)}
    content = {"channel_names": {"0": "CT"}, "numTraining": 1, "file_ending": ".nii.gz"}
    of_classes(tmp_path, maps, protocol="abdomen")
    labels = {"background": 0, "Liver": 1, "IVC": 2}
    (tmp_path / "dataset.json").write_text(json.dumps({**content, "labels": labels}))
    with pytest.raises(UserError, match="numbers the organs otherwise") as caught:
        of_classes(tmp_path, maps, protocol="abdomen")
    assert caught.value.found == "IVC = 2"
    with pytest.raises(UserError, match="values that have no label"):
        of_classes(tmp_path / "other", {"a": abdomen(slice(2, 6), 14)}, protocol="abdomen")


def test_an_image_without_background_loses_a_class_as_published(tmp_path: Path) -> None:
    reference = np.ones((6, 8), np.uint8)
    reference[:, 4:] = 2
    prediction = np.roll(reference, 1, axis=1)
    case = of_classes(tmp_path, {"a": (prediction, reference)}, ".png", protocol="endoscopy").cases[0]
    assert math.isnan(case.classes["1"].scores["dsc_published"])
    assert case.scores["dsc_published"] == round(case.classes["2"].scores["dsc"], 4)
    expected = [surface_dice(prediction == value, reference == value, (1, 1), 2) for value in (1, 2)]
    assert case.scores["nsd"] == pytest.approx(np.mean(expected))


def cells() -> tuple[np.ndarray, np.ndarray]:
    """Classes of predicted cells, and the cells: in the middle, in the frame, and nearby."""
    instances = np.zeros((1, 30, 40), np.uint16)
    instances[0, 5:12, 5:12] = 7
    instances[0, 1:9, 20:26] = 3
    instances[0, 18:27, 20:30] = 4
    return instance_classes(instances, 1)[0].astype(np.uint8), instances[0]


def test_cells_get_back_their_boundary_in_the_corrected_scores(tmp_path: Path) -> None:
    classes, instances = cells()
    metrics = evaluate(tmp_path, {"a": (classes, instances)}, ".png", protocol="microscopy", threshold=0.9)
    assert isinstance(metrics, InstanceMetrics)
    (case,) = metrics.cases
    assert case.published is not None
    assert (case.objects.TP, case.objects.FP, case.objects.FN) == (2, 0, 0)
    # Without its boundary, the predicted cell in the frame does not reach into it, and is counted as a wrong one.
    assert (case.published.TP, case.published.FP, case.published.FN) == (0, 3, 2)
    grown = find_instances(classes[None])[0]
    assert repr(case.objects) == repr(instance_f1(grown, instances, 0.9, 2))
    assert case.Dice == 1 > case.published.Dice
    write_metrics(metrics, tmp_path)
    assert load_metrics(tmp_path / "metrics.json").to_json() == metrics.to_json()
    header, row = (tmp_path / "metrics.csv").read_text().splitlines()
    assert (header.split(",")[-1], float(row.split(",")[-1])) == ("Dice_published", case.published.Dice)
    lines = format_table(metrics).splitlines()
    assert next(line for line in lines if line.startswith("published, median")).split()[2:4] == ["0.0000", "0.0000"]


def test_numbered_cells_are_taken_as_they_are(tmp_path: Path) -> None:
    _, instances = cells()
    with pytest.raises(UserError, match="no class of the protocol") as caught:
        evaluate(tmp_path, {"a": (instances, instances)}, ".png", protocol="microscopy")
    assert "--instances" in str(caught.value.remedy)
    metrics = evaluate(tmp_path, {"a": (instances, instances)}, ".png", protocol="microscopy", instances=True)
    assert isinstance(metrics, InstanceMetrics)
    assert metrics.cases[0].published is not None
    assert (metrics.cases[0].published.F1, metrics.F1.mean) == (1, 1)


def test_large_images_are_scored_in_tiles_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    _, instances = cells()
    monkeypatch.setattr(microscopy, "LARGE", 1000)
    monkeypatch.setattr(microscopy, "TILE", 18)
    tiled = published_cells(instances, instances)
    padded = np.pad(instances, ((0, 6), (0, 14)))
    tiles = [padded[row : row + 18, column : column + 18] for row in (0, 18) for column in (0, 18, 36)]
    expected = sum(instance_f1(tile, tile, border=2).TP for tile in tiles)
    assert tiled.TP == expected == 1
    monkeypatch.setattr(microscopy, "LARGE", 2000)
    assert published_cells(instances, instances).TP == 2


def test_an_image_of_frame_alone_keeps_its_first_cell() -> None:
    narrow = np.array([[3, 3, 5], [5, 5, 5]])
    assert published_cells(narrow, narrow).TP == 1
    assert published_cells(np.where(narrow == 3, 0, 5), narrow).TP == 0


def test_a_class_that_is_nowhere_scores_one_in_the_paper_s_way(tmp_path: Path) -> None:
    prediction, reference = abdomen(slice(2, 6), 1)
    maps = {"a": (prediction, reference), "b": (np.zeros_like(reference), np.zeros_like(reference))}
    metrics = of_classes(tmp_path, maps, protocol="paper", labels={"liver": 1}, metrics=["dsc", "hd95"])
    assert [case.scores["dsc"] for case in metrics.cases] == pytest.approx([2 * 64 / (64 + 160), 1])
    assert math.isnan(metrics.cases[1].scores["hd95"])
    assert "Scored 1 in some cases" in format_table(metrics)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"protocol": "abdoman"}, "Unknown protocol 'abdoman'"),
        ({"protocol": "abdomen", "tolerance": 2.0}, "does not apply to the protocol abdomen"),
        ({"protocol": "abdomen", "instances": True}, "does not apply to label maps that number objects"),
        ({"protocol": "endoscopy"}, "scores images of one slice"),
        ({"protocol": "microscopy"}, "scores images of one slice"),
        ({"protocol": "microscopy", "border": 1}, "does not apply to the protocol microscopy"),
        ({"protocol": "microscopy", "threshold": 1.5}, "rule by which objects match"),
        ({"protocol": "paper", "instances": True}, "does not apply to label maps that number objects"),
    ],
)
def test_what_a_protocol_does_not_score_is_refused(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        evaluate(tmp_path, {"a": abdomen(slice(2, 6), 1)}, **options)


def test_the_command(tmp_path: Path) -> None:
    of_classes(tmp_path, {"a": abdomen(slice(2, 6), 1), "b": abdomen(slice(1, 7), 5)})
    places = ["--predictions", str(tmp_path / "pred"), "--reference", str(tmp_path / "ref"), "--workers", "0"]
    done = CliRunner().invoke(app, ["evaluate", *places, "--protocol", "abdomen"])
    assert done.exit_code == 0, done.output
    assert "published, mean" in done.output
    assert "DSC corrected" in done.output
    metrics = load_metrics(tmp_path / "pred" / "metrics.json")
    assert metrics.protocol is not None
    assert metrics.protocol.name == "abdomen"
    done = CliRunner().invoke(app, ["evaluate", *places, "--protocol", "liver"])
    assert (done.exit_code, "Unknown protocol" in done.output) == (2, True)
