"""Operators of one axis against scipy's zoom."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from umseg.preprocess.resampling.axis import axis_operator, nearest_indices, separate_axis, support


@pytest.mark.parametrize(
    ("spacing", "target", "axis"),
    [
        ((1, 1, 1), (3, 3, 3), None),
        ((3, 1, 1), (3, 1, 1), None),
        ((3.01, 1, 1), (1, 1, 1), 0),
        ((1, 1, 1), (1, 3.5, 1), 1),
        ((1, 1, 4), (5, 1, 1), 2),
        ((4, 4, 1), (5, 1, 1), None),
    ],
)
def test_separate_axis(spacing: tuple[float, ...], target: tuple[float, ...], axis: int | None) -> None:
    assert separate_axis(spacing, target) == axis


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize(("old", "new"), [(1, 4), (7, 7), (9, 4), (40, 51), (30, 200), (3, 1)])
def test_axis_operator_is_the_spline(old: int, new: int, order: int) -> None:
    line = np.random.default_rng(1).normal(size=old)
    expected = ndimage.zoom(line, new / old, order=order, mode="nearest", grid_mode=True)
    operator = axis_operator(old, new, order)
    np.testing.assert_allclose(operator @ line, expected, atol=1e-12)
    np.testing.assert_allclose(operator.sum(axis=1), 1, atol=1e-12)
    with pytest.raises(ValueError, match="read-only"):
        operator[0, 0] = 5


@given(st.integers(1, 60), st.integers(1, 60))
def test_the_nearest_voxel_is_at_most_half_a_voxel_away(old: int, new: int) -> None:
    inside = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    assert (abs(nearest_indices(old, new) - inside) <= 0.5 + 1e-9).all()


@pytest.mark.parametrize(("order", "most"), [(1, 10), (3, 50)])
def test_columns_outside_the_support_are_zero(order: int, most: int) -> None:
    rows = axis_operator(100, 130, order)[60:70]
    columns = support(rows)
    assert columns.stop - columns.start <= most
    outside = np.delete(rows, np.r_[columns], axis=1)
    assert abs(outside).max() <= 1e-10
