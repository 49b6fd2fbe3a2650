"""Contours that are filled again give the label map, holes included."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage

from tests.inference.outputs.dicom.filling import fill
from umseg.inference.outputs.dicom.contours import Contour, trace

PLANES = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3))
RING = np.pad(np.pad(np.zeros((2, 3), np.uint8), 1, constant_values=5), 1)


def filled(contours: list[Contour], shape: tuple[int, int]) -> NDArray[np.uint8]:
    plane = np.zeros(shape, np.uint8)
    for contour in contours:
        plane[fill([contour.points - 0.5], shape)] = contour.label
    return plane


@settings(max_examples=200, deadline=None)
@given(PLANES)
def test_filling_the_contours_gives_the_labels(plane: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(filled(trace(plane), plane.shape), plane)


@settings(max_examples=100, deadline=None)
@given(PLANES)
def test_there_is_one_contour_for_each_connected_part(plane: NDArray[np.uint8]) -> None:
    contours = trace(plane)
    for value in (1, 2, 3):
        assert len([contour for contour in contours if contour.label == value]) == ndimage.label(plane == value)[1]


@settings(max_examples=100, deadline=None)
@given(PLANES)
def test_contours_run_along_rows_and_columns_without_standing_still(plane: NDArray[np.uint8]) -> None:
    for contour in trace(plane):
        closed = [*contour.points.tolist(), contour.points[0].tolist()]
        for (row, column), (next_row, next_column) in pairwise(closed):
            assert (row == next_row) != (column == next_column)


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3])
def test_smooth_shapes_with_many_holes(sigma: float) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(90, 110)), sigma)
    plane = np.digitize(noise, np.quantile(noise, [0.1, 0.45, 0.8]))
    assert ndimage.label(plane == 0, np.ones((3, 3)))[1] > 3
    np.testing.assert_array_equal(filled(trace(plane), plane.shape), plane)


def test_a_hole_is_cut_open_from_its_upper_left_corner() -> None:
    (contour,) = trace(RING)
    assert contour.label == 5
    assert contour.points.tolist() == [
        *([1, 1], [1, 6], [5, 6], [5, 1]),  # around the ring, and up along its left side
        *([2, 1], [2, 2], [4, 2], [4, 5], [2, 5], [2, 2], [2, 1]),  # through the cut, around the hole, and back
    ]


def test_the_contour_of_a_pixel_is_its_edge() -> None:
    plane = np.zeros((4, 5), np.uint16)
    plane[2, 3] = 700
    (contour,) = trace(plane)
    assert contour.label == 700
    assert contour.points.tolist() == [[2, 3], [2, 4], [3, 4], [3, 3]]


def test_pixels_that_touch_in_a_corner_have_contours_of_their_own() -> None:
    assert len(trace(np.eye(5, dtype=np.uint8))) == 5


def test_nothing_has_no_contour() -> None:
    assert trace(np.zeros((3, 4), np.uint8)) == []
