"""``umseg export --onnx`` and ``umseg predict`` with what it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.dataset.builder import names_in, write_image
from tests.inference.models import make_image, write_model
from umseg.cli.app import app
from umseg.dataset.io.images import read_label


def umseg(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of two folds and an image in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model", ("0", "1"))
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a_0000.nii.gz", make_image())
    return tmp_path


def test_export_and_predict(here: Path) -> None:
    done = umseg("export", "model", "out", "--onnx")
    assert done.exit_code == 0, done.output
    assert "Wrote 2 networks to out." in done.output
    assert "python out/predict.py IMAGE.nii.gz --output LABELS.nii.gz" in done.output.replace("\\", "/")
    for folder, options in (
        ("torch", ["--model", "model", "--precision", "fp32"]),
        ("files", ["--model", "out"]),
        ("converted", ["--model", "model", "--runtime", "onnx"]),
    ):
        done = umseg("predict", *options, "--input", "in", "--output", folder, "--device", "cpu", "--quiet")
        assert done.exit_code == 0, done.output
        assert "a.nii.gz" in names_in(here / folder)
    expected, *found = (read_label(here / folder / "a.nii.gz").array for folder in ("torch", "files", "converted"))
    assert len(np.unique(expected)) > 1
    for label_map in found:
        np.testing.assert_array_equal(label_map, expected)


def test_one_fold_is_a_file(here: Path) -> None:
    done = umseg("export", "model", "a.onnx", "--onnx", "--folds", "1")
    assert done.exit_code == 0, done.output
    assert "Wrote 1 network to a.onnx." in done.output
    assert "predict.py" not in done.output
    done = umseg("predict", "--model", "a.onnx", "--input", "in", "--output", "labels", "--quiet")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "model", "a.onnx", "--onnx"), "holds one fold"),
        (("export", "model", "out", "--onnx", "--licence", "CC-BY-4.0"), "--licence has no meaning with --onnx"),
        (("export", "model", "out", "--onnx", "--public"), "--public has no meaning with --onnx"),
        (("predict", "--model", "none.onnx", "--input", "in", "--output", "out"), "none.onnx does not exist"),
        (("predict", "--model", "model", "--input", "in", "--output", "out", "--runtime", "caffe"), "Unknown runtime"),
    ],
)
def test_mistakes_end_in_a_clear_error(here: Path, arguments: tuple[str, ...], message: str) -> None:
    done = umseg(*arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert not (here / "out").exists()
