from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from tests.dataset.builder import write_image
from tests.evaluation.conftest import Writer
from tests.orientations import AFFINE, write_along
from umseg.common.errors import UserError
from umseg.dataset.io.grid import Geometry, Unit
from umseg.dataset.io.images import write_label
from umseg.evaluation import (
    Pair,
    assd,
    dice,
    evaluate_folder,
    evaluate_pairs,
    format_table,
    hd95,
    iou,
    sensitivity,
    surface_dice,
    write_metrics,
)
from umseg.evaluation.records import InstanceMetrics, Metrics, load_metrics

SPACING = (2.0, 0.8, 0.8)
Folders = tuple[Path, Path]
Labels = Mapping[str, int | Collection[int]]


@pytest.fixture
def folders(write_maps: Writer, block: np.ndarray) -> Folders:
    """Three cases: a perfect one, one shifted by a voxel, one without class 2 in prediction and reference."""
    shifted, single = np.roll(block, 1, axis=2), np.where(block == 1, block, 0)
    predictions = {"a.nii.gz": block, "b.nii.gz": shifted, "c.nii.gz": single}
    references = {"a.nii.gz": block, "b.nii.gz": block, "c.nii.gz": single}
    return write_maps("pred", predictions, SPACING), write_maps("data/labelsTr", references, SPACING)


def evaluate(folders: Folders, **options: Any) -> Metrics:
    metrics = evaluate_folder(*folders, quiet=True, **options)
    assert isinstance(metrics, Metrics)
    return metrics


def write_description(path: Path, labels: Labels, **fields: Any) -> None:
    content = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 3, "file_ending": ".nii.gz", **fields}
    path.write_text(json.dumps(content))


def test_scores_of_a_folder(folders: Folders, block: np.ndarray) -> None:
    metrics = evaluate(folders, labels={"background": 0, "liver": 1, "cyst": 2}, tolerance=[0.5, 1.0])
    assert metrics.labels == {"liver": 1, "cyst": 2}
    assert metrics.tolerance == {"liver": 0.5, "cyst": 1.0}
    assert metrics.unit == "mm"
    a, b, c = metrics.cases
    assert (a.case, a.scores["dsc"], a.scores["nsd"], a.shape) == ("a", 1, 1, block.shape)
    assert a.spacing == pytest.approx(SPACING)
    masks = np.roll(block, 1, axis=2) == 1, block == 1
    assert b.classes["liver"].scores["dsc"] == pytest.approx(dice(*masks))
    nsd = surface_dice(*masks, SPACING, 0.5)
    assert 0 < nsd < 1
    assert nsd == pytest.approx(b.classes["liver"].scores["nsd"])
    assert b.classes["cyst"].scores["nsd"] == 1
    assert math.isnan(c.classes["cyst"].scores["dsc"])
    assert c.scores["dsc"] == 1
    assert (metrics.classes["cyst"].n_cases, metrics.classes["cyst"].n_not_evaluable) == (2, 1)


def test_workers_change_nothing(folders: Folders) -> None:
    assert evaluate(folders, workers=2).model_dump_json() == evaluate(folders).model_dump_json()


def test_labels_come_from_the_predictions_then_from_the_data_set_then_from_the_values(folders: Folders) -> None:
    predictions, reference = folders
    assert evaluate(folders).labels == {"1": 1, "2": 2}
    write_description(reference.parent / "dataset.json", {"background": 0, "liver": 1, "cyst": 2})
    assert evaluate(folders).labels == {"liver": 1, "cyst": 2}
    write_description(predictions / "dataset.json", {"background": 0, "cyst": 2, "organ": 1})
    assert list(evaluate(folders).labels.items()) == [("organ", 1), ("cyst", 2)]


def test_some_cases_only(folders: Folders) -> None:
    (folders[0] / "b.nii.gz").unlink()
    with pytest.raises(UserError, match="1 reference case has no label map"):
        evaluate(folders)
    assert [case.case for case in evaluate(folders, cases={"a", "c"}).cases] == ["a", "c"]


def test_a_value_without_a_label_is_refused(folders: Folders) -> None:
    with pytest.raises(UserError, match="no label") as caught:
        evaluate(folders, labels={"liver": 1})
    assert str(caught.value.file).endswith("a.nii.gz")
    assert (caught.value.found, caught.value.expected) == ("2", "0 (background), 1 (liver)")


def test_different_shapes_are_refused(folders: Folders, write_maps: Writer, block: np.ndarray) -> None:
    write_maps("pred", {"b.nii.gz": block[:-1]}, SPACING)
    with pytest.raises(UserError, match="case b differ in shape") as caught:
        evaluate(folders)
    assert caught.value.file == str(folders[0] / "b.nii.gz")
    assert "5 x 8 x 9" in str(caught.value.found)
    assert "6 x 8 x 9" in str(caught.value.expected)
    assert str(folders[1] / "b.nii.gz") in str(caught.value.expected)


def test_different_spacings_are_refused_and_rounding_is_not(
    folders: Folders, write_maps: Writer, block: np.ndarray
) -> None:
    write_maps("pred", {"a.nii.gz": block}, (2.0001, 0.8, 0.80001))
    assert evaluate(folders).cases[0].scores["dsc"] == 1
    write_maps("pred", {"a.nii.gz": block}, (2.0, 0.8, 0.9))
    with pytest.raises(UserError, match="case a differ in spacing") as caught:
        evaluate(folders)
    assert caught.value.found == "spacing 2 x 0.8 x 0.9 (z, y, x)"


def test_another_place_in_space_is_reported(
    folders: Folders, write_maps: Writer, block: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate(folders)
    assert not caplog.records
    write_maps("pred", {"b.nii.gz": block}, SPACING, origin=(40.0, 0.0, 0.0))
    with caplog.at_level(logging.WARNING):
        evaluate(folders)
    assert "another origin or direction" in caplog.text
    assert "reference: 1." in caplog.text
    assert caplog.text.rstrip().endswith("The cases: b")


@pytest.mark.parametrize("tolerance", [-1.0, math.nan, [1.0, 2.0, 3.0], [], math.inf])
def test_tolerances_that_make_no_sense(folders: Folders, tolerance: float | list[float]) -> None:
    with pytest.raises(UserError, match="tolerances") as caught:
        evaluate(folders, tolerance=tolerance)
    assert "1, 2" in str(caught.value.expected)


@pytest.mark.parametrize(
    "labels",
    [
        {"a": 1, "b": 1, "c": 2},
        {"a": -1, "b": 1, "c": 2},
        {"a": 1, "b": 2, "c": 65536},
        {"a": (1, 2), "b": [1, 2]},
        {"a": [1, 1], "b": 2},
        {"a": [], "b": 2},
        {"a": [0, 1], "b": 2},
    ],
)
def test_labels_that_make_no_sense(folders: Folders, labels: Labels) -> None:
    with pytest.raises(UserError, match="labels are not valid"):
        evaluate(folders, labels=labels)


def test_only_background(write_maps: Writer, block: np.ndarray) -> None:
    empty = {"a.nii.gz": np.zeros_like(block)}
    folders = write_maps("pred", empty), write_maps("ref", empty)
    with pytest.raises(UserError, match="no class to evaluate"):
        evaluate(folders)
    assert math.isnan(evaluate(folders, labels={"liver": 1}).foreground_mean.scores["dsc"].mean)


def test_a_damaged_file_is_named(folders: Folders) -> None:
    path = folders[0] / "b.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError) as caught:
        evaluate(folders)
    assert caught.value.file == str(path)


def test_flat_images_are_measured_in_pixels(write_maps: Writer, block: np.ndarray) -> None:
    reference, prediction = block[2], np.roll(block[2], 1, axis=0)
    folders = write_maps("pred", {"a.png": prediction}), write_maps("ref", {"a.png": reference})
    metrics = evaluate(folders, tolerance=0.5)
    assert metrics.unit == "px"
    expected = surface_dice(prediction == 1, reference == 1, (1.0, 1.0), 0.5)
    assert expected == pytest.approx(metrics.cases[0].classes["1"].scores["nsd"])
    assert math.isnan(metrics.cases[0].classes["1"].volume_ref_ml)


def write_stacks(folder: Path, maps: Mapping[str, np.ndarray], unit: Unit | None) -> Path:
    """TIFF stacks of isotropic voxels of 2 mm or pixels."""
    folder.mkdir(exist_ok=True)
    for name, array in maps.items():
        grid = Geometry(array.shape[::-1], (2.0,) * 3, (0.0,) * 3, tuple(np.eye(3).ravel()), unit)
        write_label(folder / name, array, grid)
    return folder


@pytest.mark.parametrize("unit", ["mm", "px", None])
def test_stacks_are_measured_in_what_their_files_say(tmp_path: Path, block: np.ndarray, unit: Unit | None) -> None:
    """The tolerance is in mm only where the files say how long that is; where they do not, there is no volume."""
    moved = np.roll(block, 1, axis=2)
    folders = write_stacks(tmp_path / "p", {"a.tif": moved}, unit), write_stacks(tmp_path / "r", {"a.tif": block}, unit)
    metrics = evaluate(folders, tolerance=1.5)
    (case,) = metrics.cases
    length = 1.0 if unit is None else 2.0
    assert metrics.unit == case.unit == ("mm" if unit == "mm" else "px")
    assert case.spacing == (length,) * 3
    expected = surface_dice(moved == 1, block == 1, (length,) * 3, 1.5)
    assert expected == pytest.approx(case.classes["1"].scores["nsd"])
    volume = 32 * 8 / 1000 if unit == "mm" else math.nan
    assert volume == pytest.approx(case.classes["1"].volume_ref_ml, nan_ok=True)
    assert ("1.5 mm" if unit == "mm" else "1.5 px") in format_table(metrics)


@pytest.mark.parametrize("stated", ["p", "r"])
def test_one_of_two_stacks_may_say_its_spacing_for_both(tmp_path: Path, block: np.ndarray, stated: str) -> None:
    prediction, reference = (
        write_stacks(tmp_path / n, {"a.tif": block}, "mm" if n == stated else None) for n in ("p", "r")
    )
    (case,) = evaluate((prediction, reference)).cases
    assert (case.spacing, case.unit) == ((2.0, 2.0, 2.0), "mm")


def test_cases_of_different_units_are_told_apart(
    tmp_path: Path, block: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("p", "r"):
        write_stacks(tmp_path / name, {"a.tif": block}, "mm")
        write_stacks(tmp_path / name, {"b.tif": block}, None)
    metrics = evaluate((tmp_path / "p", tmp_path / "r"))
    assert metrics.unit == "mixed"
    assert [case.unit for case in metrics.cases] == ["mm", "px"]
    assert "in pixels in these cases and in mm in the others: b" in caplog.text
    table = format_table(metrics)
    assert "1 mm or px" in table
    assert "Lengths are in pixels in 1 case whose" in table
    document, _ = write_metrics(metrics, tmp_path)
    again = load_metrics(document)
    assert isinstance(again, Metrics)
    assert again.unit == "mixed"


def test_a_slice_in_a_flat_and_in_a_volume_format(write_maps: Writer, block: np.ndarray) -> None:
    """The two formats state different slice spacings, which no score of a single slice depends on."""
    folders = (
        write_maps("pred", {"a.nii.gz": block[2:3]}, SPACING),
        write_maps("ref", {"a.nii.gz": block[2]}, SPACING[1:]),
    )
    assert evaluate(folders).cases[0].scores["nsd"] == 1


def test_real_label_maps_score_perfectly_against_themselves(shared: Path) -> None:
    folder = shared / "data" / "Dataset004_Hippocampus" / "labelsTr"
    metrics = evaluate_folder(folder, folder, quiet=True, cases=["hippocampus_003", "hippocampus_006"])
    assert isinstance(metrics, Metrics)
    assert list(metrics.labels.values()) == [1, 2]
    assert (metrics.foreground_mean.scores["dsc"].mean, metrics.foreground_mean.scores["nsd"].mean) == (1, 1)


def test_pairs_may_lie_anywhere_under_any_name(write_maps: Writer, block: np.ndarray) -> None:
    prediction = write_maps("pred", {"p.nii.gz": block}, SPACING) / "p.nii.gz"
    reference = write_maps("somewhere", {"r.nii.gz": np.roll(block, 1, axis=2)}, SPACING) / "r.nii.gz"
    metrics = evaluate_pairs([Pair("case", prediction, reference)], {"liver": 1, "cyst": 2}, quiet=True)
    assert [entry.case for entry in metrics.cases] == ["case"]
    assert metrics.cases[0].classes["liver"].scores["dsc"] == pytest.approx(
        dice(block == 1, np.roll(block, 1, axis=2) == 1)
    )


def test_regions_are_scored_as_unions_of_their_values(folders: Folders, block: np.ndarray) -> None:
    """The label maps hold the values of classes; a region counts as the union of its values, in both of them."""
    labels: Labels = {"background": 0, "whole": [1, 2], "core": 2}
    write_description(folders[0] / "dataset.json", labels, regions_class_order=[1, 2])
    metrics = evaluate(folders, tolerance=[0.5, 1.0])
    assert metrics.labels == {"whole": (1, 2), "core": 2}
    assert metrics.tolerance == {"whole": 0.5, "core": 1.0}
    masks = np.roll(block, 1, axis=2) > 0, block > 0
    assert metrics.cases[1].classes["whole"].scores["dsc"] == pytest.approx(dice(*masks))
    assert metrics.cases[2].classes["whole"].n_ref == 32
    document, table = write_metrics(metrics, folders[0])
    again = load_metrics(document)
    assert isinstance(again, Metrics)
    assert again.labels == metrics.labels
    assert "b,whole,1 2," in table.read_text()


def test_voxels_of_the_ignore_label_are_left_out(folders: Folders, write_maps: Writer, block: np.ndarray) -> None:
    reference = block.copy()
    reference[:, :4] = 3
    write_maps("data/labelsTr", {"b.nii.gz": reference}, SPACING)
    write_description(folders[0] / "dataset.json", {"background": 0, "liver": 1, "cyst": 2, "ignore": 3})
    metrics = evaluate(folders)
    shifted = np.roll(block, 1, axis=2)[:, 4:] == 1, block[:, 4:] == 1
    assert metrics.ignore_label == 3
    assert metrics.cases[1].classes["liver"].scores["dsc"] == pytest.approx(dice(*shifted))
    assert math.isnan(metrics.cases[1].classes["cyst"].scores["dsc"])
    assert "value 3 (ignore)" in format_table(metrics)


@pytest.mark.parametrize("labels", [None, {"liver": 1, "cyst": 2}])
@pytest.mark.parametrize("described", [True, False])
def test_an_ignore_label_may_be_given_with_labels_or_without(
    folders: Folders, write_maps: Writer, block: np.ndarray, labels: Labels | None, described: bool
) -> None:
    reference = block.copy()
    reference[:, :4] = 3
    write_maps("data/labelsTr", {"b.nii.gz": reference}, SPACING)
    if described:
        write_description(folders[0] / "dataset.json", {"background": 0, "liver": 1, "cyst": 2})
    metrics = evaluate(folders, labels=labels, ignore_label=3)
    assert (metrics.ignore_label, list(metrics.labels.values())) == (3, [1, 2])
    shifted = np.roll(block, 1, axis=2)[:, 4:] == 1, block[:, 4:] == 1
    assert next(iter(metrics.cases[1].classes.values())).scores["dsc"] == pytest.approx(dice(*shifted))


def test_a_prediction_cannot_leave_voxels_out(folders: Folders, write_maps: Writer, block: np.ndarray) -> None:
    write_maps("pred", {"b.nii.gz": np.full_like(block, 3)}, SPACING)
    with pytest.raises(UserError, match="no label") as caught:
        evaluate(folders, labels={"liver": 1, "cyst": 2}, ignore_label=3)
    assert (caught.value.found, caught.value.file) == ("3", str(folders[0] / "b.nii.gz"))


@pytest.mark.parametrize("ignored", [2, 0, 65536])
def test_an_ignore_label_that_makes_no_sense(folders: Folders, ignored: int) -> None:
    with pytest.raises(UserError, match="ignore label is not valid"):
        evaluate(folders, labels={"liver": 1, "cyst": 2}, ignore_label=ignored)


def test_chosen_metrics(folders: Folders, block: np.ndarray) -> None:
    keys = ["hd95", "dsc", "assd", "iou", "sensitivity", "precision", "volume_difference", "nsd"]
    metrics = evaluate(folders, metrics=keys)
    assert list(metrics.metrics) == list(metrics.cases[0].scores) == list(metrics.foreground_mean.scores) == keys
    scores = metrics.cases[1].classes["1"].scores
    masks = np.roll(block, 1, axis=2) == 1, block == 1
    assert scores["hd95"] == pytest.approx(hd95(*masks, SPACING))
    assert scores["assd"] == pytest.approx(assd(*masks, SPACING))
    assert 0 < scores["assd"] < scores["hd95"]
    assert scores["iou"] == pytest.approx(iou(*masks))
    assert scores["sensitivity"] == pytest.approx(sensitivity(*masks)) == pytest.approx(scores["precision"])
    assert scores["volume_difference"] == 0
    alone = evaluate(folders)
    assert [case.scores["nsd"] for case in metrics.cases] == [case.scores["nsd"] for case in alone.cases]
    assert [case.scores["dsc"] for case in metrics.cases] == [case.scores["dsc"] for case in alone.cases]


def test_a_missed_class_is_infinitely_far(folders: Folders, write_maps: Writer, block: np.ndarray) -> None:
    write_maps("pred", {"b.nii.gz": np.where(block == 1, block, 0)}, SPACING)
    metrics = evaluate(folders, metrics=["hd95", "volume_difference"])
    assert metrics.cases[1].classes["2"].scores["hd95"] == math.inf
    assert metrics.cases[1].classes["2"].scores["volume_difference"] == pytest.approx(-8 * 2 * 0.8 * 0.8 / 1000)
    assert metrics.classes["2"].scores["hd95"].n_infinite == 1
    assert math.isnan(metrics.cases[2].classes["2"].scores["hd95"])


def test_a_tolerance_without_a_metric_that_uses_it_is_refused(folders: Folders) -> None:
    with pytest.raises(UserError, match="does not apply to the metrics dsc, hd95"):
        evaluate(folders, metrics=["dsc", "hd95"], tolerance=2.0)


@pytest.mark.parametrize(("share", "reported"), [(0.005, False), (0.05, True)])
def test_a_shift_that_is_rounding_is_not_reported(
    folders: Folders,
    write_maps: Writer,
    block: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    share: float,
    reported: bool,
) -> None:
    """The tolerance for the origin is that of the check of a data set."""
    write_maps("pred", {"b.nii.gz": block}, SPACING, origin=(share * 0.8, 0.0, 0.0))
    with caplog.at_level(logging.WARNING):
        evaluate(folders)
    assert bool(caplog.records) == reported


def test_what_was_noticed_in_label_maps_is_told_once(
    tmp_path: Path, block: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    for folder, values in (("p", block), ("r", block * np.float32(1.0001))):
        for name in ("a", "b"):
            write_image(tmp_path / folder / f"{name}.nii.gz", values)
    metrics = evaluate((tmp_path / "p", tmp_path / "r"))
    assert [case.classes["1"].scores["dsc"] for case in metrics.cases] == [1.0, 1.0]
    (message,) = [record.getMessage() for record in caplog.records if "almost whole" in record.getMessage()]
    assert "concerned: 2: a.nii.gz (2.0002 and" in message


class TestOrientation:
    def test_a_prediction_along_other_axes_is_turned(
        self, folders: Folders, block: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for axes in ("LPI", "PSR"):
            for name, map_ in (("a", block), ("b", np.roll(block, 1, axis=2))):
                write_along(tmp_path / axes / f"{name}.nii.gz", map_, axes)
                write_along(tmp_path / "ref" / f"{name}.nii.gz", block, "RAS")
                write_along(tmp_path / "same" / f"{name}.nii.gz", map_, "RAS")
            expected = evaluate((tmp_path / "same", tmp_path / "ref"))
            with caplog.at_level(logging.WARNING):
                found = evaluate((tmp_path / axes, tmp_path / "ref"))
            assert [case.scores for case in found.cases] == [case.scores for case in expected.cases]
            note = f"The prediction is stored as {axes}; it was turned to the reference's axes, RAS."
            assert [case.notes for case in found.cases] == [(note,), (note,)]
            assert [case.notes for case in expected.cases] == [(), ()]
            assert f"a ({axes}), b ({axes})" in caplog.text

    def test_objects_along_other_axes_are_turned(self, block: np.ndarray, tmp_path: Path) -> None:
        write_along(tmp_path / "pred" / "a.nii.gz", block, "LPI")
        write_along(tmp_path / "ref" / "a.nii.gz", block, "RAS")
        metrics = evaluate_folder(tmp_path / "pred", tmp_path / "ref", instances=True, quiet=True)
        assert isinstance(metrics, InstanceMetrics)
        assert metrics.cases[0].objects.F1 == 1
        assert metrics.cases[0].notes

    def test_flipped_axes_on_another_grid_are_refused(self, block: np.ndarray, tmp_path: Path) -> None:
        write_along(tmp_path / "ref" / "a.nii.gz", block, "RAS")
        moved = AFFINE.copy()
        moved[0, 3] += 50
        write_along(tmp_path / "pred" / "a.nii.gz", block, "LAS", moved)
        with pytest.raises(UserError, match="different axes, and do not lie on the same grid") as caught:
            evaluate((tmp_path / "pred", tmp_path / "ref"))
        assert str(caught.value.found).startswith("LAS, ")
        assert str(caught.value.expected).startswith("RAS, ")


def test_masks_of_another_value_are_told(
    write_maps: Writer, block: np.ndarray, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    mask = np.where(block > 0, 255, 0).astype(np.uint8)
    two = write_maps("pred", {"a.nii.gz": mask}), write_maps("ref", {"a.nii.gz": np.minimum(block, 1)})
    with caplog.at_level(logging.WARNING):
        evaluate(two)
    assert "no value in common: 255 and 1" in caplog.text
    assert "0 and 255" in caplog.text
    write_description(tmp_path / "dataset.json", {"background": 0, "organ": 1})
    with pytest.raises(UserError, match="values that have no label") as caught:
        evaluate(two)
    assert "0 and 255" in str(caught.value.remedy)


def test_cases_without_a_prediction_are_left_out(folders: Folders, block: np.ndarray) -> None:
    (folders[0] / "b.nii.gz").unlink()
    with pytest.raises(UserError, match="1 reference case has no label map"):
        evaluate(folders)
    metrics = evaluate(folders, missing="skip")
    assert [case.case for case in metrics.cases] == ["a", "c"]
    assert metrics.missing == ("b",)
    assert "Not scored, because there is no prediction: 1 case (b)." in format_table(metrics)


def test_predictions_along_other_axes_are_resampled(tmp_path: Path, block: np.ndarray) -> None:
    """Twice as many voxels of half the size, stored along other axes: each has the label of the voxel it lies in."""
    fine = np.repeat(np.repeat(np.repeat(block, 2, axis=0), 2, axis=1), 2, axis=2).astype(np.uint8)
    for name, array, spacing in (("pred", fine, 0.5), ("ref", block.astype(np.uint8), 1.0)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((spacing,) * 3)
        # The first voxel's centre lies half a voxel behind the corner that both share.
        image.SetOrigin((spacing / 2,) * 3)
        (tmp_path / name).mkdir()
        sitk.WriteImage(sitk.DICOMOrient(image, "PIR") if name == "pred" else image, str(tmp_path / name / "a.nii.gz"))
    two = tmp_path / "pred", tmp_path / "ref"
    with pytest.raises(UserError, match=r"different axes|differ in shape") as caught:
        evaluate(two)
    assert "--resample nearest" in str(caught.value.remedy)
    metrics = evaluate(two, resample="nearest")
    assert metrics.foreground_mean.scores["dsc"].mean == 1
    (note,) = metrics.cases[0].notes
    assert "spacing 0.5 x 0.5 x 0.5, origin" in note
    same = evaluate((two[1], two[1]), resample="nearest")
    assert same.cases[0].notes == ()


def test_tolerances_by_name(folders: Folders) -> None:
    labels = {"background": 0, "liver": 1, "cyst": 2}
    assert evaluate(folders, labels=labels, tolerance={"cyst": 2.5}).tolerance == {"liver": 1.0, "cyst": 2.5}
    with pytest.raises(UserError, match="Unknown class 'cist'"):
        evaluate(folders, labels=labels, tolerance={"cist": 2.5})


def test_a_missing_prediction_scores_as_if_nothing_had_been_predicted(folders: Folders, block: np.ndarray) -> None:
    (folders[0] / "b.nii.gz").unlink()
    write_image(folders[0] / "x.nii.gz", block, SPACING[::-1])
    metrics = evaluate(folders, missing="zero", metrics=["dsc", "nsd", "hd95"])
    assert [case.case for case in metrics.cases] == ["a", "b", "c"]
    missing = metrics.cases[1]
    assert (missing.scores["dsc"], missing.scores["nsd"], missing.scores["hd95"]) == (0, 0, math.inf)
    assert (missing.classes["1"].n_pred, missing.classes["1"].n_ref) == (0, int((block == 1).sum()))
    assert missing.spacing == pytest.approx(SPACING)
    assert "scored as if nothing" in missing.notes[0]
    assert (metrics.missing, metrics.missing_rule, metrics.surplus) == (("b",), "zero", ("x",))
    table = " ".join(format_table(metrics).split())
    assert "Scored as if nothing had been predicted, because there is no prediction: 1 case (b)." in table
    assert "Left out, because there is no reference: 1 case (x)." in table


def test_missing_predictions_of_objects(folders: Folders) -> None:
    (folders[0] / "b.nii.gz").unlink()
    metrics = evaluate_folder(*folders, instances=True, missing="zero", quiet=True)
    assert isinstance(metrics, InstanceMetrics)
    assert [case.objects.F1 for case in metrics.cases] == [1, 0, 1]


def test_predictions_on_another_grid_are_resampled_on_request(
    folders: Folders, write_maps: Writer, block: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    fine = block.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    half = tuple(side / 2 for side in SPACING)
    origin = tuple(-side / 4 for side in SPACING[::-1])
    write_maps("pred", {"a.nii.gz": fine}, half, origin)
    # The first slice is missing: only the header tells.
    write_maps("pred", {"b.nii.gz": block[1:]}, SPACING, (0.0, 0.0, SPACING[0]))
    with pytest.raises(UserError, match="case a differ in shape") as caught:
        evaluate(folders)
    assert "--resample nearest" in str(caught.value.remedy)
    metrics = evaluate(folders, resample="nearest")
    assert [case.scores["dsc"] for case in metrics.cases] == [1, 1, 1]
    assert "size 18 x 16 x 12, spacing 0.4 x 0.4 x 1" in metrics.cases[0].notes[0]
    assert metrics.cases[2].notes == ()
    assert "resampled to the grid of their reference, by the nearest voxel: 2." in caplog.text
    with pytest.raises(UserError, match="Unknown way to resample label maps 'linear'"):
        evaluate(folders, resample="linear")


def test_a_shifted_header_is_taken_at_its_word_where_predictions_are_resampled(
    folders: Folders, write_maps: Writer, block: np.ndarray
) -> None:
    write_maps("pred", {"a.nii.gz": np.roll(block, 1, axis=2)}, SPACING, (-SPACING[2], 0.0, 0.0))
    assert evaluate(folders).cases[0].scores["dsc"] < 1
    assert evaluate(folders, resample="nearest").cases[0].scores["dsc"] == 1


def test_a_picture_is_not_resampled_to_a_volume(folders: Folders, write_maps: Writer, block: np.ndarray) -> None:
    (folders[0] / "a.nii.gz").unlink()
    write_maps("pred", {"a.png": block[2]})
    with pytest.raises(UserError, match="cannot be resampled") as caught:
        evaluate(folders, resample="nearest")
    assert caught.value.found == "a 2-D file"
