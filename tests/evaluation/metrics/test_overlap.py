from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given

from tests.evaluation.strategies import mask_pairs
from umseg.evaluation import dice, iou, precision, sensitivity, volume_difference
from umseg.evaluation.metrics.counts import count_voxels


def test_counts_and_dice_of_a_hand_made_pair() -> None:
    prediction = np.array([1, 1, 1, 0, 0, 0], bool)
    reference = np.array([0, 1, 1, 1, 1, 0], bool)
    counts = count_voxels(prediction, reference)
    assert (counts.TP, counts.FP, counts.FN, counts.n_pred, counts.n_ref) == (2, 1, 2, 3, 4)
    assert dice(prediction, reference) == pytest.approx(4 / 7)


def test_empty_masks() -> None:
    empty, full = np.zeros((2, 3), bool), np.ones((2, 3), bool)
    assert math.isnan(dice(empty, empty))
    assert dice(empty, full) == dice(full, empty) == 0


@given(mask_pairs())
def test_laws(pair: np.ndarray) -> None:
    value = dice(*pair)
    if not pair.any():
        assert math.isnan(value)
        return
    assert 0 <= value <= 1
    assert value == dice(pair[1], pair[0])
    assert (value == 1) == (pair[0] == pair[1]).all()
    assert (value == 0) == (not (pair[0] & pair[1]).any())


def test_masks_that_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="shape"):
        dice(np.zeros((2, 3), bool), np.zeros((1, 3), bool))
    with pytest.raises(ValueError, match="boolean"):
        dice(np.zeros(3, bool), np.zeros(3, np.uint8))


def test_other_scores_of_the_hand_made_pair() -> None:
    prediction = np.array([[[1, 1, 1, 0, 0, 0]]], bool)
    reference = np.array([[[0, 1, 1, 1, 1, 0]]], bool)
    assert iou(prediction, reference) == pytest.approx(2 / 5)
    assert sensitivity(prediction, reference) == pytest.approx(2 / 4)
    assert precision(prediction, reference) == pytest.approx(2 / 3)
    assert volume_difference(prediction, reference) == -1
    assert volume_difference(prediction, reference, (2.0, 5.0, 10.0)) == pytest.approx(-0.1)
    assert volume_difference(reference, prediction, (2.0, 5.0, 10.0)) == pytest.approx(0.1)


def test_what_empty_masks_say_about_other_scores() -> None:
    empty, full = np.zeros((1, 2, 3), bool), np.ones((1, 2, 3), bool)
    for score in (iou, sensitivity, precision, volume_difference):
        assert math.isnan(score(empty, empty))
    assert iou(empty, full) == iou(full, empty) == sensitivity(empty, full) == precision(full, empty) == 0
    assert math.isnan(precision(empty, full))
    assert math.isnan(sensitivity(full, empty))
    assert (volume_difference(empty, full), volume_difference(full, empty)) == (-6, 6)


@given(mask_pairs())
def test_laws_of_other_scores(pair: np.ndarray) -> None:
    swapped = pair[1], pair[0]
    assert iou(*pair) == pytest.approx(iou(*swapped), nan_ok=True)
    assert sensitivity(*pair) == pytest.approx(precision(*swapped), nan_ok=True)
    if pair[0].any() and pair[1].any():
        overlap, found, right = dice(*pair), sensitivity(*pair), precision(*pair)
        assert iou(*pair) == pytest.approx(overlap / (2 - overlap))
        # The DSC is the harmonic mean of sensitivity and precision.
        assert overlap * (found + right) == pytest.approx(2 * found * right)
    if pair.any():
        assert volume_difference(*pair) == int(pair[0].sum()) - int(pair[1].sum())


def test_a_volume_needs_three_lengths() -> None:
    with pytest.raises(ValueError, match="three numbers"):
        volume_difference(np.ones((2, 2), bool), np.ones((2, 2), bool), (1.0, 1.0))
