"""Restoring the voxels of the original image."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.preprocess.cases import make_configuration, make_image, make_label, make_plan
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess import preprocess_case, restore, restore_label_map, restore_probabilities
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.resampling.arrays import NumpyArrays
from umseg.preprocess.resampling.resample import resample
from umseg.preprocess.resampling.tensors import TorchArrays

SHAPE = (22, 30, 26)
SPACING = (1.0, 0.9, 1.1)
ORDERS = [(0, 1, 2), (2, 0, 1), (1, 0, 2)]
CUDA = torch.device("cuda")
SETTINGS = [make_configuration((1.3, 1.0, 0.8)), make_configuration((0.7, 0.9)), make_configuration((4.0, 1.0, 1.0))]


@pytest.fixture(params=["numpy", "torch"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample in small slabs; with torch the code for GPUs runs on the CPU."""
    for arrays in (NumpyArrays, TorchArrays):
        monkeypatch.setattr(arrays, "slab_voxels", 2000)
    if request.param == "torch":
        cpu = TorchArrays(torch.device("cpu"))
        monkeypatch.setattr(restore, "_place", lambda logits, device, resampler: (torch.from_numpy(logits), cpu))


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


@pytest.mark.parametrize("slab_voxels", [2**22, 10])
def test_a_device_without_room_is_not_used(slab_voxels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory needed is that of a slab, or of a single slice where a slice is larger."""
    asked: list[Any] = []
    monkeypatch.setattr(restore, "has_room", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(TorchArrays, "slab_voxels", slab_voxels)
    plan = make_plan(full=SETTINGS[0])
    logits, properties = random_logits(plan, SETTINGS[0], 3)
    expected = restore_label_map(logits, properties, plan, SETTINGS[0])
    assert not asked
    result = restore_label_map(torch.from_numpy(logits), properties, plan, SETTINGS[0], device=CUDA)
    ((device, voxels),) = asked
    assert device == CUDA
    planes = [np.prod(shape[1:]) for shape in (properties.shape_after_cropping, properties.shape_after_resampling)]
    assert voxels == max(slab_voxels, *planes)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("configuration", SETTINGS)
@pytest.mark.parametrize("held_on", ["cpu", "cuda"])
def test_a_gpu_decides_the_same(held_on: str, configuration: Configuration) -> None:
    for order, regions in product(ORDERS, (None, (2, 300, 1, 3))):
        plan = make_plan(order, any=configuration)
        logits, properties = random_logits(plan, configuration, 4)
        tensor = torch.from_numpy(logits).to(held_on)
        result = restore_label_map(tensor, properties, plan, configuration, regions, CUDA)
        np.testing.assert_array_equal(result, restore_label_map(logits, properties, plan, configuration, regions))
        sigmoid = regions is not None
        soft = restore_probabilities(tensor, properties, plan, configuration, regions=sigmoid, device=CUDA)
        expected = restore_probabilities(logits, properties, plan, configuration, regions=sigmoid)
        np.testing.assert_allclose(soft, expected, atol=1e-6)
