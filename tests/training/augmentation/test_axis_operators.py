from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from umseg.preprocess.resampling.resample import axis_operator
from umseg.training.augmentation.axis_operators import AxisOperator, enlarging, spline_coefficients, zooming

CPU = torch.device("cpu")


@given(st.integers(1, 40), st.integers(1, 300), st.integers(0, 2), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_an_operator_is_a_matrix_along_one_axis(columns: int, rows: int, axis: int, seed: int) -> None:
    """The operator may be cut into bands: 300 rows are, 40 are not."""
    rng = np.random.default_rng(seed)
    # A band around the diagonal, as splines have; what is exactly zero is left out.
    distance = abs(np.arange(rows)[:, None] * columns / rows - np.arange(columns))
    matrix = np.where(distance < 5, rng.normal(size=(rows, columns)), 0.0)
    shape = [3, 4, 2]
    shape[axis] = columns
    x = rng.normal(size=shape).astype(np.float32)
    expected = np.moveaxis(np.tensordot(matrix, x, axes=(1, axis)), 0, axis)
    found = AxisOperator.of(matrix, CPU)(torch.from_numpy(x), axis)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40, 200])
def test_coefficients_are_scipys_with_the_mirrored_ones_beyond(size: int) -> None:
    x = np.random.default_rng(0).normal(size=size)
    expected = ndimage.spline_filter1d(x, order=3, mode="mirror")
    found = spline_coefficients(size, CPU)(torch.tensor(x[None], dtype=torch.float32), 1)[0].numpy()
    np.testing.assert_allclose(found[1 : size + 1], expected, atol=1e-5)
    if size > 2:
        np.testing.assert_allclose(found[[0, -2, -1]], expected[[1, -2, -3]], atol=1e-5)


@pytest.mark.parametrize("order", [3, 1])
@pytest.mark.parametrize(("size", "patch", "zoom"), [(30, 20, 1.0), (31, 20, 1.3), (64, 40, 0.7), (17, 16, 1.4)])
def test_zooming_equals_scipys_interpolation(size: int, patch: int, zoom: float, order: int) -> None:
    x = np.random.default_rng(0).normal(size=size)
    coordinates = zoom * (np.arange(patch) - (patch - 1) / 2) + (size - 1) / 2
    expected = ndimage.map_coordinates(x, coordinates[None], order=order, mode="constant", cval=0)
    found = zooming(size, patch, zoom, CPU, splines=order == 3)(torch.tensor(x[None], dtype=torch.float32), 1)[
        0
    ].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("order", [3, 1])
@pytest.mark.parametrize(("kept", "size"), [(1, 1), (1, 2), (2, 3), (2, 4), (5, 9), (40, 56), (56, 56), (256, 512)])
def test_enlarging_equals_scipys_zoom(kept: int, size: int, order: int) -> None:
    found = enlarging(kept, size, CPU, splines=order == 3)(torch.eye(kept), 0)
    np.testing.assert_allclose(found.numpy(), axis_operator(kept, size, order), atol=1e-6)
