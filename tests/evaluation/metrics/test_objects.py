"""Matched objects: laws, and agreement with an assignment over all pairs of objects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from umseg.evaluation import score_objects

maps = hnp.arrays(np.int16, st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 9)), elements=st.integers(0, 5))
THRESHOLDS = (0.05, 0.1, 0.3, 0.5, 0.7, 1.0)


def assigned(prediction: np.ndarray, reference: np.ndarray, threshold: float) -> tuple[int, float]:
    """Number and total IoU of the best matches, by an assignment over all pairs of objects."""
    masks = [[array == value for value in np.unique(array[array > 0])] for array in (prediction, reference)]
    iou = np.array([[(p & r).sum() / (p | r).sum() for r in masks[1]] for p in masks[0]])
    if not iou.size:
        return 0, 0.0
    rows, columns = linear_sum_assignment(-np.where(iou >= threshold, 100 + iou, 0))
    matched = iou[rows, columns][iou[rows, columns] >= threshold]
    return len(matched), float(matched.sum())


@settings(deadline=None, max_examples=200)
@given(maps)
def test_matches_are_those_of_an_assignment_over_all_pairs(pair: np.ndarray) -> None:
    for threshold, scores in zip(THRESHOLDS, score_objects(pair[0], pair[1], THRESHOLDS), strict=True):
        count, total = assigned(pair[0], pair[1], threshold)
        assert (scores.threshold, count) == (threshold, scores.TP)
        assert scores.total_iou == pytest.approx(total)


@settings(deadline=None)
@given(maps, st.integers(1, 3))
def test_objects_in_the_frame_are_left_out_of_both_maps(pair: np.ndarray, border: int) -> None:
    height, width = pair[0].shape
    frame = np.ones((height, width), bool)
    rows = slice(border, -border) if height > 1 else slice(None)
    frame[rows, slice(border, -border) if width > 1 else slice(None)] = False
    inner = [np.where(np.isin(array, array[frame]), 0, array) for array in pair]
    expected = score_objects(inner[0], inner[1], THRESHOLDS)
    assert score_objects(pair[0], pair[1], THRESHOLDS, border) == expected


@settings(deadline=None)
@given(maps)
def test_laws_of_the_scores(pair: np.ndarray) -> None:
    scores = score_objects(pair[0], pair[1], THRESHOLDS)
    turned = score_objects(pair[1], pair[0], THRESHOLDS)
    for one, other in zip(scores, turned, strict=True):
        assert (one.TP, one.FP, one.FN) == (other.TP, other.FN, other.FP)
        assert pytest.approx(other.PQ, nan_ok=True) == one.PQ
        assert math.isnan(one.F1) == math.isnan(one.AP) == math.isnan(one.PQ) == (not pair.any())
        if one.TP:
            assert one.threshold <= one.SQ <= 1 + 1e-12
            assert pytest.approx(one.SQ * one.F1) == one.PQ
            assert pytest.approx(one.F1 / (2 - one.F1)) == one.AP
    assert [entry.TP for entry in scores] == sorted((entry.TP for entry in scores), reverse=True)
    (same,) = score_objects(pair[0], pair[0], [1.0])
    assert not pair[0].any() or (same.PQ, same.AP) == (1, 1)


def test_a_case_by_hand() -> None:
    """One object is found with an IoU of 2/3, one is missed, one is invented."""
    reference = np.array([[1, 1, 1, 0, 2, 2, 0, 0]])
    prediction = np.array([[7, 7, 0, 0, 0, 0, 9, 9]])
    half, strict = score_objects(prediction, reference, [0.5, 0.7])
    assert (half.TP, half.FP, half.FN) == (1, 1, 1)
    assert [half.AP, half.F1, half.precision, half.recall] == pytest.approx([1 / 3, 0.5, 0.5, 0.5])
    assert pytest.approx([2 / 3, 1 / 3]) == [half.SQ, half.PQ]
    assert (strict.TP, strict.PQ) == (0, 0)
    assert math.isnan(strict.SQ)


def test_an_assignment_prefers_more_matches_to_better_ones() -> None:
    """The best single pair would leave both other objects alone."""
    reference = np.array([[1] * 6 + [2] * 4])
    prediction = np.array([[1] * 2 + [2] * 8])
    (scores,) = score_objects(prediction, reference, [0.3])
    assert scores.TP == 2
    assert scores.total_iou == pytest.approx(2 / 6 + 4 / 8)


def test_wrong_arguments() -> None:
    one = np.ones((3, 4), np.int8)
    with pytest.raises(ValueError, match="border"):
        score_objects(one, one, [0.5], -1)
    for threshold in (0, 1.1):
        with pytest.raises(ValueError, match="threshold"):
            score_objects(one, one, [threshold])
