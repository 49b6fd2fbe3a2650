"""ONNX in the place of torch, from the model to label maps."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from tests.inference.models import make_image, write_model
from tests.inference.standalone.cards import make_card, save_cascade, save_model
from tests.inference.standalone.test_equal import OBJECTS
from tests.inference.standalone.test_equal import make_image as make_structured_image
from umseg.common.errors import UserError
from umseg.common.files import write_text
from umseg.inference import Predictor
from umseg.inference.model import LoadedModel
from umseg.inference.options import LoadOptions
from umseg.inference.runtimes.export import export_onnx
from umseg.inference.runtimes.onnx_network import OnnxNetwork

# nibabel's functions carry no annotations.
# mypy: disable-error-code="no-untyped-call"

SPACING = (1.0, 1.0, 1.0)


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", ("0", "1"))


def test_label_maps_are_those_of_torch(folds: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = make_image((9, 17, 12))[None]
    expected = Predictor(folds, "cpu", precision="fp32").predict(image, SPACING)
    export_onnx(folds, tmp_path / "out")
    caplog.clear()
    converted, exported = Predictor(folds, runtime="onnx"), Predictor(tmp_path / "out")
    assert "Loaded folds 0 and 1 of model in onnxruntime on the CPU." in caplog.messages
    assert "Loaded folds 0 and 1 of out in onnxruntime on the CPU." in caplog.messages
    for predictor in (converted, exported):
        assert isinstance(predictor.model, LoadedModel)
        assert all(isinstance(network, OnnxNetwork) for network in predictor.model.networks)
        np.testing.assert_array_equal(predictor.predict(image, SPACING), expected)
    one = Predictor(tmp_path / "out", folds=["1"]).predict(image, SPACING)
    file = Predictor(tmp_path / "out" / "fold_1.onnx").predict(image, SPACING)
    np.testing.assert_array_equal(one, Predictor(folds, "cpu", folds=["1"], precision="fp32").predict(image, SPACING))
    np.testing.assert_array_equal(one, file)
    assert not np.array_equal(one, expected)


def test_settings_say_what_computed(folds: Path, tmp_path: Path) -> None:
    export_onnx(folds, tmp_path / "out")
    in_torch = Predictor(folds, "cpu", precision="fp32").model.settings
    converted, exported = Predictor(folds, runtime="onnx").model.settings, Predictor(tmp_path / "out").model.settings
    assert converted == exported
    assert in_torch.weights == converted.weights
    assert in_torch != converted


@pytest.mark.parametrize("step", ["model folder", "ONNX files"])
def test_cascades_are_computed_stage_by_stage(tmp_path: Path, step: str) -> None:
    model = save_cascade(tmp_path)
    image = make_image((9, 12, 10))[None]
    expected = Predictor(model, "cpu", precision="fp32").predict(image, SPACING)
    assert len(np.unique(expected)) > 1
    export_onnx(model, tmp_path / "out")
    found = Predictor(model, runtime="onnx") if step == "model folder" else Predictor(tmp_path / "out")
    np.testing.assert_array_equal(found.predict(image, SPACING), expected)
    shutil.rmtree(tmp_path / "out" / "first_stage")
    with pytest.raises(UserError, match="first stage of the cascade is missing"):
        Predictor(tmp_path / "out")


def test_objects_are_cleaned_as_the_validation_chose(tmp_path: Path) -> None:
    model = save_model(make_card(description=OBJECTS, dimensions=2), tmp_path / "model")
    choice = '{"schema_version": 1, "smallest": 20, "fill_holes": true, "cases": 2, "F1_before": 0.5, "F1_after": 0.6}'
    write_text(model / "fold_0" / "postprocessing.json", choice)
    export_onnx(model, tmp_path / "a.onnx")
    image = make_structured_image(1, (1, 30, 25))
    expected = Predictor(model, "cpu", precision="fp32").predict(image, SPACING)
    np.testing.assert_array_equal(Predictor(tmp_path / "a.onnx").predict(image, SPACING), expected)
    plain = Predictor(tmp_path / "a.onnx", postprocessing=False).predict(image, SPACING)
    assert plain.max() > expected.max() > 0


def test_what_onnx_cannot_do_is_refused(folds: Path, tmp_path: Path) -> None:
    export_onnx(folds, tmp_path / "out")
    other = save_model(make_card(order=(2, 1, 0)), tmp_path / "other")
    file = tmp_path / "out" / "fold_0.onnx"
    for arguments, message in (
        ({"model": file, "precision": "bf16"}, "in float32"),
        ({"model": folds, "runtime": "onnx", "precision": "bf16"}, "in float32"),
        ({"model": file, "runtime": "torch"}, "torch cannot compute an ONNX file"),
        ({"model": file, "folds": ["1"]}, "holds another fold"),
        ({"model": tmp_path / "out", "folds": ["0", "3"]}, "no ONNX file of a fold"),
        ({"model": file, "weights": "best"}, "one kind of weights"),
        ({"model": folds, "runtime": "onxx"}, "Unknown runtime"),
        ({"model": tmp_path / "none.onnx"}, "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            Predictor(**arguments)
    export_onnx(other, tmp_path / "out" / "fold_2.onnx")
    with pytest.raises(UserError, match="different models"):
        Predictor(tmp_path / "out")


def test_a_network_without_memory_says_so_as_torch_does(
    folds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that fewer windows are tried together."""
    network = LoadedModel(folds, options=LoadOptions(runtime="onnx", folds=["0"])).networks[0]

    class Exhausted:
        def run(self, *_: object) -> None:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 123456789")

    monkeypatch.setattr(network, "_session", Exhausted())
    with pytest.raises(MemoryError, match="buffer of size"):
        network(torch.zeros(1, 1, 8, 8, 8))


def test_files_are_segmented_and_kept(folds: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:

    nibabel.save(nibabel.Nifti1Image(make_image(), np.eye(4)), tmp_path / "a_0000.nii.gz")
    export_onnx(folds, tmp_path / "out")
    caplog.set_level(logging.INFO)
    for _ in range(2):
        written = Predictor(tmp_path / "out").predict_files(tmp_path / "a_0000.nii.gz", tmp_path / "labels", quiet=True)
    assert [path.name for path in written] == ["a.nii.gz"]
    assert any("Keeping 1 label map" in message for message in caplog.messages)
