from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from umseg.dataset import instances
from umseg.inference.standalone import objects
from umseg.preprocess import instance_cleaning

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(1, 12))
MASKS = SHAPES.flatmap(lambda shape: arrays(np.bool_, shape))
CLASSES = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 2)))


@given(MASKS)
def test_holes_are_those_of_scipy(mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(mask | objects.enclosed(mask), ndimage.binary_fill_holes(mask))


def test_a_winding_path_to_the_border_is_followed() -> None:
    mask = np.ones((1, 41, 41), dtype=np.bool_)
    mask[0, 1::4, 1:-1] = mask[0, 3::4, 1:-1] = False
    mask[0, 2::4, -2] = mask[0, 4:-1:4, 1] = False
    assert objects.enclosed(np.concatenate([np.ones_like(mask), mask, np.ones_like(mask)])).sum() == (~mask).sum()
    mask[0, 1, 0] = False
    assert not objects.enclosed(np.concatenate([np.ones_like(mask), mask, np.ones_like(mask)])).any()


@given(MASKS, st.booleans())
def test_pieces_are_numbered_as_by_scipy(mask: NDArray[np.bool_], faces_only: bool) -> None:
    numbers, count = objects.components(mask, faces_only=faces_only)
    expected, expected_count = ndimage.label(mask, None if faces_only else np.ones((3, 3, 3)))
    assert count == expected_count
    np.testing.assert_array_equal(numbers, expected)


@given(CLASSES)
def test_objects_are_those_of_umseg(classes: NDArray[np.uint8]) -> None:
    found, expected = objects.find_instances(classes), instances.find_instances(classes)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


@given(SHAPES.flatmap(lambda shape: arrays(np.uint16, shape, elements=st.integers(0, 4))), st.integers(0, 9))
def test_objects_are_cleaned_as_by_umseg(numbers: NDArray[np.uint16], smallest: int) -> None:
    found = objects.remove_small_objects(numbers, smallest)
    np.testing.assert_array_equal(found, instance_cleaning.remove_small_objects(numbers, smallest))
    filled = objects.fill_object_holes(numbers)
    np.testing.assert_array_equal(filled, instance_cleaning.fill_object_holes(numbers))
    assert filled.dtype == numbers.dtype


@pytest.mark.parametrize("shape", [(64, 64), (9, 40, 33)])
def test_large_noise_has_the_pieces_that_scipy_finds(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.35
    numbers, _ = objects.components(mask, faces_only=True)
    np.testing.assert_array_equal(numbers, ndimage.label(mask)[0])
