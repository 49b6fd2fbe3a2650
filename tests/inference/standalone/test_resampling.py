from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from umseg.inference.standalone.resampling import along, axis_operator, nearest, resample, separate_axis
from umseg.preprocess.resampling import axis
from umseg.preprocess.resampling.resample import resample as umsegs_resample

SIZES = st.integers(1, 70)


@given(SIZES, SIZES, st.sampled_from([1, 3]))
def test_operators_equal_those_of_scipy(old: int, new: int, order: int) -> None:
    np.testing.assert_allclose(axis_operator(old, new, order), axis.axis_operator(old, new, order), rtol=0, atol=1e-13)
    np.testing.assert_array_equal(nearest(old, new), axis.nearest_indices(old, new))


@pytest.mark.parametrize(("old", "new"), [(300, 170), (170, 300)])
def test_a_line_is_zoomed_as_scipy_zooms_it(old: int, new: int) -> None:
    line = np.random.default_rng(0).normal(size=old)
    found = along(line[:, None, None], 0, new, 3)[:, 0, 0]
    expected = ndimage.zoom(line, new / old, order=3, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_some_rows_are_those_of_the_whole() -> None:
    volume = np.random.default_rng(0).normal(size=(40, 3, 4))
    whole = along(volume, 0, 100, 1)
    np.testing.assert_allclose(along(volume, 0, 100, 1, slice(30, 77)), whole[30:77], rtol=0, atol=1e-14)
    np.testing.assert_array_equal(along(volume, 0, 40, 1, slice(3, 5)), volume[3:5])


@pytest.mark.parametrize("scale", [1.0, 500.0])
@pytest.mark.parametrize(
    ("spacing", "target"),
    [
        ((1.0, 1.0, 1.0), (1.5, 0.7, 1.2)),
        ((5.0, 1.0, 1.0), (3.0, 0.8, 1.3)),
        ((1.0, 4.0, 1.0), (1.2, 1.0, 1.0)),
        ((1.0, 1.0, 1.0), (1.1, 1.1, 6.0)),
        ((4.0, 4.0, 1.0), (1.0, 1.0, 1.0)),
    ],
)
def test_volumes_equal_umsegs(
    spacing: tuple[float, float, float], target: tuple[float, float, float], scale: float
) -> None:
    assert separate_axis(spacing, target) == axis.separate_axis(spacing, target)
    volume = (np.random.default_rng(0).normal(size=(21, 34, 27)) * scale).astype(np.float32)
    shape = (19, 47, 22)
    found = resample(volume, shape, spacing, target)
    expected = umsegs_resample(volume[None], shape, spacing, target, 3)[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)
