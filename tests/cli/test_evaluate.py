"""``umseg evaluate``: which metrics are computed, and what becomes of a misspelt one."""

from __future__ import annotations

import csv
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
    done = evaluate(*folders, "--metrics", "dsc,asd")
    assert done.exit_code == 2
    assert "Unknown metric 'asd'" in done.output
    assert "Did you mean 'assd'?" in done.output
    assert not (tmp_path / "pred" / "metrics.json").exists()


def test_the_help_names_every_metric() -> None:
    text = CliRunner().invoke(app, ["evaluate", "--help"], terminal_width=200).output
    own = [name for name, metric in METRICS.items() if metric.function.__module__.startswith("umseg.")]
    assert len(own) == 8
    assert ", ".join(own) in " ".join(text.split())
