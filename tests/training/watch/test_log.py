from __future__ import annotations

import csv
import struct
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from umseg.common.errors import UserError
from umseg.training.watch.log import (
    EpochLog,
    draw_progress,
    epoch_line,
    unlearned_classes,
    write_json_lines,
    write_log_table,
)


def make_row(epoch: int, **fields: Any) -> EpochLog:
    content: dict[str, Any] = {
        "epoch": epoch,
        "lr": 0.01 / epoch,
        "train_loss": -0.123456789,
        "validation_loss": 1 / 3,
        "dice": {"organ": 0.5, "tumour": None},
        "mean_dice": 0.5,
        "ema_dice": 0.5,
        "seconds": 12.5,
        "seconds_per_iteration": 0.05,
        **fields,
    }
    return EpochLog(**content)


def test_csv(tmp_path: Path) -> None:
    write_log_table(tmp_path / "log.csv", [make_row(1), make_row(2, dice={"organ": 0.25, "tumour": 1.0})])
    assert (tmp_path / "log.csv").read_text().splitlines() == [
        "epoch,lr,train_loss,validation_loss,mean_dice,ema_dice,seconds,seconds_per_iteration,skipped_steps,"
        "dice_organ,dice_tumour",
        "1,0.01,-0.123457,0.333333,0.5,0.5,12.5,0.05,0,0.5,",
        "2,0.005,-0.123457,0.333333,0.5,0.5,12.5,0.05,0,0.25,1",
    ]


def test_csv_of_awkward_class_names(tmp_path: Path) -> None:
    name = 'left, "dorsal"'
    write_log_table(tmp_path / "log.csv", [make_row(1, dice={name: 0.5})])
    with (tmp_path / "log.csv").open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert row[f"dice_{name}"] == "0.5"


def test_csv_without_epochs_is_a_header(tmp_path: Path) -> None:
    write_log_table(tmp_path / "log.csv", [])
    assert (tmp_path / "log.csv").read_text().startswith("epoch,lr,")


def test_picture_is_a_png_that_shows_something(tmp_path: Path) -> None:
    draw_progress(tmp_path / "progress.png", [make_row(1), make_row(2)], "umamba_enc", "dice_ce")
    content = (tmp_path / "progress.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (900, 1000)
    picture = matplotlib.image.imread(tmp_path / "progress.png")
    assert 0.01 < np.mean(picture[..., :3].min(axis=-1) < 0.9) < 0.5


@pytest.mark.parametrize("name", [r"a $\frac$ b", "x_1", "50 % {"])
def test_picture_of_awkward_class_names(tmp_path: Path, name: str) -> None:
    draw_progress(tmp_path / "progress.png", [make_row(1, dice={name: 0.5})], "umamba_enc", "dice_ce")
    assert (tmp_path / "progress.png").stat().st_size > 10_000


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress.png"
    draw_progress(path, [make_row(1)], "umamba_enc", "dice_ce")
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(UserError, match="disk is full"):
        draw_progress(path, [make_row(1), make_row(2)], "umamba_enc", "dice_ce")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_json_lines(tmp_path: Path) -> None:
    rows = [make_row(1), make_row(2)]
    write_json_lines(tmp_path / "log.jsonl", rows)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [EpochLog.model_validate_json(line) for line in lines] == rows


def test_classes_that_are_never_found_are_named_seldom() -> None:
    rows = [make_row(epoch, dice={"organ": 0.5 if epoch == 3 else 0.0, "tumour": None}) for epoch in range(1, 81)]
    named = {epoch: unlearned_classes(rows[:epoch]) for epoch in range(1, 81)}
    assert {epoch for epoch, names in named.items() if names} == {10, 20, 40, 80}
    assert all(names in ([], ["tumour"]) for names in named.values())


def test_an_epoch_in_a_line() -> None:
    assert epoch_line(make_row(3, skipped_steps=1, seconds=60.0), 10) == (
        "Epoch 3/10: loss -0.123, validation loss 0.333, Dice 0.500, 60 s, 1 step skipped, about 7 min to go"
    )
    assert epoch_line(make_row(10), 10).endswith("Dice 0.500, 12 s")


def test_the_names_of_many_classes_stand_below_the_curves(tmp_path: Path) -> None:
    many = {f"gyrus number {number}": number / 118 for number in range(118)}
    draw_progress(tmp_path / "progress.png", [make_row(1, dice=many), make_row(2, dice=many)], "umamba_enc", "dice_ce")
    picture = matplotlib.image.imread(tmp_path / "progress.png")
    assert picture.shape[1] == 900
    assert picture.shape[0] > 1300
