"""The package in examples/plugin, whose files are the recipes of CONTRIBUTING.md, does all that it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.blobs import LABELS, make_blobs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "examples" / "plugin"
DATASET = "Dataset951_Numpy"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the example."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PLUGIN, folder / "source")
    target = folder / "packages"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--target", str(target), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def dataset(installed: Path) -> Path:
    """Five images that are NumPy files."""
    folder = installed.parent / DATASET
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number in range(5):
        image, label = make_blobs(number)
        np.save(folder / "imagesTr" / f"blob_{number}_0000.npy", image)
        np.save(folder / "labelsTr" / f"blob_{number}.npy", label)
    description = {"channel_names": {"0": "MRI"}, "labels": LABELS, "numTraining": 5, "file_ending": ".npy"}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def umseg(installed: Path, *arguments: object, code: int = 0) -> str:
    """Run a command as somebody does who has installed the package."""
    path = os.pathsep.join([str(installed), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "umseg", *map(str, arguments)],
        cwd=installed.parent,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def planned(installed: Path, dataset: Path) -> Path:
    umseg(installed, "plan", dataset, "--preset", "cpu", "--config", "3d_fullres", "--workers", 0, "--quiet")
    return installed.parent / "umseg-workspace" / DATASET


@pytest.fixture(scope="module")
def model(installed: Path, planned: Path) -> Path:
    """A model trained with the network, the loss, the optimiser and the transform of the package."""
    umseg(
        *(installed, "train", DATASET, "--model", "slim_unet", "--loss", "tversky_ce", "--optimizer", "nadam"),
        *("--transforms", "umamba,shade", "--epochs", 1, "--iterations", 3, "--workers", 1, "--quiet"),
        *("--device", "cpu"),
    )
    return planned / "models" / "slim_unet__3d_fullres"


def test_help_lists_what_the_package_adds(installed: Path) -> None:
    text = umseg(installed, "train", "--help")
    for name in ("slim_unet", "chain", "tversky_ce (Tversky index plus", "nadam (Adam with Nesterov"):
        assert re.search(re.escape(name).replace("\\ ", r"\s+"), text), name
    assert "volume_similarity" in umseg(installed, "evaluate", "--help")


def test_a_data_set_of_its_format_trains_predicts_and_scores(installed: Path, dataset: Path, model: Path) -> None:
    config = json.loads((model / "fold_0" / "config.json").read_text())
    assert [config[key] for key in ("model", "loss", "optimizer", "transforms")] == [
        *("slim_unet", "tversky_ce", "nadam", "umamba,shade"),
    ]
    output = installed.parent / "predictions"
    umseg(installed, "predict", "--model", model, "--input", dataset / "imagesTr", "--output", output, "--quiet")
    label_map = np.load(output / "blob_0.npy", allow_pickle=False)
    assert label_map.shape == make_blobs(0)[1].shape
    assert label_map.dtype == np.uint8
    table = umseg(
        *(installed, "evaluate", "--predictions", output, "--reference", dataset / "labelsTr", "--workers", 1),
        *("--metrics", "dsc,volume_similarity", "--quiet"),
    )
    assert "VS" in table
    scores = json.loads((output / "metrics.json").read_text())["cases"][0]["classes"]["left blob"]["scores"]
    predicted, reference = ((array == 1).sum() for array in (label_map, make_blobs(0)[1]))
    assert scores["volume_similarity"] == pytest.approx(1 - abs(predicted - reference) / (predicted + reference))


def test_the_other_network_trains_with_its_own_settings(installed: Path, planned: Path) -> None:
    umseg(
        *(installed, "train", DATASET, "--model", "chain", "--epochs", 1, "--iterations", 1, "--workers", 0),
        *("--no-validate", "--quiet", "--device", "cpu"),
    )
    fold = planned / "models" / "chain__3d_fullres" / "fold_0"
    assert (fold / "weights_final.safetensors").exists()
    assert json.loads((fold / "config.json").read_text())["optimizer"] == "adamw"


def test_networks_are_listed_with_their_memory(installed: Path, planned: Path) -> None:
    lines = umseg(installed, "models", DATASET).splitlines()
    for name in ("slim_unet", "chain"):
        table_row, origin = (line for line in lines if line.startswith(f"{name} "))
        assert "GB" in table_row
        assert "the example package" in origin


def test_a_damaged_file_of_its_format_is_named(installed: Path, dataset: Path) -> None:
    spoilt = shutil.copytree(dataset, installed.parent / "Dataset952_Spoilt")
    file = spoilt / "imagesTr" / "blob_0_0000.npy"
    file.write_bytes(file.read_bytes()[:500])
    text = umseg(installed, "plan", spoilt, "--workers", 0, "--quiet", code=2)
    assert "blob_0" in text
    assert "Traceback" not in text


def test_recipes_are_the_files_of_the_package() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"<!-- (examples/plugin/\S+) -->\n```python\n(.*?)```", text, flags=re.DOTALL))
    files = {path for path in (PLUGIN / "umseg_example").glob("*.py") if path.name != "__init__.py"}
    assert {ROOT / name for name in shown} == files
    for name, code in shown.items():
        assert code == (ROOT / name).read_text(encoding="utf-8"), name
    declared = (PLUGIN / "pyproject.toml").read_text(encoding="utf-8")
    entries = re.findall(r"Entry point: `(\[.*?\])` `(.*?)`", text)
    assert len(entries) == len(files) == 7
    assert all(group in declared and line in declared for group, line in entries)
