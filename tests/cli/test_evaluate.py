"""``umseg evaluate``: which metrics are computed, and what becomes of a misspelt one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner, Result

from umseg.cli.app import app
from umseg.evaluation.metrics.registry import METRICS


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    reference = np.zeros((4, 10, 10), np.uint8)
    reference[1:3, 2:6, 2:6] = 1
    for name, array in (("pred", np.roll(reference, 1, axis=2)), ("ref", reference)):
        (tmp_path / name).mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / name / "a.nii.gz"))
    return ["--predictions", str(tmp_path / "pred"), "--reference", str(tmp_path / "ref"), "--workers", "0", "--quiet"]


def evaluate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", *arguments])


def test_metrics_are_chosen_by_name(folders: list[str], tmp_path: Path) -> None:
    done = evaluate(*folders, "--metrics", "hd95, dsc")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0].split() == ["class", "cases", "HD95", "(mm)", "DSC"]
    with (tmp_path / "pred" / "metrics.csv").open(encoding="utf-8", newline="") as handle:
        (row,) = csv.DictReader(handle)
    assert (row["hd95"], row["dsc"]) == ("1.0", "0.75")


def test_a_misspelt_metric(folders: list[str], tmp_path: Path) -> None:
    done = evaluate(*folders, "--metrics", "dsc,asssd")
    assert done.exit_code == 2
    assert "Unknown metric 'asssd'" in done.output
    assert "Did you mean 'assd'?" in done.output
    assert not (tmp_path / "pred" / "metrics.json").exists()


def test_the_help_names_every_metric() -> None:
    text = CliRunner().invoke(app, ["evaluate", "--help"], terminal_width=200).output
    own = [name for name, metric in METRICS.items() if metric.function.__module__.startswith("umseg.")]
    assert len(own) == 14
    assert ", ".join(own) in " ".join(text.split())


def test_tolerances(folders: list[str], tmp_path: Path) -> None:
    labels = {"background": 0, "organ": 1, "cyst": 2}
    content = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    for text, expected in (("3", [3, 3]), ("1,2.5", [1, 2.5]), ("cyst=2.5", [1, 2.5]), ("cyst=2, organ=3", [3, 2])):
        done = evaluate(*folders, "--tolerance", text)
        assert done.exit_code == 0, done.output
        scores = json.loads((tmp_path / "pred" / "metrics.json").read_text())
        assert scores["tolerance"] == dict(zip(("organ", "cyst"), expected, strict=True))
    for text in ("1,cyst=2", "one", "cyst="):
        done = evaluate(*folders, "--tolerance", text)
        assert done.exit_code == 2
        assert "--tolerance" in done.output


def test_thresholds(folders: list[str], tmp_path: Path) -> None:
    done = evaluate(*folders, "--instances", "--iou", "0.5, 0.75,0.9")
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / "pred" / "metrics.json").read_text())
    assert [entry["threshold"] for entry in scores["thresholds"]] == [0.5, 0.75, 0.9]
    done = evaluate(*folders, "--instances", "--iou", "0.5;0.9")
    assert (done.exit_code, "not a list of numbers" in done.output) == (2, True)


@pytest.mark.parametrize("name", ["metrics.json", "metrics.csv"])
def test_what_umseg_did_not_write_is_kept(folders: list[str], tmp_path: Path, name: str) -> None:
    for _ in range(2):
        assert evaluate(*folders).exit_code == 0
    mine = tmp_path / "pred" / name
    mine.write_text("a;b\n1;2\n")
    done = evaluate(*folders)
    assert done.exit_code == 2
    assert "umseg did not write" in done.output
    assert mine.read_text() == "a;b\n1;2\n"
    assert evaluate(*folders, "--overwrite").exit_code == 0
    assert mine.read_text() != "a;b\n1;2\n"


def test_places_that_are_not_written(folders: list[str], tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    done = evaluate(*folders, "--output", str(tmp_path / "note.txt"))
    assert (done.exit_code, "is a file" in done.output) == (2, True)
    validation = tmp_path / "model" / "fold_0" / "validation"
    validation.mkdir(parents=True)
    (tmp_path / "model" / "model.json").write_text("{}")
    done = evaluate(*folders, "--output", str(validation))
    assert (done.exit_code, "a fold's validation" in done.output) == (2, True)
    assert not list(validation.iterdir())
