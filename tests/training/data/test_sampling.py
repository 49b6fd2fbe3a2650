from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from umseg.preprocess.locations import ANNOTATED
from umseg.training.data.sampling import cut, forced_foreground, patch_centres, patch_corner


@pytest.mark.parametrize(
    ("batch_size", "forced"), [(2, 1), (3, 1), (4, 1), (5, 2), (8, 3), (9, 3), (12, 4), (13, 4), (16, 5)]
)
def test_the_last_third_of_a_batch_is_forced(batch_size: int, forced: int) -> None:
    assert forced_foreground(batch_size) == (False,) * (batch_size - forced) + (True,) * forced


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Shape of an image, initial patch and final patch (never larger than the initial one)."""
    axes = draw(st.integers(2, 3))
    shape = tuple(draw(st.lists(st.integers(1, 40), min_size=axes, max_size=axes)))
    final = tuple(draw(st.lists(st.integers(1, 24), min_size=axes, max_size=axes)))
    return shape, tuple(n + draw(st.integers(0, 15)) for n in final), final


def bounds(shape: tuple[int, ...], initial: tuple[int, ...], final: tuple[int, ...]) -> list[tuple[int, int]]:
    """The lowest and the highest corner of each axis by the rule in docs/rules.md, Patch sampling."""
    found = []
    for n, first, last in zip(shape, initial, final, strict=True):
        need = first - last
        if n + need < first:
            need = first - n
        found.append((int(np.floor(-need / 2)), n + need // 2 + need % 2 - first))
    return found


@given(geometries(), st.integers(0, 2**31))
@settings(max_examples=200)
def test_a_free_corner_stays_within_the_published_bounds(
    geometry: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    corner = patch_corner(np.random.default_rng(seed), *geometry)
    assert all(low <= c <= high for c, (low, high) in zip(corner, bounds(*geometry), strict=True))


@pytest.mark.parametrize(
    "geometry", [((9,), (13,), (8,)), ((9,), (12,), (8,)), ((4,), (13,), (8,)), ((6,), (6,), (6,))]
)
def test_every_corner_within_the_bounds_is_drawn(
    geometry: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> None:
    rng = np.random.default_rng(0)
    [(low, high)] = bounds(*geometry)
    drawn = {patch_corner(rng, *geometry)[0] for _ in range(200)}
    assert drawn == set(range(low, high + 1))


@given(geometries(), st.integers(0, 2**31))
@settings(max_examples=200)
def test_a_forced_patch_contains_a_voxel_of_the_class(
    geometry: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]], seed: int
) -> None:
    shape, initial, _ = geometry
    rng = np.random.default_rng(seed)
    voxel = np.array([rng.integers(n) for n in shape])
    corner = patch_corner(rng, *geometry, [voxel[None]])
    low = [lowest for lowest, _ in bounds(*geometry)]
    assert tuple(corner) == tuple(np.maximum(low, voxel - np.array(initial) // 2))
    assert (corner <= voxel).all()
    assert (voxel < np.add(corner, initial)).all()


def test_classes_are_drawn_alike_however_large_they_are() -> None:
    found = [np.zeros((1, 1), int), np.full((999, 1), 50)]
    rng = np.random.default_rng(0)
    small = sum(patch_corner(rng, (60,), (4,), (4,), found)[0] == 0 for _ in range(400))
    assert 150 < small < 250


def test_without_foreground_a_forced_patch_lies_anywhere() -> None:
    rng = np.random.default_rng(0)
    centres = patch_centres({1: np.empty((0, 1), int)}, forced=True)
    assert centres == []
    assert {patch_corner(rng, (6,), (4,), (4,), centres) for _ in range(100)} == {(0,), (1,), (2,)}


def test_forced_patches_show_a_class_that_occurs() -> None:
    found = {1: np.empty((0, 3), int), 2: np.ones((4, 3), int)}
    assert [len(voxels) for voxels in patch_centres(found, forced=True)] == [4]
    assert patch_centres(found, forced=False) == []


def test_with_an_ignore_label_every_patch_shows_an_annotated_voxel() -> None:
    found = {ANNOTATED: np.ones((7, 3), int), 1: np.ones((4, 3), int)}
    assert [len(voxels) for voxels in patch_centres(found, forced=False)] == [7]
    assert [len(voxels) for voxels in patch_centres(found, forced=True)] == [4]
    assert [len(voxels) for voxels in patch_centres({**found, 1: np.empty((0, 3), int)}, forced=True)] == [7]


def test_a_slice_of_a_two_dimensional_patch_is_never_padded() -> None:
    rng = np.random.default_rng(0)
    corners = [patch_corner(rng, (5, 20, 20), (1, 12, 12), (1, 8, 8)) for _ in range(100)]
    assert {corner[0] for corner in corners} == {0, 1, 2, 3, 4}
    forced = patch_corner(rng, (5, 20, 20), (1, 12, 12), (1, 8, 8), [np.array([[3, 10, 10]])])
    assert forced == (3, 4, 4)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[NDArray[Any], tuple[int, ...], tuple[int, ...]]:
    """An array with a leading axis, a corner and a size, such that the patch touches the array."""
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    corner = tuple(draw(st.integers(1 - s, n - 1)) for n, s in zip(shape, size, strict=True))
    return np.arange(1.0, 1 + 2 * shape[0] * shape[1], dtype=np.float32).reshape(2, *shape), corner, size


@given(cuts())
@settings(max_examples=200)
def test_a_cut_equals_padding_and_slicing(example: tuple[NDArray[Any], tuple[int, ...], tuple[int, ...]]) -> None:
    array, corner, size = example
    padded = np.pad(array, [(0, 0), (9, 9), (9, 9)], constant_values=-7)
    expected = padded[:, 9 + corner[0] : 9 + corner[0] + size[0], 9 + corner[1] : 9 + corner[1] + size[1]]
    for source, wanted in ((array, expected), (array[0], expected[0])):
        patch = np.full_like(wanted, 5)
        cut(source, corner, patch, -7)
        np.testing.assert_array_equal(patch, wanted)
