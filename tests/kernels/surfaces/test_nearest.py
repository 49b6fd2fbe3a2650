"""Distances between surface cells, against all pairs of cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from umseg.kernels.surfaces.cells import surface_cells
from umseg.kernels.surfaces.nearest import nearest_distances

sides = st.sampled_from([0.01, 0.5, 0.7, 1.0, 2.5, 5.0, 300.0])


@settings(deadline=None, max_examples=200)
@given(
    st.integers(2, 3),
    st.integers(0, 2**32 - 1),
    st.sampled_from([8, 30, 70]),
    st.tuples(sides, sides, sides),
    st.sampled_from([0.0, 1.0, 3.0, 40.0, np.inf]),
)
def test_distances_are_those_to_the_nearest_of_all_cells(
    axes: int, seed: int, size: int, spacing: tuple[float, float, float], limit: float
) -> None:
    """Few voxels in small and large grids: near neighbours, and ones that lie beyond the rows around a cell."""
    draw = np.random.default_rng(seed)
    masks = np.zeros((2, *draw.integers(1, size, axes)), bool)
    for mask in masks:
        mask[tuple(draw.integers(0, side, 6) for side in mask.shape)] = True
    cells, others = map(surface_cells, masks)
    scale = np.array((1.0, *spacing)[-3:]) if axes == 2 else np.array(spacing)
    exact = cdist(cells.coordinates() * scale, others.coordinates() * scale).min(axis=1)
    found = nearest_distances(cells, others, spacing[-axes:], limit)
    within = found <= limit
    np.testing.assert_allclose(found[within], exact[within], rtol=1e-12)
    assert (exact[~within] > limit * (1 - 1e-12)).all()


def test_a_distance_equal_to_the_limit_is_found() -> None:
    mask = np.zeros((4, 5, 40), bool)
    mask[1, 2, 3] = True
    for steps in (1, 7, 30):
        cells = surface_cells(mask), surface_cells(np.roll(mask, steps, axis=2))
        found = nearest_distances(*cells, (1.0, 1.0, 0.7), steps * 0.7)
        # Of the two columns of cells one is nearer by a voxel.
        assert sorted(set(found)) == pytest.approx([steps * 0.7 - 0.7, steps * 0.7])
        assert np.isinf(nearest_distances(*cells, (1.0, 1.0, 0.7), steps * 0.7 - 0.01)).sum() == len(found) / 2


def test_nothing_is_near_an_empty_mask() -> None:
    empty, full = surface_cells(np.zeros((3, 4), bool)), surface_cells(np.ones((3, 4), bool))
    assert np.isinf(nearest_distances(full, empty, (1.0, 1.0))).all()
    assert not len(nearest_distances(empty, full, (1.0, 1.0)))
