"""The exported folder in a process that has numpy and onnxruntime, but neither umseg nor anything that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.inference.standalone.cards import make_card, save_model
from tests.inference.standalone.test_equal import KINDS, OBJECTS, make_image
from umseg.common.files import write_text
from umseg.inference import Predictor
from umseg.inference.runtimes.export import export_onnx
from umseg.inference.standalone import command

# nibabel's functions carry no annotations.
# mypy: disable-error-code="no-untyped-call"

ALLOWED = ("numpy", "onnxruntime", "umseg_standalone")

# Everything that is installed is hidden, except for what the exported folder may need; coloredlogs and the like are
# optional for onnxruntime.
BLOCKER = f"""
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {ALLOWED!r} and top not in sys.stdlib_module_names:
            raise ImportError(name + " is not installed here")
sys.meta_path.insert(0, Blocker())
program = sys.argv[1]
sys.argv = sys.argv[1:]
sys.path[0] = program.rpartition("/")[0]
runpy.run_path(program, run_name="__main__")
"""


def run_alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the exported program in a process of its own, outside of the repository."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKER, (folder / "predict.py").as_posix(), *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    voxels = make_image(shape=(9, 13, 12))[0]
    affine = np.array([[0, -1.1, 0, 3], [0.8, 0, 0, 4], [0, 0, -2.5, 5], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(voxels.T, affine), tmp_path / "image.nii.gz")
    return tmp_path / "image.nii.gz"


def test_label_maps_are_umsegs_without_umseg(tmp_path: Path, image: Path) -> None:
    card = make_card(**KINDS["thick slices"], order=(1, 0, 2), normalization_schemes=("ZScoreNormalization",))
    model = save_model(card.model_copy(update={"orientation": "LPS"}), tmp_path / "model")
    export_onnx(model, tmp_path / "out")
    done = run_alone(tmp_path / "out", str(image), "--output", "labels.nii.gz", "--threads", "1")
    assert done.returncode == 0, done.stderr
    Predictor(model, "cpu", precision="fp32").predict_files(image, tmp_path / "expected", quiet=True)
    found: Any = nibabel.load(tmp_path / "out" / "labels.nii.gz")
    expected: Any = nibabel.load(tmp_path / "expected" / "image.nii.gz")
    assert len(np.unique(expected.dataobj)) > 1, "a constant label map shows nothing"
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))
    np.testing.assert_array_equal(found.affine, expected.affine)


def test_the_copy_imports_nothing_of_umseg() -> None:
    for source in Path(command.__file__).parent.glob("*.py"):
        for line in source.read_text().splitlines():
            assert not line.strip().startswith(("import umseg", "from umseg")), source


def test_arrays_of_several_folds_and_channels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = make_card(description=OBJECTS, channels=2, dimensions=2)
    model = save_model(card, tmp_path / "model")
    (model / "fold_0").rename(model / "fold_1")
    save_model(card, model)
    choice = '{"schema_version": 1, "smallest": 4, "fill_holes": true, "cases": 2, "F1_before": 0.5, "F1_after": 0.6}'
    for fold in ("0", "1"):
        write_text(model / f"fold_{fold}" / "postprocessing.json", choice)
    image = make_image(2, (1, 20, 17))
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", image[number, 0])
    export_onnx(model, tmp_path / "out")
    files = [str(tmp_path / f"{number}.npy") for number in range(2)]
    code = command.main(tmp_path / "out", [*files, "--spacing", "1", "0.7", "0.9", "--output", str(tmp_path / "l.npy")])
    assert code == 0, capsys.readouterr().err
    expected = Predictor(model, "cpu", precision="fp32").predict(image, (1, 0.7, 0.9))
    assert expected.max() > 1
    np.testing.assert_array_equal(np.load(tmp_path / "l.npy"), expected)
    np.save(tmp_path / "both.npy", image)
    together = [str(tmp_path / "both.npy"), "--spacing", "1", "0.7", "0.9", "--output", str(tmp_path / "m.npy")]
    assert command.main(tmp_path / "out", together) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), expected)


def test_errors_are_said_without_a_traceback(tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(array, np.zeros((9, 9, 9)))
    (tmp_path / "text.onnx").write_text("no network")
    export_onnx(save_model(make_card(), tmp_path / "model"), out)
    export_onnx(save_model(make_card(order=(2, 1, 0)), tmp_path / "other"), tmp_path / "other.onnx")
    both = [f"--model={out / 'fold_0.onnx'}", f"--model={tmp_path / 'other.onnx'}"]
    for arguments, message in (
        ([str(array)], "give --spacing"),
        ([str(tmp_path / "none.nii")], "cannot be read"),
        ([str(tmp_path / "text.onnx"), "--spacing", "1", "1", "1"], "cannot be read"),
        ([str(image), str(image)], "expected .channels"),
        ([str(image), "--model", str(tmp_path / "text.onnx")], "cannot be opened"),
        ([str(image), *both], "different models"),
        ([str(image), str(array), "--spacing", "1", "1", "1"], "different shapes"),
    ):
        assert command.main(out, [*arguments, "--output", str(tmp_path / "l.nii")]) == 2
        error = capsys.readouterr().err
        assert message.replace("expected .channels", "expected (channels") in error
        assert not (tmp_path / "l.nii").exists()
    assert command.main(tmp_path, [str(image), "--output", "l.nii"]) == 2
    assert "no network" in capsys.readouterr().err
