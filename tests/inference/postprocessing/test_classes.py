from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydantic import ValidationError

from umseg.inference.postprocessing.classes import ClassCleaning, ClassRule, components, described, holes

VALUES = {"liver": 1, "tumour": 2}
SPACING = (2.0, 1.0, 1.0)

label_maps = arrays(np.uint8, (3, 6, 6), elements=st.integers(0, 2))
rules = st.builds(ClassRule, largest=st.booleans(), smallest=st.sampled_from([0, 4, 20]), fill_holes=st.booleans())


def two_pieces() -> NDArray[Any]:
    label_map = np.zeros((3, 8, 12), dtype=np.uint8)
    label_map[:, 1:6, 1:6] = 1
    label_map[1, 3, 3] = 0  # a hole
    label_map[1, 2, 2] = 2  # a tumour inside
    label_map[0, 2, 9:11] = 1  # a speck of 2 voxels, 4 mm³
    return label_map


def clean(label_map: NDArray[Any], **rule: object) -> NDArray[Any]:
    return ClassCleaning(classes={"liver": ClassRule.model_validate(rule)}).apply(label_map, VALUES, SPACING)


def test_only_the_largest_component_is_kept() -> None:
    cleaned = clean(two_pieces(), largest=True)
    expected = two_pieces()
    expected[0, 2, 9:11] = 0
    np.testing.assert_array_equal(cleaned, expected)


def test_components_of_equal_size_are_all_kept() -> None:
    label_map = np.zeros((1, 3, 7), dtype=np.uint8)
    label_map[0, 1, [1, 3, 5]] = 1
    label_map[0, 1, 0] = 1
    np.testing.assert_array_equal(np.flatnonzero(clean(label_map, largest=True)[0, 1]), [0, 1])
    label_map[0, 1, 0] = 0
    np.testing.assert_array_equal(clean(label_map, largest=True), label_map)


@pytest.mark.parametrize(("smallest", "kept"), [(4.0, True), (4.01, False)])
def test_sizes_are_volumes(smallest: float, kept: bool) -> None:
    assert bool(clean(two_pieces(), smallest=smallest)[0, 2, 9]) is kept


def test_holes_become_part_of_the_class_and_other_classes_inside_stay() -> None:
    cleaned = clean(two_pieces(), fill_holes=True)
    assert cleaned[1, 3, 3] == 1
    assert cleaned[1, 2, 2] == 2


def test_a_slice_is_seen_as_a_picture() -> None:
    mask = np.ones((1, 5, 5), dtype=np.bool_)
    mask[0, 2, 2] = False
    assert holes(mask).sum() == 1
    assert holes(np.ones((1, 1, 1), dtype=np.bool_)).sum() == 0


def test_diagonal_neighbours_are_one_component() -> None:
    mask = np.zeros((2, 2, 2), dtype=np.bool_)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert components(mask)[1].tolist() == [0, 2]


def test_the_largest_foreground_is_that_of_all_classes_together() -> None:
    label_map = np.zeros((1, 4, 9), dtype=np.uint8)
    label_map[0, 1, 0:4] = 1
    label_map[0, 2, 3] = 2
    label_map[0, 1, 6:9] = 1
    cleaned = ClassCleaning(largest_foreground=True).apply(label_map, VALUES, SPACING)
    assert (cleaned[:, :, :5] == label_map[:, :, :5]).all()
    assert not cleaned[:, :, 5:].any()


def test_what_changes_nothing_gives_the_same_array() -> None:
    label_map = two_pieces()
    assert ClassCleaning(classes={"liver": ClassRule()}).apply(label_map, VALUES, SPACING) is label_map


def test_an_empty_map_stays_empty() -> None:
    empty = np.zeros((2, 3, 4), dtype=np.uint8)
    cleaning = ClassCleaning(largest_foreground=True, classes={"liver": ClassRule(largest=True, fill_holes=True)})
    assert not cleaning.apply(empty, VALUES, SPACING).any()


@given(label_maps, rules)
def test_cleaning_twice_is_cleaning_once(label_map: NDArray[Any], rule: ClassRule) -> None:
    cleaning = ClassCleaning(classes={"tumour": rule})
    once = cleaning.apply(label_map, VALUES, SPACING)
    np.testing.assert_array_equal(cleaning.apply(once, VALUES, SPACING), once)


@given(label_maps, rules)
def test_other_classes_are_never_overwritten(label_map: NDArray[Any], rule: ClassRule) -> None:
    cleaned = ClassCleaning(classes={"tumour": rule}).apply(label_map, VALUES, SPACING)
    np.testing.assert_array_equal(cleaned == 1, label_map == 1)


def test_words() -> None:
    cleaning = ClassCleaning(
        largest_foreground=True,
        classes={"liver": ClassRule(largest=True), "tumour": ClassRule(smallest=20, fill_holes=True)},
    )
    assert described(cleaning) == (
        "only the largest connected foreground is kept; only the largest component is kept of liver; smaller "
        "components are removed of tumour (20 mm³); holes are filled in tumour"
    )


@pytest.mark.parametrize("smallest", [-1, float("nan"), float("inf"), 1e16])
def test_sizes_that_mean_nothing_are_refused(smallest: float) -> None:
    with pytest.raises(ValidationError, match="smallest"):
        ClassRule(smallest=smallest)
