from __future__ import annotations

import os
from pathlib import Path

from umseg.reports.status import find_runs, format_runs
from umseg.training.config.training_config import TrainingConfig
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
    lines = format_runs(find_runs(Workspace(tmp_path)), now=1000 + 7300).splitlines()
    assert [line.split()[:7] for line in lines[1:]] == [
        ["nnunet__2d", "0", "5/5", "0.500", "0.250", "2", "h"],
        ["nnunet__2d", "1", "2/5", "0.500", "0.250", "2", "h"],
        ["umamba_bot__2d", "all", "0/5", "-", "-", "never", "unfinished:"],
    ]
    assert lines[1].endswith("complete")
    assert "umseg train" in lines[2]
