from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import ball, disk

from umseg.training.augmentation import cascade
from umseg.training.augmentation.cascade import change_shape, disturb, remove_component

SHAPE = (20, 22, 24)


def blobs(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A label map of two classes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    label = np.zeros(shape, dtype=np.int16)
    label[noise > 0.5 * noise.std()] = 1
    label[noise < -0.7 * noise.std()] = 2
    return label


@pytest.mark.parametrize("operation", cascade.OPERATIONS)
@pytest.mark.parametrize("radius", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("axes", [2, 3])
def test_the_shape_changes_as_by_scipy_with_a_ball(operation: str, radius: float, axes: int) -> None:
    label = blobs(1, SHAPE[:axes])
    mask = label == 1
    # The ball of scikit-image is cut off at whole voxels.
    grid = np.indices((2 * int(radius) + 1,) * axes) - int(radius)
    structure = (grid**2).sum(0) <= radius**2
    if radius.is_integer():
        np.testing.assert_array_equal(structure, (ball if axes == 3 else disk)(int(radius)))

    def grow(x: np.ndarray) -> np.ndarray:
        return ndimage.binary_dilation(x, structure)

    def shrink(x: np.ndarray) -> np.ndarray:
        return ndimage.binary_erosion(x, structure, border_value=1)

    expected = {
        "dilate": grow(mask), "erode": shrink(mask), "open": grow(shrink(mask)), "close": shrink(grow(mask)),
    }[operation]  # fmt: skip
    before = label.copy()
    change_shape(label, 1, operation, radius)
    np.testing.assert_array_equal(label == 1, expected)
    np.testing.assert_array_equal(label == 2, (before == 2) & ~expected)


@pytest.mark.parametrize("operation", cascade.OPERATIONS)
def test_a_class_that_is_nowhere_or_everywhere(operation: str) -> None:
    for value in (0, 1):
        label = np.full(SHAPE, value, dtype=np.int16)
        change_shape(label, 1, operation, 3.0)
        assert (label == value).all()


def test_one_small_component_is_removed() -> None:
    label = np.zeros((20, 20), dtype=np.int16)
    label[:, :10] = 1
    label[2:4, 14:16] = label[8:10, 14:16] = 1
    label[15, 15] = 2
    before = label.copy()
    remove_component(label, 1, np.random.default_rng(0))
    gone = before != label
    assert gone.sum() == 4
    assert (label[gone] == 0).all()
    assert (label[:, :10] == 1).all(), "half of the patch is no small component"


def test_how_often_and_that_a_seed_fixes_it() -> None:
    label = blobs(2)
    results = []
    for seed in range(300):
        copy, again = label.copy(), label.copy()
        disturb(copy, (1, 2), np.random.default_rng(seed))
        disturb(again, (1, 2), np.random.default_rng(seed))
        np.testing.assert_array_equal(copy, again)
        assert set(np.unique(copy)) <= {0, 1, 2}
        results.append(not np.array_equal(copy, label))
    # From 0.4, where there is no small component to remove, to 1 - 0.6 * 0.8.
    assert 0.33 < np.mean(results) < 0.6


def test_nothing_else_is_touched() -> None:
    label = np.zeros(SHAPE, dtype=np.int16)
    for seed in range(20):
        disturb(label, (1, 2), np.random.default_rng(seed))
    assert not label.any()
