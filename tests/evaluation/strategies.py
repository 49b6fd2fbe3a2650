"""Masks and spacings for property tests."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

spacings = st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 1.3, 2.5, 5.0])] * 3)
tolerances = st.sampled_from([0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0])


def mask_pairs(*, low: int = 1) -> st.SearchStrategy:
    """Two boolean masks of one shape (z, y, x), stacked: (2, z, y, x)."""
    shapes = st.tuples(st.just(2), *[st.integers(low, 6)] * 3)
    return shapes.flatmap(lambda shape: hnp.arrays(bool, shape))
