"""Regions, an ignore label and instances: each is planned, trained, validated, predicted and evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from typer.testing import CliRunner

from tests.blobs import write_blobs
from umseg.cli.app import app
from umseg.dataset.io.images import read_label, write_label
from umseg.evaluation import InstanceMetrics, Metrics
from umseg.evaluation.records import load_metrics
from umseg.inference.postprocessing.instances import Postprocessing

SHORT = (
    "--model nnunet --optimizer adamw --lr 3e-3 --epochs 2 --iterations 20 --workers 0 --device cpu --precision fp32"
)


def umseg(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*(str(argument) for argument in arguments), "--quiet"])
    assert done.exit_code == 0, done.output
    return done.output


def whole_job(
    dataset: Path, root: Path, configuration: str
) -> tuple[Metrics | InstanceMetrics, Metrics | InstanceMetrics, Path]:
    """Scores of the validation, scores of the predicted training images, and the predictions."""
    umseg(
        "plan",
        dataset,
        "--workspace",
        root / "w",
        "--workers",
        0,
        "--batch-size",
        2,
        "--preset",
        "cpu",
        "--config",
        configuration,
    )
    trained = umseg("train", dataset, "--workspace", root / "w", *SHORT.split())
    (model,) = (Path(line.removeprefix("Model: ")) for line in trained.splitlines() if line.startswith("Model: "))
    predictions = root / "predictions"
    umseg("predict", "--model", model, "--input", dataset / "imagesTr", "--output", predictions, "--device", "cpu")
    table = umseg("evaluate", "--predictions", predictions, "--reference", dataset / "labelsTr", "--workers", 0)
    assert table.splitlines()[0] in trained
    return (
        load_metrics(model / "fold_0" / "validation" / "metrics.json"),
        load_metrics(predictions / "metrics.json"),
        predictions,
    )


def change_labels(dataset: Path, **fields: Any) -> None:
    path = dataset / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_regions(tmp_path: Path) -> None:
    dataset = write_blobs(tmp_path / "Dataset905_Regions", num_cases=5)
    labels = {"background": 0, "any": [1, 2], "right": 2}
    change_labels(dataset, labels=labels, regions_class_order=[1, 2])
    validation, metrics, predictions = whole_job(dataset, tmp_path, "3d_fullres")
    assert isinstance(validation, Metrics)
    assert isinstance(metrics, Metrics)
    assert metrics.labels == {"any": (1, 2), "right": 2}
    assert len(validation.cases) == 1
    assert metrics.classes["any"].scores["dsc"].mean > 0.5
    assert metrics.classes["right"].scores["dsc"].mean > 0.5
    values = {int(value) for path in predictions.glob("*.nii.gz") for value in np.unique(read_label(path).array)}
    assert values == {0, 1, 2}


def test_ignore_label(tmp_path: Path) -> None:
    """Every second slice is annotated, and what is wrong in the others does not matter."""
    dataset = write_blobs(tmp_path / "Dataset906_Ignore", num_cases=5)
    change_labels(dataset, labels={"background": 0, "left": 1, "right": 2, "ignore": 3})
    for path in (dataset / "labelsTr").iterdir():
        label = read_label(path)
        array = label.array.copy()
        array[::2] = 3
        write_label(path, array, label.geometry)
    validation, metrics, predictions = whole_job(dataset, tmp_path, "3d_fullres")
    assert isinstance(validation, Metrics)
    assert isinstance(metrics, Metrics)
    assert (validation.ignore_label, metrics.ignore_label) == (3, 3)
    assert metrics.foreground_mean.scores["dsc"].mean > 0.5
    values = {int(value) for path in predictions.glob("*.nii.gz") for value in np.unique(read_label(path).array)}
    assert values == {0, 1, 2}


def write_discs(folder: Path, num_cases: int) -> Path:
    """Pictures of bright discs in noise, some of them touching; the maps number them in any way."""
    generator = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    y, x = np.indices((48, 64))
    for number in range(num_cases):
        instances = np.zeros((48, 64), np.uint16)
        for value, (row, column) in zip(generator.permutation(1000), np.ndindex(3, 4), strict=False):
            centre = 16 * row + 8 + generator.integers(-1, 2), 16 * column + 8 + generator.integers(-1, 2)
            instances[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 50] = value + 1
        image = (generator.normal(60, 8, instances.shape) + 120 * (instances > 0)).clip(0, 255).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "imagesTr" / f"discs_{number}_0000.png"))
        sitk.WriteImage(sitk.GetImageFromArray(instances), str(folder / "labelsTr" / f"discs_{number}.png"))
    description = {
        "channel_names": {"0": "grey"},
        "labels": {"background": 0, "disc": 1},
        "task": "instance",
        "numTraining": num_cases,
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def test_instances(tmp_path: Path) -> None:
    dataset = write_discs(tmp_path / "Dataset907_Discs", num_cases=5)
    validation, metrics, predictions = whole_job(dataset, tmp_path, "2d")
    assert isinstance(validation, InstanceMetrics)
    assert isinstance(metrics, InstanceMetrics)
    assert (metrics.object_name, len(metrics.cases), len(validation.cases)) == ("disc", 5, 1)
    assert metrics.total.TP + metrics.total.FN == 60
    assert metrics.total.F1 > 0.5
    found = read_label(predictions / "discs_0.png").array
    assert found.max() > 2, "the numbers of objects, not of classes"
    (file,) = tmp_path.glob("w/*/models/*/fold_0/postprocessing.json")
    assert validation.F1.mean == Postprocessing.load(file, "").F1_after
    assert "Post-processing: " in (file.parent / "log.txt").read_text()
