from __future__ import annotations

import random

import numpy as np
import pytest

from umseg.training.augmentation import Augmentation, patch_geometry

PATCHES = [(16, 16, 12), (24, 20), (4, 16, 16)]


def blob_batch(augmentation: Augmentation, seed: int, batch: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Dark noise with a bright ellipsoid off the centre, which is class 2; -1 on one border.

    Along a thin axis it is a cylinder: blurring across the few slices would change its shape.
    """
    size = augmentation.geometry.initial_patch
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    inside = sum((axis - 0.1) ** 2 for axis in grid[augmentation.geometry.in_plane :]) < 0.25
    label = np.repeat(np.where(inside, 2, 0)[None], batch, axis=0).astype(np.int8)
    label[:, :, :3] = -1
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(batch, 2, *size))
    return (noise + 3 * (label == 2)[:, None]).astype(np.float32), label


@pytest.mark.parametrize(
    ("patch", "degrees", "in_plane", "initial"),
    [
        ((128, 128, 128), 30, False, (205, 205, 205)),
        ((512, 512), 180, False, (602, 602)),
        ((384, 640), 15, False, (631, 752)),
        ((40, 56, 40), 30, False, (73, 80, 64)),
        ((256, 224), 180, False, (301, 301)),
        ((40, 224, 192), 180, True, (40, 263, 263)),
    ],
)
def test_geometry_of_the_published_plans(
    patch: tuple[int, ...], degrees: float, in_plane: bool, initial: tuple[int, ...]
) -> None:
    geometry = patch_geometry(patch)
    assert geometry.angle == pytest.approx(np.deg2rad(degrees))
    assert geometry.in_plane is in_plane
    assert geometry.initial_patch == initial
    assert geometry.mirror_axes == tuple(range(len(patch)))


def test_slices_are_turned_alone_from_more_than_three_to_one() -> None:
    assert not patch_geometry((16, 48, 48)).in_plane
    assert patch_geometry((16, 49, 48)).in_plane


@pytest.mark.parametrize("patch", PATCHES)
def test_shapes_types_and_labels(patch: tuple[int, ...]) -> None:
    augmentation = Augmentation(patch, (False, False))
    data, label = blob_batch(augmentation, 0)
    before = data.copy(), label.copy()
    for seed in range(10):
        image, target = augmentation(data, label, seed)
        assert image.shape == (2, 2, *patch)
        assert target.shape == (2, *patch)
        assert image.dtype == np.float32
        assert target.dtype == np.int16
        assert image.flags.c_contiguous
        assert np.isfinite(image).all()
        assert set(np.unique(target)) <= {0, 2}
    np.testing.assert_array_equal(data, before[0])
    np.testing.assert_array_equal(label, before[1])


@pytest.mark.parametrize("patch", PATCHES)
def test_image_and_label_move_together(patch: tuple[int, ...]) -> None:
    augmentation = Augmentation(patch, (False, False))
    data, label = blob_batch(augmentation, 1)
    for seed in range(20):
        image, target = augmentation(data, label, seed)
        for sample, reference in zip(image[:, 0], target == 2, strict=True):
            bright = sample > (np.percentile(sample, 2) + np.percentile(sample, 98)) / 2
            assert 2 * (bright & reference).sum() / (bright.sum() + reference.sum()) > 0.85


def test_patches_are_turned_scaled_and_mirrored() -> None:
    """The label's size and centre vary: were the spatial transforms off, there would be one size and one centre."""
    augmentation = Augmentation((24, 24), (False, False))
    data, label = blob_batch(augmentation, 2, batch=16)
    targets = np.concatenate([augmentation(data, label, seed)[1] for seed in range(4)]) == 2
    size = np.median(targets.sum((1, 2)))
    assert 4 <= (abs(targets.sum((1, 2)) / size - 1) > 0.1).sum() <= 24
    corners = {tuple(np.argwhere(sample).mean(0) > 11.5) for sample in targets}
    assert len(corners) == 4


@pytest.mark.parametrize("patch", PATCHES)
def test_a_seed_fixes_the_result_and_the_global_state_is_given_back(patch: tuple[int, ...]) -> None:
    augmentation = Augmentation(patch, (False, True))
    data, label = blob_batch(augmentation, 3)
    np.random.seed(1)
    random.seed(1)
    first = augmentation(data, label, 7)
    drawn = np.random.random(), random.random()
    np.random.seed(1)
    random.seed(1)
    assert (np.random.random(), random.random()) == drawn
    second = augmentation(data, label, 7)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert any(not np.array_equal(augmentation(data, label, seed)[0], first[0]) for seed in range(3))


def test_the_global_state_is_given_back_after_an_error() -> None:
    augmentation = Augmentation((16, 16), (False,))
    np.random.seed(1)
    expected = np.random.RandomState(1).random()
    with pytest.raises((ValueError, IndexError)):
        augmentation(np.zeros((1, 1, 20, 20), np.float32), np.zeros((1,), np.int8), 0)
    assert np.random.random() == expected


@pytest.mark.parametrize("patch", PATCHES)
def test_masked_channels_are_zero_outside_the_nonzero_region(patch: tuple[int, ...]) -> None:
    """With every voxel outside, whatever the transforms do must be undone, but only in the masked channel."""
    augmentation = Augmentation(patch, (True, False))
    size = augmentation.geometry.initial_patch
    data = np.random.default_rng(0).normal(size=(2, 2, *size)).astype(np.float32)
    label = np.full((2, *size), -1, dtype=np.int8)
    for seed in range(5):
        image, target = augmentation(data, label, seed)
        outside = np.ones(patch, dtype=bool)
        # Where a turned patch shows what was not cut, the label is 0 in the published rule; keep clear of the rim.
        for axis, n in enumerate(patch):
            outside &= (np.abs(np.arange(n) - (n - 1) / 2) < n / 4).reshape(
                [-1 if a == axis else 1 for a in range(len(patch))]
            )
        assert (image[:, 0][:, outside] == 0).all()
        assert (image[:, 1][:, outside] != 0).any()
        assert (target == 0).all()


def test_intensities_change_but_not_the_label_without_spatial_draws() -> None:
    """Of many seeds some draw no rotation or zoom: there the label is the plain centre crop or its mirror image."""
    augmentation = Augmentation((24, 24), (False, False))
    data, label = blob_batch(augmentation, 4, batch=1)
    margin = [(n - 24) // 2 for n in augmentation.geometry.initial_patch]
    crop = np.maximum(label[0, margin[0] : margin[0] + 24, margin[1] : margin[1] + 24], 0)
    plain = [crop, crop[::-1], crop[:, ::-1], crop[::-1, ::-1]]
    results = [augmentation(data, label, seed) for seed in range(20)]
    unmoved = [image for image, target in results if any(np.array_equal(target[0], p) for p in plain)]
    assert 5 <= len(unmoved) <= 18
    assert len({round(float(image.std()), 4) for image in unmoved}) > 3
