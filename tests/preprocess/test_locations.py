"""The number of locations that are drawn of each class, and which voxels they are."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umseg.dataset import DatasetDescription
from umseg.preprocess import locations as module
from umseg.preprocess.locations import ANNOTATED, location_classes, sample_class_locations


def label_with(counts: dict[int, int], shape: tuple[int, int, int] = (10, 20, 30)) -> np.ndarray:
    values = np.concatenate([np.full(count, value) for value, count in counts.items()])
    flat = np.full(np.prod(shape), -1)
    flat[: values.size] = values
    return np.random.default_rng(0).permutation(flat).reshape(shape).astype(np.int8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 3000))
def test_all_voxels_of_a_small_class(first: int, third: int) -> None:
    label = label_with({1: first, 3: third})
    found = sample_class_locations(label, {1: [1], 2: [2], 3: [3]})
    assert list(found) == [1, 2, 3]
    assert found[2].shape == (0, 3)
    for value in (1, 3):
        assert found[value].dtype == np.int32
        assert {tuple(place) for place in found[value]} == {tuple(place) for place in np.argwhere(label == value)}
        assert len(found[value]) == (first if value == 1 else third), "no voxel twice"


@pytest.mark.parametrize(("count", "kept"), [(50, 50), (100, 100), (101, 100), (5000, 100), (50_000, 100 * 5)])
def test_at_most_the_limit_and_at_least_a_hundredth(count: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real limit is 10,000; a hundredth of it keeps the test quick and the rule the same.
    monkeypatch.setattr(module, "MOST_LOCATIONS", 100)
    label = label_with({4: count}, (50, 50, 40))
    (found,) = sample_class_locations(label, {4: [4]}).values()
    assert len(found) == kept
    assert len(np.unique(found, axis=0)) == kept
    assert (label[tuple(found.T)] == 4).all()


def test_a_hundredth_is_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LOCATIONS", 1)
    assert len(sample_class_locations(label_with({1: 101}), {1: [1]})[1]) == 2


def test_the_limit_is_ten_thousand() -> None:
    assert module.MOST_LOCATIONS == 10_000
    assert module.LEAST_SHARE == 0.01


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 5999), most=st.sampled_from([1, 10, 500]))
def test_large_classes_are_drawn_without_a_list_of_their_voxels(count: int, most: int) -> None:
    """Whether the class is dense or sparse, all locations are drawn, differ from each other, and lie in the class."""
    label = label_with({1: count})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_LISTED", 0)
        patch.setattr(module, "MOST_LOCATIONS", most)
        found = sample_class_locations(label, {1: (1,)})[1]
        np.testing.assert_array_equal(sample_class_locations(label, {1: (1,)})[1], found)
    assert len(found) == len(np.unique(found, axis=0)) == max(min(most, count), -(-count // 100))
    assert (label[tuple(found.T)] == 1).all()


def test_locations_of_large_classes_are_spread_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_LISTED", 0)
    label = np.zeros((40, 50, 60), np.int8)
    label[:, :25] = 1
    found = sample_class_locations(label, {1: (1,)})[1]
    assert len(found) == 10_000
    # 10,000 of 60,000: 2500 are expected in each quarter, with a deviation of 40.
    quarters = np.bincount(2 * (found[:, 0] < 20) + (found[:, 2] < 30))
    assert np.abs(quarters - 2500).max() < 200


def test_annotated_voxels_take_little_memory() -> None:
    label = np.zeros((64, 256, 256), np.int8)
    label[:, :16] = 2
    tracemalloc.start()
    found = sample_class_locations(label, {ANNOTATED: (-1, 0, 1)})[ANNOTATED]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == -(-64 * 240 * 256 // 100)
    assert peak < 3 * label.size, "a list of their indices alone takes 8 bytes per voxel"


def test_the_draw_is_the_same_every_time() -> None:
    label = label_with({1: 2000, 2: 1000})
    np.random.seed(5)
    first = sample_class_locations(label, {1: [1], 2: [2]})
    np.random.seed(6)
    second = sample_class_locations(label, {2: [2], 1: [1]})
    for value in (1, 2):
        np.testing.assert_array_equal(first[value], second[value])


def test_without_a_list_every_foreground_class_that_occurs() -> None:
    assert list(sample_class_locations(label_with({5: 3, 2: 1, 0: 9}))) == [2, 5]


def test_a_region_is_the_union_of_its_values() -> None:
    label = label_with({1: 20, 2: 30, 3: 40})
    found = sample_class_locations(label, {1: (1, 3), 2: (3,)})
    assert {tuple(p) for p in found[1]} == {tuple(p) for p in np.argwhere((label == 1) | (label == 3))}
    assert {tuple(p) for p in found[2]} == {tuple(p) for p in np.argwhere(label == 3)}


def test_classes_that_locations_are_drawn_for() -> None:
    common: dict[str, Any] = {"channel_names": {"0": "MRI"}, "numTraining": 5, "file_ending": ".nii.gz"}
    plain = DatasetDescription(labels={"background": 0, "b": 2, "a": 1}, **common)
    assert location_classes(plain) == {1: (1,), 2: (2,)}
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    regions = DatasetDescription(labels=labels, regions_class_order=[1, 2], **common)
    assert location_classes(regions) == {1: (1, 2), 2: (2,), ANNOTATED: (-1, 0, 1, 2)}


def test_annotated_voxels_are_all_but_the_ignored() -> None:
    label = label_with({0: 50, 1: 20, 2: 3000})  # 2 is the ignore label
    label.flat[:10] = -1
    found = sample_class_locations(label, {1: (1,), ANNOTATED: (-1, 0, 1)})
    assert {tuple(p) for p in found[ANNOTATED]} == {tuple(p) for p in np.argwhere(label != 2)}
