"""When a fold is scored again, and what is checked before it is trained."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.evaluation.factories import make_metrics
from umseg.common.errors import UserError
from umseg.dataset.dataset import Case, Dataset
from umseg.dataset.description import DatasetDescription
from umseg.evaluation import write_metrics
from umseg.training.data.splits import Split, Splits
from umseg.training.saved.tensor_file import save_tensors, weights_hash
from umseg.workflows.validate import check_originals, earlier_validation
from umseg.workspace import FoldFolder, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace of two cases, in which fold 0 holds out case b."""
    made = Workspace(tmp_path / "w")
    cases = tuple(
        Case(id=name, images=(tmp_path / f"{name}_0000.nii.gz",), label=tmp_path / f"{name}.nii.gz") for name in "ab"
    )
    for case in cases:
        for file in (*case.images, case.label):
            assert file is not None
            file.touch()
    description = DatasetDescription(
        channel_names={"0": "MRI"}, labels={"background": 0, "x": 1}, numTraining=2, file_ending=".nii.gz"
    )
    Dataset(name="d", folder=tmp_path, description=description, cases=cases).save(made.file(Dataset))
    Splits(folds=(Split(train=("a",), validation=("b",)),)).save(made.file(Splits))
    return made


@pytest.fixture
def fold(workspace: Workspace) -> FoldFolder:
    """A fold with weights and their scores."""
    made = workspace.model("nnunet", "2d").fold(0)
    save_tensors(made.weights("final"), {"w": torch.ones(3)})
    score(made, "b", weights_hash(made.weights("final"), ""))
    return made


def score(fold: FoldFolder, case: str, weights: str | None) -> None:
    metrics = make_metrics({case: [(0.5, 0.5)]}).model_copy(update={"weights": weights})
    write_metrics(metrics, fold.validation)


def test_scores_of_the_present_weights_are_used_again(workspace: Workspace, fold: FoldFolder) -> None:
    metrics = earlier_validation(workspace, fold.path)
    assert metrics is not None
    assert metrics.main_score == ("DSC", 0.5)
    # Clocks of other machines say nothing.
    os.utime(fold.metrics_file, (1, 1))
    assert earlier_validation(workspace, fold.path) == metrics


def test_scores_of_other_weights_are_not_however_new_their_file_is(workspace: Workspace, fold: FoldFolder) -> None:
    save_tensors(fold.weights("final"), {"w": torch.zeros(3)})
    os.utime(fold.metrics_file, (2**33, 2**33))
    assert earlier_validation(workspace, fold.path) is None


def test_scores_of_other_cases_are_not(workspace: Workspace, fold: FoldFolder) -> None:
    Splits(folds=(Split(train=("b",), validation=("a",)),)).save(workspace.file(Splits))
    assert earlier_validation(workspace, fold.path) is None


def test_scores_of_an_earlier_version_have_no_hash(workspace: Workspace, fold: FoldFolder) -> None:
    score(fold, "b", None)
    assert "weights" not in fold.metrics_file.read_text()
    assert earlier_validation(workspace, fold.path) is not None
    fold.metrics_file.unlink()
    assert earlier_validation(workspace, fold.path) is None


def test_files_that_a_validation_needs_are_looked_for(workspace: Workspace, tmp_path: Path) -> None:
    check_originals(workspace, 0)
    (tmp_path / "a.nii.gz").unlink()
    check_originals(workspace, 0)
    (tmp_path / "b_0000.nii.gz").unlink()
    with pytest.raises(UserError, match="data set has moved since planning") as caught:
        check_originals(workspace, 0)
    assert caught.value.found == "files missing of 1 of 1 validation cases: b"
    assert "--no-validate" in str(caught.value.remedy)
    (tmp_path / "a.nii.gz").touch()
    Splits(folds=(Split(train=("a",), validation=("a", "b")),)).save(workspace.file(Splits))
    with pytest.raises(UserError, match="have gone since planning") as caught:
        check_originals(workspace, 0)
    assert caught.value.found == "files missing of 1 of 2 validation cases: b"
