from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch

from tests.inference.models import make_image, write_model
from tests.inference.standalone.cards import save_cascade
from umseg.common.errors import UserError
from umseg.dataset.check.digest import digest_of_file
from umseg.inference.runtimes import export, folds, packages
from umseg.inference.runtimes.export import export_onnx
from umseg.inference.runtimes.onnx_file import read_onnx
from umseg.inference.runtimes.onnx_network import OnnxNetwork
from umseg.models.card import load_card
from umseg.training.saved import checkpoint
from umseg.workspace import FINAL


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_holds_one_fold_and_says_of_what(model: Path, tmp_path: Path) -> None:
    assert export_onnx(model, tmp_path / "a.onnx") == [tmp_path / "a.onnx"]
    metadata = read_onnx(tmp_path / "a.onnx").metadata
    assert metadata.card == load_card(model)
    assert (metadata.fold, metadata.patch_size) == ("0", (8, 8, 8))
    assert metadata.weights == digest_of_file(model / "fold_0" / FINAL)
    text = onnx.load(tmp_path / "a.onnx").metadata_props[0].value
    assert json.loads(text)["card"]["dataset"]["labels"] == {"background": 0, "organ": 1, "tumour": 2}


def test_a_network_from_a_file_computes_what_torch_computes(model: Path, tmp_path: Path) -> None:
    export_onnx(model, tmp_path / "a.onnx")
    network = load_card(model).build_network().eval()
    checkpoint.load_weights(network, model / "fold_0" / FINAL, "")
    images = torch.stack([torch.from_numpy(make_image((8, 8, 8), seed))[None] for seed in range(3)])
    with torch.inference_mode():
        expected = network(images)
        found = OnnxNetwork(read_onnx(tmp_path / "a.onnx"))(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_folder_gets_every_fold_and_the_program(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", ("0", "1", "2"))
    files = export_onnx(model, tmp_path / "out", ["0", "2"])
    assert [file.name for file in files] == ["fold_0.onnx", "fold_2.onnx"]
    assert names_in(tmp_path / "out") == ["fold_0.onnx", "fold_2.onnx", "predict.py", "umseg_standalone"]
    with pytest.raises(UserError, match="not empty"):
        export_onnx(model, tmp_path / "out", ["1"])
    export_onnx(model, tmp_path / "out", ["1"], overwrite=True)
    assert names_in(tmp_path / "out") == ["fold_1.onnx", "predict.py", "umseg_standalone"]


def test_a_cascade_is_a_folder_in_a_folder(tmp_path: Path) -> None:
    model = save_cascade(tmp_path)
    export_onnx(model, tmp_path / "out")
    assert names_in(tmp_path / "out") == ["first_stage", "fold_0.onnx"]
    assert names_in(tmp_path / "out" / "first_stage") == ["fold_0.onnx"]
    metadata = read_onnx(tmp_path / "out" / "fold_0.onnx").metadata
    assert metadata.card.first_stage == "first_stage"
    assert metadata.input_shape == (3, 8, 8, 8)
    with pytest.raises(UserError, match="does not fit into one ONNX file"):
        export_onnx(model, tmp_path / "a.onnx")


def test_outputs_that_would_lose_something_are_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", ("0", "1"))
    with pytest.raises(UserError, match="holds one fold"):
        export_onnx(model, tmp_path / "a.onnx")
    (tmp_path / "a.onnx").write_text("mine")
    with pytest.raises(UserError, match="The file exists"):
        export_onnx(model, tmp_path / "a.onnx", ["0"])
    export_onnx(model, tmp_path / "a.onnx", ["0"], overwrite=True)
    assert read_onnx(tmp_path / "a.onnx").metadata.fold == "0"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        export_onnx(model, tmp_path / "other", overwrite=True)
    with pytest.raises(UserError, match="neither an ONNX file nor a folder"):
        export_onnx(model, tmp_path / "other" / "thesis.txt")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        export_onnx(model, tmp_path / "folder.onnx", ["0"], overwrite=True)
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


def test_a_network_that_computes_something_else_is_not_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "largest_difference", lambda file, weights: float("nan"))
    with pytest.raises(UserError, match="does not compute the same"):
        export_onnx(model, tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_too_large_networks_are_refused(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "MOST_BYTES", 2**24 + 100)
    with pytest.raises(UserError, match="too large for an ONNX file"):
        export_onnx(model, tmp_path / "a.onnx")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    packages.require_onnx()
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="onnx and onnxruntime, which are not installed"):
        packages.require_onnx()
