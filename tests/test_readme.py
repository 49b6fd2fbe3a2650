"""The README is true: its commands run, in order, in one folder, on a small data set that stands for the user's."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.blobs import SHAPE, write_blobs
from tests.dataset.convert.test_instances import add as write_picture
from tests.dataset.convert.test_instances import colour, instances
from tests.dataset.convert.test_msd import write_task
from tests.workflows.test_import_model import write_results
from umseg.cli.app import app
from umseg.workflows import demo

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Long trainings are cut short; everything else runs as it stands.
SHORTER = {"train": ["--epochs", "1", "--iterations", "2", "--workers", "0"]}


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


def commands() -> list[list[str]]:
    return [shlex.split(line) for block in blocks("bash") for line in block.splitlines() if line.strip()]


def test_every_command_is_one_that_is_tested() -> None:
    assert {command[0] for command in commands()} == {"umseg", "make", "pip", "torchrun"}
    verbs = [command[1] for command in commands() if command[0] == "umseg"]
    data, networks = {"convert", "plan", "inspect"}, {"models", "import", "train", "status"}
    assert set(verbs) == data | networks | {"predict", "evaluate", "compare", "report", "demo", "doctor"} | {
        "best",
        "export",
    }


def test_make_targets_exist() -> None:
    for command in commands():
        if command[0] == "make":
            done = subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


def test_extras_exist() -> None:
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = set(re.findall(r'"\.\[(\w+)\]"', README))
    assert named == {"baselines", "batchgenerators", "cuda", "demo", "dev", "hub", "onnx", "tensorboard"}
    for extra in named:
        assert re.search(rf"^{extra} = \[", declared, flags=re.MULTILINE)


def test_umseg_commands_and_python_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nilearn", reason="the extra 'demo' is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "CONFIG", demo.CONFIG.model_copy(update={"epochs": 1, "iterations": 1}))
    write_blobs(Path("data/Dataset004_Hippocampus"), num_cases=5)
    write_blobs(Path("test_set"), num_cases=2)
    for part in ("images", "labels"):
        Path("test_set", f"{part}Tr").rename(Path("data/Dataset004_Hippocampus", f"{part}Ts"))
    write_task(Path("downloads/Task09_Spleen"))
    for number in range(3):
        write_picture(Path("downloads/nuclei"), f"cell_{number}", colour(number), instances(0, 7, 300))
    write_results(Path("nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres"))
    for command in commands():
        if command[0] == "umseg":
            arguments = [*command[1:], *SHORTER.get(command[1], []), "--quiet"]
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception!r}"
        elif command[0] == "torchrun":
            starter = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            arguments = [*starter, *command[1:], *SHORTER["train"], "--quiet"]
            done = subprocess.run(arguments, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode()
    assert Path("umseg-demo/overlays.png").exists()
    assert Path("predictions/metrics.csv").exists()
    tree = next(block for block in blocks("") if block.startswith("umseg-workspace"))
    for shown in re.findall(r"[\w/]+\.(?:json|safetensors|csv|png)", tree):
        assert list(Path("umseg-workspace").rglob(shown)), shown
    (code,) = blocks("python")
    names: dict[str, Any] = {"image": np.zeros((1, *SHAPE), np.float32)}
    exec(code, names)
    assert np.shape(names["label_map"]) == SHAPE
