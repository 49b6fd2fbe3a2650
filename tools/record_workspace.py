"""Record a small trained workspace and what is computed from it, for tests/test_compatibility.py.

Workspaces and models that one release made must work with the next. This makes them with the command line of the code
beside it, on synthetic images (tests/blobs.py)::

    python tools/record_workspace.py tests/golden/workspace_0_1

Run it once per release that changes a file format, into a new folder, and never into an old one.

The folder holds the data set, ``workspaces/`` as ``umseg plan`` and ``umseg train`` left it (without pictures), and
under ``expected/`` what the same code made of it: the label maps of ``umseg predict``, the scores of ``umseg evaluate``
and the weights after the trainings went on. ``expected.json`` names the options of the trainings.

Two things are changed by hand. ``plan.json`` gets networks of a few channels, so that the folder stays small; and the
absolute paths in ``dataset.json`` of the workspace start with ``/recorded``, which the test replaces.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
PLACE = "/recorded"
DATASET = "Dataset950_Blobs"
FEATURES = (4, 6, 8, 8, 8, 8)

# Without augmentation, whose random stream may change from release to release.
SHORT = ("--epochs", "2", "--iterations", "12", "--seed", "0", "--precision", "fp32", "--augmentation", "none")
RUNS: dict[str, dict[str, tuple[str, ...]]] = {
    "nnunet": {"options": ("--model", "nnunet", *SHORT), "first": (), "more": ("--epochs", "3")},
    # Muon and AdamW side by side, and an average of the weights.
    "umamba_bot": {
        "options": ("--model", "umamba_bot", "--recipe", "quick", "--warmup", "2", "--ema", "0.9", *SHORT),
        "first": (),
        "more": ("--epochs", "3"),
    },
    # Stopped in the middle of its first epoch.
    "umamba_enc-ssm-residual": {
        "options": ("--model", "umamba_enc", "--ssm-residual", "--optimizer", "adamw", *SHORT),
        "first": ("--max-time", "0:0:0"),
        "more": (),
    },
}
"""Model folder to the options of its training, those that were only given at first, and those that continue it."""


def umseg(*arguments: object) -> None:
    """Run a command of the code beside this script; options that come later win."""
    command = [sys.executable, "-m", "umseg", *map(str, arguments), "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True)


def train(workspaces: Path, *options: str) -> None:
    """Begin or continue a training."""
    umseg("train", DATASET, "--workspace", workspaces, "--device", "cpu", "--workers", 0, *options)


def record(folder: Path) -> None:
    """Make everything in a new folder."""
    from tests.blobs import write_blobs

    folder.mkdir(parents=True)
    raw, workspaces, expected = write_blobs(folder / DATASET, 6), folder / "workspaces", folder / "expected"
    umseg(
        *("plan", raw, "--workspace", workspaces, "--preset", "cpu", "--config", "3d_fullres"),
        *("--patch-size", "8,16,16", "--batch-size", 2, "--workers", 0),
    )
    make_small(workspaces / DATASET / "plan.json")
    for run in RUNS.values():
        train(workspaces, *run["options"], *run["first"])
    for name in (name for name, run in RUNS.items() if not run["first"]):
        predict(folder, name)
    predictions = expected / "predictions" / "umamba_bot"
    for name, options in (("scores", ()), ("object_scores", ("--instances", "--iou", "0.3"))):
        umseg(
            *("evaluate", "--predictions", predictions, "--reference", raw / "labelsTr", "--workers", 0),
            *("--output", expected / name, *options),
        )
        (expected / name / "metrics.csv").unlink()
    for name in RUNS:
        continue_copy(folder, name)
    made_by = {"torch": torch.__version__, "cpu": [platform.machine(), torch.backends.cpu.get_cpu_capability()]}
    (folder / "expected.json").write_text(json.dumps({**made_by, "runs": RUNS}, indent=2) + "\n")
    tidy(folder)


def make_small(plan: Path) -> None:
    """Give the networks of a plan a few channels."""
    content = json.loads(plan.read_text())
    for configuration in content["configurations"].values():
        configuration["features_per_stage"] = FEATURES[: len(configuration["features_per_stage"])]
    plan.write_text(json.dumps(content, indent=2) + "\n")


def predict(folder: Path, name: str) -> None:
    """Segment all images with a model."""
    umseg(
        *("predict", "--model", folder / "workspaces" / DATASET / "models" / f"{name}__3d_fullres"),
        *("--input", folder / DATASET / "imagesTr", "--output", folder / "expected" / "predictions" / name),
        *("--device", "cpu", "--precision", "fp32"),
    )


def continue_copy(folder: Path, name: str) -> None:
    """Continue a training in a copy of the workspaces and keep its weights."""
    copy = folder / "copy"
    shutil.copytree(folder / "workspaces", copy)
    train(copy, *RUNS[name]["options"], *RUNS[name]["more"], "--no-validate")
    weights = copy / DATASET / "models" / f"{name}__3d_fullres" / "fold_0" / "weights_final.safetensors"
    target = folder / "expected" / "continued"
    target.mkdir(exist_ok=True)
    shutil.copy(weights, target / f"{name}.safetensors")
    shutil.rmtree(copy)


def tidy(folder: Path) -> None:
    """Leave out pictures; replace the folder's own path where it is written down."""
    for picture in folder.rglob("*.png"):
        picture.unlink()
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if str(folder.resolve()).encode() in content:
            print("absolute paths in", path.relative_to(folder))
            path.write_bytes(content.replace(str(folder.resolve()).encode(), PLACE.encode()))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    record(Path(sys.argv[1]).resolve())
