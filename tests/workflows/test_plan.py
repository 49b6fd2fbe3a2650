"""Workspaces: found by name or path, splits kept, summaries readable."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from tests.blobs import write_blobs
from tests.orientations import write_along
from umseg.common.errors import UserError
from umseg.dataset.dataset import Dataset
from umseg.dataset.io.images import read_image, read_label
from umseg.evaluation import Metrics
from umseg.models import ModelOptions
from umseg.planning import Fingerprint, Overrides, Plan
from umseg.preprocess import CaseStore, case_origins
from umseg.preprocess.locations import location_classes
from umseg.reports.summary import plan_summary
from umseg.training import TrainingConfig, train
from umseg.training.data.splits import Split, Splits
from umseg.workflows.plan import plan_dataset
from umseg.workflows.validate import validate_fold
from umseg.workspace import Workspace


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_blobs(tmp_path / "Dataset903_Work", num_cases=4)


def plan(dataset: Path, root: Path) -> Workspace:
    return plan_dataset(dataset, root, configurations=["3d_fullres"], quiet=True)[0]


def test_unchanged_data_are_not_measured_again(dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="umseg")
    plan(dataset, tmp_path / "w")
    assert "reusing its fingerprint" not in caplog.text
    plan(dataset, tmp_path / "w")
    assert "reusing its fingerprint" in caplog.text


def test_found_by_name_and_by_path(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    assert Workspace.of("Dataset903_Work", tmp_path / "w") == made
    assert Workspace.of(str(dataset), tmp_path / "w") == made
    with pytest.raises(UserError, match="no workspace") as caught:
        Workspace.of("Dataset999_Other", tmp_path / "w")
    assert "Dataset903_Work" in str(caught.value.found)


def test_splits_that_were_edited_stay(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    assert len(made.load(Splits).folds) == 4
    edited = Splits(folds=(Split(train=("blob_0", "blob_1"), validation=("blob_2", "blob_3")),))
    edited.save(made.folder / "splits.json")
    assert plan(dataset, tmp_path / "w").load(Splits) == edited


def test_splits_with_a_case_that_is_gone_are_made_anew(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    Splits(folds=(Split(train=("gone",), validation=("blob_2",)),)).save(made.folder / "splits.json")
    assert len(plan(dataset, tmp_path / "w").load(Splits).folds) == 4


def test_unknown_configuration_and_preset_write_nothing(dataset: Path, tmp_path: Path) -> None:
    for wrong in ({"configurations": ["4d"]}, {"preset": "huge"}):
        with pytest.raises(UserError):
            plan_dataset(dataset, tmp_path / "w", quiet=True, **wrong)
    assert not (tmp_path / "w").exists()


def test_images_that_the_new_plan_does_not_fit_are_removed(dataset: Path, tmp_path: Path) -> None:
    made, _, _ = plan_dataset(dataset, tmp_path / "w", quiet=True)
    assert made.preprocessed("2d").is_dir()
    choices: dict[str, Any] = {"configurations": ["3d_fullres"], "quiet": True}
    plan_dataset(dataset, tmp_path / "w", overrides=Overrides(batch_size=7), **choices)
    assert made.preprocessed("2d").is_dir()
    plan_dataset(dataset, tmp_path / "w", overrides=Overrides(spacing=(2.0, 2.0, 2.0)), **choices)
    assert not made.preprocessed("2d").exists()
    assert made.preprocessed("3d_fullres").is_dir()


def test_summary_names_cases_spacing_and_configurations(dataset: Path, tmp_path: Path) -> None:
    made, fingerprint, decided = plan_dataset(dataset, tmp_path / "w", configurations=["2d"], quiet=True)
    text = plan_summary(fingerprint, decided, made.load(Dataset).description)
    assert "4 cases" in text
    assert "2 x 1 x 1.5 mm" in text
    assert "3d_fullres: spacing" in text


def test_validation_without_the_images_is_explained(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    shutil.rmtree(dataset)
    with pytest.raises(UserError, match="has moved since planning") as caught:
        validate_fold(made, made.folder / "models" / "nnunet__3d_fullres" / "fold_0")
    assert "umseg plan" in str(caught.value.remedy)


def shift_label(path: Path, spacing: tuple[float, float, float] | None = None) -> None:
    label = sitk.ReadImage(str(path))
    label.SetOrigin((100.0, 0.0, 0.0))
    if spacing:
        label.SetSpacing(spacing)
    sitk.WriteImage(label, str(path))


def rows_of(workspace: Path) -> list[dict[str, str]]:
    with (workspace / "problems.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_all_problems_of_all_cases_are_in_one_table(dataset: Path, tmp_path: Path) -> None:
    (dataset / "labelsTr" / "blob_0.nii.gz").unlink()
    (dataset / "imagesTr" / "blob_1_0000.nii.gz").write_bytes(b"no image")
    shift_label(dataset / "labelsTr" / "blob_2.nii.gz")
    shift_label(dataset / "labelsTr" / "blob_3.nii.gz", (1.0, 1.0, 1.0))
    with pytest.raises(UserError, match="3 errors and 1 warning in 4 cases") as caught:
        plan(dataset, tmp_path / "w")
    workspace = tmp_path / "w" / dataset.name
    assert str(workspace / "problems.csv") in str(caught.value)
    assert [(row["severity"], row["case"]) for row in rows_of(workspace)] == [
        ("error", "blob_0"),
        ("error", "blob_1"),
        ("error", "blob_3"),
        ("warning", "blob_2"),
    ]
    assert [path.name for path in workspace.iterdir()] == ["problems.csv"]


def test_warnings_are_written_too_and_a_mended_data_set_has_no_table(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    label = dataset / "labelsTr" / "blob_2.nii.gz"
    shutil.copy(label, tmp_path / "good.nii.gz")
    shift_label(label)
    made = plan(dataset, tmp_path / "w")
    assert [row["severity"] for row in rows_of(made.folder)] == ["warning"]
    assert str(made.folder / "problems.csv") in caplog.text
    shutil.copy(tmp_path / "good.nii.gz", label)
    assert not (plan(dataset, tmp_path / "w").folder / "problems.csv").exists()


def test_fixed_copies_are_used_from_then_on(dataset: Path, tmp_path: Path) -> None:
    label = dataset / "labelsTr" / "blob_2.nii.gz"
    shift_label(label, (1.0, 1.0, 1.0))
    before = label.read_bytes()
    made, _, _ = plan_dataset(
        dataset, tmp_path / "w", configurations=["3d_fullres"], fix_geometry=True, workers=0, quiet=True
    )
    assert label.read_bytes() == before
    assert not (made.folder / "problems.csv").exists()
    case = made.load(Dataset).cases[2]
    assert case.label == made.folder / "fixed" / "labelsTr" / "blob_2.nii.gz"
    assert read_label(case.label).geometry == read_image(case.images).geometry
    np.testing.assert_array_equal(read_label(case.label).array, read_label(label).array)
    others = [case.label for case in made.load(Dataset).cases if case.id != "blob_2"]
    assert [label and label.parent for label in others] == [dataset / "labelsTr"] * 3

    Splits(folds=(Split(train=("blob_0", "blob_1", "blob_3"), validation=("blob_2",)),)).save(
        made.folder / "splits.json"
    )
    config = TrainingConfig(
        model="umamba_bot", options=ModelOptions(ssm=False), epochs=1, iterations=1, validation_iterations=1
    )
    fold = train(made.folder, config, device="cpu", quiet=True)
    # Against the user's own file the evaluation would stop: its spacing is not the prediction's.
    metrics = validate_fold(made, fold, device="cpu", quiet=True)
    assert isinstance(metrics, Metrics)
    assert [entry.case for entry in metrics.cases] == ["blob_2"]


def change_description(folder: Path, **fields: object) -> None:
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**content, **fields}))


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": {"background": 0, "any": [1, 2], "right": 2}, "regions_class_order": [1, 2]},
        {"labels": {"background": 0, "left": 1, "ignore": 2}},
    ],
)
def test_regions_and_ignore_are_planned_and_preprocessed(
    dataset: Path, tmp_path: Path, fields: dict[str, object]
) -> None:
    change_description(dataset, **fields)
    made = plan(dataset, tmp_path / "w")
    stored = CaseStore(made.preprocessed("3d_fullres")).open("blob_0")
    assert set(stored.class_locations) == set(location_classes(made.load(Dataset).description))


def test_file_map_is_planned(dataset: Path, tmp_path: Path) -> None:
    shutil.move(dataset / "imagesTr", dataset / "scans")
    shutil.move(dataset / "labelsTr", tmp_path / "masks")
    entries = {
        f"patient {n}": {"images": [f"scans/blob_{n}_0000.nii.gz"], "label": f"../masks/blob_{n}.nii.gz"}
        for n in range(4)
    }
    change_description(dataset, dataset=entries)
    made = plan(dataset, tmp_path / "w")
    assert CaseStore(made.preprocessed("3d_fullres")).case_ids() == tuple(sorted(entries))
    assert "scans" not in made.load(Dataset).description.model_dump_json()


class TestOrientation:
    def write(self, folder: Path, axes: str) -> Path:
        """The data set of ``write_blobs``, its images and label maps stored along the given axes in turn."""
        write_blobs(folder, num_cases=4)
        for place in ("imagesTr", "labelsTr"):
            for number, path in enumerate(sorted((folder / place).iterdir())):
                values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
                write_along(path, values, axes.split(",")[number % len(axes.split(","))], np.diag([1.5, 1, 2, 1.0]))
        return folder

    def stored(self, workspace: Workspace) -> dict[str, np.ndarray]:
        store = CaseStore(workspace.preprocessed("3d_fullres"))
        return {case: np.asarray(store.open(case).data[:]) for case in store.case_ids()}

    def test_images_that_are_alike_are_used_as_they_are(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("WARNING", logger="umseg"):
            made = plan(self.write(tmp_path / "Dataset903_Work", "LPI"), tmp_path / "w")
        assert "orientation" not in caplog.text
        assert made.load(Fingerprint).orientations == ("LPI",) * 4
        dataset = made.load(Dataset)
        assert dataset.orientation == "LPI"
        # Neither arrays nor their origin tell of it: cases of earlier workspaces stay.
        unturned = dataset.model_copy(update={"orientation": None})
        configuration = made.load(Plan).configuration("3d_fullres")
        digests = made.load(Fingerprint).case_digests
        origins = case_origins(unturned, digests, made.load(Plan), configuration)
        assert origins == case_origins(dataset, digests, made.load(Plan), configuration, ("LPI",) * 4)

    def test_images_of_different_orientations_are_told_and_can_be_turned(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        alike = plan(self.write(tmp_path / "alike" / "Dataset903_Work", "RAS"), tmp_path / "w")
        mixed = self.write(tmp_path / "mixed" / "Dataset903_Work", "RAS,LPI,PSR,RAS")
        with caplog.at_level("WARNING", logger="umseg"):
            as_stored = plan(mixed, tmp_path / "m")
        (warning,) = (text for record in caplog.records if "orientations" in (text := record.getMessage()))
        assert "different orientations" in warning
        assert "2 RAS, 1 LPI, 1 PSR" in warning
        assert "--reorient RAS" in warning
        assert as_stored.load(Dataset).orientation is None
        turned = plan_dataset(mixed, tmp_path / "m", configurations=["3d_fullres"], reorient="ras", quiet=True)[0]
        assert turned.load(Dataset).orientation == "RAS"
        for record in (Plan, Splits):
            assert turned.load(record) == alike.load(record)
        assert turned.load(Fingerprint).shapes_after_crop == alike.load(Fingerprint).shapes_after_crop
        expected = self.stored(alike)
        for case, found in self.stored(turned).items():
            np.testing.assert_array_equal(found, expected[case])
        assert len(expected) == 4

    def test_an_earlier_fingerprint_learns_the_orientations(self, tmp_path: Path) -> None:
        dataset = self.write(tmp_path / "Dataset903_Work", "LPI")
        made = plan(dataset, tmp_path / "w")
        file = made.file(Fingerprint)
        content = json.loads(file.read_text())
        del content["orientations"]
        file.write_text(json.dumps(content))
        before = {path: path.stat().st_mtime_ns for path in made.preprocessed("3d_fullres").iterdir()}
        plan(dataset, tmp_path / "w")
        assert made.load(Fingerprint).orientations == ("LPI",) * 4
        assert {path: path.stat().st_mtime_ns for path in made.preprocessed("3d_fullres").iterdir()} == before


@pytest.mark.parametrize("root", [".", "Dataset903_Work/imagesTr"])
def test_no_workspace_lies_in_a_data_set(dataset: Path, tmp_path: Path, root: str) -> None:
    before = (dataset / "dataset.json").read_bytes()
    with pytest.raises(UserError, match="would lie in a data set"):
        plan(dataset, tmp_path / root)
    assert (dataset / "dataset.json").read_bytes() == before


def test_a_workspace_that_is_a_file(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "w").write_text("mine")
    with pytest.raises(UserError, match="not a folder") as caught:
        plan(dataset, tmp_path / "w")
    assert caught.value.file == str(tmp_path / "w")
