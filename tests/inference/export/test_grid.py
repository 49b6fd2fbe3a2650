"""Between which voxels a voxel of the image lies."""

from __future__ import annotations

import numpy as np
import pytest

from tests.inference.export.brute_force import Grids
from umseg.inference.export.grid import Axis, OutputGrid
from umseg.preprocess.resampling.axis import axis_operator, nearest_indices

LENGTHS = [(1, 1), (1, 4), (4, 1), (2, 7), (7, 2), (5, 5), (6, 3), (3, 6), (23, 41), (41, 23), (100, 101)]


@pytest.mark.parametrize(("old", "new"), LENGTHS)
def test_linear_weights_are_those_of_resampling(old: int, new: int) -> None:
    axis = Axis.linear(old, new)
    operator = np.zeros((new, old))
    np.add.at(operator, (np.arange(new), axis.low), axis.weights[:, 0])
    np.add.at(operator, (np.arange(new), axis.high), axis.weights[:, 1])
    np.testing.assert_array_equal(operator, axis_operator(old, new, 1))
    assert set(np.unique(axis.high - axis.low)) <= {0, 1}


@pytest.mark.parametrize(("old", "new"), LENGTHS)
def test_cells_part_the_voxels(old: int, new: int) -> None:
    for axis in (Axis.linear(old, new), Axis.nearest(old, new)):
        voxels = np.concatenate([np.arange(first, stop) for _, _, first, stop in axis.cells])
        np.testing.assert_array_equal(voxels, np.arange(new))
        for low, high, first, stop in axis.cells:
            assert (axis.low[first:stop] == low).all()
            assert (axis.high[first:stop] == high).all()
        np.testing.assert_array_equal(axis.cells[axis.cell_of, 0], axis.low)
        assert axis.most == (axis.cells[:, 3] - axis.cells[:, 2]).max()
        ends = np.concatenate([axis.ending_at(index) for index in range(old)])
        np.testing.assert_array_equal(ends, axis.cells)


def test_nearest_voxels() -> None:
    axis = Axis.nearest(3, 8)
    np.testing.assert_array_equal(axis.low, nearest_indices(3, 8))
    np.testing.assert_array_equal(axis.weights, [[1, 0]] * 8)


def test_a_span_holds_what_lies_between_its_voxels() -> None:
    axis = Axis.linear(4, 8)
    assert axis.span(0, 4) == slice(0, 8)
    assert axis.span(0, 2) == slice(0, 3)
    assert axis.span(1, 3) == slice(3, 5)
    assert Axis.nearest(4, 2).span(0, 1) == slice(0, 0)


def test_axes_of_a_case() -> None:
    old, new = (4, 5, 6), (4, 8, 9)
    grid = OutputGrid.of(Grids.of(old, new, (1.0, 9.0, 1.0)).properties, Grids.of(old, new).configuration)
    assert grid.shape == new
    assert not grid.is_same
    np.testing.assert_array_equal(grid.y.high, grid.y.low + (grid.y.weights[:, 1] > 0))
    anisotropic = Grids.of(old, new, (1.0, 9.0, 1.0))
    grid = OutputGrid.of(anisotropic.properties, anisotropic.configuration)
    np.testing.assert_array_equal(grid.y.low, nearest_indices(5, 8))
    assert OutputGrid.same(old).is_same
