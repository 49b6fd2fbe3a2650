from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from umseg.preprocess.instance_cleaning import Cleaning, fill_object_holes, remove_small_objects

shapes = st.sampled_from([(1, 7, 9), (4, 5, 6), (1, 1, 8), (1, 1, 1)])


@st.composite
def maps(draw: st.DrawFn) -> NDArray[np.uint16]:
    """(z, y, x): objects 1, 2, ... in pieces of any shape, or none."""
    pattern = draw(hnp.arrays(np.int64, draw(shapes), elements=st.integers(0, 3)))
    return np.unique(np.append(pattern, 0), return_inverse=True)[1][:-1].reshape(pattern.shape).astype(np.uint16)


def picture(*rows: str) -> NDArray[np.uint16]:
    """(1, y, x): the digits, with dots as background."""
    return np.array([[[0 if digit == "." else int(digit) for digit in row] for row in rows]], np.uint16)


def test_small_objects_are_removed_and_the_others_numbered_anew() -> None:
    found = remove_small_objects(picture("11.2.33", "11...33", "....444"), 3)
    np.testing.assert_array_equal(found, picture("11...22", "11...22", "....333"))
    assert found.dtype == np.uint16


@pytest.mark.parametrize("smallest", [0, 1, 2, 4])
def test_an_object_of_the_smallest_size_is_kept(smallest: int) -> None:
    instances = picture("11.22", "11.22")
    np.testing.assert_array_equal(remove_small_objects(instances, smallest), instances)
    assert not remove_small_objects(instances, 5).any()


def test_background_alone_stays() -> None:
    empty = np.zeros((2, 3, 4), np.uint8)
    np.testing.assert_array_equal(Cleaning(smallest=9, fill_holes=True).apply(empty), empty)
    assert Cleaning(smallest=9, fill_holes=True).apply(np.zeros((0, 2, 2), np.uint8)).shape == (0, 2, 2)


def test_holes_are_filled_with_the_object_around_them() -> None:
    found = fill_object_holes(picture(".....", ".333.", ".3.3.", ".333.", "....."))
    np.testing.assert_array_equal(found, picture(".....", ".333.", ".333.", ".333.", "....."))


@pytest.mark.parametrize(
    "rows",
    [
        (".1.2", "1..2", ".122"),  # a gap between two objects
        ("111", "1.1", "1.1"),  # open to the border of the image
        ("....", ".11.", ".1..", "...."),
        ("1111", "1.21", "1111"),  # two objects around it
    ],
)
def test_other_background_is_no_hole(rows: tuple[str, ...]) -> None:
    np.testing.assert_array_equal(fill_object_holes(picture(*rows)), picture(*rows))


def test_a_speck_in_a_hole_is_removed_before_the_hole_is_filled() -> None:
    found = Cleaning(smallest=2, fill_holes=True).apply(picture("2222", "2.12", "2222"))
    np.testing.assert_array_equal(found, picture("1111", "1111", "1111"))


def test_a_tunnel_through_a_volume_is_no_hole_but_a_cavity_is() -> None:
    instances = np.ones((3, 5, 5), np.uint8)
    instances[:, 2, 2] = 0
    np.testing.assert_array_equal(fill_object_holes(instances), instances)
    instances[[0, 2], 2, 2] = 1
    assert fill_object_holes(instances).all()


def test_a_hole_of_one_object_is_what_scipy_fills() -> None:
    mask = np.random.default_rng(0).random((1, 40, 50)) < 0.62
    expected = ndimage.binary_fill_holes(mask[0])
    assert not np.array_equal(expected, mask[0])
    np.testing.assert_array_equal(fill_object_holes(mask.astype(np.int16))[0], expected)


@given(maps(), st.integers(0, 12), st.booleans())
def test_only_small_objects_and_holes_change(instances: NDArray[Any], smallest: int, fill_holes: bool) -> None:
    cleaned = Cleaning(smallest=smallest, fill_holes=fill_holes).apply(instances)
    assert cleaned.shape == instances.shape
    assert cleaned.dtype == instances.dtype
    sizes = np.bincount(instances.ravel(), minlength=1)
    large = [number for number in range(1, len(sizes)) if sizes[number] >= smallest]
    np.testing.assert_array_equal(np.unique(cleaned[cleaned > 0]), np.arange(1, len(large) + 1))
    for new, old in enumerate(large, start=1):
        assert (cleaned[instances == old] == new).all()
        # What an object gained was background or an object that was removed, and only by filling.
        gained = instances[(cleaned == new) & (instances != old)]
        assert not set(gained.tolist()) & set(large)
        assert fill_holes or not gained.size
