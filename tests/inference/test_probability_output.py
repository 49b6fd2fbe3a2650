"""Files of probabilities beside label maps: what is in them, and when they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from tests.dataset.builder import names_in, write_image
from tests.inference.models import make_image, write_model
from umseg.cli.app import app
from umseg.common.errors import UserError
from umseg.dataset.io.images import read_image, read_label
from umseg.inference import Predictor
from umseg.inference.model import LoadedModel
from umseg.inference.outputs.probability_choice import choose_probabilities
from umseg.inference.pipeline.failures import FailedCasesError
from umseg.inference.pipeline.files import FileRequest

REGIONS: dict[str, Any] = {
    "labels": {"background": 0, "all": [1, 2, 3], "core": [2, 3], "rim": 3},
    "regions_class_order": (3, 1, 2),
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for seed, case in enumerate("ab"):
        write_image(tmp_path / "images" / f"{case}_0000.nii.gz", make_image((13, 10, 12), seed))
    return tmp_path / "images"


def predict(predictor: Predictor, images: Path, output: Path, kind: str = "npz", grid: str = "image") -> None:
    products = predictor.products(probabilities=choose_probabilities(kind, grid))
    predictor.segment_files(FileRequest((images,), output, products, quiet=True))


def expected(predictor: Predictor, images: Path, case: str) -> NDArray[np.float32]:
    image = read_image([images / f"{case}_0000.nii.gz"])
    return predictor.predict(image.array, image.spacing, probabilities=True)[1]


@pytest.mark.parametrize("fields", [{}, {"order": (2, 0, 1)}, REGIONS])
def test_they_are_those_of_the_library(tmp_path: Path, images: Path, fields: dict[str, Any]) -> None:
    predictor = Predictor(write_model(tmp_path / "model", **fields), "cpu", precision="fp32")
    predict(predictor, images, tmp_path / "out")
    predictor.predict_files(images, tmp_path / "plain", quiet=True)
    for case in "ab":
        found = np.load(tmp_path / "out" / "probabilities" / f"{case}.npz")["probabilities"]
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, expected(predictor, images, case), atol=1e-3)
        label, plain = (read_label(tmp_path / folder / f"{case}.nii.gz").array for folder in ("out", "plain"))
        np.testing.assert_array_equal(label, plain)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)])
def test_several_models_give_their_mean(tmp_path: Path, images: Path, order: tuple[int, int, int]) -> None:
    models = [write_model(tmp_path / "a__x"), write_model(tmp_path / "b__x", folds=("1",), order=order)]
    predictor = Predictor(models, "cpu", precision="fp32")
    predict(predictor, images, tmp_path / "out", "nii.gz")
    found = np.asarray(nibabel.load(tmp_path / "out" / "probabilities" / "a.nii.gz").dataobj).T  # type: ignore[attr-defined]
    np.testing.assert_allclose(found, expected(predictor, images, "a"), atol=1e-4)
    with pytest.raises(FailedCasesError, match="no grid in common"):
        predict(predictor, images, tmp_path / "other", "npz", "model")


def test_the_grid_of_the_network(tmp_path: Path, images: Path) -> None:
    predictor = Predictor(write_model(tmp_path / "model"), "cpu", precision="fp32")
    predict(predictor, images, tmp_path / "out", "nii", "model")
    file = nibabel.load(tmp_path / "out" / "probabilities" / "a.nii")
    model = predictor.model
    image = read_image([images / "a_0000.nii.gz"])
    shape = model.prepare(image.array, image.spacing)[-1].case.properties.shape_after_resampling
    assert file.shape == (*reversed(shape), 3)  # type: ignore[attr-defined]


def test_what_is_there_is_kept_and_what_is_missing_is_made_again(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = LoadedModel.segment

    def count(self: LoadedModel, *arguments: Any) -> Any:
        calls.append(1)
        return real(self, *arguments)

    monkeypatch.setattr(LoadedModel, "segment", count)
    predictor, output = Predictor(write_model(tmp_path / "model"), "cpu", precision="fp32"), tmp_path / "out"
    for _ in range(2):
        predict(predictor, images, output)
    assert len(calls) == 2
    assert names_in(output / "probabilities") == ["a.npz", "b.npz"]
    (output / "probabilities" / "b.npz").unlink()
    predict(predictor, images, output)
    assert len(calls) == 3
    assert names_in(output / "probabilities") == ["a.npz", "b.npz"]


def test_a_full_disk_leaves_no_file(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise UserError("The disk is full.")

    monkeypatch.setattr("umseg.inference.outputs.probabilities.write_probabilities", full)
    predictor = Predictor(write_model(tmp_path / "model"), "cpu", precision="fp32")
    with pytest.raises(FailedCasesError, match="The disk is full"):
        predict(predictor, images, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.np*"))


@pytest.mark.parametrize(("kind", "grid"), [("npy", "image"), ("npz", "network"), ("", "image")])
def test_unknown_names_are_refused(kind: str, grid: str) -> None:
    with pytest.raises(UserError, match="Unknown"):
        choose_probabilities(kind, grid)


def test_the_command(tmp_path: Path, images: Path) -> None:
    model, output = write_model(tmp_path / "model"), tmp_path / "out"
    words = ["predict", "--model", model, "--input", images, "--output", output, "--probabilities", "npz", "--quiet"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert names_in(output / "probabilities") == ["a.npz", "b.npz"]
