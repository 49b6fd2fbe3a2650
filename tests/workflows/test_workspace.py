"""Workspaces: found by name or path, splits kept, summaries readable."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.blobs import write_blobs
from umseg.common.errors import UserError
from umseg.training.splits import Split, Splits
from umseg.workflows.summary import plan_summary
from umseg.workflows.validation import validate_fold
from umseg.workflows.workspace import Workspace, plan_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_blobs(tmp_path / "Dataset903_Work", num_cases=4)


def plan(dataset: Path, root: Path) -> Workspace:
    return plan_dataset(dataset, root, configurations=["3d_fullres"], quiet=True)[0]


def test_found_by_name_and_by_path(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    assert Workspace.of("Dataset903_Work", tmp_path / "w") == made
    assert Workspace.of(str(dataset), tmp_path / "w") == made
    with pytest.raises(UserError, match="no workspace") as caught:
        Workspace.of("Dataset999_Other", tmp_path / "w")
    assert "Dataset903_Work" in str(caught.value.found)


def test_splits_that_were_edited_stay(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    assert len(made.splits().folds) == 4
    edited = Splits(folds=(Split(train=("blob_0", "blob_1"), validation=("blob_2", "blob_3")),))
    edited.save(made.folder / "splits.json")
    assert plan(dataset, tmp_path / "w").splits() == edited


def test_splits_with_a_case_that_is_gone_are_made_anew(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    Splits(folds=(Split(train=("gone",), validation=("blob_2",)),)).save(made.folder / "splits.json")
    assert len(plan(dataset, tmp_path / "w").splits().folds) == 4


def test_unknown_configuration_and_preset_write_nothing(dataset: Path, tmp_path: Path) -> None:
    for wrong in ({"configurations": ["4d"]}, {"preset": "huge"}):
        with pytest.raises(UserError):
            plan_dataset(dataset, tmp_path / "w", quiet=True, **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "w").exists()


def test_summary_names_cases_spacing_and_configurations(dataset: Path, tmp_path: Path) -> None:
    _, fingerprint, decided = plan_dataset(dataset, tmp_path / "w", configurations=["2d"], quiet=True)
    text = plan_summary(fingerprint, decided)
    assert "4 cases" in text
    assert "2 x 1 x 1.5 mm" in text
    assert "3d_fullres: spacing" in text


def test_validation_without_the_images_is_explained(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    shutil.rmtree(dataset)
    with pytest.raises(UserError, match="no longer where") as caught:
        validate_fold(made, made.folder / "models" / "nnunet__3d_fullres" / "fold_0")
    assert "umseg plan" in str(caught.value.remedy)
