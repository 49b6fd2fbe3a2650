from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.training.augmentation import peers
from umseg.training.augmentation import PIPELINES, Augmentation, Context, Transform, patch_geometry
from umseg.training.augmentation.transforms.batchgenerators import seeded

PATCHES = [(16, 16, 12), (24, 20), (4, 16, 16)]
# A GPU draws other noise.
WITHOUT_NOISE = tuple(transform for transform in PIPELINES["umamba"] if transform.name != "noise")


def make(
    patch: tuple[int, ...], use_mask: tuple[bool, ...], transforms: Sequence[Transform[Any]] = PIPELINES["umamba"]
) -> Augmentation:
    return Augmentation(transforms, Context(len(use_mask), patch_geometry(patch)), use_mask)


def augment(
    augmentation: Augmentation, data: torch.Tensor, label: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augment a batch whose samples have different seeds; returns the first plane of the label maps."""
    draws = augmentation.draw([1000 * seed + i for i in range(len(data))])
    image, target = augmentation(data.unbind(), label.unbind(), draws)
    return image, target[:, 0]


def blobs(augmentation: Augmentation, seed: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Dark noise with a bright ellipsoid off the centre, which is class 2; -1 on one border.

    Along a thin axis it is a cylinder: blurring across the few slices would change its shape.
    """
    size = augmentation.context.geometry.initial_patch
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    inside = sum((axis - 0.1) ** 2 for axis in grid[augmentation.context.geometry.in_plane :]) < 0.25
    label = np.repeat(np.where(inside, 2, 0)[None, None], batch, axis=0).astype(np.int16)
    label[:, :, :, :3] = -1
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(batch, 2, *size))
    image = (noise + 3 * (label == 2)).astype(np.float32)
    return torch.from_numpy(image), torch.from_numpy(label)


@pytest.mark.parametrize("patch", PATCHES)
def test_shapes_types_and_labels(patch: tuple[int, ...]) -> None:
    augmentation = make(patch, (False, False))
    data, label = blobs(augmentation, 0)
    before = data.clone(), label.clone()
    for seed in range(10):
        image, target = augment(augmentation, data, label, seed)
        assert image.shape == (2, 2, *patch)
        assert target.shape == (2, *patch)
        assert image.dtype == torch.float32
        assert target.dtype == torch.int16
        assert image.is_contiguous()
        assert image.isfinite().all()
        assert set(target.unique().tolist()) <= {0, 2}
    assert torch.equal(data, before[0])
    assert torch.equal(label, before[1])


@pytest.mark.parametrize("patch", PATCHES)
def test_image_and_label_move_together(patch: tuple[int, ...]) -> None:
    augmentation = make(patch, (False, False))
    data, label = blobs(augmentation, 1)
    overlaps = []
    for seed in range(20):
        image, target = augment(augmentation, data, label, seed)
        for sample, reference in zip(image[:, 0].numpy(), target.numpy() == 2, strict=True):
            bright = sample > (np.percentile(sample, 2) + np.percentile(sample, 98)) / 2
            overlaps.append(2 * (bright & reference).sum() / (bright.sum() + reference.sum()))
    # Loss of resolution blurs a border that is a large part of so small an object.
    assert min(overlaps) > 0.8
    assert np.mean(overlaps) > 0.97


def summary(images: NDArray[np.float32], labels: NDArray[np.int16]) -> dict[str, NDArray[np.float64]]:
    """Properties of samples, each changed by some transform: intensity, its spread, sharpness, place and size."""
    axes = tuple(range(2, images.ndim))
    found = {f"mean of channel {c}": values for c, values in enumerate(images.mean(axes).T)}
    found |= {f"deviation of channel {c}": values for c, values in enumerate(images.std(axes).T)}
    found["channels apart"] = (images[:, 0] * images[:, 1]).mean(tuple(a - 1 for a in axes))
    found["skewness"] = ((images - images.mean(axes, keepdims=True)) ** 3).mean((1, *axes))
    for axis in axes:
        found[f"sharpness along {axis}"] = (np.diff(images, axis=axis) ** 2).mean((1, *axes))
    for value in (1, 2):
        found[f"size of class {value}"] = (labels == value).mean(tuple(a - 1 for a in axes))
    for axis, size in enumerate(labels.shape[1:], start=1):
        lower, upper = np.split((labels == 2).swapaxes(axis, -1), [size // 2], axis=-1)
        others = tuple(range(1, labels.ndim))
        found[f"place along {axis}"] = lower.mean(others) - upper.mean(others)
    return {name: values.astype(np.float64) for name, values in found.items()}


@pytest.mark.parametrize("patch", PATCHES)
def test_moments_are_those_of_batchgenerators(patch: tuple[int, ...]) -> None:
    """First and second moments of many augmentations of one sample agree within their standard error."""
    augmentation = make(patch, (False, False))
    data, label = blobs(augmentation, 2, batch=1)
    label[label < 0] = 1
    samples = 500
    images, targets = augment(
        augmentation, data.expand(samples, *data.shape[1:]), label.expand(samples, *label.shape[1:]), 3
    )
    ours = summary(images.numpy(), targets.numpy())
    with seeded(3):
        peer, peer_targets = peers.augment(
            np.repeat(data.numpy(), samples, 0), np.repeat(label[:, 0].numpy(), samples, 0), augmentation.context
        )
    theirs = summary(peer, peer_targets.astype(np.int16))
    for name, values in ours.items():
        for power in (1, 2):
            # About one centre for both, or a second moment would be little more than the square of the mean.
            first, second = ((x - theirs[name].mean() * (power - 1)) ** power for x in (values, theirs[name]))
            error = np.sqrt((first.var() + second.var()) / samples)
            assert abs(first.mean() - second.mean()) <= 3.5 * error + 1e-12, f"{name}, moment {power}"


@pytest.mark.parametrize("patch", PATCHES)
def test_a_seed_fixes_every_bit_whatever_happened_before_and_with_any_number_of_threads(
    patch: tuple[int, ...],
) -> None:
    augmentation = make(patch, (False, True))
    data, label = blobs(augmentation, 3, batch=8)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 4, 3):
            torch.set_num_threads(count)
            torch.manual_seed(count)
            np.random.seed(count)
            results.append(augment(augmentation, data, label, 7))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for image, target in results[1:]:
        assert torch.equal(image, results[0][0])
        assert torch.equal(target, results[0][1])
    assert not torch.equal(augment(augmentation, data, label, 8)[0], results[0][0])


def test_the_global_generators_are_left_alone() -> None:
    augmentation = make((16, 16), (False, False))
    data, label = blobs(augmentation, 0, batch=8)
    before = torch.random.get_rng_state(), np.random.get_state(legacy=False), random.getstate()
    augment(augmentation, data, label, 1)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_equal(np.random.get_state(legacy=False), before[1])
    assert random.getstate() == before[2]


@pytest.mark.parametrize("patch", PATCHES)
def test_all_images_at_once_as_on_a_gpu(patch: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are equal up to rounding, label maps up to voxels halfway between two labels."""
    augmentation = make(patch, (False, True), WITHOUT_NOISE)
    data, label = blobs(augmentation, 4, batch=12)
    image, target = augment(augmentation, data, label, 5)
    for module in (".transforms.channels", ".warp", ".axis_operators"):
        monkeypatch.setattr(f"umseg.training.augmentation{module}.small_pieces", lambda device: False)
    other, other_target = augment(augmentation, data, label, 5)
    assert (target != other_target).float().mean() < 1e-3
    assert ((image - other).abs() > 1e-3).float().mean() < 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("patch", PATCHES)
def test_a_gpu_makes_the_same_of_the_same_draws(patch: tuple[int, ...]) -> None:
    augmentation = make(patch, (False, True), WITHOUT_NOISE)
    data, label = blobs(augmentation, 4, batch=12)
    image, target = augment(augmentation, data, label, 5)
    other, other_target = augment(augmentation, data.cuda(), label.cuda(), 5)
    assert (target != other_target.cpu()).float().mean() < 1e-3
    assert ((image - other.cpu()).abs() > 1e-2).float().mean() < 1e-3


@pytest.mark.parametrize("patch", PATCHES)
def test_masked_channels_are_zero_outside_the_nonzero_region(patch: tuple[int, ...]) -> None:
    """With every voxel outside, all transforms must be undone in the masked channel, and only there."""
    augmentation = make(patch, (True, False))
    size = augmentation.context.geometry.initial_patch
    data = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 2, *size)).astype(np.float32))
    label = torch.full((2, 1, *size), -1, dtype=torch.int16)
    for seed in range(5):
        image, target = augment(augmentation, data, label, seed)
        assert (image[:, 0] == 0).all()
        assert (image[:, 1] != 0).any()
        assert (target == 0).all()


def test_intensities_change_but_not_the_label_without_spatial_draws() -> None:
    """Without rotation and zoom the label map is the plain centre crop or its mirror image."""
    augmentation = make((24, 24), (False, False))
    data, label = blobs(augmentation, 4, batch=1)
    margin = [(n - 24) // 2 for n in augmentation.context.geometry.initial_patch]
    crop = label[0, 0, margin[0] : margin[0] + 24, margin[1] : margin[1] + 24].clamp(min=0)
    plain = [crop, crop.flip(0), crop.flip(1), crop.flip((0, 1))]
    results = [augment(augmentation, data, label, seed) for seed in range(20)]
    unmoved = [image for image, target in results if any(torch.equal(target[0], p) for p in plain)]
    assert 5 <= len(unmoved) <= 18
    assert len({round(float(image.std()), 4) for image in unmoved}) > 3


@pytest.mark.parametrize("patch", PATCHES)
def test_newer_nnunets_transforms_smooth_noise(patch: tuple[int, ...]) -> None:
    """They interpolate linearly, so less of the same noise is left wherever a sample is rotated, zoomed or enlarged."""
    augmentations = [make(patch, (False,), PIPELINES[name]) for name in ("umamba", "nnunet")]
    initial = augmentations[0].context.geometry.initial_patch
    noise = torch.randn(300, 1, *initial, generator=torch.Generator().manual_seed(1))
    label = torch.ones(300, 1, *initial, dtype=torch.int16)
    steps = [augment(a, noise, label, 7)[0].diff(dim=-1).abs().mean() for a in augmentations]
    assert 0.5 * steps[0] < steps[1] < 0.95 * steps[0]
