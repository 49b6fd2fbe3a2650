from __future__ import annotations

import random
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from batchgenerators.transforms.color_transforms import GammaTransform
from batchgenerators.transforms.spatial_transforms import SpatialTransform

from umseg.common.errors import UserError
from umseg.training.augmentation import PIPELINES, Augmentation, BatchgeneratorsTransform, Context, patch_geometry
from umseg.training.augmentation.transform import draw_all
from umseg.training.augmentation.transforms import batchgenerators as module
from umseg.training.augmentation.transforms.batchgenerators import PARTS, reference_transform, seeded

PATCHES = [(16, 16, 12), (24, 20), (4, 16, 16)]


def samples(context: Context, count: int = 6, planes: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, and label maps of blocks whose planes are equal, -1 on one border."""
    size, rng = context.geometry.initial_patch, np.random.default_rng(0)
    data = torch.from_numpy(rng.normal(size=(count, context.channels, *size)).astype(np.float32))
    label = torch.from_numpy(rng.integers(0, 4, size=(count, 1, *size)).astype(np.int16))
    label[:, :, :, :3] = -1
    return data, label.repeat(1, planes, *(1,) * len(size))


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("patch", PATCHES)
def test_the_reference_pipeline_is_that_of_the_package(patch: tuple[int, ...], planes: int) -> None:
    """Every value of every sample is equal in 3-D, in 2-D, with slices rotated one by one, and with two label maps."""
    context = Context(2, patch_geometry(patch))
    data, label = samples(context, planes=planes)
    augmentation = Augmentation(PIPELINES["batchgenerators"], context, (False, False))
    draws = augmentation.draw(range(6))
    images, labels = augmentation(data.unbind(), label.unbind(), draws)
    axes = context.geometry.rotated_axes
    for number in range(6):
        x, y = data[number : number + 1].numpy().copy(), label[number : number + 1].numpy().astype(np.float32)
        for part, params in zip(PARTS, draws, strict=True):
            with seeded(params[number].seed):
                transform = reference_transform(part, context)
                if part == "spatial":
                    flat = (a.reshape(1, -1, *a.shape[-axes:]) for a in (x, y))
                    result = transform(**dict(zip(("data", "seg"), flat, strict=True)))
                    x, y = result["data"].reshape(1, 2, *patch), result["seg"].reshape(1, planes, *patch)
                else:
                    result = transform(data=x, seg=y)
                    x, y = result["data"], result["seg"]
        np.testing.assert_array_equal(images[number].numpy(), x[0].astype(np.float32))
        np.testing.assert_array_equal(labels[number].numpy(), y[0].clip(0))
    assert labels.dtype == torch.int16
    assert set(labels.unique().tolist()) == {0, 1, 2, 3}
    assert len({tuple(image.flatten()[:5].tolist()) for image in images}) == 6


def test_a_reference_sample_depends_on_its_seed_alone() -> None:
    context = Context(1, patch_geometry((16, 16)))
    data, label = samples(context)
    augmentation = Augmentation(PIPELINES["batchgenerators"], context, (False,))

    def augment(numbers: list[int]) -> torch.Tensor:
        draws = augmentation.draw([100 + i for i in numbers])
        return augmentation([data[i] for i in numbers], [label[i] for i in numbers], draws)[0]

    together = augment([0, 1, 2, 3])
    np.random.seed(1)
    random.seed(1)
    assert torch.equal(augment([2, 3]), together[2:])


def test_nothing_is_mirrored_without_axes() -> None:
    context = Context(1, patch_geometry((16, 16), ()))
    assert draw_all(PIPELINES["batchgenerators"][-1], range(3), context) == [None] * 3


def test_any_transform_of_the_package_can_be_wrapped() -> None:
    context = Context(2, patch_geometry((12, 10)))
    data, label = samples(context)
    transform = GammaTransform((0.5, 2), per_channel=True, p_per_sample=0.5)
    augmentation = Augmentation([BatchgeneratorsTransform("my_gamma", transform)], context, (False, False))
    draws = augmentation.draw(range(6))
    images, _ = augmentation(data.unbind(), label.unbind(), draws)
    plain, _ = Augmentation([], context, (False, False))(data.unbind(), label.unbind(), ())
    changed = []
    for image, before, seed in zip(images, plain, draws[0], strict=True):
        with seeded(seed):
            expected = transform(data=before[None].numpy().copy())["data"][0]
        np.testing.assert_array_equal(image.numpy(), expected)
        changed.append(not torch.equal(image, before))
    assert 0 < sum(changed) < 6


def test_a_spatial_transform_of_the_package_crops_a_patch_with_a_margin() -> None:
    context = Context(1, patch_geometry((12, 10)))
    transform = SpatialTransform((12, 10), do_elastic_deform=True, random_crop=False)
    wrapped = BatchgeneratorsTransform("elastic", transform, margin=True)
    augmentation = Augmentation([wrapped], context, (False,))
    draws = augmentation.draw(range(4))
    assert augmentation.sizes(draws, 4) == [context.geometry.initial_patch] * 4
    data, label = samples(context, 4)
    assert augmentation(data.unbind(), label.unbind(), draws)[0].shape == (4, 1, 12, 10)


def fail(**arrays: Any) -> dict[str, Any]:
    np.random.normal()
    raise RuntimeError("broken")


@pytest.mark.parametrize("transform", [GammaTransform(p_per_sample=1), fail])
def test_the_global_generators_are_left_alone(transform: Any) -> None:
    np.random.seed(3)
    random.seed(3)
    expected = np.random.random(), random.random()
    np.random.seed(3)
    random.seed(3)
    wrapped = BatchgeneratorsTransform("one", transform)
    image, label = torch.rand(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int16)
    before = image.clone()
    with nullcontext() if transform is not fail else pytest.raises(RuntimeError, match="broken"):
        wrapped.apply(image, label, 1)
    assert (np.random.random(), random.random()) == expected
    assert torch.equal(image, before)


def test_without_the_package_the_remedy_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="need the package batchgenerators") as caught:
        PIPELINES["batchgenerators"][0].check(Context(1, patch_geometry((8, 8))))
    assert caught.value.remedy == 'pip install "umseg[batchgenerators]"'
