from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.evaluation.strategies import spacings
from umseg.evaluation import dice, surface_dice
from umseg.evaluation.case import score_labels

LABELS = {"liver": 1, "cyst": 3}


@given(
    st.tuples(st.just(2), *[st.integers(1, 6)] * 3).flatmap(
        lambda shape: hnp.arrays(np.int8, shape, elements=st.integers(0, 3))
    ),
    spacings,
)
def test_scores_are_those_of_the_whole_masks(maps, spacing):
    """Cropping to the class must not change a score, wherever the class lies."""
    prediction, reference = maps
    scores = score_labels(prediction, reference, spacing, LABELS, {"liver": 1.0, "cyst": 2.0})
    assert list(scores) == ["liver", "cyst"]
    for name, tolerance in (("liver", 1.0), ("cyst", 2.0)):
        masks = prediction == LABELS[name], reference == LABELS[name]
        nsd = surface_dice(*masks, spacing, tolerance)
        assert scores[name].Dice == pytest.approx(dice(*masks), nan_ok=True)
        assert nsd == pytest.approx(scores[name].NSD, nan_ok=True)
        assert scores[name].n_pred == scores[name].TP + scores[name].FP == masks[0].sum()
        assert scores[name].n_ref == scores[name].TP + scores[name].FN == masks[1].sum()


def test_volumes_in_millilitres(block):
    scores = score_labels(block, np.zeros_like(block), (5.0, 2.0, 10.0), {"a": 1, "b": 2}, {"a": 1.0, "b": 1.0})
    assert scores["a"].volume_pred_ml == pytest.approx(32 * 0.1)
    assert scores["b"].volume_pred_ml == pytest.approx(8 * 0.1)
    assert scores["a"].volume_ref_ml == 0


def test_one_slice_has_no_volume(block):
    scores = score_labels(block[2:3], block[2:3], (999.0, 1.0, 1.0), {"a": 1}, {"a": 1.0})
    assert math.isnan(scores["a"].volume_pred_ml)
    assert (scores["a"].n_pred, scores["a"].NSD) == (16, 1)


@pytest.mark.parametrize("where", [0, 2, 4])
def test_a_class_in_one_slice_of_a_volume_is_no_two_dimensional_image(where):
    """Its caps above and below are surface too, also in the first and the last slice."""
    reference = np.zeros((5, 20, 20), np.int16)
    reference[where, 4:16, 4:16] = 1
    prediction = np.roll(reference, 2, axis=1)
    scores = score_labels(prediction, reference, (5.0, 1.0, 1.0), {"a": 1}, {"a": 1.0})
    masks = prediction == 1, reference == 1
    nsd = surface_dice(*masks, (5.0, 1.0, 1.0), 1.0)
    assert nsd == scores["a"].NSD
    assert nsd != pytest.approx(surface_dice(masks[0][where], masks[1][where], (1.0, 1.0), 1.0), abs=0.01)
