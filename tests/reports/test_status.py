from __future__ import annotations

import os
from pathlib import Path

from umseg.reports.status import find_runs, format_runs
from umseg.training.config.training_config import TrainingConfig, model_folder
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
    (models / "stray").mkdir()
    table, _, commands = format_runs(find_runs(Workspace(tmp_path)), now=1000 + 7300).partition("\n\n")
    lines, resumed = table.splitlines(), commands.splitlines()[1:]
    assert [line.split()[:7] for line in lines[1:]] == [
        ["nnunet__2d", "0", "5/5", "0.500", "0.250", "2", "h"],
        ["nnunet__2d", "1", "2/5", "0.500", "0.250", "2", "h"],
        ["umamba_bot__2d", "all", "0/5", "-", "-", "never", "unfinished"],
    ]
    assert lines[1].endswith("complete")
    assert lines[2].endswith("unfinished")
    assert len(resumed) == 2


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
