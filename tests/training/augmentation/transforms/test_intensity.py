from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from batchgenerators.augmentations import color_augmentations, noise_augmentations, resample_augmentations
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn import functional as F

from umseg.training.augmentation.transforms.blur import blur as blur_by_axis
from umseg.training.augmentation.transforms.brightness import Brightness
from umseg.training.augmentation.transforms.contrast import change_contrast
from umseg.training.augmentation.transforms.gamma import Gamma, change_gamma
from umseg.training.augmentation.transforms.low_resolution import lower_resolution
from umseg.training.augmentation.transforms.noise import Noise, NoiseParams


def blur(x: torch.Tensor, sigma: np.ndarray) -> torch.Tensor:
    """A Gaussian with the same width along every axis."""
    return blur_by_axis(x, np.repeat(sigma[:, None], x.dim() - 1, axis=1))


ALL: dict[str, Callable[[torch.Tensor, np.ndarray], torch.Tensor]] = {
    "blur": blur,
    "contrast": change_contrast,
    "gamma": change_gamma,
}


def images(count: int = 2, size: tuple[int, ...] = (14, 15, 6), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *size)).astype(np.float32)


def change(function: Any, x: np.ndarray, *values: float) -> np.ndarray:
    return np.asarray(function(torch.from_numpy(x), np.array(values)))


@pytest.mark.parametrize("sigma", [0.5, 0.62, 0.7, 1.0])
def test_blur_equals_batchgenerators(sigma: float) -> None:
    x = images(1)
    expected = noise_augmentations.augment_gaussian_blur(x.copy(), (sigma, sigma), per_channel=True, p_per_channel=1)
    np.testing.assert_allclose(change(blur, x, sigma), expected, atol=2e-6)


def test_blur_has_a_width_per_axis() -> None:
    x, sigma = images(2), np.array([[0.5, 1.0, 0.7], [0.9, 0.55, 0.6]])
    expected = [ndimage.gaussian_filter(image, widths) for image, widths in zip(x, sigma, strict=True)]
    np.testing.assert_allclose(blur_by_axis(torch.from_numpy(x), sigma), expected, atol=2e-6)


@pytest.mark.parametrize("share", [0.5, 0.61, 1.0])
def test_low_resolution_may_be_linear(share: float) -> None:
    x = torch.from_numpy(images(1)[0])
    kept = [round(n * share) for n in x.shape]
    small = F.interpolate(x[None, None], size=kept, mode="nearest-exact")
    expected = F.interpolate(small, size=x.shape, mode="trilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(lower_resolution(x, [share] * 3, splines=False), expected)


# Of a range that begins below 1 batchgenerators draws as often above 1, so that only factors from 1 on can be fixed.
@pytest.mark.parametrize("factor", [1.0, 1.2])
def test_contrast_equals_batchgenerators(factor: float) -> None:
    x = images(1)
    expected = color_augmentations.augment_contrast(x.copy(), contrast_range=(factor, factor), per_channel=True)
    np.testing.assert_allclose(change(change_contrast, x, factor), expected, atol=2e-6)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("exponent", [1.0, 1.3, 1.5])
def test_gamma_equals_batchgenerators(exponent: float, inverted: bool) -> None:
    x = images(1)
    expected = color_augmentations.augment_gamma(
        x.copy(), gamma_range=(exponent, exponent), invert_image=inverted, per_channel=True, retain_stats=True
    )
    sign = -1 if inverted else 1
    np.testing.assert_allclose(sign * change(change_gamma, sign * x, exponent), expected, atol=5e-6)


def test_gamma_below_one() -> None:
    x = images(1)
    low, extent = x.min(), np.ptp(x)
    y = ((x - low) / extent) ** 0.7 * extent + low
    expected = (y - y.mean()) / y.std() * x.std() + x.mean()
    np.testing.assert_allclose(change(change_gamma, x, 0.7), expected, atol=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.63, 0.77, 0.93])
@pytest.mark.parametrize("in_plane", [False, True])
def test_low_resolution_equals_batchgenerators(share: float, in_plane: bool) -> None:
    x = images(1)
    expected = resample_augmentations.augment_linear_downsampling_scipy(
        x.copy(),
        zoom_range=(share, share),
        per_channel=True,
        p_per_channel=1,
        order_downsample=0,
        order_upsample=3,
        ignore_axes=(0,) if in_plane else None,
    )
    found = lower_resolution(torch.from_numpy(x[0]), [1.0 if in_plane else share, share, share])
    np.testing.assert_allclose(found.numpy(), expected[0], atol=5e-6)


def test_noise_has_its_standard_deviation() -> None:
    for std in (0.05, 0.1):
        x = torch.ones(2, 100, 100)
        Noise().apply(x, torch.zeros(1, 100, 100, dtype=torch.int16), NoiseParams(std, 0))
        assert x.std().item() == pytest.approx(std, rel=0.03)
        assert abs(x.mean().item() - 1) < 0.003


@pytest.mark.parametrize("name", ALL)
def test_images_do_not_see_each_other(name: str) -> None:
    x, values = images(3), (0.5, 0.8, 1.0)
    together = change(ALL[name], x, *values)
    for image, value, expected in zip(x, values, together, strict=True):
        np.testing.assert_allclose(change(ALL[name], image[None], value)[0], expected, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_arguments_stay_as_they_are(name: str) -> None:
    x = images()
    before = x.copy()
    change(ALL[name], x, 0.8, 0.9)
    np.testing.assert_array_equal(x, before)


@given(st.sampled_from(sorted(ALL)), st.floats(0.5, 1.5), st.floats(-1e4, 1e4), st.sampled_from([0.0, 1e-6, 1.0, 1e4]))
@settings(max_examples=60, deadline=None)
def test_every_image_gives_finite_numbers(name: str, value: float, offset: float, spread: float) -> None:
    """This includes constant images, such as patches outside the body."""
    x = (offset + spread * images(1)).astype(np.float32)
    assert np.isfinite(change(ALL[name], x, value)).all()
    assert lower_resolution(torch.from_numpy(x[0]), [min(value, 1.0)] * 3).isfinite().all()


@given(st.floats(0.75, 1.25), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_contrast_stays_in_the_range(factor: float, seed: int) -> None:
    x = images(1, seed=seed)
    changed = change(change_contrast, x, factor)
    assert changed.min() >= x.min()
    assert changed.max() <= x.max()


@given(st.floats(0.7, 1.5), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_gamma_keeps_mean_standard_deviation_and_order(exponent: float, seed: int) -> None:
    x = images(1, seed=seed)
    changed = change(change_gamma, x, exponent)
    assert changed.mean() == pytest.approx(x.mean(), abs=1e-5)
    assert changed.std() == pytest.approx(x.std(), rel=1e-4)
    assert (np.diff(changed.ravel()[np.argsort(x.ravel())]) >= 0).all()


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 2, 3), (2, 2, 2), (3, 1, 9)])
def test_axes_shorter_than_the_gaussian(size: tuple[int, ...]) -> None:
    x = images(1, size)
    blurred = change(blur, x, 1.0)
    assert blurred.shape == x.shape
    assert blurred.mean() == pytest.approx(x.mean(), abs=1e-6)
    assert lower_resolution(torch.from_numpy(x[0]), [0.5] * 3).shape == size


@pytest.mark.parametrize("inverted", [False, True])
def test_the_negative_image_can_be_changed(inverted: bool) -> None:
    x, sign = images(2), -1 if inverted else 1
    changed = change(Gamma(inverted=inverted).change, x, 0.8, 1.3)
    np.testing.assert_array_equal(changed, sign * change(change_gamma, sign * x, 0.8, 1.3))


def test_brightness_multiplies() -> None:
    x = images(2)
    factors = np.array([0.8, 1.2], dtype=np.float32)
    np.testing.assert_array_equal(change(Brightness().change, x, *factors), x * factors[:, None, None, None])
