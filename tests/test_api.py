"""``import umseg``: four verbs, found on first use."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import umseg
from tests.blobs import write_blobs

ROOMS = ["dataset", "planning", "preprocess", "models", "training", "inference", "evaluation"]


def test_importing_is_light_and_every_name_is_found() -> None:
    code = (
        "import sys, umseg\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "assert dir(umseg) == ['Predictor', 'TrainingConfig', 'Workspace', 'evaluate', 'plan', 'show', 'train']\n"
        "from umseg.training.loop.run import train\n"
        "assert umseg.train is train\n"
        "assert callable(umseg.plan) and callable(umseg.evaluate) and callable(umseg.Predictor)\n"
        "assert umseg.__version__"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_of_a_room_is_found(room: str) -> None:
    package = import_module(f"umseg.{room}")
    assert package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="gone"):
        _ = package.gone


def test_the_four_verbs(tmp_path: Path) -> None:
    data = write_blobs(tmp_path / "Dataset905_Verbs", num_cases=5)
    workspace = umseg.plan(str(data), tmp_path / "w", configurations=["2d"], quiet=True)
    assert workspace.folder == tmp_path / "w" / "Dataset905_Verbs"
    config = umseg.TrainingConfig(model="nnunet", configuration="2d", epochs=1, iterations=1, precision="fp32")
    fold = umseg.train(workspace, config, device="cpu", quiet=True)
    predictor = umseg.Predictor(fold.parent, "cpu")
    label_map = predictor.predict(np.zeros((1, 8, 16, 16), np.float32), (1.0, 1.0, 1.0))
    assert label_map.shape == (8, 16, 16)
    scores = umseg.evaluate(str(data / "labelsTr"), data / "labelsTr", quiet=True)
    assert len(scores.cases) == 5


def test_stubs_are_shipped() -> None:
    """The names are read from the stubs when the package is imported, so that a wheel without them is useless."""
    pyproject = Path(umseg.__file__).parents[1] / "pyproject.toml"
    if not pyproject.exists():
        pytest.skip("not a checkout")
    text = pyproject.read_text()
    assert '"*" = ["*.pyi"]' in text
    assert all((Path(umseg.__file__).parent / room / "__init__.pyi").exists() for room in ROOMS)
