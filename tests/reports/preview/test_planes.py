"""Panels show the same, upright, however a volume is stored."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from umseg.reports.preview.planes import (
    Plane,
    enclosing,
    first_met,
    flat_panels,
    telling_planes,
    thinning,
    volume_panels,
)

AXES = itertools.permutations(("LR", "AP", "SI"))
ALL = ["".join(letters) for axes in AXES for letters in itertools.product(*axes)]
SPACING = {"S": 2.0, "A": 0.8, "R": 1.5}
SIDES = {"I": "S", "P": "A", "L": "R"}


def body() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """An image and a label map along S, A and R, whose best planes are 7, 9 and 5."""
    labels = np.zeros((12, 14, 10), np.uint8)
    labels[3:10, 6:11, 5] = 1
    labels[7, 4:12, 3:9] = 2
    labels[2:11, 9, 5:8] = 3
    return np.random.default_rng(0).normal(size=labels.shape).astype(np.float32), labels


def stored(values: NDArray[Any], letters: str) -> NDArray[Any]:
    """Values along S, A, R as they are stored along other axes."""
    kinds = [SIDES.get(letter, letter) for letter in letters]
    turned = values.transpose(["SAR".index(kind) for kind in kinds])
    return np.asarray(np.flip(turned, tuple(axis for axis, letter in enumerate(letters) if letter in SIDES)))


def panels_of(letters: str) -> list[Any]:
    image, labels = (stored(values, letters) for values in body())
    spacing = [SPACING[SIDES.get(letter, letter)] for letter in letters]
    box = enclosing(np.array([[*axis.min(axis=1), *(axis.max(axis=1) + 1)] for axis in [np.array(labels.nonzero())]]))
    return volume_panels(image, labels, spacing, letters, box)


@pytest.mark.parametrize("letters", ALL)
def test_every_orientation_gives_the_same_panels(letters: str) -> None:
    image, labels = body()
    axial, sagittal, coronal, front = panels_of(letters)
    # Up is anterior or superior; left is the patient's right, or anterior in the sagittal plane.
    planes = ((axial, np.s_[7, ::-1, ::-1]), (sagittal, np.s_[::-1, ::-1, 5]), (coronal, np.s_[::-1, 9, ::-1]))
    for panel, plane in planes:
        np.testing.assert_array_equal(panel.image[..., 0], image[plane])
        np.testing.assert_array_equal(panel.labels, labels[plane])
    assert [panel.edges for panel in (axial, sagittal, coronal, front)] == ["RLAP", "APSI", "RLSI", "RLSI"]
    assert [panel.title.split(",")[0] for panel in (axial, sagittal, coronal)] == ["axial", "sagittal", "coronal"]
    assert axial.size == pytest.approx((14 * 0.8, 10 * 1.5))
    assert sagittal.size == pytest.approx((12 * 2.0, 14 * 0.8))
    assert coronal.size == front.size == pytest.approx((12 * 2.0, 10 * 1.5))
    s, a, r = 1 - 7.5 / 12, 1 - 9.5 / 14, 1 - 5.5 / 10
    np.testing.assert_allclose([axial.marks, sagittal.marks, coronal.marks], [(a, r), (s, a), (s, r)])


@pytest.mark.parametrize("letters", ALL)
def test_the_classes_are_seen_from_the_front(letters: str) -> None:
    _, labels = body()
    front = panels_of(letters)[3]
    values, depth = np.zeros((12, 10), np.uint8), np.zeros((12, 10))
    for s, r in np.ndindex(12, 10):
        along = np.flatnonzero(labels[s, :, r])
        if along.size:
            values[s, r] = labels[s, along[-1], r]
            depth[s, r] = 13 - along[-1]
    np.testing.assert_array_equal(front.labels, values[::-1, ::-1])
    np.testing.assert_allclose(front.depth, depth[::-1, ::-1] * 0.8)


def test_without_known_sides_axes_are_shown_in_their_order() -> None:
    image, labels = body()
    panels = volume_panels(image, labels, (3.0, 1.0, 1.0), "", [slice(0, size) for size in labels.shape])
    assert [panel.title for panel in panels] == ["z = 7 of 12", "y = 9 of 14", "x = 5 of 10", "from z = 0"]
    assert {panel.edges for panel in panels} == {""}
    np.testing.assert_array_equal(panels[0].labels, labels[7])
    assert panels[3].labels.shape == (14, 10)


def test_without_a_class_the_middle_is_shown() -> None:
    image, labels = body()
    panels = volume_panels(image, np.zeros_like(labels), (1.0, 1.0, 1.0), "SAR", None)
    assert len(panels) == 3
    assert isinstance(panels[0], Plane)
    np.testing.assert_array_equal(panels[0].image[..., 0], image[6, ::-1, ::-1])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_met_first_is_found_along_every_axis(axis: int, backwards: bool) -> None:
    rng = np.random.default_rng(axis)
    labels = (rng.integers(1, 9, (7, 8, 9)) * (rng.random((7, 8, 9)) < 0.1)).astype(np.uint8)
    labels[:, :2] = labels[:, :, -1] = 0
    box = [slice(0, 7), slice(2, 8), slice(0, 8)]
    depth, values = first_met(labels, axis, box, backwards)
    lines = np.moveaxis(np.flip(labels, axis) if backwards else labels, axis, -1)
    first = (lines != 0).argmax(axis=-1)
    np.testing.assert_array_equal(depth, first)
    np.testing.assert_array_equal(values, np.take_along_axis(lines, first[..., None], -1)[..., 0])


@pytest.mark.parametrize(("count", "chosen"), [(4, 2), (8, 7)])
def test_a_plane_of_many_classes_is_shown_before_one_of_a_large_class(count: int, chosen: int) -> None:
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[2] = 1
    for value in range(2, 2 + count):
        labels[7, 5:15, 2 * value] = value
    assert telling_planes(labels, [slice(0, 10), slice(0, 20), slice(0, 20)])[0] == chosen


def test_thousands_of_objects_are_counted_together() -> None:
    labels = np.zeros((6, 100, 100), np.int32)
    labels[4] = np.arange(1, 10001).reshape(100, 100)
    labels[1, :50] = 7
    assert telling_planes(labels, [slice(0, 6), slice(0, 100), slice(0, 100)])[0] == 4


def test_large_volumes_are_thinned_out() -> None:
    assert thinning((100, 100, 100)) == 1
    assert thinning((600, 512, 512)) == 5
    assert thinning((1, 20000, 20000)) == 14


def test_a_picture_is_shown_without_and_with_its_classes() -> None:
    colours, labels = np.random.default_rng(0).random((3, 4, 6)), np.arange(24).reshape(4, 6)
    plain, overlaid = flat_panels(colours, labels, (2.0, 1.0), "")
    assert not plain.labels.any()
    np.testing.assert_array_equal(overlaid.labels, labels)
    for panel in (plain, overlaid):
        assert isinstance(panel, Plane)
        np.testing.assert_array_equal(panel.image, np.moveaxis(colours, 0, -1))
        assert panel.size == (8.0, 6.0)
