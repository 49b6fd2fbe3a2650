from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from tests.dataset.builder import names_in, write_image
from tests.inference.models import COLOUR_FILES, make_image, write_model, write_weights
from tests.training.factories import make_configuration, make_network
from umseg.common.errors import UserError
from umseg.dataset.dataset import Case
from umseg.dataset.instances import find_instances
from umseg.inference import Predictor
from umseg.inference.export.device import DeviceLabels
from umseg.inference.pipeline.failures import FailedCasesError
from umseg.workspace import BEST, FINAL, LATEST

GEOMETRY: dict[str, Any] = {
    "spacing": (0.5, 0.75, 2.0),
    "origin": (3.0, -4.0, 5.0),
    "direction": (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
}


def expected_logits(image: NDArray[np.float32], seed: int) -> NDArray[Any]:
    """The output of a fold's network for an image of exactly one patch."""
    with torch.inference_mode():
        output: torch.Tensor = make_network(seed=seed).eval()(torch.from_numpy(image)[None, None])[0]
    return output.numpy()


def test_an_image_of_one_patch_is_what_the_network_says(predictor: Predictor) -> None:
    image = make_image((8, 8, 8))
    label = predictor.predict(image[None], (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(label, expected_logits(image, 0).argmax(0))
    assert len(np.unique(label)) > 1, "a constant label map shows nothing"


def test_folds_are_averaged(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", ("0", "1"))
    image = make_image((8, 8, 8))
    logits = [expected_logits(image, seed) for seed in (0, 1)]
    both = Predictor(folder, "cpu", precision="fp32").predict(image[None], (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(both, (logits[0] + logits[1]).argmax(0))
    one = Predictor(folder, "cpu", folds=["1"], precision="fp32").predict(image[None], (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(one, logits[1].argmax(0))
    assert not np.array_equal(one, both)


def test_regions_are_written_one_over_the_other(tmp_path: Path) -> None:
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": [1, 3]}
    folder = write_model(tmp_path / "model", ("0", "1"), labels=regions, regions_class_order=(1, 3, 2))
    image = make_image((8, 8, 8))
    label = Predictor(folder, "cpu", precision="fp32").predict(image[None], (1.0, 1.0, 1.0))
    expected = np.zeros((8, 8, 8), int)
    for value, logit in zip((1, 3, 2), (expected_logits(image, 0) + expected_logits(image, 1)) / 2, strict=True):
        expected[logit > 0] = value
    np.testing.assert_array_equal(label, expected)
    assert len(np.unique(label)) > 1, "a constant label map shows nothing"


def test_the_ignore_label_has_no_output(tmp_path: Path) -> None:
    labels = {"background": 0, "organ": 1, "tumour": 2, "ignore": 3}
    image = make_image((8, 8, 8))
    predictor = Predictor(write_model(tmp_path / "model", labels=labels), "cpu", precision="fp32")
    np.testing.assert_array_equal(predictor.predict(image[None], (1.0, 1.0, 1.0)), expected_logits(image, 0).argmax(0))


def test_objects_are_numbered(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"task": "instance", "labels": {"background": 0, "cell": 1}, "file_ending": ".png"}
    predictor = Predictor(write_model(tmp_path / "model", dimensions=2, **fields), "cpu", precision="fp32")
    image = np.random.default_rng(0).integers(0, 4, (24, 30)).astype(np.uint8)
    path = write_image(tmp_path / "in" / "a_0000.png", image)
    (written,) = predictor.predict_files(path, tmp_path / "out", quiet=True)
    # In inference mode as the predictor itself: the classes that the network sees in the whole image.
    classes = Predictor(write_model(tmp_path / "classes", dimensions=2), "cpu", precision="fp32").predict(
        image[None, None].astype(np.float32), (999.0, 1.0, 1.0)
    )
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(written)))
    np.testing.assert_array_equal(found, find_instances(classes)[0])
    assert len(np.unique(found)) > 2
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["task"] == "instance"


def test_best_weights_can_be_chosen(model: Path) -> None:
    write_weights(model, "0", make_network(seed=5), BEST)
    image = make_image((8, 8, 8))
    label = Predictor(model, "cpu", weights="best", precision="fp32").predict(image[None], (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(label, expected_logits(image, 5).argmax(0))


def test_mirroring_uses_the_axes_of_the_card(model: Path) -> None:
    image = make_image((8, 8, 8))
    symmetric = Predictor(model, "cpu", mirror=True, precision="fp32")
    label = symmetric.predict(image[None], (1.0, 1.0, 1.0))
    flipped = symmetric.predict(image[None, ::-1, :, ::-1].copy(), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(flipped[::-1, :, ::-1], label)
    assert not np.array_equal(label, expected_logits(image, 0).argmax(0))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("shape", [(9, 10, 11), (3, 20, 4)])
def test_label_map_has_the_voxels_of_the_image(
    tmp_path: Path, shape: tuple[int, int, int], dimensions: int, order: tuple[int, int, int]
) -> None:
    predictor = Predictor(write_model(tmp_path / "model", dimensions=dimensions, order=order), "cpu")
    label = predictor.predict(make_image(shape)[None], (2.0, 1.0, 0.5))
    assert label.shape == shape
    assert np.issubdtype(label.dtype, np.integer)
    assert set(np.unique(label)) <= {0, 1, 2}


def test_an_empty_image_is_segmented(predictor: Predictor) -> None:
    label = predictor.predict(np.zeros((1, 6, 6, 6), np.float32), (1.0, 1.0, 1.0))
    assert label.shape == (6, 6, 6)


def test_numbers_of_any_kind_are_segmented_alike(predictor: Predictor) -> None:
    image = np.round(10 * make_image())
    expected = predictor.predict(image[None], (1.0, 1.0, 1.0))
    for kind in (np.float64, np.int16):
        np.testing.assert_array_equal(predictor.predict(image[None].astype(kind), (1.0, 1.0, 1.0)), expected)


def test_files_keep_their_geometry(predictor: Predictor, tmp_path: Path) -> None:
    inputs, output = tmp_path / "in", tmp_path / "out"
    for seed, case in enumerate(("a", "b")):
        write_image(inputs / f"{case}_0000.nii.gz", make_image(seed=seed), **GEOMETRY)
    written = predictor.predict_files(inputs, output, quiet=True)
    assert [path.name for path in written] == ["a.nii.gz", "b.nii.gz"]
    for seed, path in enumerate(written):
        label = sitk.ReadImage(str(path))
        assert label.GetSpacing() == pytest.approx(GEOMETRY["spacing"])
        assert label.GetOrigin() == pytest.approx(GEOMETRY["origin"])
        assert label.GetDirection() == pytest.approx(GEOMETRY["direction"])
        expected = predictor.predict(make_image(seed=seed)[None], (2.0, 0.75, 0.5))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(label), expected)
    labels = json.loads((output / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "organ": 1, "tumour": 2}


def test_one_file(predictor: Predictor, tmp_path: Path) -> None:
    path = write_image(tmp_path / "in" / "a_0000.nii.gz", make_image())
    assert predictor.predict_files(path, tmp_path / "out", quiet=True) == [tmp_path / "out" / "a.nii.gz"]


def test_no_image_is_replaced_by_its_label_map(predictor: Predictor, tmp_path: Path) -> None:
    path = write_image(tmp_path / "scans" / "scan.nii.gz", make_image())
    before = path.read_bytes()
    with pytest.raises(UserError, match="is the input folder"):
        predictor.predict_files(path.parent, path.parent, quiet=True)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["scan.nii.gz"]


def test_nor_is_what_belongs_to_an_image(predictor: Predictor, tmp_path: Path) -> None:
    path = write_image(tmp_path / "scans" / "dataset.tif", make_image())
    note = path.with_suffix(".json")
    note.write_text('{"spacing": [2, 0.75, 0.5]}')
    case = Case(id="other", images=(path,))
    with pytest.raises(UserError, match="would replace") as caught:
        predictor.predict_cases([case], path.parent, quiet=True)
    assert caught.value.file == str(note)
    assert note.read_text() == '{"spacing": [2, 0.75, 0.5]}'


def test_no_data_set_is_written_into(predictor: Predictor, tmp_path: Path) -> None:
    path = write_image(tmp_path / "Dataset1" / "imagesTr" / "scan_0000.nii.gz", make_image())
    with pytest.raises(UserError, match="is a data set"):
        predictor.predict_files(path.parent, tmp_path / "Dataset1", quiet=True)
    assert not (tmp_path / "Dataset1" / "dataset.json").exists()


def test_a_case_that_cannot_be_read_stops_no_other(predictor: Predictor, tmp_path: Path) -> None:
    inputs, output = tmp_path / "in", tmp_path / "out"
    for case in ("a", "b", "c"):
        write_image(inputs / f"{case}_0000.nii.gz", make_image())
    damaged = inputs / "b_0000.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(FailedCasesError, match="Case b was not segmented") as caught:
        predictor.predict_files(inputs, output, quiet=True)
    assert caught.value.file == str(damaged)
    assert [path.name for path in caught.value.written] == ["a.nii.gz", "c.nii.gz"]
    assert names_in(output) == [
        *("a.nii.gz", "c.nii.gz", "dataset.json", "failures.json"),
        *COLOUR_FILES,
        "predictions.jsonl",
    ]
    assert sitk.ReadImage(str(output / "a.nii.gz")).GetSize() == (11, 10, 9)


def test_nan_in_a_file_names_the_file(predictor: Predictor, tmp_path: Path) -> None:
    image = make_image()
    image[1, 2, 3] = np.nan
    path = write_image(tmp_path / "in" / "a_0000.nii.gz", image)
    with pytest.raises(UserError) as caught:
        predictor.predict_files(path, tmp_path / "out", quiet=True)
    assert caught.value.file == str(path)
    assert caught.value.remedy
    assert not list((tmp_path / "out").glob("*.nii.gz"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_array_that_is_not_finite_is_refused(predictor: Predictor, value: float) -> None:
    image = make_image()
    image[0, 0, 0] = value
    with pytest.raises(UserError, match="not finite") as caught:
        predictor.predict(image[None], (1.0, 1.0, 1.0))
    assert caught.value.remedy


@pytest.mark.parametrize("array", [np.ones((1, 4, 5, 6), complex), np.full((1, 4, 5, 6), "a"), np.ones((1, 0, 5, 6))])
def test_an_array_that_holds_no_real_numbers_is_refused(predictor: Predictor, array: np.ndarray) -> None:
    with pytest.raises(UserError, match="not an array of real numbers") as caught:
        predictor.predict(array, (1, 1, 1))
    assert str(array.dtype) in str(caught.value.found)


@pytest.mark.parametrize(("shape", "found"), [((2, 8, 8, 8), "2 channels"), ((8, 8, 8), "(8, 8, 8)")])
def test_an_array_with_other_channels_is_refused(predictor: Predictor, shape: tuple[int, ...], found: str) -> None:
    with pytest.raises(UserError, match="channels") as caught:
        predictor.predict(np.ones(shape, np.float32), (1.0, 1.0, 1.0))
    assert found in str(caught.value.found)
    assert caught.value.expected == "1 channel: MR"
    assert caught.value.remedy


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, float("nan"), 1.0)])
def test_a_spacing_that_is_not_valid_is_refused(predictor: Predictor, spacing: Any) -> None:
    with pytest.raises(UserError, match="spacing") as caught:
        predictor.predict(make_image()[None], spacing)
    assert caught.value.remedy


def test_files_with_other_channels_are_refused(predictor: Predictor, tmp_path: Path) -> None:
    for channel in range(2):
        write_image(tmp_path / "in" / f"a_000{channel}.nii.gz", make_image())
    with pytest.raises(UserError) as caught:
        predictor.predict_files(tmp_path / "in", tmp_path / "out", quiet=True)
    assert "channel" in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("step", [0.0, -0.5, 1.01, float("nan")])
def test_a_step_that_is_no_fraction_is_refused(model: Path, step: float) -> None:
    with pytest.raises(UserError, match="step") as caught:
        Predictor(model, "cpu", step=step)
    assert "--step" in str(caught.value.remedy)


def test_no_model_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="model folder does not exist") as caught:
        Predictor(tmp_path / "nothing", "cpu")
    assert "umseg train" in str(caught.value.remedy)


def test_no_card(model: Path) -> None:
    (model / "model.json").unlink()
    with pytest.raises(UserError, match=r"model\.json does not exist") as caught:
        Predictor(model, "cpu")
    assert "umseg train" in str(caught.value.remedy)


def test_no_weights_at_all(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", folds=())
    with pytest.raises(UserError, match="incomplete") as caught:
        Predictor(folder, "cpu")
    assert caught.value.found == "folds with weights: none"
    assert "training" in str(caught.value.remedy)


@pytest.mark.parametrize("folds", [("0", "3"), ("all",)])
def test_a_fold_that_is_missing(model: Path, folds: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="incomplete") as caught:
        Predictor(model, "cpu", folds=folds)
    assert caught.value.found == "folds with weights: 0"
    assert f"fold_{folds[-1]}" in str(caught.value.file)
    assert "--folds" in str(caught.value.remedy)


def test_a_fold_that_is_not_finished(model: Path) -> None:
    """A checkpoint of a running training is no final weights file."""
    (model / "fold_0" / FINAL).rename(model / "fold_0" / LATEST)
    with pytest.raises(UserError, match="incomplete"):
        Predictor(model, "cpu")


def test_damaged_weights(model: Path) -> None:
    path = model / "fold_0" / FINAL
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged") as caught:
        Predictor(model, "cpu")
    assert caught.value.file == str(path)
    assert caught.value.remedy


def test_weights_of_another_network(model: Path) -> None:
    write_weights(model, "0", make_network(make_configuration(features_per_stage=(4, 6))))
    with pytest.raises(UserError, match="do not belong to this network") as caught:
        Predictor(model, "cpu")
    assert caught.value.remedy


def test_unknown_weights(model: Path) -> None:
    with pytest.raises(UserError, match="'last'"):
        Predictor(model, "cpu", weights="last")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_gpu_segments_alike(tmp_path: Path, dimensions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits differ by rounding, and with them near ties; with and without memory for labels on the device."""
    folder = write_model(tmp_path / "model", dimensions=dimensions)
    image, spacing = make_image((20, 30, 26))[None], (1.0, 0.8, 1.1)
    expected = Predictor(folder, "cpu", precision="fp32").predict(image, spacing)
    predictor = Predictor(folder, "cuda", precision="fp32")
    on_device = predictor.predict(image, spacing)
    assert (on_device != expected).mean() < 1e-2

    def no_memory(*arguments: Any) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(DeviceLabels, "add", no_memory)
    assert (predictor.predict(image, spacing) != on_device).mean() < 1e-3
