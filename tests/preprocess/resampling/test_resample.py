"""Resampling against scikit-image, and laws that hold for any image."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import resize

from umseg.preprocess.resampling.arrays import NumpyArrays
from umseg.preprocess.resampling.axis import nearest_indices, separate_axis
from umseg.preprocess.resampling.resample import resample, resample_label
from umseg.preprocess.resampling.tensors import TorchArrays

EVEN = (1.0, 1.0, 1.0)
side = st.integers(1, 14)
shapes = st.tuples(side, side, side)
spacings = st.sampled_from([EVEN, (5.0, 1.0, 1.0), (1.0, 4.0, 1.0), (1.0, 1.0, 3.5)])
both_libraries = pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])


def plain_resize(volume: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    resized: np.ndarray = resize(
        volume.astype(np.float64), shape, order, mode="edge", anti_aliasing=False, preserve_range=True
    )
    return resized


def plain_separate(volume: np.ndarray, shape: tuple[int, int, int], order: int, axis: int | None) -> np.ndarray:
    """The rule in docs/rules.md, Preprocessing: the whole volume, or slice by slice and then the nearest slice."""
    if axis is None:
        return plain_resize(volume, shape, order)
    slices = np.moveaxis(volume, axis, 0)
    in_plane = [number for position, number in enumerate(shape) if position != axis]
    resized = np.stack([plain_resize(part, tuple(in_plane), order) for part in slices])
    scale = slices.shape[0] / shape[axis]
    coordinates = scale * (np.arange(shape[axis]) + 0.5) - 0.5
    grid = np.meshgrid(coordinates, *(np.arange(number) for number in in_plane), indexing="ij")
    return np.moveaxis(ndimage.map_coordinates(resized, grid, order=0, mode="nearest"), 0, axis)


def plain_label(label: np.ndarray, shape: tuple[int, int, int], axis: int | None) -> np.ndarray:
    """Class by class over the whole volume: largest mask; ties to the nearest voxel's class, else to the lowest."""
    if axis is not None:
        return np.stack(
            [
                plain_label(part[None], (1, *np.delete(shape, axis)), None)[0]
                for part in np.moveaxis(label, axis, 0)[nearest_indices(label.shape[axis], shape[axis])]
            ],
            axis=axis,
        )
    values = np.unique(label)
    shares = np.stack([plain_resize(label == value, shape, 1) for value in values])
    winner = values[shares.argmax(axis=0)]
    nearest = label
    for number, (old, new) in enumerate(zip(label.shape, shape, strict=True)):
        nearest = nearest.take(nearest_indices(old, new), axis=number)
    tied = np.take_along_axis(shares, np.searchsorted(values, nearest)[None], axis=0)[0] == shares.max(axis=0)
    return np.where(tied, nearest, winner)


def smooth_noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_label(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, 3, size=shape).astype(np.int8)


@both_libraries
@settings(max_examples=40, deadline=None)
@given(shapes, shapes, spacings, st.sampled_from([1, 3]), st.integers(0, 99))
def test_equals_scikit_image(
    library: Callable[[np.ndarray], Any],
    old: tuple[int, int, int],
    new: tuple[int, int, int],
    spacing: tuple[float, ...],
    order: int,
    seed: int,
) -> None:
    volume = smooth_noise(old, seed)
    expected = plain_separate(volume, new, order, separate_axis(spacing, EVEN))
    array = library(volume[None])
    result = resample(array, new, spacing, EVEN, order)[0]
    assert type(result) is type(array)
    assert result.dtype == array.dtype
    np.testing.assert_allclose(result, expected, atol=1e-5)


@both_libraries
@pytest.mark.parametrize("slices", [1, 40])
@pytest.mark.parametrize("scale", [1.0, 15.0, 4000.0])
def test_bands_slabs_and_parts_leave_no_seams(
    library: Callable[[np.ndarray], Any], slices: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arrays in (NumpyArrays, TorchArrays):
        monkeypatch.setattr(arrays, "slab_voxels", 8400 * slices)
        monkeypatch.setattr(arrays, "product_size", 50_000)
    volume = scale * smooth_noise((40, 75, 90), 3) / 5
    new = (47, 70, 120)
    result = resample(library(volume[None]), new, EVEN, EVEN, 3)[0]
    # Single precision where that is within 1e-5, else double: then only the rounding of the result remains.
    atol = 1e-5 if scale < 16 else 1e-7 * scale
    np.testing.assert_allclose(result, plain_resize(volume, new, 3), rtol=0, atol=atol)


@settings(max_examples=30, deadline=None)
@given(shapes, shapes, spacings, st.sampled_from([1, 3]), st.floats(-1000, 1000, width=32))
def test_constants_stay_constant(
    old: tuple[int, int, int], new: tuple[int, int, int], spacing: tuple[float, ...], order: int, value: float
) -> None:
    result = resample(np.full((2, *old), value, dtype=np.float32), new, spacing, EVEN, order)
    assert result.shape == (2, *new)
    np.testing.assert_array_equal(result, np.float32(value))


@settings(max_examples=30, deadline=None)
@given(shapes, shapes, spacings, st.integers(0, 99))
def test_values_stay_in_range(
    old: tuple[int, int, int], new: tuple[int, int, int], spacing: tuple[float, ...], seed: int
) -> None:
    volume = smooth_noise(old, seed)[None]
    result = resample(volume, new, spacing, EVEN, 3)
    assert volume.min() <= result.min()
    assert result.max() <= volume.max()


@both_libraries
@pytest.mark.parametrize("new", [(3, 4, 5), (4, 3, 9)])
def test_the_result_is_written_into_a_given_array(
    library: Callable[[np.ndarray], Any], new: tuple[int, int, int]
) -> None:
    volume = library(smooth_noise((2, 3, 4, 5), 0))
    out = library(np.zeros((4, *new), dtype=np.float32))
    part = out[1:3]
    assert resample(volume, new, EVEN, (2, 2, 2), 3, out=part) is part
    np.testing.assert_array_equal(part, resample(volume, new, EVEN, (2, 2, 2), 3))
    assert not out[[0, 3]].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("new", [(9, 9, 9), (7, 12, 10)])
def test_half_precision_is_resampled_in_full(dtype: torch.dtype, new: tuple[int, int, int]) -> None:
    volume = torch.from_numpy(smooth_noise((1, 9, 9, 9), 0)).to(dtype)
    result = resample(volume, new, EVEN, EVEN, 3)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result, resample(volume.float().numpy(), new, EVEN, EVEN, 3), atol=1e-5)


@pytest.fixture
def coarse_products() -> Iterator[None]:
    """Products of torch in single precision may be rounded to TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.usefixtures("coarse_products")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spacing", [EVEN, (1.0, 4.0, 1.0)])
@pytest.mark.parametrize("order", [1, 3])
def test_a_gpu_gives_the_same_whatever_a_program_has_set(
    order: int, spacing: tuple[float, ...], dtype: torch.dtype
) -> None:
    volume = torch.from_numpy(smooth_noise((2, 40, 150, 160), 0)).to(dtype)
    new = (47, 140, 190)
    result = resample(volume.cuda(), new, spacing, EVEN, order)
    assert result.is_cuda
    assert result.dtype == torch.float32
    expected = resample(volume.float().numpy(), new, spacing, EVEN, order)
    np.testing.assert_allclose(result.cpu(), expected, rtol=0, atol=1e-5)


def test_preparing_images_needs_no_torch() -> None:
    """The import of torch would cost every worker process 2 seconds and 180 MB."""
    code = (
        "import sys, numpy, umseg.preprocess.preprocess;"
        "from umseg.preprocess.resampling.resample import resample;"
        "resample(numpy.zeros((1, 4, 4, 4), 'f'), (5, 6, 7), (1, 1, 1), (1, 1, 1), 3);"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_same_shape_is_not_touched() -> None:
    volume = smooth_noise((1, 3, 4, 5), 0)
    label = random_label((3, 4, 5), 0)
    assert resample(volume, (3, 4, 5), EVEN, (2, 2, 2), 3) is volume
    tensor = torch.from_numpy(volume)
    assert resample(tensor, (3, 4, 5), EVEN, (2, 2, 2), 3) is tensor
    assert resample_label(label, (3, 4, 5), EVEN, (2, 2, 2)) is label


@settings(max_examples=40, deadline=None)
@given(shapes, shapes, spacings, st.integers(0, 99))
def test_label_equals_whole_volume_definition(
    old: tuple[int, int, int], new: tuple[int, int, int], spacing: tuple[float, ...], seed: int
) -> None:
    label = random_label(old, seed)
    result = resample_label(label, new, spacing, EVEN)
    assert result.dtype == label.dtype
    expected = label if old == new else plain_label(label, new, separate_axis(spacing, EVEN))
    np.testing.assert_array_equal(result, expected)


def test_label_between_three_classes_takes_the_largest_share() -> None:
    label = np.array([[[1, 1], [2, 3]]], dtype=np.int8)
    np.testing.assert_array_equal(resample_label(label, (1, 1, 1), EVEN, EVEN), [[[1]]])


def test_label_of_two_tied_classes_takes_the_nearest() -> None:
    label = np.array([[[1, 2]]], dtype=np.int8)
    np.testing.assert_array_equal(resample_label(label, (1, 1, 1), EVEN, EVEN), [[[2]]])
