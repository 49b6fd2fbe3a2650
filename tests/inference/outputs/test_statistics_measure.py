"""One pass over a label map finds what numpy and scipy find class by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from numpy.typing import NDArray
from scipy import ndimage

from umseg.inference.outputs.statistics_measure import class_table, measure_labels

IDENTITY = class_table({value: value for value in range(1, 5)})


def noise(shape: tuple[int, ...], share: float, seed: int, classes: int = 4) -> NDArray[np.uint8]:
    """Voxels of which a share belongs to classes, at random: the runs are as short as they can be."""
    rng = np.random.default_rng(seed)
    return (rng.integers(1, classes + 1, shape) * (rng.random(shape) < share)).astype(np.uint8)


@settings(max_examples=60)
@given(
    shape=array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    classes=st.sampled_from([1, 4]),
    seed=st.integers(0, 2**16),
)
def test_every_class_is_measured_as_by_itself(
    shape: tuple[int, int, int], share: float, classes: int, seed: int
) -> None:
    label_map = noise(shape, share, seed, classes)
    image = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)
    measured = measure_labels(label_map, IDENTITY, image)
    for value in range(1, 5):
        mask = label_map == value
        pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
        assert measured.voxels[value] == mask.sum()
        assert measured.pieces[value] == count
        if not count:
            assert measured.largest[value] == 0
            assert not measured.boxes[value].any()
            assert np.isnan(measured.centroids[value]).all()
            assert np.isnan(measured.intensities[:, value]).all()
            continue
        (box,) = ndimage.find_objects(mask.astype(np.int8))
        assert measured.largest[value] == np.bincount(pieces[mask]).max()
        assert measured.boxes[value].tolist() == [side.start for side in box] + [side.stop for side in box]
        np.testing.assert_allclose(measured.centroids[value], np.argwhere(mask).mean(axis=0), atol=1e-12)
        inside = image[:, mask].astype(np.float64)
        expected = [inside.min(axis=1), inside.max(axis=1), inside.mean(axis=1), inside.std(axis=1)]
        np.testing.assert_allclose(measured.intensities[:, value], np.stack(expected, axis=1), atol=1e-7)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
def test_label_maps_may_have_any_integer_type(dtype: str) -> None:
    label_map = noise((3, 4, 5), 0.5, 0, classes=1)
    expected = measure_labels(label_map, IDENTITY)
    measured = measure_labels(label_map.astype(dtype), IDENTITY)
    assert measured.voxels.tolist() == expected.voxels.tolist()
    assert measured.pieces.tolist() == expected.pieces.tolist()


def test_turned_arrays_are_measured_along_their_own_axes() -> None:
    label_map, image = noise((3, 4, 5), 0.5, 1), np.random.default_rng(1).normal(size=(1, 3, 4, 5))
    straight = measure_labels(label_map, IDENTITY, image)
    turned = measure_labels(label_map.T[::-1], IDENTITY, image.transpose(0, 3, 2, 1)[:, ::-1])
    np.testing.assert_allclose(turned.centroids[1:, 1:], straight.centroids[1:, 1::-1])
    np.testing.assert_allclose(turned.centroids[1:, 0], 4 - straight.centroids[1:, 2])
    np.testing.assert_allclose(turned.intensities[:, 1:], straight.intensities[:, 1:])
    assert turned.pieces.tolist() == straight.pieces.tolist()


def test_values_outside_of_the_table_belong_to_no_class() -> None:
    label_map = np.array([[[1, 7, 300, -1, 1]]], np.int16)
    assert measure_labels(label_map, class_table({1: 1, 7: 2})).voxels[1:].tolist() == [2, 1]


def test_values_of_one_class_are_measured_together() -> None:
    label_map = np.array([[[1, 2, 0, 1], [0, 0, 0, 0], [3, 3, 2, 0]]], np.uint8)
    measured = measure_labels(label_map, class_table({1: 1, 2: 1, 3: 2}))
    assert measured.voxels[1:].tolist() == [4, 2]
    assert measured.pieces[1:].tolist() == [3, 1]
    assert measured.largest[1:].tolist() == [2, 2]


def spiral(size: int) -> NDArray[np.uint8]:
    """A thin wall that winds from the border to the centre: a single piece, whose rows are joined late."""
    wall = np.zeros((size, size), np.uint8)
    y, x, down, right = 0, 0, 0, 1
    for length in [size - 1, *(n for n in range(size - 1, 0, -2) for _ in (0, 1))]:
        for _ in range(length):
            wall[y, x] = 1
            y, x = y + down, x + right
        down, right = right, -down
    return wall


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_winding_wall_is_a_single_piece(axis: int) -> None:
    wall = np.expand_dims(spiral(41), axis)
    assert wall.sum() > 700
    assert measure_labels(wall, IDENTITY).pieces[1] == 1
    cut = wall.copy()
    cut[np.unravel_index(np.flatnonzero(wall)[60], wall.shape)] = 0
    assert measure_labels(cut, IDENTITY).pieces[1] == 2


def test_large_intensities_that_hardly_vary_keep_their_deviation() -> None:
    label_map = np.ones((4, 5, 6), np.uint8)
    image = (1e6 + np.random.default_rng(0).integers(0, 4, (1, 4, 5, 6))).astype(np.float32)
    (low, high, mean, deviation) = measure_labels(label_map, IDENTITY, image).intensities[0, 1]
    assert (low, high) == (1e6, 1e6 + 3)
    assert mean == pytest.approx(image.mean(dtype=np.float64), rel=1e-12)
    assert deviation == pytest.approx(image.std(dtype=np.float64), rel=1e-9)


def test_a_class_table_holds_the_highest_value() -> None:
    table: Any = class_table({1605: 3, 2: 1})
    assert (len(table), table[1605], table[2], table.sum()) == (1606, 3, 1, 4)
    assert class_table({}).tolist() == [0]
