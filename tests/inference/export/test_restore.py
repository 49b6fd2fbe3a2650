"""Restoring the voxels of the original image."""

from __future__ import annotations

import json
import zlib
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.inference.export import whole
from tests.inference.export.whole import restore_label_map, restore_probabilities
from tests.preprocess.cases import make_configuration, make_image, make_label, make_plan
from umseg.inference.export import label_map, probabilities
from umseg.inference.export.device import DeviceLabels
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess import preprocess_case
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.resampling.resample import resample

SHAPE = (22, 30, 26)
SPACING = (1.0, 0.9, 1.1)
ORDERS = [(0, 1, 2), (2, 0, 1), (1, 0, 2)]
SETTINGS = [make_configuration((1.3, 1.0, 0.8)), make_configuration((0.7, 0.9)), make_configuration((4.0, 1.0, 1.0))]


@pytest.fixture(params=["kernels", "torch"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample in small slabs; with torch the code for GPUs runs on the CPU."""
    monkeypatch.setattr(whole, "SLAB_LOGITS", 8000)
    if request.param == "torch":
        for module in (label_map, probabilities):
            monkeypatch.setattr(module, "is_on_device", lambda sums: True)


def random_logits(plan: Plan, configuration: Configuration, classes: int) -> tuple[np.ndarray, CaseProperties]:
    properties = preprocess_case(make_image(SHAPE), SPACING, plan, configuration).properties
    generator = np.random.default_rng(classes)
    return generator.normal(size=(classes, *properties.shape_after_resampling)).astype(np.float32), properties


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("configuration", SETTINGS)
def test_equals_resampling_everything_at_once(order: tuple[int, int, int], configuration: Configuration) -> None:
    plan = make_plan(order, any=configuration)
    logits, properties = random_logits(plan, configuration, 4)
    spacing = (
        configuration.spacing if configuration.dimensions == 3 else (properties.spacing[0], *configuration.spacing)
    )
    resampled = resample(logits, properties.shape_after_cropping, spacing, properties.spacing, 1)
    exponentials = np.exp(resampled.astype(np.float64))

    label = np.zeros(properties.shape_before_cropping, dtype=np.uint8)
    probabilities = np.zeros((4, *properties.shape_before_cropping))
    probabilities[0] = 1
    inside = tuple(slice(*part) for part in properties.bbox)
    label[inside] = resampled.argmax(axis=0)
    everywhere = (slice(None), *inside)
    probabilities[everywhere] = exponentials / exponentials.sum(axis=0)
    back = plan.transpose_backward

    result = restore_label_map(logits, properties, plan, configuration)
    assert result.shape == SHAPE
    np.testing.assert_array_equal(result, label.transpose(back))
    soft = restore_probabilities(logits, properties, plan, configuration)
    np.testing.assert_allclose(soft, probabilities.transpose(0, *(axis + 1 for axis in back)), atol=1e-5)
    np.testing.assert_allclose(soft.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_a_label_survives_the_round_trip(order: tuple[int, int, int]) -> None:
    configuration = make_configuration((0.8, 0.8, 0.8))
    plan = make_plan(order, full=configuration)
    label = make_label(SHAPE)
    case = preprocess_case(make_image(SHAPE), SPACING, plan, configuration, label)
    assert case.label is not None
    logits = 10 * np.stack([case.label == value for value in range(3)]).astype(np.float32)
    back = restore_label_map(logits, case.properties, plan, configuration)
    surface = ndimage.grey_dilation(label, 3) != ndimage.grey_erosion(label, 3)
    np.testing.assert_array_equal(back[~surface], label[~surface])


@pytest.mark.usefixtures("library")
def test_ties_go_to_the_lowest_class() -> None:
    configuration = make_configuration(SPACING)
    plan = make_plan(full=configuration)
    logits, properties = random_logits(plan, configuration, 3)
    assert not restore_label_map(np.zeros_like(logits), properties, plan, configuration).any()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("classes", "dtype"), [(255, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_many_classes(classes: int, dtype: type) -> None:
    configuration = make_configuration((8.0, 8.0, 8.0))
    plan = make_plan(full=configuration)
    logits, properties = random_logits(plan, configuration, classes)
    logits[-1] = 100
    result = restore_label_map(logits, properties, plan, configuration)
    assert result.dtype == dtype
    assert result.max() == classes - 1


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("order", ORDERS)
def test_every_region_is_decided_by_itself(order: tuple[int, int, int]) -> None:
    """Later regions are written over earlier ones; outside the crop no region is likely."""
    configuration = make_configuration((1.3, 1.0, 0.8))
    plan = make_plan(order, any=configuration)
    logits, properties = random_logits(plan, configuration, 3)
    spacing = configuration.spacing
    resampled = resample(logits, properties.shape_after_cropping, spacing, properties.spacing, 1).astype(np.float64)

    label = np.zeros(properties.shape_before_cropping, dtype=np.uint8)
    probabilities = np.zeros((3, *properties.shape_before_cropping))
    inside = tuple(slice(*part) for part in properties.bbox)
    everywhere = (slice(None), *inside)
    probabilities[everywhere] = 1 / (1 + np.exp(-resampled))
    for value, likely in zip((2, 3, 1), probabilities > 0.5, strict=True):
        label[likely] = value
    back = plan.transpose_backward

    result = restore_label_map(logits, properties, plan, configuration, region_values=(2, 3, 1))
    np.testing.assert_array_equal(result, label.transpose(back))
    assert set(np.unique(result)) == {0, 1, 2, 3}
    soft = restore_probabilities(logits, properties, plan, configuration, regions=True)
    np.testing.assert_allclose(soft, probabilities.transpose(0, *(axis + 1 for axis in back)), atol=1e-6)


@pytest.mark.usefixtures("library")
def test_a_region_of_probability_one_half_is_absent_and_large_values_fit() -> None:
    configuration = make_configuration(SPACING)
    plan = make_plan(full=configuration)
    logits, properties = random_logits(plan, configuration, 2)
    assert not restore_label_map(np.zeros_like(logits), properties, plan, configuration, (1, 2)).any()
    large = restore_label_map(np.full_like(logits, 1e4), properties, plan, configuration, (1, 300))
    assert large.dtype == np.uint16
    assert large.max() == 300
    soft = restore_probabilities(np.full_like(logits, -1e4), properties, plan, configuration, regions=True)
    assert not soft.any()


@pytest.mark.usefixtures("library")
def test_logits_stay_as_they_are() -> None:
    configuration = make_configuration(SPACING)
    plan = make_plan(full=configuration)
    logits, properties = random_logits(plan, configuration, 3)
    before = logits.copy()
    restore_label_map(logits, properties, plan, configuration)
    restore_probabilities(logits, properties, plan, configuration)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_on_the_cpu(dtype: torch.dtype) -> None:
    plan = make_plan(full=SETTINGS[0])
    logits, properties = random_logits(plan, SETTINGS[0], 3)
    tensor = torch.from_numpy(logits).to(dtype).requires_grad_()
    expected = restore_label_map(tensor.detach().float().numpy(), properties, plan, SETTINGS[0])
    np.testing.assert_array_equal(restore_label_map(tensor, properties, plan, SETTINGS[0]), expected)


def test_labels_and_probabilities_of_the_same_slabs() -> None:
    plan = make_plan(ORDERS[1], full=SETTINGS[0])
    logits, properties = random_logits(plan, SETTINGS[0], 3)
    export = label_map.LabelExport(properties, plan, SETTINGS[0])
    slabs = export.passing(whole.slabs_of(logits))
    soft = probabilities.collect_probabilities(slabs, 3, properties, plan, SETTINGS[0], regions=False)
    np.testing.assert_array_equal(export.label_map(), restore_label_map(logits, properties, plan, SETTINGS[0]))
    np.testing.assert_array_equal(soft, restore_probabilities(logits, properties, plan, SETTINGS[0]))


def test_a_device_without_room_hands_over_to_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plan = make_plan(full=SETTINGS[0])
    logits, properties = random_logits(plan, SETTINGS[0], 3)
    expected = restore_label_map(logits, properties, plan, SETTINGS[0])
    add, calls = DeviceLabels.add, []

    def add_twice(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 2:
            raise torch.cuda.OutOfMemoryError
        return add(*arguments)

    monkeypatch.setattr(DeviceLabels, "add", add_twice)
    monkeypatch.setattr(label_map, "is_on_device", lambda sums: True)
    monkeypatch.setattr(whole, "SLAB_LOGITS", 4000)
    result = restore_label_map(logits, properties, plan, SETTINGS[0])
    assert len(calls) == 3
    assert "memory of the GPU is used up" in caplog.text
    np.testing.assert_array_equal(result, expected)


def test_labels_are_those_of_earlier_versions(golden: Path) -> None:
    """Label maps and some probabilities that were recorded when every logit was interpolated."""
    recorded = json.loads((golden / "export.json").read_text())
    spacings = [(1.3, 1.0, 0.8), (0.7, 0.9), (4.0, 1.0, 1.0), (1.0, 0.9, 1.1), (1.0, 4.0, 1.0), (0.6, 0.6, 2.5)]
    for spacing, order in product(spacings, ORDERS):
        configuration = make_configuration(spacing)
        plan = make_plan(order, any=configuration)
        properties = preprocess_case(make_image(SHAPE), SPACING, plan, configuration).properties
        logits = sawtooth((5, *properties.shape_after_resampling))
        classes = restore_label_map(logits, properties, plan, configuration)
        regions = restore_label_map(logits, properties, plan, configuration, (3, 1, 2, 300, 5))
        soft = restore_probabilities(logits, properties, plan, configuration).reshape(5, -1)
        expected = recorded[f"{spacing} {order}"]
        assert np.bincount(classes.ravel()).tolist() == expected["counts"]
        assert zlib.crc32(classes.tobytes()) == expected["classes"]
        assert zlib.crc32(regions.tobytes()) == expected["regions"]
        np.testing.assert_allclose(soft[:, ::1999].mean(axis=1), expected["probability"], atol=2e-6)


def sawtooth(shape: tuple[int, ...]) -> np.ndarray:
    """Numbers between -1 and 1 that are exact on every machine."""
    places = np.arange(np.prod(shape), dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**32)
    numbers: np.ndarray = (places.astype(np.float64) / 2**31 - 1).astype(np.float32).reshape(shape)
    return numbers


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("configuration", SETTINGS)
def test_a_gpu_decides_the_same(configuration: Configuration) -> None:
    for order, regions in product(ORDERS, (None, (2, 300, 1, 3))):
        plan = make_plan(order, any=configuration)
        logits, properties = random_logits(plan, configuration, 4)
        tensor = torch.from_numpy(logits).cuda()
        result = restore_label_map(tensor, properties, plan, configuration, regions)
        np.testing.assert_array_equal(result, restore_label_map(logits, properties, plan, configuration, regions))
        sigmoid = regions is not None
        soft = restore_probabilities(tensor, properties, plan, configuration, regions=sigmoid)
        expected = restore_probabilities(logits, properties, plan, configuration, regions=sigmoid)
        np.testing.assert_allclose(soft, expected, atol=2e-6)
