from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from skimage.morphology import ball, disk

from umseg.training.augmentation import Context, patch_geometry
from umseg.training.augmentation.transform import draw_all
from umseg.training.augmentation.transforms.cascade_shape import OPERATIONS, CascadeShape, change_shape

SHAPE = (20, 22, 24)


def blobs(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A label map of two classes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    label = np.zeros(shape, dtype=np.int16)
    label[noise > 0.5 * noise.std()] = 1
    label[noise < -0.7 * noise.std()] = 2
    return label


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("radius", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("axes", [2, 3])
def test_the_shape_changes_as_by_scipy_with_a_ball(operation: str, radius: float, axes: int) -> None:
    label = blobs(1, SHAPE[:axes])
    mask = label == 1
    # The ball of scikit-image is cut off at whole voxels.
    grid = np.indices((2 * int(radius) + 1,) * axes) - int(radius)
    structure = (grid**2).sum(0) <= radius**2
    if radius.is_integer():
        truth = ball(int(radius)) if axes == 3 else disk(int(radius))
        np.testing.assert_array_equal(structure, truth)

    def grow(x: np.ndarray) -> np.ndarray:
        grown: np.ndarray = ndimage.binary_dilation(x, structure)
        return grown

    def shrink(x: np.ndarray) -> np.ndarray:
        shrunken: np.ndarray = ndimage.binary_erosion(x, structure, border_value=1)
        return shrunken

    expected = {
        "dilate": grow(mask), "erode": shrink(mask), "open": grow(shrink(mask)), "close": shrink(grow(mask)),
    }[operation]  # fmt: skip
    before = label.copy()
    change_shape(label, 1, operation, radius)
    np.testing.assert_array_equal(label == 1, expected)
    np.testing.assert_array_equal(label == 2, (before == 2) & ~expected)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_class_that_is_nowhere_or_everywhere(operation: str) -> None:
    for value in (0, 1):
        label = np.full(SHAPE, value, dtype=np.int16)
        change_shape(label, 1, operation, 3.0)
        assert (label == value).all()


def test_every_class_is_changed_once_in_random_order() -> None:
    context = Context(1, patch_geometry(SHAPE), (1, 2, 3))
    drawn = draw_all(CascadeShape(), range(3000), context)
    applied = [params for params in drawn if params is not None]
    assert stats.binomtest(len(applied), 3000, 0.4).pvalue > 0.005
    assert all(sorted(operation.value for operation in params) == [1, 2, 3] for params in applied)
    orders = np.unique([[operation.value for operation in params] for params in applied], axis=0, return_counts=True)[1]
    assert len(orders) == 6
    assert stats.chisquare(orders).pvalue > 0.005
    operations = [operation for params in applied for operation in params]
    kinds = np.unique([operation.kind for operation in operations], return_counts=True)[1]
    assert len(kinds) == len(OPERATIONS)
    assert stats.chisquare(kinds).pvalue > 0.005
    assert stats.kstest([operation.radius for operation in operations], stats.uniform(1, 7).cdf).pvalue > 0.005


def test_only_the_first_stages_segmentation_is_changed() -> None:
    context = Context(1, patch_geometry(SHAPE), (1, 2))
    label = torch.from_numpy(np.stack([blobs(1), blobs(2)]))
    image, before = torch.zeros(1, *SHAPE), label.clone()
    transform = CascadeShape(probability=1.0)
    changed = []
    for params in draw_all(transform, range(10), context):
        assert params is not None
        result, planes = transform.apply(image, before.clone(), params)
        assert not result.any()
        assert torch.equal(planes[0], before[0])
        assert set(planes[1].unique().tolist()) <= {0, 1, 2}
        changed.append(not torch.equal(planes[1], before[1]))
    assert sum(changed) >= 8
