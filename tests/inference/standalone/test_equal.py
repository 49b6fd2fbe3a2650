"""The standalone functions against umseg's own, step by step and from image to label map."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.inference.export.whole import restore_label_map
from tests.inference.standalone.cards import make_card, metadata_of, save_model
from umseg.inference import Predictor
from umseg.inference.standalone import PredictionError, postprocess, preprocess, sliding_window
from umseg.inference.standalone.windows import gaussian_weight
from umseg.inference.windows import tiles as umsegs
from umseg.models.card import ModelCard
from umseg.preprocess.instance_cleaning import Cleaning
from umseg.preprocess.preprocess import preprocess_case
from umseg.training.saved import checkpoint
from umseg.workspace import FINAL

Image = NDArray[np.float32]

REGIONS = {
    "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": [1, 3]},
    "regions_class_order": (1, 3, 2),
}
OBJECTS = {"task": "instance", "labels": {"background": 0, "nucleus": 1}}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two channels": {"channels": 2},
    "transposed": {"order": (2, 0, 1)},
    "transposed the other way": {"order": (1, 2, 0)},
    "pictures": {"dimensions": 2},
    "transposed pictures": {"dimensions": 2, "order": (1, 0, 2)},
    "other spacing": {"spacing": (0.9, 1.3, 0.8)},
    "thick slices": {"spacing": (4.5, 1.2, 1.1)},
    "regions": {"description": REGIONS},
    "objects": {"description": OBJECTS},
    "mirrored": {"mirror_axes": (1,)},
}
NORMALIZATIONS = (
    "CTNormalization",
    "ZScoreNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
)


def make_image(channels: int = 1, shape: tuple[int, int, int] = (11, 17, 14), seed: int = 0) -> Image:
    """An image with zeros around it, a hole, and blobs larger than voxels."""
    rng = np.random.default_rng(seed)
    image: Image = rng.uniform(0, 255, (channels, *shape)).astype(np.float32).round()
    image[:, :, :2] = image[:, :, :, -1:] = image[:, shape[0] // 2, 8:10, 4:7] = 0
    return image


def as_network(card: ModelCard, folder: Path) -> Any:
    network = card.build_network().eval()
    checkpoint.load_weights(network, folder / "fold_0" / FINAL, "")

    def run(batch: Image) -> Image:
        with torch.inference_mode():
            logits: Image = network(torch.from_numpy(batch)).numpy()
        return logits

    return run


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.5, 0.8, 1.1)])
def test_label_maps_are_umsegs(tmp_path: Path, kind: str, spacing: tuple[float, float, float]) -> None:
    card = make_card(**KINDS[kind], normalization_schemes=("ZScoreNormalization",) * KINDS[kind].get("channels", 1))
    folder, image = save_model(card, tmp_path / "model"), make_image(KINDS[kind].get("channels", 1))
    mirror = bool(card.mirror_axes)
    expected = Predictor(folder, "cpu", precision="fp32", mirror=mirror).predict(image, spacing)
    metadata = metadata_of(card)
    data, properties = preprocess(image, spacing, metadata)
    logits = sliding_window(as_network(card, folder), data, metadata, mirror=mirror)
    found = postprocess(logits, properties, metadata)
    assert len(np.unique(expected)) > 1, "a constant label map shows nothing"
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scheme", NORMALIZATIONS)
@pytest.mark.parametrize("kind", ["plain", "thick slices", "transposed pictures"])
def test_images_are_prepared_as_by_umseg(kind: str, scheme: str, masked: bool) -> None:
    card = make_card(**KINDS[kind], normalization_schemes=(scheme,), use_mask_for_norm=(masked,))
    image, spacing = make_image(), (2.0, 0.8, 1.1)
    data, properties = preprocess(image, spacing, metadata_of(card))
    expected = preprocess_case(image, spacing, card.plan, card.configuration)
    largest = max(1.0, float(np.abs(expected.data).max()))
    np.testing.assert_allclose(data, expected.data, rtol=0, atol=1e-5 * largest)
    assert properties.whole == expected.properties.shape_before_cropping
    assert tuple((side.start, side.stop) for side in properties.box) == expected.properties.bbox
    assert properties.resampled == expected.properties.shape_after_resampling == data.shape[1:]


def test_an_empty_image_is_not_cropped() -> None:
    card = make_card(normalization_schemes=("ZScoreNormalization",), use_mask_for_norm=(True,))
    image = np.zeros((1, 5, 6, 7), np.float32)
    data, properties = preprocess(image, (1.0, 1.0, 1.0), metadata_of(card))
    assert properties.cropped == (5, 6, 7)
    np.testing.assert_array_equal(data, preprocess_case(image, (1.0, 1.0, 1.0), card.plan, card.configuration).data)


@pytest.mark.parametrize("patch", [(8, 8, 8), (40, 56, 40), (5, 7), (1, 13, 64)])
def test_windows_weigh_as_in_umseg(patch: tuple[int, ...]) -> None:
    np.testing.assert_allclose(gaussian_weight(patch), umsegs.gaussian_weight(patch).numpy(), rtol=1e-6)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (6.0, 1.0, 1.0), (1.3, 0.7, 2.2)])
def test_labels_are_decided_as_by_umseg(regions: bool, spacing: tuple[float, float, float]) -> None:
    card = make_card(order=(2, 1, 0), description=REGIONS if regions else None, spacing=(1.1, 0.9, 1.4))
    image, metadata = make_image(shape=(12, 30, 25)), metadata_of(card)
    _, properties = preprocess(image, spacing, metadata)
    case = preprocess_case(image, spacing, card.plan, card.configuration)
    logits = np.random.default_rng(0).normal(size=(3, *properties.resampled)).astype(np.float32)
    values = tuple(card.dataset.foreground.values()) if regions else None
    expected = restore_label_map(logits, case.properties, card.plan, card.configuration, values)
    np.testing.assert_array_equal(postprocess(logits, properties, metadata), expected)


def test_objects_are_cleaned_as_the_validation_chose(tmp_path: Path) -> None:
    card = make_card(description=OBJECTS)
    image, plain = make_image(shape=(9, 12, 12)), metadata_of(card)
    data, properties = preprocess(image, (1.0, 1.0, 1.0), plain)
    logits = sliding_window(as_network(card, save_model(card, tmp_path)), data, plain)
    whole = postprocess(logits, properties, plain)
    cleaning = Cleaning(smallest=6, fill_holes=True)
    found = postprocess(logits, properties, metadata_of(card, cleaning))
    np.testing.assert_array_equal(found, cleaning.apply(whole))
    assert found.max() < whole.max()


def test_many_classes_need_16_bits() -> None:
    labels = {"background": 0, **{f"class {value}": value for value in range(1, 300)}}
    metadata = metadata_of(make_card(description={"labels": labels}))
    _, properties = preprocess(make_image(), (1.0, 1.0, 1.0), metadata)
    logits = np.zeros((300, *properties.resampled), np.float32)
    logits[299] = 1
    label_map = postprocess(logits, properties, metadata)
    assert label_map.dtype == np.uint16
    assert set(np.unique(label_map)) == {0, 299}


@pytest.mark.parametrize(
    ("image", "spacing", "message"),
    [
        (np.zeros((2, 3, 3, 3)), (1, 1, 1), "expected .channels, z, y, x. with 1 channels"),
        (np.zeros((3, 3, 3)), (1, 1, 1), "has the shape"),
        (np.zeros((1, 3, 3, 3)), (1, 0, 1), "three positive numbers"),
        (np.zeros((1, 3, 3, 3)), (1, 1), "three positive numbers"),
        (np.full((1, 3, 3, 3), np.nan), (1, 1, 1), "not finite"),
        (np.full((1, 3, 3, 3), 256.0), (1, 1, 1), "8-bit colour"),
    ],
)
def test_wrong_images_are_refused(image: Image, spacing: tuple[float, ...], message: str) -> None:
    metadata = metadata_of(make_card(normalization_schemes=("RGBTo01Normalization",)))
    with pytest.raises(PredictionError, match=message):
        preprocess(image, spacing, metadata)


def test_wrong_networks_and_steps_are_refused() -> None:
    metadata = metadata_of(make_card())
    data = np.zeros((1, 9, 9, 9), np.float32)
    with pytest.raises(PredictionError, match="shape"):
        sliding_window(lambda batch: batch[:, :, 1:], data, metadata)
    with pytest.raises(PredictionError, match="not finite"):
        sliding_window(lambda batch: np.full((len(batch), 3, 8, 8, 8), np.inf, np.float32), data, metadata)
    with pytest.raises(PredictionError, match="step"):
        sliding_window(lambda batch: batch, data, metadata, step=0)
    with pytest.raises(PredictionError, match="no network"):
        sliding_window([], data, metadata)


def test_unknown_normalizations_and_missing_intensities_are_refused() -> None:
    unknown = dataclasses.replace(metadata_of(make_card()), normalizations=("Mine",))
    missing = dataclasses.replace(unknown, normalizations=("CTNormalization",), intensities={})
    for metadata, message in ((unknown, "Mine"), (missing, "intensities of the training images")):
        with pytest.raises(PredictionError, match=message):
            preprocess(make_image(), (1.0, 1.0, 1.0), metadata)
