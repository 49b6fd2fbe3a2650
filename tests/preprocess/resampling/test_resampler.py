"""The slabs that a volume is cut into; their values are checked with ``resample``."""

from __future__ import annotations

import numpy as np
import pytest

from umseg.preprocess.resampling.arrays import NumpyArrays
from umseg.preprocess.resampling.resampler import Resampler, Shape

EVEN = (1.0, 1.0, 1.0)
ARRAYS = NumpyArrays(np.float64)


def test_slabs_cover_every_slice_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumpyArrays, "slab_voxels", 100)
    slabs = list(Resampler((3, 5, 5), (11, 5, 5), EVEN, EVEN, 1).slabs(ARRAYS))
    assert len(slabs) == 3
    assert [number for start, stop in slabs for number in range(start, stop)] == list(range(11))


@pytest.mark.parametrize(
    ("old", "new", "spacing", "voxels"),
    [
        ((3, 5, 5), (11, 6, 7), EVEN, 42),
        ((3, 6, 7), (11, 5, 5), EVEN, 42),
        ((40, 5, 5), (10, 6, 7), EVEN, 100),
        ((40, 5, 5), (10, 6, 7), (5.0, 1.0, 1.0), 42),
        ((5, 40, 6), (7, 10, 5), (1.0, 5.0, 1.0), 35),
    ],
)
def test_memory_of_a_slice_is_that_of_its_largest_array(
    old: Shape, new: Shape, spacing: tuple[float, ...], voxels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resampler = Resampler(old, new, spacing, EVEN, 1)
    assert resampler.slice_voxels == voxels
    monkeypatch.setattr(NumpyArrays, "slab_voxels", 2 * voxels)
    assert next(resampler.slabs(ARRAYS)) == (0, 2)
