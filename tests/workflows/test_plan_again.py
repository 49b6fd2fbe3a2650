"""A workspace is planned again: cases have come or gone, groups are given, models are there, others are at work."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.blobs import write_blobs
from tests.claimants import claimed_elsewhere
from umseg.common.errors import UserError
from umseg.common.processes import claims
from umseg.dataset.io.images import read_label, write_label
from umseg.models import ModelOptions
from umseg.planning import Overrides, Plan
from umseg.planning.fingerprint import extract_fingerprint
from umseg.preprocess import CaseStore
from umseg.training.config.training_config import TrainingConfig, model_folder
from umseg.training.data.splits import Split, Splits
from umseg.training.saved.card import model_card
from umseg.workflows import plan as module
from umseg.workflows.plan import plan_dataset
from umseg.workspace import FINAL, FoldFolder, Workspace

CONFIG = TrainingConfig(model="umamba_bot", options=ModelOptions(ssm=False), epochs=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing intensities takes longer than all else on so small a data set."""
    monkeypatch.setattr(module, "extract_fingerprint", partial(extract_fingerprint, num_samples=10_000))
    monkeypatch.setattr(claims, "_GRACE", 0.1)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_blobs(tmp_path / "Dataset903_Work", num_cases=6)


def plan(dataset: Path, root: Path, **choices: Any) -> Workspace:
    return plan_dataset(dataset, root, **{"configurations": ["2d"], "quiet": True, **choices})[0]


def held_out(workspace: Workspace) -> list[tuple[str, ...]]:
    return [fold.validation for fold in workspace.load(Splits).folds]


def make_model(workspace: Workspace, split: Split, tag: str | None = None) -> FoldFolder:
    """A model folder as a training leaves it, without weights in its file."""
    models = model_folder(workspace, CONFIG.model_copy(update={"configuration": "2d"}), tag)
    config = CONFIG.model_copy(update={"configuration": "2d"})
    model_card(workspace, config, tag).save(models.card_file)
    fold = models.fold(0)
    config.save(fold.config_file)
    split.save(fold.split_file)
    (fold.path / FINAL).touch()
    return fold


def remove_case(dataset: Path, case: str) -> None:
    (dataset / "imagesTr" / f"{case}_0000.nii.gz").unlink()
    (dataset / "labelsTr" / f"{case}.nii.gz").unlink()
    description = json.loads((dataset / "dataset.json").read_text())
    description["numTraining"] -= 1
    (dataset / "dataset.json").write_text(json.dumps(description))


def test_cases_that_come_and_go(tmp_path: Path, dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = plan(dataset, tmp_path / "w")
    before = held_out(made)
    fold = make_model(made, made.load(Splits).folds[0])
    write_blobs(dataset, num_cases=8)
    plan(dataset, tmp_path / "w")
    after = held_out(made)
    assert all(set(old) <= set(new) for old, new in zip(before, after, strict=True))
    assert sorted(case for fold in after for case in fold) == [f"blob_{number}" for number in range(8)]
    assert "splits.json: 2 cases are new and enter the folds" in caplog.text
    assert f"{fold.models.path.name}, fold 0, was trained with other cases" in caplog.text
    assert f"{fold.models.path.name} was trained under another plan" in caplog.text
    assert "training cases 6" in caplog.text
    remove_case(dataset, "blob_7")
    plan(dataset, tmp_path / "w")
    assert held_out(made) == [tuple(case for case in fold if case != "blob_7") for fold in after]
    assert "1 case is no longer in the data set, taken out of the folds: blob_7." in caplog.text
    assert set(CaseStore(made.preprocessed("2d")).case_ids()) == made.load(Splits).cases


def test_given_folds_stay_and_cases_in_none_are_counted(
    tmp_path: Path, dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "splits_final.json"
    file.write_text(json.dumps([{"train": ["blob_0", "blob_1"], "val": ["blob_2"]}]))
    made = plan(dataset, tmp_path / "w", splits=file)
    assert "3 of 6 cases are in no fold" in caplog.text
    caplog.clear()
    plan(dataset, tmp_path / "w")
    assert held_out(made) == [("blob_2",)]
    assert "3 of 6 cases are in no fold" in caplog.text


def test_groups_of_the_data_set_are_read_and_respected(
    tmp_path: Path, dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"blob_{number},patient {number // 2}" for number in range(6)]
    (dataset / "groups.csv").write_text("\n".join(["case,group", *rows]) + "\n")
    made = plan(dataset, tmp_path / "w")
    assert sorted(held_out(made)) == [("blob_0", "blob_1"), ("blob_2", "blob_3"), ("blob_4", "blob_5")]
    assert not made.groups_file.exists()
    assert "There are only 3 groups, so that there are 3 folds" in caplog.text


def test_groups_that_are_given_hold_for_later_plans(tmp_path: Path, dataset: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("id_a,id_b\nblob_0,blob_5\nblob_5,blob_3\n")
    made = plan(dataset, tmp_path / "w", groups=file)
    assert ("blob_0", "blob_3", "blob_5") in held_out(made)
    file.unlink()
    before = held_out(made)
    plan(dataset, tmp_path / "w")
    assert held_out(made) == before
    write_blobs(dataset, num_cases=7)
    with pytest.raises(UserError, match="leaves cases out") as caught:
        plan(dataset, tmp_path / "w")
    assert caught.value.file == str(made.groups_file)


def test_a_wrong_table_is_found_before_anything_is_measured(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "extract_fingerprint", None)
    with pytest.raises(UserError, match="cannot be read"):
        plan(dataset, tmp_path / "w", groups=tmp_path / "missing.csv")
    assert not (tmp_path / "w").exists()


def test_a_data_set_of_the_same_name_is_refused(
    tmp_path: Path, dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = plan(dataset, tmp_path / "w")
    before = {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()}
    other = write_blobs(tmp_path / "B" / dataset.name, num_cases=3)
    with pytest.raises(UserError, match="belongs to another data set"):
        plan(other, tmp_path / "w")
    assert {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()} == before
    shutil.rmtree(other)
    dataset.rename(other)
    plan(other, tmp_path / "w")
    assert f"has moved from {dataset} to {other}" in caplog.text
    assert made.planned_from() == other


def test_a_second_plan_waits_and_ends_with_the_name_of_the_first(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.1)
    with (
        claimed_elsewhere(tmp_path / "w" / dataset.name, "plans this data set") as process,
        pytest.raises(UserError, match="it plans this data set") as caught,
    ):
        plan(dataset, tmp_path / "w")
    assert f"process {process.pid}" in str(caught.value.found)
    assert "Waiting for another process" in caplog.text


def test_a_complete_workspace_is_planned_again_without_a_write(tmp_path: Path, dataset: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    assert not made.measured.exists()

    def written() -> dict[Path, tuple[int, int]]:
        """When, and as which file: both change when a file is written again."""
        paths = [path for path in made.folder.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}

    before = written()
    plan(dataset, tmp_path / "w")
    assert len(before) > 10
    assert written() == before


def test_a_plan_that_leaves_models_behind_names_them_first(
    tmp_path: Path, dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = plan(dataset, tmp_path / "w")
    make_model(made, made.load(Splits).folds[0])
    plan(dataset, tmp_path / "w")
    assert "another plan" not in caplog.text
    plan(dataset, tmp_path / "w", overrides=Overrides(batch_size=3))
    assert "umamba_bot-no-ssm__2d was trained under another plan" in caplog.text
    assert "now planned: batch size 3" in caplog.text


def test_no_other_plan_while_a_model_is_trained(tmp_path: Path, dataset: Path) -> None:
    made = plan(dataset, tmp_path / "w")
    fold = make_model(made, made.load(Splits).folds[0])
    before = made.load(Plan)
    with claimed_elsewhere(fold.path, "trains this fold"):
        plan(dataset, tmp_path / "w")
        with pytest.raises(UserError, match="training is running") as caught:
            plan(dataset, tmp_path / "w", overrides=Overrides(batch_size=3))
        assert caught.value.file == str(fold.path)
    assert made.load(Plan) == before


def test_what_the_data_say_is_told_at_every_plan(
    tmp_path: Path, dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 6):
        path = dataset / "labelsTr" / f"blob_{number}.nii.gz"
        label = read_label(path)
        write_label(path, np.minimum(label.array, 1), label.geometry)
    made = plan(dataset, tmp_path / "w")
    (fold,) = [number for number, cases in enumerate(held_out(made)) if "blob_0" in cases]
    for _ in range(2):
        assert "Classes that few of the 6 cases have: right blob in 1 (blob_0)." in caplog.text
        assert f"no training case of a fold has, so that its scores of them mean nothing: right blob (fold {fold})" in (
            caplog.text
        )
        caplog.clear()
        plan(dataset, tmp_path / "w")
