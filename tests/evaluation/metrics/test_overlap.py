from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given

from tests.evaluation.strategies import mask_pairs
from umseg.evaluation import dice
from umseg.evaluation.metrics.counts import count_voxels


def test_counts_and_dice_of_a_hand_made_pair():
    prediction = np.array([1, 1, 1, 0, 0, 0], bool)
    reference = np.array([0, 1, 1, 1, 1, 0], bool)
    counts = count_voxels(prediction, reference)
    assert (counts.TP, counts.FP, counts.FN, counts.n_pred, counts.n_ref) == (2, 1, 2, 3, 4)
    assert dice(prediction, reference) == pytest.approx(4 / 7)


def test_empty_masks():
    empty, full = np.zeros((2, 3), bool), np.ones((2, 3), bool)
    assert math.isnan(dice(empty, empty))
    assert dice(empty, full) == dice(full, empty) == 0


@given(mask_pairs())
def test_laws(pair):
    value = dice(*pair)
    if not pair.any():
        assert math.isnan(value)
        return
    assert 0 <= value <= 1
    assert value == dice(pair[1], pair[0])
    assert (value == 1) == (pair[0] == pair[1]).all()
    assert (value == 0) == (not (pair[0] & pair[1]).any())


def test_masks_that_cannot_be_compared():
    with pytest.raises(ValueError, match="shape"):
        dice(np.zeros((2, 3), bool), np.zeros((1, 3), bool))
    with pytest.raises(ValueError, match="boolean"):
        dice(np.zeros(3, bool), np.zeros(3, np.uint8))
