"""The cells with surface, against a look at every cell of the padded mask."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from umseg.kernels.surfaces.cells import surface_cells

sizes = st.sampled_from([1, 2, 3, 5, 6, 7, 8, 14, 15])
masks = st.one_of(st.tuples(sizes, sizes), st.tuples(sizes, sizes, sizes)).flatmap(
    lambda shape: hnp.arrays(bool, shape, elements=st.sampled_from([True, True, True, False]))
)


@settings(deadline=None)
@given(masks, st.booleans())
def test_places_and_codes_are_those_of_every_cell(mask: np.ndarray, invert: bool) -> None:
    mask = mask ^ invert
    cells = surface_cells(mask)
    corners = 2**mask.ndim
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask, 1), (2,) * mask.ndim)
    codes = windows.reshape(*windows.shape[: mask.ndim], corners) @ (2 ** np.arange(corners)[::-1])
    places = np.argwhere((codes > 0) & (codes < 2**corners - 1))
    np.testing.assert_array_equal(cells.coordinates()[:, 3 - mask.ndim :], places)
    np.testing.assert_array_equal(cells.codes, codes[tuple(places.T)])
    assert cells.shape == (1,) * (3 - mask.ndim) + codes.shape


@settings(deadline=None)
@given(masks)
def test_chosen_cells_keep_their_places(mask: np.ndarray) -> None:
    cells = surface_cells(mask)
    keep = cells.xs % 2 == 0
    np.testing.assert_array_equal(cells.chosen(keep).coordinates(), cells.coordinates()[keep])
