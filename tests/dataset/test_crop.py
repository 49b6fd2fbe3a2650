"""The nonzero region against scipy's definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from umseg.dataset import crop
from umseg.dataset.crop import box_slices, fill_holes, nonzero_region


def test_box_and_mask_of_a_shell_with_a_hole() -> None:
    image = np.zeros((1, 9, 8, 7), dtype=np.float32)
    image[0, 2:7, 1:6, 2:7] = -3
    image[0, 4, 3, 4] = 0
    box, mask = nonzero_region(image)
    assert box == ((2, 7), (1, 6), (2, 7))
    assert mask.shape == (5, 5, 5)
    assert mask.all(), "the enclosed voxel counts"


def test_channels_are_joined() -> None:
    image = np.zeros((2, 4, 4, 4), dtype=np.int16)
    image[0, 1, 1, 1] = 5
    image[1, 2, 3, 1] = -5
    box, mask = nonzero_region(image)
    assert box == ((1, 3), (1, 4), (1, 2))
    assert mask.sum() == 2


def test_hole_open_to_the_border_is_not_filled() -> None:
    image = np.ones((1, 5, 5, 5), dtype=np.float32)
    image[0, 0:3, 2, 2] = 0
    _, mask = nonzero_region(image)
    np.testing.assert_array_equal(mask, image[0] != 0)


def test_an_empty_image_keeps_its_size() -> None:
    box, mask = nonzero_region(np.zeros((2, 3, 4, 5), dtype=np.float32))
    assert box == ((0, 3), (0, 4), (0, 5))
    assert mask.shape == (3, 4, 5)
    assert not mask.any()


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)),
    st.integers(0, 2),
)
def test_equals_filling_the_whole_volume_first(mask: np.ndarray, grow: int) -> None:
    mask = ndimage.binary_dilation(mask, iterations=grow) if grow else mask
    filled = ndimage.binary_fill_holes(mask)
    np.testing.assert_array_equal(fill_holes(mask), filled)
    box, cropped = nonzero_region(mask[None])
    np.testing.assert_array_equal(cropped, filled[box_slices(box)])
    if mask.any():
        assert cropped.sum() == filled.sum(), "nothing lies outside the box"
        assert all(np.any(cropped, axis=tuple({0, 1, 2} - {axis}))[[0, -1]].all() for axis in range(3)), (
            "the box is tight"
        )


@settings(max_examples=60, deadline=None)
@given(
    hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=12),
    st.floats(0.005, 0.4),
    st.integers(0, 2**16),
    st.permutations(range(3)),
)
def test_few_and_many_background_voxels_are_filled_alike(
    shape: tuple[int, ...], share: float, seed: int, axes: list[int]
) -> None:
    mask = (np.random.default_rng(seed).random(shape) > share).transpose(axes)
    expected = ndimage.binary_fill_holes(mask)
    for few in (0.0, 1.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(crop, "_FEW", few)
            patch.setattr(crop, "_SMALL", 0)
            np.testing.assert_array_equal(fill_holes(mask), expected)


@pytest.mark.parametrize("thickness", [1, 2])
def test_a_closed_box_is_filled(thickness: int) -> None:
    mask = np.ones((9, 9, 9), dtype=bool)
    mask[thickness:-thickness, thickness:-thickness, thickness:-thickness] = False
    assert fill_holes(mask).all()
