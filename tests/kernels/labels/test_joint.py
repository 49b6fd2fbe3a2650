"""The pairs of values of two label maps, against numpy's sorting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from umseg.kernels.labels.joint import JointCounts, count_jointly

# Runs that end before, at and behind the eight voxels that are looked at together.
maps = st.tuples(st.just(2), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 2, 7, 8, 9, 16, 25])).flatmap(
    lambda shape: hnp.arrays(np.int16, shape, elements=st.sampled_from([0, 0, 0, 1, 2, -5, 1605, 32767]))
)


def expected(first: np.ndarray, second: np.ndarray) -> dict[tuple[int, int], tuple[int, list[int]]]:
    """Voxels and box of each pair of values."""
    found = {}
    for a, b in {(int(a), int(b)) for a, b in zip(first.ravel(), second.ravel(), strict=True)}:
        places = np.argwhere((first == a) & (second == b))
        found[a, b] = len(places), [*places.min(axis=0), *(places.max(axis=0) + 1)]
    return found


def as_mapping(counts: JointCounts) -> dict[tuple[int, int], tuple[int, list[int]]]:
    rows = zip(counts.first, counts.second, counts.voxels, counts.boxes, strict=True)
    return {(int(a), int(b)): (int(n), box.tolist()) for a, b, n, box in rows}


@settings(deadline=None)
@given(maps)
def test_pairs_voxels_and_boxes_are_those_of_a_search_through_the_maps(pair: np.ndarray) -> None:
    counts = count_jointly(pair[0], pair[1])
    assert as_mapping(counts) == expected(pair[0], pair[1])
    assert len(counts.first) == len(as_mapping(counts)), "each pair once"


def test_thousands_of_values_with_gaps() -> None:
    """The table grows several times; the values lie as far apart as 64 bits allow."""
    draw = np.random.default_rng(0)
    names = draw.integers(-(2**62), 2**62, 3000)
    maps = names[draw.integers(0, 3000, (2, 2, 30, 1000))]
    first, second = maps[0], maps[1]
    counts = count_jointly(first, second)
    pairs, voxels = np.unique(np.stack((first.ravel(), second.ravel())), axis=1, return_counts=True)
    order = np.lexsort((counts.second, counts.first))
    np.testing.assert_array_equal(np.stack((counts.first, counts.second))[:, order], pairs)
    np.testing.assert_array_equal(counts.voxels[order], voxels)


@pytest.mark.parametrize(
    "kinds", [("u1", "i2"), ("u8", "i8"), ("i4", "i1"), ("?", "u1"), ("?", "?"), (">i2", ">i2"), (">i4", "i2")]
)
def test_types_and_orders_of_bytes_may_differ(kinds: tuple[str, str]) -> None:
    draw = np.random.default_rng(1)
    maps: list[np.ndarray] = [draw.integers(0, 2, (3, 4, 5)).astype(kind) for kind in kinds]
    assert as_mapping(count_jointly(maps[0], maps[1])) == expected(maps[0], maps[1])


def test_maps_of_fewer_axes_and_mirrored_ones() -> None:
    image = np.random.default_rng(2).integers(0, 3, (6, 7))
    counts = count_jointly(image, image[::-1])
    assert as_mapping(counts) == expected(image[None], image[None, ::-1])
    assert count_jointly(image[0], image[0]).boxes[:, :2].tolist() == [[0, 0]] * len(np.unique(image[0]))


def test_maps_without_voxels_have_no_pairs() -> None:
    for shape in ((0, 3, 4), (3, 4, 0)):
        assert not len(count_jointly(np.zeros(shape, int), np.zeros(shape, int)).first)


def test_maps_that_cannot_be_compared() -> None:
    for first, second in ((np.zeros((2, 3), int), np.zeros((3, 2), int)), (np.zeros((1,) * 4, int),) * 2):
        with pytest.raises(ValueError, match="three axes"):
            count_jointly(first, second)
