from __future__ import annotations

import os
from pathlib import Path

from tests.evaluation.factories import make_metrics
from umseg.common.processes.claims import claim
from umseg.dataset.dataset import Case, Dataset
from umseg.dataset.description import DatasetDescription
from umseg.evaluation import write_metrics
from umseg.reports.status import find_notices, find_runs, format_runs
from umseg.training.config.training_config import TrainingConfig, model_folder
from umseg.training.data.splits import Split, Splits
from umseg.training.watch.log import EpochLog, write_json_lines
from umseg.workspace import FINAL, LATEST, Workspace


def make_run(folder: Path, epochs: int, complete: bool = False) -> None:
    folder.mkdir(parents=True)
    TrainingConfig(epochs=5).save(folder / "config.json")
    if epochs:
        row = EpochLog(
            epoch=1, lr=0.01, train_loss=0, validation_loss=0, dice={"a": 0.5}, mean_dice=0.5, ema_dice=0.25, seconds=1,
            seconds_per_iteration=1,
        )  # fmt: skip
        write_json_lines(folder / "log.jsonl", [row.model_copy(update={"epoch": e + 1}) for e in range(epochs)])
        (folder / LATEST).touch()
        os.utime(folder / LATEST, (1000, 1000))
    if complete:
        (folder / FINAL).touch()


def test_nothing_trained(tmp_path: Path) -> None:
    assert format_runs(find_runs(Workspace(tmp_path))) == "Nothing has been trained yet."


def test_one_row_per_fold(tmp_path: Path) -> None:
    models = tmp_path / "models"
    make_run(models / "nnunet__2d" / "fold_0", 5, complete=True)
    make_run(models / "nnunet__2d" / "fold_1", 2)
    make_run(models / "umamba_bot__2d" / "fold_all", 0)
    make_run(models / "umamba_bot__3d_fullres" / "fold_all", 5, complete=True)
    (models / "stray").mkdir()
    table, _, commands = format_runs(find_runs(Workspace(tmp_path)), now=1000 + 7300).partition("\n\n")
    lines, resumed = table.splitlines(), commands.splitlines()[1:]
    assert [line.split()[:7] for line in lines[1:]] == [
        ["nnunet__2d", "0", "5/5", "0.500", "0.250", "-", "2"],
        ["nnunet__2d", "1", "2/5", "0.500", "0.250", "-", "2"],
        ["umamba_bot__2d", "all", "0/5", "-", "-", "-", "never"],
        ["umamba_bot__3d_fullres", "all", "5/5", "0.500", "0.250", "-", "2"],
    ]
    assert [line.split("  ")[-1].strip() for line in lines[1:]] == [
        "trained, validation not finished",
        "unfinished",
        "unfinished",
        "complete",
    ]
    assert len(resumed) == 3


def test_scores_of_the_validation_and_their_mean(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for fold, dsc in enumerate((0.5, 0.7)):
        folder = models / "nnunet__2d" / f"fold_{fold}"
        make_run(folder, 5, complete=True)
        write_metrics(make_metrics({"c": [(dsc, dsc)]}), folder / "validation")
    (only,) = [line for line in format_runs(find_runs(Workspace(tmp_path))).splitlines() if "mean" in line]
    rows = format_runs(find_runs(Workspace(tmp_path))).splitlines()
    assert "DSC 0.500" in rows[1]
    assert rows[1].endswith("complete")
    assert "DSC 0.700" in rows[2]
    assert only == "nnunet__2d: mean DSC over folds 0, 1 is 0.600."
    assert "To resume" not in "\n".join(rows)


def test_a_run_that_a_process_holds_is_running(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "nnunet__2d" / "fold_0"
    make_run(folder, 2)
    with claim(folder, "trains this fold"):
        text = format_runs(find_runs(Workspace(tmp_path)))
    assert f"running (process {os.getpid()} on " in text
    assert "To resume" not in text


def test_cases_in_no_fold_and_runs_with_other_cases_are_told(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    description = DatasetDescription(
        channel_names={"0": "MRI"}, labels={"background": 0, "a": 1}, numTraining=4, file_ending=".nii.gz"
    )
    cases = tuple(Case(id=name, images=(tmp_path / f"{name}.nii.gz",)) for name in "abcd")
    Dataset(name="d", folder=tmp_path, description=description, cases=cases).save(workspace.file(Dataset))
    Splits(folds=(Split(train=("a", "b"), validation=("c",)),), given=True).save(workspace.file(Splits))
    folder = tmp_path / "models" / "nnunet__2d" / "fold_0"
    make_run(folder, 2)
    Split(train=("a",), validation=("c",)).save(folder / "split.json")
    first, second = find_notices(workspace)
    assert first.startswith("1 of 4 cases are in no fold of")
    assert second == (
        "nnunet__2d, fold 0, was trained with other cases than this fold has now (training cases: 1 added (b))."
    )
    assert second in format_runs(find_runs(workspace), notices=[first, second])


def test_the_command_that_resumes_a_run_gives_its_options(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w" / "Dataset900_Blobs")
    config = TrainingConfig.from_options(
        {
            "model": "unetr",
            "configuration": "2d",
            "fold": 3,
            "epochs": 7,
            "patch_size": (16, 24),
            "mirror_axes": (),
            "lr": 2e-4,
            "compile": True,
        }
    )
    folder = model_folder(workspace, config, "b").fold(3)
    folder.path.mkdir(parents=True)
    config.save(folder.config_file)
    command = format_runs(find_runs(workspace)).splitlines()[-1].split()
    assert command == [
        "umseg", "train", "Dataset900_Blobs", "--workspace", str(tmp_path / "w"), "--model", "unetr", "--config", "2d",
        "--fold", "3", "--tag", "b", "--epochs", "7", "--lr", "0.0002", "--patch-size", "16,24", "--mirror-axes",
        "none", "--compile",
    ]  # fmt: skip


def test_values_that_a_run_recorded_are_not_repeated_in_its_command(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w" / "Dataset900_Blobs")
    config = TrainingConfig.from_options({"model": "nnunet", "epochs": 7}).resolved()
    folder = model_folder(workspace, config).fold(0)
    folder.path.mkdir(parents=True)
    config.save(folder.config_file)
    command = format_runs(find_runs(workspace)).splitlines()[-1].split()
    assert command[-4:] == ["--fold", "0", "--epochs", "7"]
