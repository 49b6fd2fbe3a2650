"""Workspaces and models that an earlier release made still work: tools/record_workspace.py recorded one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from safetensors.numpy import load_file

from umseg.evaluation import Metrics, load_metrics
from umseg.planning import Plan
from umseg.preprocess import CaseStore

RECORDED = Path(__file__).resolve().parent / "golden" / "workspace_0_1"
RUNS: dict[str, dict[str, list[str]]] = json.loads((RECORDED / "expected.json").read_text())["runs"]
COMPLETE = [name for name, run in RUNS.items() if not run["first"]]
DATASET = "Dataset950_Blobs"
SCORED: dict[str, tuple[str, ...]] = {"scores": (), "object_scores": ("--instances", "--iou", "0.3")}
"""Recorded scores of the same label maps, and how they were made."""

OTHER_VOXELS = 0.002
"""Share of the voxels that another processor or release of torch may decide otherwise."""

RTOL, ATOL = 1e-4, 1e-5
"""By how much weights may differ there; AVX2 instead of AVX-512, or two threads, changes them by less than 1e-6."""


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A copy of what was recorded, in which paths are those of the copy."""
    folder = shutil.copytree(RECORDED, tmp_path / "recorded")
    document = folder / "workspaces" / DATASET / "dataset.json"
    place = json.dumps(str(folder))[1:-1]
    document.write_text(document.read_text(encoding="utf-8").replace("/recorded", place), encoding="utf-8")
    return folder


def umseg(*arguments: object) -> str:
    """Run a command as a user does; what it prints."""
    command = [sys.executable, "-m", "umseg", *map(str, arguments), "--quiet"]
    root = Path(__file__).resolve().parents[1]
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def model_folder(recorded: Path, name: str) -> Path:
    return recorded / "workspaces" / DATASET / "models" / f"{name}__3d_fullres"


def numbers(document: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a JSON document, and where it stands."""
    if isinstance(document, (int, float)) and not isinstance(document, bool):
        yield path, document
    elif isinstance(document, (dict, list)):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from numbers(value, f"{path}/{key}")


def test_documents_of_the_workspace_are_read(recorded: Path) -> None:
    workspace = recorded / "workspaces" / DATASET
    plan = Plan.load(workspace / "plan.json", "plan again")
    assert plan.configuration("3d_fullres").patch_size == (8, 16, 16)
    store = CaseStore(workspace / "preprocessed" / "3d_fullres")
    assert store.case_ids() == tuple(f"blob_{number}" for number in range(6))
    store.verify(store.case_ids(), quiet=True)
    case = store.open("blob_0")
    assert case.data.shape == (1, 12, 20, 16)
    assert set(case.class_locations) == {1, 2}


def test_status_lists_the_runs(recorded: Path) -> None:
    _, nnunet, bottleneck, stopped, *_ = umseg("status", DATASET, "--workspace", recorded / "workspaces").splitlines()
    assert nnunet.split()[:3] == ["nnunet__3d_fullres", "0", "2/2"]
    assert bottleneck.split()[:3] == ["umamba_bot__3d_fullres", "0", "2/2"]
    assert "complete" in nnunet
    assert stopped.split()[:3] == ["umamba_enc-ssm-residual__3d_fullres", "0", "0/2"]
    assert "unfinished" in stopped


@pytest.mark.parametrize("name", COMPLETE)
def test_model_predicts_the_same(recorded: Path, tmp_path: Path, name: str) -> None:
    umseg(
        *("predict", "--model", model_folder(recorded, name), "--input", recorded / DATASET / "imagesTr"),
        *("--output", tmp_path / "out", "--device", "cpu", "--precision", "fp32"),
    )
    for path in sorted((recorded / "expected" / "predictions" / name).glob("*.nii.gz")):
        before, now = (sitk.ReadImage(str(folder / path.name)) for folder in (path.parent, tmp_path / "out"))
        assert now.GetSpacing() == before.GetSpacing()
        assert now.GetOrigin() == before.GetOrigin()
        differ = sitk.GetArrayFromImage(before) != sitk.GetArrayFromImage(now)
        assert differ.mean() <= OTHER_VOXELS, path.name


@pytest.mark.parametrize("kind", SCORED)
def test_label_maps_score_the_same(recorded: Path, tmp_path: Path, kind: str) -> None:
    umseg(
        *("evaluate", "--predictions", recorded / "expected" / "predictions" / "umamba_bot", "--workers", 0),
        *("--reference", recorded / DATASET / "labelsTr", "--output", tmp_path / "scores", *SCORED[kind]),
    )
    files = (recorded / "expected" / kind / "metrics.json", tmp_path / "scores" / "metrics.json")
    before, now = (dict(numbers(load_metrics(file).model_dump(mode="json"))) for file in files)
    assert len(before) > 50
    # Newer versions may say more.
    kept = {path: now.get(path) for path in before}
    assert kept == {path: pytest.approx(value, rel=1e-9) for path, value in before.items()}


@pytest.mark.parametrize("kind", SCORED)
def test_scores_are_read(kind: str) -> None:
    metrics = load_metrics(RECORDED / "expected" / kind / "metrics.json")
    assert [case.case for case in metrics.cases] == [f"blob_{number}" for number in range(6)]


@pytest.mark.parametrize("name", COMPLETE)
def test_scores_of_a_fold_are_read(name: str) -> None:
    metrics = load_metrics(model_folder(RECORDED, name) / "fold_0" / "validation" / "metrics.json")
    assert isinstance(metrics, Metrics)
    assert len(metrics.cases) == 2
    assert all(0 <= case.scores["dsc"] <= 1 for case in metrics.cases)


@pytest.mark.parametrize("name", RUNS)
def test_training_goes_on(recorded: Path, name: str) -> None:
    run = RUNS[name]
    umseg(
        *("train", DATASET, "--workspace", recorded / "workspaces", "--device", "cpu", "--workers", 0),
        *(*run["options"], *run["more"], "--no-validate"),
    )
    fold = model_folder(recorded, name) / "fold_0"
    epochs = [json.loads(line)["epoch"] for line in (fold / "log.jsonl").read_text().splitlines()]
    assert epochs == ([1, 2, 3] if run["more"] else [1, 2])
    now = load_file(fold / "weights_final.safetensors")
    before = load_file(recorded / "expected" / "continued" / f"{name}.safetensors")
    assert set(now) == set(before)
    for key, weights in before.items():
        np.testing.assert_allclose(now[key], weights, rtol=RTOL, atol=ATOL, err_msg=key)
