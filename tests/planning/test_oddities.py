"""Odd cases: outliers, duplicates, mirrored classes, and what is not odd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from umseg.dataset.description import DatasetDescription
from umseg.planning.classes import measure_classes
from umseg.planning.intensity import draw_foreground
from umseg.planning.oddities import MirrorPair, duplicates, mirror_pairs, robust_scores
from umseg.planning.sights import CaseSight, see_case

DESCRIPTION = DatasetDescription(
    channel_names={"0": "MRI"}, labels={"background": 0, "a": 1, "b": 2}, numTraining=8, file_ending=".nii.gz"
)


def case(seed: int, **changes: Any) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """A volume with a ball on either side along x."""
    rng = np.random.default_rng(seed)
    label = np.zeros((12, 20, 24), np.int8)
    label[4:8, 6:12, 3:8], label[4:8, 6:12, 16:21] = changes.get("values", (1, 2))
    image = rng.normal(100, 10, (1, *label.shape)).astype(np.float32)
    return image, label


def sight(
    image: NDArray[np.float32], label: NDArray[Any], description: DatasetDescription = DESCRIPTION, picture: bool = True
) -> CaseSight:
    spacing = (2.0, 1.0, 1.0)
    sizes = measure_classes(label, spacing, description).sizes
    return see_case(image, label, spacing, description, sizes, draw_foreground(image, label > 0, 50), picture=picture)


def sights(count: int, names: Sequence[str] = ("a", "b")) -> list[CaseSight]:
    labels = {"background": 0, names[0]: 1, names[1]: 2}
    return [sight(*case(seed), DESCRIPTION.model_copy(update={"labels": labels})) for seed in range(count)]


def test_a_sight_has_sizes_places_intensities_and_a_picture() -> None:
    found = sight(*case(0))
    assert found.sizes == {"a": 240.0, "b": 240.0}
    assert found.centres["a"] == pytest.approx((0.5, 0.45, 5.5 / 24), abs=1e-4)
    assert found.centres["b"] == pytest.approx((0.5, 0.45, 18.5 / 24), abs=1e-4)
    ((low, middle, high),) = found.intensities
    assert low < middle < high
    assert found.size == (20.0, 24.0)
    assert found.picture
    assert not sight(*case(0), picture=False).picture


def test_robust_scores_are_those_of_iglewicz_and_hoaglin() -> None:
    values = np.array([1.0, 2, 3, 4, 100])
    # Median 3, median distance 1.
    assert robust_scores(values).tolist() == pytest.approx([-1.349, -0.6745, 0, 0.6745, 65.4265])
    mostly_equal = np.array([1.0, 1, 1, 1, 6])
    assert robust_scores(mostly_equal)[-1] == pytest.approx(5 / 1.2533)
    assert not robust_scores(np.ones(4)).any()


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=30), st.floats(0.1, 10), st.floats(-100, 100))
def test_robust_scores_do_not_depend_on_unit_and_zero(values: list[float], factor: float, shift: float) -> None:
    array = np.round(np.array(values), 3)
    assert robust_scores(factor * array + shift) == pytest.approx(robust_scores(array), rel=1e-3, abs=1e-3)


def test_the_same_image_again_also_mirrored_or_with_other_contrast_is_a_duplicate() -> None:
    image, label = case(0)
    others = [sight(*case(seed)) for seed in range(1, 5)]
    again = sight(3 * image - 50, label)
    mirrored = sight(image[..., ::-1], label)
    assert duplicates([sight(image, label), *others, again]) == ((0, 5),)
    assert duplicates([*others, mirrored, sight(image, label)]) == ((4, 5),)
    assert duplicates(others) == ()


def test_blank_images_are_no_duplicates_of_each_other() -> None:
    image, label = case(0)
    blank = sight(np.full_like(image, 7), label)
    assert not blank.sample
    assert duplicates([blank, blank]) == ()


def test_classes_that_mirror_each_other_are_found_by_their_places() -> None:
    assert mirror_pairs(sights(6)) == (MirrorPair("a", "b", 2, named=False),)


def test_classes_that_are_left_and_right_are_found_by_their_names() -> None:
    for names in (("left_kidney", "right_kidney"), ("Kidney-L", "Kidney-R"), ("lh.thalamus", "rh.thalamus")):
        assert mirror_pairs(sights(6, names)) == (MirrorPair(*names, 2, named=True),)


def test_classes_of_different_size_or_without_a_mirror_image_are_no_pair() -> None:
    def moved(seed: int) -> CaseSight:
        image, label = case(seed)
        label[label == 2] = 0
        label[0:2, 0:3, 14:16] = 2
        return sight(image, label)

    assert mirror_pairs([moved(seed) for seed in range(6)]) == ()
    assert mirror_pairs(sights(3)) == ()
